//! What must not reach a helper.

use super::*;

/// Values that no option of any kind takes.
fn odd() -> Vec<String> {
    let mut odd: Vec<String> = [
        ",suid",
        "1,suid",
        "no,dev",
        "1 -o suid",
        "-1",
        "-oProxyCommand=id",
        "1\0",
        "1\n",
        "1\r\nProxyCommand id",
        "1\\,suid",
        "\"1\"",
        "'1'",
        "$(id)",
        "`id`",
        "1;id",
        "|id",
        "%h",
        "~root",
        "../../etc/shadow",
        "/etc/shadow",
        "１",
        "\u{202e}1",
        " 1",
    ]
    .map(str::to_owned)
    .to_vec();
    odd.push("9".repeat(5000));
    odd.push("x".repeat(5000));
    odd
}

#[test]
fn no_option_of_any_helper_takes_an_odd_value() {
    let mut tried = 0;
    for good in good() {
        for known in helper::find(&good.program).unwrap().options {
            for value in odd() {
                let mut mount = good.clone();
                mount.options = vec![(known.name.to_owned(), value.clone())];
                let error = mount
                    .check()
                    .expect_err(&format!("{} {value:?}", known.name));
                assert_eq!(error.kind, ErrorKind::Invalid);
                assert!(error.message.len() < 1000, "{error}");
                assert!(!error.message.contains(['\n', '\0']), "{error}");
                tried += 1;
            }
        }
    }
    assert!(tried > 2000);
}

#[test]
fn numbers_times_and_sizes_are_held_to_their_range() {
    for (program, name, value) in [
        ("sshfs", "port", "0"),
        ("sshfs", "port", "65536"),
        ("sshfs", "port", "0x16"),
        ("sshfs", "port", "1e3"),
        ("sshfs", "port", "99999999999999999999999"),
        ("sshfs", "uid", "4294967295"),
        ("sshfs", "umask", "8"),
        ("sshfs", "umask", "00000"),
        ("sshfs", "idmap", "file"),
        ("sshfs", "StrictHostKeyChecking", "off"),
        ("rclone", "timeout", "5"),
        ("rclone", "timeout", "5d"),
        ("rclone", "timeout", "1h1h1h1h1h"),
        ("rclone", "buffer_size", "5X"),
        ("rclone", "buffer_size", "M"),
        ("s3fs", "url", "ftp://h"),
        ("s3fs", "url", "http://"),
        ("s3fs", "url", "http://u:p@h"),
        ("s3fs", "url", "http://h:0"),
        ("s3fs", "url", "http://h/../x"),
        ("s3fs", "url", "http://h?x"),
        ("s3fs", "url", "http://[::1"),
        ("s3fs", "endpoint", "-x"),
    ] {
        let mut mount = good()
            .into_iter()
            .find(|good| good.program == program)
            .unwrap();
        mount.options = pairs(&[(name, value)]);
        mount.check().expect_err(&format!("{name}={value}"));
    }
}

#[test]
fn options_outside_the_table_are_refused() {
    let names = [
        // sshfs and ssh: run a program, read a file, go elsewhere.
        "ProxyCommand",
        "proxycommand",
        "ProxyJump",
        "ProxyUseFdpass",
        "LocalCommand",
        "PermitLocalCommand",
        "KnownHostsCommand",
        "ssh_command",
        "sftp_server",
        "directport",
        "passive",
        "password_stdin",
        "slave",
        "uidfile",
        "gidfile",
        "IdentityFile",
        "CertificateFile",
        "UserKnownHostsFile",
        "GlobalKnownHostsFile",
        "IdentityAgent",
        "ControlPath",
        "HostName",
        "Include",
        "Match",
        "PKCS11Provider",
        "SmartcardDevice",
        "BindInterface",
        "SendEnv",
        "LogLevel",
        "modules",
        "subdir",
        // FUSE.
        "suid",
        "dev",
        "exec",
        "fsname",
        "subtype",
        "auto_unmount",
        "nonempty",
        "rw",
        "remount",
        "context",
        "user_id",
        "fd",
        "blkdev",
        "max_read",
        // s3fs.
        "passwd_file",
        "credlib",
        "credlib_opts",
        "iam_role",
        "ecs",
        "ibm_iam_endpoint",
        "use_cache",
        "tmpdir",
        "ahbe_conf",
        "profile",
        "host",
        "servicepath",
        "bucket",
        "use_sse",
        "load_sse_c",
        "logfile",
        "dbglevel",
        "curldbg",
        "mime",
        "instance_name",
        // rclone.
        "config",
        "rc",
        "rc_addr",
        "password_command",
        "log_file",
        "cache_dir",
        "devname",
        "fuse_flag",
        "option",
        "daemon",
        "write_back_cache",
        "vfs_write_back",
        "backup_dir",
        "ca_cert",
        "client_key",
        "header",
        "dump",
        "user_agent",
        // Nothing at all.
        "",
        " ",
        "-o",
        "--",
        "-F",
        "-oProxyCommand=id",
        "port ",
        "PORT",
        "port=1,suid",
        "port\0",
        "port\n",
        "allow_other,suid",
        "allow-other",
        "..",
        "ｐort",
    ];
    for good in good() {
        for name in names.into_iter().chain([&*"n".repeat(5000)]) {
            for value in ["", "1", "yes"] {
                let mut mount = good.clone();
                mount.options = pairs(&[(name, value)]);
                let error = mount.check().expect_err(name);
                assert_eq!(error.kind, ErrorKind::Invalid, "{name}");
                assert!(error.message.len() < 2000, "{error}");
            }
        }
        let mut mount = good.clone();
        mount.options = pairs(&[("allow_other", ""), ("allow_other", "no")]);
        assert!(mount.check().unwrap_err().message.contains("twice"));
    }
}

#[test]
fn a_misspelt_option_gets_a_suggestion() {
    let [mut mount, ..] = good();
    for (wrong, right) in [
        ("serveraliveinterval", "ServerAliveInterval"),
        ("allow_others", "allow_other"),
        ("reconect", "reconnect"),
    ] {
        mount.options = pairs(&[(wrong, "")]);
        let error = mount.check().unwrap_err();
        assert!(
            error.message.ends_with(&format!("did you mean {right}?")),
            "{error}"
        );
    }
}

#[test]
fn remotes_that_could_be_taken_for_anything_else_are_refused() {
    let long = "x".repeat(5000);
    let mut table: Vec<(&str, String)> = Vec::new();
    for remote in [
        "",
        "host:/",
        "@host:/",
        ":/",
        "joe@:/",
        "joe@host",
        "-oProxyCommand=id@host:/",
        "joe@-oProxyCommand=id:/",
        "--@host:/",
        "joe@host -o suid:/",
        "joe@ho st:/",
        "joe@host;id:/",
        "joe@$(id):/",
        "joe@`id`:/",
        "joe@host,suid:/",
        "joe@host\n:/",
        "joe@host\0:/",
        "joe@host:/a\0b",
        "joe@host:/a\nb",
        "joe@host:../x",
        "joe@host:/a/../../etc",
        "joe@host:..",
        "joe@a@b:/",
        "joe@[::1:/",
        "joe@[::1]/",
        "joe@[host]:/",
        "joe@[fe80::1%eth0]:/",
        "joe@host..x:/",
        "joe@.host:/",
        "joe@host/x:/",
        "j oe@host:/",
        "joe,suid@host:/",
        "\u{202e}joe@host:/",
        "joe@höst:/",
        "ssh://joe@host/",
        "joe@ho%h:/",
    ] {
        table.push(("sshfs", remote.to_owned()));
    }
    table.push(("sshfs", format!("{long}@host:/")));
    table.push(("sshfs", format!("joe@{long}:/")));
    table.push(("sshfs", format!("joe@host:/{long}")));
    for remote in [
        "",
        "b",
        "-o",
        "--help",
        "-obucket",
        "bucket:",
        "bucket:dir",
        "bucket:/../x",
        "bucket:/a\nb",
        "bucket:/a\0",
        "bucket,suid",
        "bucket suid",
        "../bucket",
        "/etc",
        "bucket/..",
        "b\u{fc}cket",
        "bucket\n",
    ] {
        table.push(("s3fs", remote.to_owned()));
    }
    table.push(("s3fs", long.clone()));
    table.push(("s3fs", format!("bucket:/{long}")));
    for remote in [
        "",
        "/etc",
        "etc",
        ":local:/etc",
        ":alias,remote=/etc:",
        ":union,upstreams=/etc:",
        ":combine,upstreams=/etc:",
        ":crypt,remote=/etc:",
        ":chunker,remote=/etc:",
        ":cache,remote=/etc:",
        ":hasher,remote=/etc:",
        ":compress,remote=/etc:",
        ":memory:",
        ":sftp:",
        ":sftp,host=h:",
        ":sftp,host=h,user=joe,ssh='sh -c id':",
        ":sftp,host=h,user=joe,key_file=/root/.ssh/id_rsa:",
        ":sftp,host=h,user=joe,key_use_agent=true:",
        ":sftp,host=h,user=joe,known_hosts_file=/dev/null:",
        ":sftp,host=h,user=joe,server_command=id:",
        ":sftp,host=h,user=joe,md5sum_command=id:",
        ":sftp,host=h,user=joe,shell_type=unix:",
        ":sftp,host=h,user=joe,pass=abc:",
        ":sftp,host=h,user=-joe:",
        ":sftp,host=-h,user=joe:",
        ":sftp,host=h,host=i,user=joe:",
        ":sftp,host=h,user=joe",
        ":sftp,host=h,user=joe:../x",
        ":sftp,host=h,user=joe:a\nb",
        ":sftp,host='h,user=joe:",
        ":sftp,host='h'x,user=joe:",
        ":sftp,host=h\nssh=id,user=joe:",
        ":sftp,,host=h,user=joe:",
        ":sftp,host,user=joe:",
        ":webdav,url='http://h',bearer_token_command=id:",
        ":webdav,url='http://u:p@h':",
        ":webdav,url='file:///etc':",
        ":webdav,url=http://h:",
        ":s3,provider=AWS,env_auth=true:b",
        ":s3,provider=AWS,profile=root:b",
        ":s3,provider=AWS,shared_credentials_file=/root/.aws/credentials:b",
        ":s3,provider=AWS,access_key_id=A:b",
        ":s3:b",
        "name:",
        "-name:",
        "na me:",
        "name,x=y:",
        "../name:",
    ] {
        table.push(("rclone", remote.to_owned()));
    }
    table.push(("rclone", format!(":{long}:")));
    table.push(("rclone", format!("{long}:")));
    assert!(table.len() > 100);
    for (program, remote) in table {
        let mut mount = good()
            .into_iter()
            .find(|good| good.program == program)
            .unwrap();
        mount.remote = remote;
        let error = mount.check().expect_err(&mount.remote);
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.len() < 1000, "{error}");
        assert!(!error.message.contains(['\n', '\0']), "{error}");
    }
}

#[test]
fn programs_outside_the_table_are_refused_with_the_list() {
    for program in [
        "",
        "sh",
        "/bin/sh",
        "sshfs ",
        "SSHFS",
        "../sshfs",
        "mount.fuse",
        "-",
        "sshfs\0",
        "gocryptfs",
    ] {
        let [mut mount, ..] = good();
        mount.program = program.to_owned();
        let error = mount.check().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(
            error.message.ends_with("there are sshfs, s3fs, rclone"),
            "{error}"
        );
    }
}

#[test]
fn points_that_the_host_did_not_mint_are_never_touched() {
    let place = Place {
        runtime: "/run/dockside/helpers".into(),
    };
    let id = "0123456789abcdef";
    let long = format!("/{}/{id}", "x".repeat(5000));
    for (id, point) in [
        ("", "/m/"),
        ("..", "/m/.."),
        ("short", "/m/short"),
        ("0123456789ABCDEF", "/m/0123456789ABCDEF"),
        ("0123456789abcde/", "/m/0123456789abcde/"),
        (id, "/m/other"),
        (id, "0123456789abcdef"),
        (id, "m/0123456789abcdef"),
        (id, "/m/../0123456789abcdef"),
        (id, "/m,suid/0123456789abcdef"),
        (id, "/m\n/0123456789abcdef"),
        (id, "/m\0/0123456789abcdef"),
        (id, "/m m/0123456789abcdef"),
        (id, "/m\\/0123456789abcdef"),
        (id, "/"),
        (id, ""),
        (id, &long),
    ] {
        let [mut mount, ..] = good();
        mount.id = id.to_owned();
        mount.point = point.into();
        let refusals = [
            mount.check().unwrap_err(),
            undo(&mount, &place).unwrap_err(),
            look(&mount, &place).unwrap_err(),
        ];
        assert!(
            refusals
                .iter()
                .all(|error| error.kind == ErrorKind::Invalid),
            "{point:?}"
        );
    }
}
