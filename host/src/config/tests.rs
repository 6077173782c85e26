#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;

use super::units::{parse_size, show_size};
use super::*;
use crate::protocol::{Kind, Method};

fn daemon(text: &str) -> Result<Daemon, ConfigError> {
    Daemon::parse(text, Path::new("/etc/dockside/dockside.toml"))
}

fn plugin(text: &str) -> Result<Plugin, ConfigError> {
    Plugin::parse(text, Path::new("/drivers"))
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(daemon("").unwrap(), Daemon::default());
    assert_eq!(plugin("").unwrap(), Plugin::default());
    assert_eq!(
        plugin("[grants]\n[limits]\n[instances]\n[config]").unwrap(),
        Plugin::default()
    );
    let daemon = Daemon::default();
    assert_eq!(daemon.drivers, Path::new("/var/lib/dockside/drivers"));
    assert_eq!(daemon.plugins, Path::new("/run/docker/plugins"));
    assert_eq!(daemon.data, Path::new("/var/lib/dockside"));
    assert_eq!(daemon.control, Path::new("/run/dockside/control.sock"));
}

#[test]
fn errors_say_where_and_what_instead() {
    let cases = [
        (
            "drivrs = \"/d\"",
            "/etc/dockside/dockside.toml:1:1: unknown key `drivrs`: did you mean `drivers`?",
        ),
        (
            "# é\n\n[limits]\nmax_calls = 3",
            ":4:1: unknown key `max_calls`: did you mean `max-calls`?",
        ),
        (
            "[limit]\n",
            ":1:2: unknown key `limit`: did you mean `limits`?",
        ),
        (
            "[log]\nzzz = 1",
            ":2:1: unknown key `zzz`: known here are `format`, `level`",
        ),
        (
            "[log]\nformat = \"jsn\"",
            ":2:10: unknown value `jsn`: did you mean `json`?",
        ),
        (
            "[log]\nformat = \"xml\"",
            ":2:10: unknown value `xml`: known here are `text`, `json`",
        ),
        (
            "[limits]\nmax-calls = 0",
            ":2:13: 0 must be from 1 to 10000",
        ),
        ("[limits]\nmax-calls = -1", "-1 must be from 1 to 10000"),
        (
            "[limits]\nmax-calls = \"7\"",
            "invalid type: string \"7\", expected a whole number from 1 to 10000",
        ),
        (
            "[limits]\nmax-body = \"1e3\"",
            "\"1e3\": a size must be a whole number of bytes with an optional unit",
        ),
        (
            "[limits]\nmax-body = 1.5",
            "expected a size such as \"64MiB\"",
        ),
        (
            "[limits]\nmax-body = -5",
            "expected a size such as \"64MiB\"",
        ),
        (
            "[limits]\nmax-body = \"1GiB\"",
            "1GiB is too large: at most 64MiB",
        ),
        ("[limits]\nmax-body = 12", "12 is too small: at least 4KiB"),
        (
            "[limits]\nmax-body = \"20000p\"",
            "must be less than 16384 PiB",
        ),
        (
            "[limits]\nheader-deadline = 10",
            "expected a duration in quotes with its unit",
        ),
        (
            "[limits]\nheader-deadline = \"10\"",
            "expected a duration in quotes with its unit",
        ),
        (
            "[limits]\nheader-deadline = \"10h\"",
            "10h is too long: at most 5m",
        ),
        (
            "[limits]\nheader-deadline = \"1ms\"",
            "1ms is too short: at least 100ms",
        ),
        (
            "control = \"/run/docker/plugins/x.sock\"",
            "Docker takes every socket for a plugin",
        ),
        ("socket-group = \"\"", "socket-group is empty"),
        ("drivers = \"/a\"\ndrivers = \"/b\"", ":2:1: duplicate key"),
        ("drivers = ", ":1:"),
    ];
    for (text, expected) in cases {
        let error = daemon(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n{error}\n{expected}");
        assert!(error.starts_with("/etc/dockside/dockside.toml:"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let cases = [
        (
            "name = [\"x\"]",
            "line 1, column 1: unknown key `name`: did you mean `names`?",
        ),
        (
            "[grants]\ndirectorys = {}",
            "line 2, column 1: unknown key `directorys`: did you mean `directories`?",
        ),
        (
            "[grants]\nmounts = {}",
            "unknown key `mounts`: known here are `directories`, `state`",
        ),
        (
            "[grants]\ndirectories = true",
            "expected a table: directories = {}",
        ),
        (
            "[grants]\ndirectories = { maximum = 3 }",
            "unknown key `maximum`: only `max` is known here",
        ),
        ("[grants]\ndirectories = { max = 0 }", "0 must be from 1 to"),
        (
            "[grants]\nstate = { max-byte = 3 }",
            "did you mean `max-bytes`?",
        ),
        (
            "[config]\nx = [1]",
            "expected text, a number, true, false, { file = \"PATH\" }",
        ),
        (
            "[config]\nx = { fil = \"/x\" }",
            "unknown key `fil`: did you mean `file`?",
        ),
        ("[config]\nx = {}", "a value needs { file"),
        (
            "[config]\nx = { file = \"a\", env = \"B\" }",
            "not from both",
        ),
        (
            "[config]\nx = { file = \"\" }",
            "the name of the file is empty",
        ),
        (
            "[config]\nx = { env = \"A=B\" }",
            "no name of an environment variable",
        ),
        ("[config]\nx = 2026-01-01", "a date must be in quotes"),
        ("[config]\n\"\" = 1", "a key under [config] is empty"),
        (
            "names = [\"a\", \"../b\"]",
            "line 1, column 9: \"../b\" is no plugin name",
        ),
        ("names = [\"a\", \"a\"]", "the name a is given twice"),
        ("names = \"a\"", "expected a sequence"),
        ("driver = \"a/b\"", "cannot be the name of a driver"),
        ("driver = \"a@1.2.3.wasm\"", "driver = \"a\""),
        ("version = \"one\"", "neither a version such as"),
        ("[instances]\nreuse = 0", "0 must be from 1 to"),
        (
            "[limits]\nmemory = \"2GiB\"",
            "2GiB is too large: at most 1GiB",
        ),
        (
            "[limits]\ndeadline = \"2m\"",
            "2m is too long: at most 1m 50s",
        ),
        (
            "[limits]\ndeadline = \"1ms\"",
            "1ms is too short: at least 10ms",
        ),
        (
            "[limits.deadlines]\n\"VolumeDriver.Crate\" = \"1s\"",
            "unknown method `VolumeDriver.Crate`: did you mean `VolumeDriver.Create`?",
        ),
        (
            "[limits.deadlines]\nVolumDriver = \"1s\"",
            "did you mean `VolumeDriver`?",
        ),
        (
            "[limits.deadlines]\nfoo = \"1s\"",
            "unknown method `foo`: the keys are Docker's methods",
        ),
        (
            "[limits.deadlines]\n\"VolumeDriver.Get\" = \"60s\"",
            "VolumeDriver.Get: 1m is too long: at most 55s",
        ),
        (
            "[limits.deadlines]\nVolumeDriver.Get = \"60s\"",
            "VolumeDriver.Get: 1m is too long: at most 55s",
        ),
        (
            "[limits.deadlines]\nVolumeDriver = 3",
            "expected a duration in quotes",
        ),
    ];
    for (text, expected) in cases {
        let error = plugin(text).unwrap_err();
        let text_of = error.to_string();
        assert!(text_of.contains(expected), "{text}\n{text_of}\n{expected}");
        assert!(
            !text_of.contains('\n') && !text_of.contains("$__"),
            "{text_of}"
        );
        assert_eq!(error.file(), None);
        assert!(text_of.ends_with(error.message()));
    }
}

#[test]
fn places_are_counted_in_lines_and_characters() {
    let error = plugin("\n\n[config]\n\"ü\" = { fil = 1 }").unwrap_err();
    assert_eq!(error.place(), Some((4, 7)));
}

#[test]
fn only_the_default_file_may_be_absent() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dockside.toml");
    assert_eq!(Daemon::load_or(None, &file).unwrap(), Daemon::default());
    let error = Daemon::load_or(Some(&file), Path::new(DEFAULT_FILE)).unwrap_err();
    assert_eq!(error.file(), Some(file.as_path()));
    assert!(
        error.message().contains("cannot be read: No such file"),
        "{error}"
    );
    std::fs::write(&file, "socket-group = \"docker\"\ndata = \"state\"").unwrap();
    for daemon in [Daemon::load_or(None, &file), Daemon::load(Some(&file))] {
        let daemon = daemon.unwrap();
        assert_eq!(daemon.socket_group.as_deref(), Some("docker"));
        assert_eq!(daemon.data, directory.path().join("state"));
        assert_eq!(daemon.drivers, Daemon::default().drivers);
    }
    std::fs::write(&file, "drivers = 3").unwrap();
    assert!(Daemon::load_or(None, &file).is_err());
    assert!(Daemon::load_or(None, directory.path()).is_err());
}

#[test]
fn overrides_go_over_the_file_one_by_one() {
    let mut daemon = daemon("drivers = \"/file/d\"\ndata = \"/file/data\"").unwrap();
    daemon.apply(Overrides {
        drivers: Some("/flag/d".into()),
        ..Overrides::default()
    });
    assert_eq!(daemon.drivers, Path::new("/flag/d"));
    assert_eq!(daemon.data, Path::new("/file/data"));
    daemon.apply(Overrides {
        drivers: None,
        plugins: Some("p".into()),
        data: Some("x".into()),
        control: Some("c".into()),
    });
    assert_eq!(daemon.drivers, Path::new("/flag/d"));
    assert_eq!(
        (daemon.plugins, daemon.data, daemon.control),
        ("p".into(), "x".into(), "c".into())
    );
}

#[test]
fn sizes_are_whole_and_never_wrap() {
    let good = [
        ("0", 0),
        ("512", 512),
        ("007", 7),
        ("1b", 1),
        ("10 g", 10 << 30),
        ("10k", 10 << 10),
        ("10K", 10 << 10),
        ("10kb", 10 << 10),
        ("10KiB", 10 << 10),
        ("10m", 10 << 20),
        ("1GiB", 1 << 30),
        ("1 GiB", 1 << 30),
        ("2t", 2 << 40),
        ("3p", 3 << 50),
        ("18446744073709551615", u64::MAX),
        ("16383p", 16383 << 50),
    ];
    for (text, bytes) in good {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
        assert_eq!(parse_size(&show_size(bytes)), Ok(bytes), "{text}");
    }
    let bad = [
        "",
        " ",
        "-1",
        "+1",
        "1e3",
        "1.5g",
        "10  g",
        "10 ",
        " 10",
        "g",
        "ib",
        "b",
        "1ib",
        "10x",
        "10gg",
        "10gib ",
        "1_000",
        "0x10",
        "18446744073709551616",
        "16384p",
        "99999999999999999999g",
        "１",
        "10µ",
    ];
    for text in bad {
        assert!(parse_size(text).is_err(), "{text:?}");
    }
    assert_eq!(show_size(0), "0");
    assert_eq!(show_size(1536), "1536");
    assert_eq!(show_size(1 << 40), "1TiB");
}

#[test]
fn names_stay_below_the_sockets_directory() {
    let long = "a".repeat(100);
    for good in [
        "local",
        "a",
        "9",
        "vieux/sshfs",
        "opa-docker-authz:readonly",
        "A_b.c:d-e/f/g",
        "x.sock",
        long.as_str(),
    ] {
        let name: PluginName = good.parse().unwrap();
        assert_eq!(name.to_string(), good);
    }
    let longer = "a".repeat(101);
    let bad = [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/./b",
        ".a",
        "-a",
        "_a",
        ":a",
        "a b",
        "a\\b",
        "a\0",
        "a\nb",
        "é",
        "a%2fb",
        "a@1",
        "a.sock/b",
        longer.as_str(),
    ];
    for bad in bad {
        assert!(bad.parse::<PluginName>().is_err(), "{bad:?}");
    }
    let name: PluginName = "vieux/sshfs".parse().unwrap();
    let plugins = Path::new("/run/docker/plugins");
    assert_eq!(
        name.socket_path(plugins).unwrap(),
        plugins.join("vieux/sshfs.sock")
    );
    for (length, fits) in [(82, true), (83, false)] {
        let name: PluginName = "n".repeat(length).parse().unwrap();
        assert_eq!(name.socket_path(plugins).is_ok(), fits, "{length}");
    }
}

#[test]
fn names_that_docker_keeps_are_known_by_kind() {
    let reserved = [
        ("local", Kind::Volume),
        ("null", Kind::Network),
        ("none", Kind::Network),
        ("host", Kind::Network),
        ("bridge", Kind::Network),
        ("overlay", Kind::Network),
        ("macvlan", Kind::Network),
        ("ipvlan", Kind::Network),
        ("default", Kind::Network),
        ("container:x", Kind::Network),
        ("default", Kind::Ipam),
        ("null", Kind::Ipam),
        ("windowsipam", Kind::Ipam),
    ];
    for name in [
        "local",
        "null",
        "none",
        "host",
        "bridge",
        "overlay",
        "macvlan",
        "ipvlan",
        "default",
        "windowsipam",
        "container:x",
        "files",
    ] {
        let parsed: PluginName = name.parse().unwrap();
        for kind in Kind::ALL {
            let text = parsed.reserved_for(kind);
            assert_eq!(
                text.is_some(),
                reserved.contains(&(name, kind)),
                "{name} {kind}"
            );
            assert!(text.is_none_or(|text| text.contains("names = [")));
        }
    }
}

#[test]
fn one_driver_serves_the_names_that_its_file_lists() {
    let names = |text: &str, stem: &str| -> Vec<String> {
        let names = plugin(text).unwrap().names(stem);
        names.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names("", "files"), ["files"]);
    assert_eq!(names("names = []", "files"), [""; 0]);
    assert_eq!(
        names(
            "names = [\"vieux/sshfs\", \"opa-docker-authz:readonly\"]",
            "files"
        ),
        ["vieux/sshfs", "opa-docker-authz:readonly"]
    );
    assert_eq!(names("", "not a name"), [""; 0]);
    assert_eq!(
        plugin("driver = \"sshfs\"").unwrap().driver.as_deref(),
        Some("sshfs")
    );
}

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
        ("", "NetworkDriver.Join", 30),
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

/// Every key that a file of this type knows, found by asking for one that it does not.
fn known_keys<T: serde::de::DeserializeOwned>(table: &str) -> BTreeSet<String> {
    let probe = "zzzzzzzzzzzzzzzzzzzzzzzzzzzz";
    let text = format!("{table}\n{probe} = 1");
    let message = toml::from_str::<T>(&text)
        .err()
        .unwrap()
        .message()
        .to_owned();
    assert!(message.contains(probe), "{message}");
    message
        .split('`')
        .skip(3)
        .step_by(2)
        .map(ToOwned::to_owned)
        .collect()
}

/// The keys of one table of a document, those in comments included (`# key = …`).
fn written_keys(document: &str, table: &str) -> BTreeSet<String> {
    let mut current = String::new();
    let mut keys = BTreeSet::new();
    for line in document.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            current = name.to_owned();
            let mut parents = name.rsplitn(2, '.');
            let child = parents.next().unwrap();
            if parents.next().unwrap_or_default() == table {
                keys.insert(child.to_owned());
            }
        } else if current == table
            && let Some((key, _)) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")
            && !key.contains([' ', '#', '`'])
        {
            keys.insert(key.to_owned());
        }
    }
    keys
}

#[test]
fn the_annotated_files_hold_every_key_and_the_defaults() {
    let daemon_file = include_str!("../../../examples/dockside.toml");
    let plugin_file = include_str!("../../../examples/plugin.toml");
    assert_eq!(daemon(daemon_file).unwrap(), Daemon::default());
    for table in ["", "limits", "log"] {
        let header = if table.is_empty() {
            String::new()
        } else {
            format!("[{table}]")
        };
        assert_eq!(
            written_keys(daemon_file, table),
            known_keys::<Daemon>(&header),
            "{table}"
        );
    }
    let example = plugin(plugin_file).unwrap();
    for table in ["", "grants", "limits", "instances"] {
        let header = if table.is_empty() {
            String::new()
        } else {
            format!("[{table}]")
        };
        assert_eq!(
            written_keys(plugin_file, table),
            known_keys::<Plugin>(&header),
            "{table}"
        );
    }
    for grant in ["directories", "state"] {
        let line = plugin_file
            .lines()
            .find(|line| line.starts_with(&format!("{grant} = ")))
            .unwrap();
        for key in known_keys::<Plugin>(&format!("[grants.{grant}]")) {
            assert!(line.contains(&format!("{key} = ")), "{grant} {key}");
        }
    }
    let defaults = Limits {
        deadlines: example.limits.deadlines.clone(),
        ..Limits::default()
    };
    assert_eq!(example.limits, defaults);
    assert_eq!(example.grants.state, State::default());
    for (uncommented, expected) in [("# deadline = \"30s\"", Some(30)), ("", None)] {
        let text = plugin_file.replace(
            "# deadline = ",
            if uncommented.is_empty() {
                "# deadline = "
            } else {
                "deadline = "
            },
        );
        assert_eq!(
            plugin(&text)
                .unwrap()
                .limits
                .deadline
                .map(|span| span.as_secs()),
            expected
        );
    }
    let text = daemon_file.replace("# socket-group", "socket-group");
    assert_eq!(
        daemon(&text).unwrap().socket_group.as_deref(),
        Some("docker")
    );
}
