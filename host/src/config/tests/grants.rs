use std::path::Path;

use super::plugin;
use crate::config::grants::{Filesystem, Grants, LinkKind, Refusal, RefusalKind};
use crate::outbound::SecretUse;

/// The grants of a file with this text under `[grants]`.
fn grants(text: &str) -> Grants {
    plugin(&format!("[grants]\n{text}\n")).unwrap().grants
}

/// A file with these lines under `[grants.mounts]` and so on.
fn table(name: &str, lines: &str) -> Grants {
    grants(&format!("[grants.{name}]\n{lines}"))
}

const ALL: [&str; 10] = [
    "directories",
    "mounts",
    "images",
    "links",
    "nat",
    "http",
    "secrets",
    "outbox",
    "files",
    "blobs",
];

#[test]
fn a_table_that_is_there_grants_and_one_that_is_not_does_not() {
    let none = grants("");
    let all = grants(&ALL.map(|name| format!("{name} = {{}}")).join("\n"));
    for name in ALL {
        assert!(!none.granted(name), "{name}");
        assert!(all.granted(name), "{name}");
        assert!(table(name, "").granted(name), "{name}");
    }
    assert!(none.granted("state"));
    assert!(!all.granted("exec"));
    assert!(none.mounts().is_err() && all.mounts().is_ok());
    assert!(none.images().is_err() && all.images().is_ok());
    assert!(none.links().is_err() && all.links().is_ok());
    assert!(none.nat().is_err() && all.nat().is_ok());
    assert!(none.http().is_err() && all.http().is_ok());
    assert!(none.secrets().is_err() && all.secrets().is_ok());
    assert!(none.outbox().is_err() && all.outbox().is_ok());
    assert!(none.files().is_err() && all.files().is_ok());
    assert!(none.blobs().is_err() && all.blobs().is_ok());
}

#[test]
fn what_a_blocked_plugin_is_told_can_be_pasted_into_any_file() {
    let before = [
        "",
        "driver = \"x\"\n",
        "[config]\na = 1\n",
        "[grants]\n",
        "[grants]\nstate = { max-keys = 1 }\n[limits]\nqueue = 1\n",
        "grants.state = { max-keys = 1 }\n",
        "[grants.state]\nmax-keys = 1\n",
        "[secrets]\nother = { env = \"OTHER\" }\n",
    ];
    for file in before {
        let settings = plugin(file).unwrap().grants;
        for name in ALL {
            let text = settings.missing(|asked| asked == name, "a").unwrap();
            let (reason, toml) = text.split_once("\n\n").unwrap();
            assert!(
                reason.starts_with("it asks for ")
                    && reason.ends_with("put this at the end of a.toml:"),
                "{reason}"
            );
            let pasted = plugin(&format!("{file}\n{toml}\n")).unwrap().grants;
            assert!(pasted.granted(name), "{toml}");
            assert_eq!(pasted.missing(|asked| asked == name, "a"), None);
        }
        let text = settings.missing(|_| true, "a").unwrap();
        let (reason, toml) = text.split_once("\n\n").unwrap();
        assert!(reason.contains("directories on this machine, mounts, "));
        let pasted = plugin(&format!("{file}\n{toml}\n")).unwrap().grants;
        assert_eq!(pasted.missing(|_| true, "a"), None);
    }
    assert_eq!(
        table("links", "").missing(|asked| asked == "links" || asked == "mounts", "nas"),
        Some(
            "it asks for mounts, which this plugin is not granted; to grant it, put this at the end of nas.toml:\n\n[grants.mounts]\ntmpfs = \"64MiB\""
                .to_owned()
        )
    );
    assert_eq!(grants("").missing(|asked| asked == "state", "a"), None);
}

/// A question and, if the answer is no, the class and what the text says.
type Case = (Result<(), Refusal>, Option<(RefusalKind, &'static str)>);

fn check(cases: Vec<Case>) {
    for (answer, expected) in cases {
        let Some((kind, text)) = expected else {
            assert_eq!(answer, Ok(()));
            continue;
        };
        let refusal = answer.unwrap_err();
        assert_eq!(refusal.text("nas", "files"), format!("plugin nas {text}"));
        assert_eq!(refusal.kind(), kind, "{text}");
        assert!(refusal.to_string().starts_with("the plugin "), "{refusal}");
    }
}

use RefusalKind::{Exhausted, Invalid, NotGranted};

#[test]
fn mounts_are_refused_with_what_would_grant_them() {
    let none = table("mounts", "max = 2\nbinds = false").mounts.unwrap();
    let some = table(
        "mounts",
        "tmpfs = \"1MiB\"\nsuid = true\ndev = true\nhost-paths = [\"/srv//data/\"]\nnfs = [\"NAS.example.com.:/export\"]\ncifs = [\"//Files/Team\"]\n\
         helpers = { sshfs = [\"me@host:/srv\", \"[::1]:\"], s3fs = [\"bucket\"], rclone = [\"drive:a/b\"] }",
    )
    .mounts
    .unwrap();
    let any = table(
        "mounts",
        "nfs = [\"*\"]\ncifs = [\"*\"]\nhelpers = { rclone = [\"*\"] }",
    )
    .mounts
    .unwrap();
    let host = |path: &str| some.may_bind_host(Path::new(path));
    check(vec![
        (none.may_add(1), None),
        (
            none.may_add(2),
            Some((
                Exhausted,
                "may not have more than 2 mounts: put max = 3 under [grants.mounts] in files.toml",
            )),
        ),
        (some.may_bind(), None),
        (
            none.may_bind(),
            Some((
                NotGranted,
                "may not mount its own directories elsewhere: put binds = true under [grants.mounts] in files.toml",
            )),
        ),
        (some.may_suid(), None),
        (some.may_dev(), None),
        (
            none.may_suid(),
            Some((
                NotGranted,
                "may not mount anything without nosuid: put suid = true under [grants.mounts] in files.toml",
            )),
        ),
        (
            none.may_dev(),
            Some((
                NotGranted,
                "may not mount anything without nodev: put dev = true under [grants.mounts] in files.toml",
            )),
        ),
        (some.may_tmpfs(1 << 20), None),
        (
            some.may_tmpfs((1 << 20) + 1),
            Some((
                Exhausted,
                "may not mount a tmpfs of 1048577: put tmpfs = \"1048577\" under [grants.mounts] in files.toml",
            )),
        ),
        (
            none.may_tmpfs(64 << 20),
            Some((
                NotGranted,
                "may not mount a tmpfs of 64MiB: put tmpfs = \"64MiB\" under [grants.mounts] in files.toml",
            )),
        ),
        (
            some.may_tmpfs(0),
            Some((
                Invalid,
                "may not mount a tmpfs of 0: a tmpfs of size 0 has no limit",
            )),
        ),
        (
            some.may_tmpfs(u64::MAX),
            Some((
                Invalid,
                "may not mount a tmpfs of 18446744073709551615: at most 1TiB can be granted",
            )),
        ),
        (host("/srv/data"), None),
        (host("//srv/./data//x/"), None),
        (
            host("/srv/x"),
            Some((
                NotGranted,
                "may not mount /srv/x: add \"/srv/x\" to host-paths under [grants.mounts] in files.toml",
            )),
        ),
        (
            host("/srv/data2"),
            Some((
                NotGranted,
                "may not mount /srv/data2: add \"/srv/data2\" to host-paths under [grants.mounts] in files.toml",
            )),
        ),
        (
            host("/srv/Data/\"q\""),
            Some((
                NotGranted,
                "may not mount /srv/Data/\"q\": add \"/srv/Data/\\\"q\\\"\" to host-paths under [grants.mounts] in files.toml",
            )),
        ),
        (
            host("/srv/data/../x"),
            Some((
                Invalid,
                "may not mount /srv/data/../x: \"/srv/data/../x\": a path with .. in it can lead anywhere",
            )),
        ),
        (
            host("srv/data"),
            Some((
                Invalid,
                "may not mount srv/data: \"srv/data\" is no absolute path: it must begin with /",
            )),
        ),
        (
            host("/srv/data/a\nb"),
            Some((
                Invalid,
                "may not mount /srv/data/a\\nb: \"/srv/data/a\\nb\": a path has no control characters",
            )),
        ),
        (some.may_nfs("nas.EXAMPLE.com", "/export/a"), None),
        (any.may_nfs("fd00::1", "/"), None),
        (
            some.may_nfs("nas", "/export"),
            Some((
                NotGranted,
                "may not mount /export of the NFS server nas: add \"nas:/export\" to nfs under [grants.mounts] in files.toml",
            )),
        ),
        (
            some.may_nfs("fd00::1", "//export/"),
            Some((
                NotGranted,
                "may not mount //export/ of the NFS server fd00::1: add \"[fd00::1]:/export\" to nfs under [grants.mounts] in files.toml",
            )),
        ),
        (
            any.may_nfs("nas,ro", "/x"),
            Some((
                Invalid,
                "may not mount /x of the NFS server nas,ro: the server is neither a host name nor an address",
            )),
        ),
        (some.may_cifs("files", "Team/a b"), None),
        (
            some.may_cifs("files", "team"),
            Some((
                NotGranted,
                "may not mount team of the SMB server files: add \"//files/team\" to cifs under [grants.mounts] in files.toml",
            )),
        ),
        (
            any.may_cifs("files", "Team\\..\\c$"),
            Some((
                Invalid,
                "may not mount Team\\..\\c$ of the SMB server files: a share is written with / and not with \\",
            )),
        ),
        (
            any.may_cifs("files", "Team/.. /c$"),
            Some((
                Invalid,
                "may not mount Team/.. /c$ of the SMB server files: a name has more than dots and spaces",
            )),
        ),
        (
            any.may_cifs("files", "/"),
            Some((
                Invalid,
                "may not mount / of the SMB server files: the share is missing",
            )),
        ),
        (some.may_helper("sshfs", "me@host:/srv/x"), None),
        (some.may_helper("sshfs", "[::1]:anything"), None),
        (some.may_helper("s3fs", "bucket"), None),
        (
            some.may_choose_server("s3fs", "https://elsewhere"),
            Some((
                NotGranted,
                "may not send s3fs to https://elsewhere: add \"*\" to helpers.s3fs under [grants.mounts] in files.toml",
            )),
        ),
        (some.may_choose_server("sshfs", "anything"), None),
        (some.may_helper("s3fs", "bucket:/deep"), None),
        (some.may_helper("rclone", "drive:a/b/c"), None),
        (
            some.may_helper("sshfs", "you@host:/srv"),
            Some((
                NotGranted,
                "may not mount you@host:/srv with sshfs: add \"you@host:/srv\" to helpers.sshfs under [grants.mounts] in files.toml",
            )),
        ),
        (
            some.may_helper("sshfs", "me@host:srv"),
            Some((
                NotGranted,
                "may not mount me@host:srv with sshfs: add \"me@host:srv\" to helpers.sshfs under [grants.mounts] in files.toml",
            )),
        ),
        (
            some.may_helper("rclone", "bucket:"),
            Some((
                NotGranted,
                "may not mount bucket: with rclone: add \"bucket:\" to helpers.rclone under [grants.mounts] in files.toml",
            )),
        ),
        (
            any.may_helper("rclone", "etc"),
            Some((
                Invalid,
                "may not mount etc with rclone: there is no colon behind the name of the remote",
            )),
        ),
        (
            some.may_helper("s3fs", "bucket:x"),
            Some((
                Invalid,
                "may not mount bucket:x with s3fs: the path in a bucket begins with /",
            )),
        ),
        (
            some.may_helper("s3fs", "bucket:/a//b"),
            Some((
                Invalid,
                "may not mount bucket:/a//b with s3fs: \"bucket:/a//b\": write the path without // and /./",
            )),
        ),
        (
            any.may_helper("sh", "a:"),
            Some((
                Invalid,
                "may not mount a: with sh: the helpers are sshfs, s3fs and rclone",
            )),
        ),
    ]);
    for hostile in [
        "",
        "/etc",
        "-oProxyCommand=x:/",
        "me@-oProxyCommand=x:/",
        ":sftp,ssh=sh:/",
        "drive,ssh=sh:a",
        "drive: a/../b",
        "a b:/",
        "drive:a\0b",
        "me@@host:/",
        "[::1:/",
        "[x]:/",
        "me@host\n:/",
    ] {
        for program in ["sshfs", "s3fs", "rclone"] {
            let refusal = any.may_helper(program, hostile).unwrap_err();
            assert_eq!(refusal.kind(), Invalid, "{program} {hostile:?} {refusal}");
            assert!(!refusal.to_string().contains('\n'));
        }
    }
}

#[test]
fn images_links_and_rules_are_refused_with_what_would_grant_them() {
    let images = table(
        "images",
        "max = 2\nmax-size = \"2GiB\"\nmax-total = \"3GiB\"\nfilesystems = [\"ext4\"]",
    )
    .images
    .unwrap();
    let links = table(
        "links",
        "max = 2\nkinds = [\"macvlan\"]\nparents = [\"eth0\"]\nroutes = [\"10.0.0.0/8\"]",
    )
    .links
    .unwrap();
    let usual = table("links", "").links.unwrap();
    let nat = table(
        "nat",
        "max = 1\npublish = [80, \"1024-2000\"]\nmasquerade = false\nforward = false",
    )
    .nat
    .unwrap();
    let gib = 1 << 30;
    let net = |text: &str| text.parse().unwrap();
    check(vec![
        (images.may_create(2 * gib, gib, 1, Filesystem::Ext4), None),
        (images.may_grow(gib, 2 * gib, 2 * gib), None),
        (
            images.may_create(gib, 0, 0, Filesystem::Xfs),
            Some((
                NotGranted,
                "may not make images with xfs: add \"xfs\" to filesystems under [grants.images] in files.toml",
            )),
        ),
        (
            images.may_create(gib, 0, 2, Filesystem::Ext4),
            Some((
                Exhausted,
                "may not have more than 2 images: put max = 3 under [grants.images] in files.toml",
            )),
        ),
        (
            images.may_create(3 * gib, 0, 0, Filesystem::Ext4),
            Some((
                Exhausted,
                "may not have an image of 3GiB: put max-size = \"3GiB\" under [grants.images] in files.toml",
            )),
        ),
        (
            images.may_create(2 * gib, 2 * gib, 1, Filesystem::Ext4),
            Some((
                Exhausted,
                "may not have images of 4GiB together: put max-total = \"4GiB\" under [grants.images] in files.toml",
            )),
        ),
        (
            images.may_create(1, u64::MAX, 1, Filesystem::Ext4),
            Some((
                Invalid,
                "may not have images of 18446744073709551615 together: at most 1PiB can be granted",
            )),
        ),
        (links.may_create(LinkKind::Macvlan, Some("eth0"), 1), None),
        (usual.may_create(LinkKind::Bridge, None, 0), None),
        (
            usual.may_create(LinkKind::Vxlan, None, 0),
            Some((
                NotGranted,
                "may not make vxlan links: put kinds = [\"bridge\", \"veth\", \"vxlan\"] under [grants.links] in files.toml",
            )),
        ),
        (
            links.may_create(LinkKind::Macvlan, Some("eth1"), 0),
            Some((
                NotGranted,
                "may not build on the link eth1: add \"eth1\" to parents under [grants.links] in files.toml",
            )),
        ),
        (
            links.may_create(LinkKind::Macvlan, Some("eth0/x"), 0),
            Some((
                Invalid,
                "may not build on the link eth0/x: no link can have that name",
            )),
        ),
        (
            links.may_create(LinkKind::Macvlan, None, 2),
            Some((
                Exhausted,
                "may not have more than 2 links: put max = 3 under [grants.links] in files.toml",
            )),
        ),
        (links.may_route(net("10.1.0.0/16"), &[]), None),
        (
            usual.may_route(net("fd00:1::/64"), &[net("fd00:1::1/48")]),
            None,
        ),
        (
            usual.may_route(net("192.168.1.7/16"), &[net("192.168.1.1/24")]),
            Some((
                NotGranted,
                "may not set a route to 192.168.0.0/16: add \"192.168.0.0/16\" to routes under [grants.links] in files.toml",
            )),
        ),
        // An address with an empty prefix is no licence to be everybody's router.
        (
            usual.may_route(net("8.8.8.0/24"), &[net("10.0.0.1/0"), net("fd00::1/0")]),
            Some((
                NotGranted,
                "may not set a route to 8.8.8.0/24: add \"8.8.8.0/24\" to routes under [grants.links] in files.toml",
            )),
        ),
        (usual.may_address(net("10.0.0.1/8")), None),
        (
            usual.may_address(net("10.0.0.1/0")),
            Some((
                NotGranted,
                "may not give a link the address 10.0.0.1/0, which is a route to 0.0.0.0/0: add \"0.0.0.0/0\" to routes under [grants.links] in files.toml",
            )),
        ),
        (nat.may_publish(80), None),
        (nat.may_publish(2000), None),
        (
            nat.may_publish(443),
            Some((
                NotGranted,
                "may not publish port 443: add \"443\" to publish under [grants.nat] in files.toml",
            )),
        ),
        (
            nat.may_publish(0),
            Some((Invalid, "may not publish port 0: ports are from 1 to 65535")),
        ),
        (
            nat.may_add(1),
            Some((
                Exhausted,
                "may not have more than 1 rules: put max = 2 under [grants.nat] in files.toml",
            )),
        ),
        (
            nat.may_masquerade(),
            Some((
                NotGranted,
                "may not masquerade: put masquerade = true under [grants.nat] in files.toml",
            )),
        ),
        (
            nat.may_forward(),
            Some((
                NotGranted,
                "may not forward packets: put forward = true under [grants.nat] in files.toml",
            )),
        ),
        (
            table("outbox", "max = 1").outbox.unwrap().may_add(1),
            Some((
                Exhausted,
                "may not have more than 1 notes in its outbox: put max = 2 under [grants.outbox] in files.toml",
            )),
        ),
    ]);
}

#[test]
fn a_store_of_blobs_is_one_of_those_that_are_named() {
    let stores = table("blobs.disk", "directory = \"/srv/backup\"");
    let blobs = stores.blobs().unwrap();
    let store = |name: &str| blobs.store(name).map(drop);
    check(vec![
        (store("disk"), None),
        (
            store("disc"),
            Some((
                NotGranted,
                "has no blob store disc (it has disk): put at the end of files.toml:\n\n[grants.blobs.disc]\ndirectory = \"/srv/disc\"\n",
            )),
        ),
        (
            store("../disk"),
            Some((
                Invalid,
                "has no blob store ../disk (it has disk): the name of a blob store has 1 to 64 lower-case letters, digits, - and _, of which the first is a letter or a digit",
            )),
        ),
    ]);
}

#[test]
fn a_secret_goes_wherever_requests_go_or_only_where_it_is_said_to() {
    for (text, expected) in [
        ("secrets = [\"a\"]", SecretUse::Allowed),
        (
            "secrets = { a = [\"http://10.0.0.5:8080/x/\"] }",
            SecretUse::Only(vec!["http://10.0.0.5:8080/x/".parse().unwrap()]),
        ),
        ("secrets = { a = [] }", SecretUse::Only(Vec::new())),
    ] {
        let file = format!("[grants.http]\n{text}\n[secrets]\na.env = \"A\"");
        let secrets = plugin(&file).unwrap().grants.http.unwrap().secrets;
        assert_eq!(secrets.0.get("a"), Some(&expected), "{text}");
    }
}

#[test]
fn a_secret_is_named_and_read_only_where_that_is_granted() {
    let grants = plugin(
        "[grants.secrets]\nuse = [\"a\"]\nreveal = [\"b\"]\nkeep = 2\n[grants.http]\nsecrets = [\"c\"]\n[secrets]\na.env = \"A\"\nb.env = \"B\"\nc.env = \"C\"",
    )
    .unwrap()
    .grants;
    let secrets = grants.secrets().unwrap();
    let none_kept = table("secrets", "");
    let none_kept = none_kept.secrets().unwrap();
    check(vec![
        (secrets.may_use("a"), None),
        (secrets.may_use("b"), None),
        (secrets.may_reveal("b"), None),
        (
            secrets.may_use("c"),
            Some((
                NotGranted,
                "may not use the secret c: add \"c\" to use under [grants.secrets] in files.toml",
            )),
        ),
        (
            secrets.may_reveal("a"),
            Some((
                NotGranted,
                "may not read the secret a: add \"a\" to reveal under [grants.secrets] in files.toml",
            )),
        ),
        (secrets.may_keep(1), None),
        (
            secrets.may_keep(2),
            Some((
                Exhausted,
                "may not have more than 2 secrets kept: put keep = 3 under [grants.secrets] in files.toml",
            )),
        ),
        (
            none_kept.may_keep(0),
            Some((
                NotGranted,
                "may not have secrets kept that come with a call: put keep = 100 under [grants.secrets] in files.toml",
            )),
        ),
        (
            secrets.may_use_file("/root/.ssh/id_rsa", None).map(drop),
            Some((
                NotGranted,
                "may not use the file /root/.ssh/id_rsa as a secret: put id_rsa = { file = \"/root/.ssh/id_rsa\" } under [secrets] in \
                 files.toml, and add \"id_rsa\" to use under [grants.secrets] there",
            )),
        ),
        (
            secrets.may_use_file("/keys/a.\u{fc} \"x", None).map(drop),
            Some((
                NotGranted,
                "may not use the file /keys/a.\u{fc} \"x as a secret: put \"a.x\" = { file = \"/keys/a.\u{fc} \\\"x\" } under [secrets] in \
                 files.toml, and add \"a.x\" to use under [grants.secrets] there",
            )),
        ),
        (secrets.may_use_file("/a", Some("a")).map(drop), None),
        (
            secrets.may_use_file("/c", Some("c")).map(drop),
            Some((
                NotGranted,
                "may not use the secret c: add \"c\" to use under [grants.secrets] in files.toml",
            )),
        ),
        (
            secrets.may_use_file("id_rsa", None).map(drop),
            Some((
                Invalid,
                "may not use the file id_rsa as a secret: the path does not begin with /",
            )),
        ),
        (
            secrets.may_use("../a"),
            Some((
                Invalid,
                "may not use the secret ../a: the name of a secret has 1 to 128 letters, digits, - _ and ., of which the first is a letter or a digit",
            )),
        ),
    ]);
}
