use std::path::Path;

use super::daemon;
use crate::config::units::{parse_size, show_size};
use crate::config::{DEFAULT_FILE, Daemon, Overrides};

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
        specs: Some("s".into()),
        data: Some("x".into()),
        control: Some("c".into()),
    });
    assert_eq!(daemon.drivers, Path::new("/flag/d"));
    assert_eq!(
        (
            daemon.plugins,
            daemon.spec_directory,
            daemon.data,
            daemon.control
        ),
        ("p".into(), "s".into(), "x".into(), "c".into())
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
