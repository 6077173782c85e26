use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use semver::Version;

use super::plugin;
use crate::config::{Limits, Plugin};
use crate::protocol::Method;

#[test]
fn a_pin_lets_in_what_it_says() {
    let cases = [
        (
            "1.2.3",
            &["1.2.3"][..],
            &["1.2.4", "1.9.0", "1.2.3-rc.1", "1.2.3+build"][..],
        ),
        ("=1.2", &["1.2.0", "1.2.9"], &["1.3.0"]),
        ("1.2", &["1.2.0", "1.9.0"], &["2.0.0", "1.1.9"]),
        ("^1.2.3", &["1.2.3", "1.9.0"], &["2.0.0"]),
        ("~1.2", &["1.2.9"], &["1.3.0"]),
        (">=1.2, <1.5", &["1.2.0", "1.4.9"], &["1.5.0"]),
        ("1.*", &["1.0.0"], &["2.0.0"]),
        ("*", &["0.0.1"], &[]),
    ];
    for (pin, accepted, refused) in cases {
        let plugin = plugin(&format!("version = {pin:?}")).unwrap();
        for (versions, expected) in [(accepted, true), (refused, false)] {
            for version in versions {
                let parsed = Version::parse(version).unwrap();
                assert_eq!(plugin.accepts(Some(&parsed)), expected, "{pin} {version}");
            }
        }
        assert!(!plugin.accepts(None), "{pin}");
    }
    assert!(Plugin::default().accepts(None));
    assert!(Plugin::default().accepts(Some(&Version::new(1, 0, 0))));
}

#[test]
fn a_deadline_ends_before_the_engine_gives_up() {
    for (text, method, seconds) in [
        ("", "VolumeDriver.Create", 110),
        ("", "VolumeDriver.Mount", 110),
        ("", "VolumeDriver.Unmount", 55),
        ("", "VolumeDriver.Get", 55),
        ("", "NetworkDriver.Join", 25),
        ("", "IpamDriver.RequestPool", 10),
        ("", "AuthZPlugin.AuthZReq", 5),
        ("", "Something.Else", 5),
        ("deadline = \"7s\"", "VolumeDriver.Create", 7),
        ("deadline = \"7s\"", "AuthZPlugin.AuthZRes", 7),
        ("deadline = \"110s\"", "VolumeDriver.Get", 55),
        (
            "deadlines = { VolumeDriver = \"100s\" }",
            "VolumeDriver.Mount",
            100,
        ),
        (
            "deadlines = { VolumeDriver = \"100s\" }",
            "VolumeDriver.Get",
            55,
        ),
        (
            "deadlines = { VolumeDriver = \"100s\" }",
            "IpamDriver.RequestPool",
            10,
        ),
        (
            "deadlines = { VolumeDriver = \"9s\", \"VolumeDriver.Get\" = \"2s\" }\ndeadline = \"1s\"",
            "VolumeDriver.Get",
            2,
        ),
        (
            "deadlines = { VolumeDriver = \"9s\", \"VolumeDriver.Get\" = \"2s\" }\ndeadline = \"1s\"",
            "VolumeDriver.List",
            9,
        ),
        (
            "deadlines = { VolumeDriver = \"9s\", \"VolumeDriver.Get\" = \"2s\" }\ndeadline = \"1s\"",
            "NetworkDriver.Join",
            1,
        ),
        (
            "deadlines.IpamDriver.RequestPool = \"99s\"",
            "IpamDriver.RequestPool",
            99,
        ),
    ] {
        let plugin = plugin(&format!("[limits]\n{text}")).unwrap();
        assert_eq!(
            plugin.limits.deadline(method),
            Duration::from_secs(seconds),
            "{text} {method}"
        );
    }
    for method in Method::ALL {
        let engine = match method.path() {
            "VolumeDriver.Create" | "VolumeDriver.Mount" => 120,
            path if path.starts_with("VolumeDriver.") => 60,
            _ => 120,
        };
        let mut limits = Limits {
            deadline: Some(Duration::from_secs(1000)),
            ..Limits::default()
        };
        assert!(
            limits.deadline(method.path()) < Duration::from_secs(engine),
            "{method}"
        );
        limits.deadline = None;
        assert!(
            limits.deadline(method.path()) < Duration::from_secs(engine),
            "{method}"
        );
    }
}

#[test]
fn a_call_ends_at_its_deadline_unless_it_may_go_on_behind_it() {
    for (text, expected) in [
        ("", None),
        ("background = \"0s\"", None),
        ("background = \"1s\"", Some(1)),
        ("background = \"24h\"", Some(86_400)),
    ] {
        let plugin = plugin(&format!("[limits]\n{text}")).unwrap();
        let expected = expected.map(Duration::from_secs);
        assert_eq!(plugin.limits.background, expected, "{text}");
    }
}

#[test]
fn grants_become_quotas() {
    let quota = |text: &str| plugin(text).unwrap().grants.quota();
    let usual = crate::store::Quota::default();
    assert_eq!(quota("").max_directories, 0);
    assert_eq!(quota("[grants]\ndirectories = {}").max_directories, 10_000);
    assert_eq!(
        quota("[grants]\ndirectories = { max = 5 }").max_directories,
        5
    );
    assert_eq!(
        (quota("").max_bytes, quota("").max_keys),
        (usual.max_bytes, usual.max_keys)
    );
    let small = quota("[grants.state]\nmax-bytes = \"1k\"\nmax-keys = 2\nmax-value-bytes = 3");
    assert_eq!(
        (small.max_bytes, small.max_keys, small.max_value_bytes),
        (1024, 2, 3)
    );
    assert_eq!(small.max_key_bytes, usual.max_key_bytes);
}

#[test]
fn configuration_values_are_text_from_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    for (file, content) in [
        ("key", &b"secret\n"[..]),
        ("windows", b"secret\r\n"),
        ("lines", b"one\ntwo\n\n"),
        ("bare", b"bare"),
        ("empty", b""),
    ] {
        std::fs::write(directory.path().join(file), content).unwrap();
    }
    std::os::unix::fs::symlink("key", directory.path().join("link")).unwrap();
    let text = format!(
        "[config]\ntext = \"a\\n\"\nnumber = 22\nnegative = -7\nfloat = 1.0\nflag = true\nvariable = {{ env = \"V\" }}\nblank = {{ env = \"BLANK\" }}\n\
         absolute = {{ file = {:?} }}\nkey = {{ file = \"key\" }}\nwindows = {{ file = \"windows\" }}\nlines = {{ file = \"lines\" }}\nbare = {{ file = \"./bare\" }}\n\
         empty = {{ file = \"empty\" }}\nlink = {{ file = \"link\" }}\n",
        directory.path().join("key")
    );
    let plugin = Plugin::parse(&text, directory.path()).unwrap();
    let resolved = plugin
        .resolve_with(|name| match name {
            "V" => Some("from env".into()),
            "BLANK" => Some(OsString::new()),
            _ => None,
        })
        .unwrap();
    let expected = [
        ("absolute", "secret"),
        ("bare", "bare"),
        ("blank", ""),
        ("empty", ""),
        ("flag", "true"),
        ("float", "1.0"),
        ("key", "secret"),
        ("lines", "one\ntwo\n"),
        ("link", "secret"),
        ("negative", "-7"),
        ("number", "22"),
        ("text", "a\n"),
        ("variable", "from env"),
        ("windows", "secret"),
    ];
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(resolved, expected);
    let files: BTreeSet<PathBuf> = plugin.files().into_iter().collect();
    assert_eq!(files.len(), 6);
    assert!(files.iter().all(|file| file.starts_with(directory.path())));
}

#[test]
fn a_value_that_is_not_there_names_its_key_and_nothing_of_its_content() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::write(root.join("large"), vec![b's'; (1 << 20) + 1]).unwrap();
    std::fs::write(root.join("fits"), vec![b's'; 1 << 20]).unwrap();
    std::fs::write(root.join("binary"), b"secret\xff").unwrap();
    std::fs::create_dir(root.join("dir")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let cases = [
        ("{ file = \"none\" }", "cannot be opened: No such file"),
        ("{ file = \"dir\" }", "is no regular file"),
        ("{ file = \"fifo\" }", "is no regular file"),
        ("{ file = \"large\" }", "is larger than 1MiB"),
        ("{ file = \"binary\" }", "is not UTF-8"),
        (
            "{ env = \"NONE\" }",
            "the environment variable NONE is not set: set it for the daemon",
        ),
        (
            "{ env = \"BINARY\" }",
            "the environment variable BINARY is not UTF-8",
        ),
    ];
    let environment =
        |name: &str| (name == "BINARY").then(|| OsString::from_vec(b"secret\xff".to_vec()));
    for (value, expected) in cases {
        let plugin = Plugin::parse(&format!("[config]\ntoken = {value}"), root).unwrap();
        let error = plugin.resolve_with(environment).unwrap_err().to_string();
        assert!(
            error.starts_with("config.token: ") && error.contains(expected),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
    let plugin = Plugin::parse("[config]\ntoken = { file = \"fits\" }", root).unwrap();
    assert_eq!(
        plugin.resolve_with(environment).unwrap()["token"].len(),
        1 << 20
    );
}
