//! What helpers are started with.

use super::*;

#[test]
fn sshfs_gets_its_fixed_arguments_and_the_options_that_were_given() {
    let [mut mount, ..] = good();
    mount.options = pairs(&[
        ("port", "2222"),
        ("allow_other", ""),
        ("reconnect", "false"),
        ("ServerAliveInterval", "5"),
    ]);
    mount.flags.read_only = true;
    let plan = plan(&mount, usual).unwrap();
    assert_eq!(
        words(&plan.arguments),
        [
            "-f",
            "-F/dev/null",
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            "GSSAPIAuthentication=no",
            "-o",
            "HostbasedAuthentication=no",
            "-o",
            "PermitLocalCommand=no",
            "-o",
            "ControlPath=none",
            "-o",
            "UpdateHostKeys=no",
            "-o",
            "UserKnownHostsFile=/run/dockside/helpers/0000000000000001/known-hosts",
            "-o",
            "PubkeyAuthentication=no",
            "-o",
            "password_stdin",
            "-o",
            "PreferredAuthentications=password",
            "-o",
            "ConnectTimeout=7",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "ServerAliveCountMax=3",
            "-o",
            "port=2222",
            "-o",
            "allow_other",
            "-o",
            "ServerAliveInterval=5",
            "-o",
            "fsname=dockside-0000000000000001",
            "-o",
            "ro",
            "joe@files.example:/srv",
            "/var/lib/dockside/mounts/0000000000000001",
        ]
    );
    assert_eq!(plan.input.unwrap().as_slice(), b"s3cret-of-joe\n");
    let [(path, content)] = &plan.files[..] else {
        panic!("one file: the known hosts");
    };
    assert!(path.ends_with("0000000000000001/known-hosts"));
    assert!(content.ends_with(b"HOST-KEY\n"));
}

#[test]
fn a_server_that_is_taken_for_good_is_written_down_where_it_outlives_the_mount() {
    let [mut mount, ..] = good();
    let learned = PathBuf::from("/var/lib/dockside/known-hosts/vieux=2Fsshfs/known_hosts");
    mount.learned = Some(learned.clone());
    let own = "/run/dockside/helpers/0000000000000001/known-hosts";
    for (checking, secrets, files) in [
        (
            "yes",
            vec![("password", "pw"), ("known-hosts", "hosts")],
            own.to_owned(),
        ),
        ("no", vec![("password", "pw")], own.to_owned()),
        (
            "accept-new",
            vec![("password", "pw")],
            format!("{} {own}", learned.display()),
        ),
    ] {
        mount.options = pairs(&[("StrictHostKeyChecking", checking)]);
        mount.secrets = pairs(&secrets);
        let plan = plan(&mount, usual).unwrap();
        let wanted = format!("UserKnownHostsFile={files}");
        assert!(
            words(&plan.arguments).contains(&wanted),
            "{plan:?}",
            plan = words(&plan.arguments)
        );
        assert_eq!(plan.learns.is_some(), checking == "accept-new");
    }
}

#[test]
fn known_hosts_can_be_a_text_that_is_no_secret() {
    let [mut mount, mut s3fs, _] = good();
    mount.texts = pairs(&[("known-hosts", "files.example ssh-ed25519 HOST-KEY")]);
    let error = mount.check().unwrap_err();
    assert_eq!(error.message, "sshfs: known-hosts is given twice");
    mount.secrets.retain(|(role, _)| role != "known-hosts");
    let plan = plan(&mount, usual).unwrap();
    let (path, content) = &plan.files[0];
    assert!(path.ends_with("0000000000000001/known-hosts"));
    assert_eq!(content.as_slice(), b"files.example ssh-ed25519 HOST-KEY\n");
    s3fs.texts = mount.texts.clone();
    let error = s3fs.check().unwrap_err();
    assert_eq!(
        error.message,
        "s3fs has no use for a text as \"known-hosts\""
    );
    mount.texts = pairs(&[("identity", "key")]);
    assert!(
        mount
            .check()
            .unwrap_err()
            .message
            .ends_with("it takes known-hosts")
    );
}

#[test]
fn s3fs_gets_its_credentials_in_a_file() {
    let [_, mut mount, _] = good();
    mount.options = pairs(&[
        ("url", "http://[::1]:9000/base"),
        ("use_path_request_style", ""),
    ]);
    let plan = plan(&mount, usual).unwrap();
    assert_eq!(
        words(&plan.arguments),
        [
            "bucket:/dir",
            "/var/lib/dockside/mounts/0000000000000002",
            "-f",
            "-o",
            "passwd_file=/run/dockside/helpers/0000000000000002/credentials",
            "-o",
            "tmpdir=/var/lib/dockside/mounts/0000000000000002.cache",
            "-o",
            "connect_timeout=7",
            "-o",
            "readwrite_timeout=30",
            "-o",
            "retries=2",
            "-o",
            "url=http://[::1]:9000/base",
            "-o",
            "use_path_request_style",
            "-o",
            "fsname=dockside-0000000000000002",
            "-o",
            "subtype=s3fs",
        ]
    );
    assert_eq!(plan.files[0].1.as_slice(), b"ACCESS-OF-JOE:SECRET-OF-JOE\n");
}

#[test]
fn rclone_gets_a_configuration_of_one_remote() {
    let [.., mut mount] = good();
    mount.remote = ":sftp,host='fe80::1',user=joe,port=22:srv/a b".to_owned();
    mount.options = pairs(&[
        ("umask", "022"),
        ("vfs_cache_mode", "full"),
        ("timeout", "1m"),
    ]);
    let plan = plan(&mount, usual).unwrap();
    assert_eq!(
        words(&plan.arguments),
        [
            "mount",
            "--config",
            "/run/dockside/helpers/0000000000000003/rclone.conf",
            "--ask-password=false",
            "--contimeout=7s",
            "--timeout=1m",
            "--devname=dockside-0000000000000003",
            "--cache-dir",
            "/var/lib/dockside/mounts/0000000000000003.cache",
            "--vfs-write-back=0s",
            "--umask=0022",
            "--vfs-cache-mode=full",
            "dockside:srv/a b",
            "/var/lib/dockside/mounts/0000000000000003",
        ]
    );
    let (_, configuration) = plan
        .files
        .iter()
        .find(|(path, _)| path.ends_with("rclone.conf"))
        .unwrap();
    assert_eq!(
        std::str::from_utf8(configuration).unwrap(),
        "[dockside]\ntype = sftp\nhost = fe80::1\nuser = joe\nport = 22\nshell_type = none\ndisable_hashcheck = true\n\
         pass = obscured-13\nknown_hosts_file = /run/dockside/helpers/0000000000000003/known-hosts\n"
    );
}

#[test]
fn rclone_takes_a_remote_from_a_configuration_that_is_a_secret() {
    let [.., mut mount] = good();
    mount.remote = "store:bucket/dir".to_owned();
    mount.secrets = pairs(&[("config", "file")]);
    let plan = plan(&mount, |_| {
        b"[other]\ntype = local\n\n# mine\n[store]\ntype = s3\nprovider = Minio\nenv_auth = false\nregion =\n\
          access_key_id = A\nsecret_access_key = S/+=\nendpoint = http://h:9000\n"
            .to_vec()
    })
    .unwrap();
    assert_eq!(
        plan.files[0].1.as_slice(),
        b"[dockside]\ntype = s3\nprovider = Minio\nendpoint = http://h:9000\nenv_auth = false\naccess_key_id = A\nsecret_access_key = S/+=\n"
    );
    assert_eq!(
        words(plan.rehearsal.as_deref().unwrap()).last().unwrap(),
        "dockside:bucket/dir"
    );
}

#[test]
fn no_argument_has_a_secret_in_it() {
    let mut mounts = Vec::from(good());
    for role in ["identity", "password"] {
        let [mut sshfs, _, mut rclone] = good();
        let name = if role == "identity" { "key" } else { "pw" };
        sshfs.secrets = pairs(&[(role, name), ("known-hosts", "hosts")]);
        rclone.secrets = sshfs.secrets.clone();
        mounts.extend([sshfs, rclone]);
    }
    let [.., mut s3] = good();
    s3.remote = ":s3,provider=Minio,endpoint='http://h:9000':bucket".to_owned();
    s3.secrets = pairs(&[("credentials", "keys"), ("session-token", "pw")]);
    let mut dav = s3.clone();
    dav.remote = ":webdav,url=\"https://h/dav\":dir".to_owned();
    dav.secrets = pairs(&[("token", "pw")]);
    mounts.extend([s3, dav]);
    for mount in mounts {
        let plan = plan(&mount, usual).unwrap();
        let mut all = words(&plan.arguments);
        all.extend(words(plan.rehearsal.as_deref().unwrap_or_default()));
        for argument in all {
            for secret in ["s3cret", "OF-JOE", "HOST-KEY", "obscured"] {
                assert!(!argument.contains(secret), "{argument}");
            }
        }
    }
}

#[test]
fn says_which_server_a_helper_connects_to() {
    let [mut sshfs, mut s3fs, mut rclone] = good();
    sshfs.remote = "joe@[::1]:x".to_owned();
    sshfs.options = pairs(&[("port", "22")]);
    assert_eq!(sshfs.server().unwrap().unwrap(), "[::1]:22");
    assert_eq!(s3fs.server().unwrap().unwrap(), "https://s3.amazonaws.com");
    s3fs.options = pairs(&[("url", "http://h:1")]);
    assert_eq!(s3fs.server().unwrap().unwrap(), "http://h:1");
    rclone.remote = ":sftp,host='::1',user=joe,port=23:".to_owned();
    assert_eq!(rclone.server().unwrap().unwrap(), "[::1]:23");
    rclone.remote = "name:".to_owned();
    rclone.secrets = pairs(&[("config", "c")]);
    assert_eq!(rclone.server().unwrap(), None);
}

#[test]
fn a_record_of_today_can_be_read_from_its_shortest_form() {
    let record = r#"{"id":"0000000000000001","point":"/m/0000000000000001","program":"sshfs","remote":"a@b:"}"#;
    let mount: FuseMount = serde_json::from_str(record).unwrap();
    assert_eq!(mount.flags, Flags::default());
    let again = serde_json::to_string(&mount).unwrap();
    assert_eq!(serde_json::from_str::<FuseMount>(&again).unwrap(), mount);
}
