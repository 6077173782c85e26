#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::super::files::tests::component;
use super::*;

const LIMIT: u64 = 64 << 10;

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        Site(tempfile::tempdir().unwrap())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn put(&self, file: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(file);
        std::fs::write(&path, content).unwrap();
        self.mode(file, 0o644);
        path
    }

    fn mode(&self, file: &str, mode: u32) {
        std::fs::set_permissions(self.path(file), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn scan(&self) -> Scan {
        scan(self.0.path(), LIMIT).unwrap()
    }
}

#[test]
fn the_highest_version_comes_first_and_a_file_without_one_last() {
    let site = Site::new();
    let names = [
        "files.wasm",
        "files@1.10.0.wasm",
        "files@1.9.0.wasm",
        "files@2.0.0-rc.1.wasm",
        "files@1.10.0+build.wasm",
        "opa-docker-authz:readonly.wasm",
    ];
    for name in names {
        site.put(name, component(None));
    }
    let scan = site.scan();
    assert_eq!(scan.refused, []);
    let files: Vec<&str> = scan.drivers["files"]
        .iter()
        .map(|candidate| candidate.file.as_str())
        .collect();
    assert_eq!(
        files,
        [
            "files@2.0.0-rc.1.wasm",
            "files@1.10.0+build.wasm",
            "files@1.10.0.wasm",
            "files@1.9.0.wasm",
            "files.wasm"
        ]
    );
    let other = &scan.drivers["opa-docker-authz:readonly"][0];
    assert_eq!(
        (other.stem.as_str(), &other.semver),
        ("opa-docker-authz:readonly", &None)
    );
    assert_eq!(other.path, site.path("opa-docker-authz:readonly.wasm"));
    for candidate in scan.drivers.values().flatten() {
        assert!(files::read(candidate, LIMIT).is_ok());
    }
    std::fs::remove_file(site.path("files@2.0.0-rc.1.wasm")).unwrap();
    assert_eq!(
        site.scan().drivers["files"][0].file,
        "files@1.10.0+build.wasm"
    );
}

#[test]
fn a_changed_file_has_another_identity() {
    let site = Site::new();
    let id = || site.scan().drivers["x"][0].id;
    site.put("x.wasm", component(None));
    let first = id();
    assert_eq!(first, id());
    site.put("y.tmp", component(None));
    std::fs::rename(site.path("y.tmp"), site.path("x.wasm")).unwrap();
    assert_ne!(first, id());
}

#[test]
fn names_say_what_a_file_is_for() {
    let driver = |stem: &str, version: Option<&str>| Role::Driver {
        stem: stem.to_owned(),
        semver: version.map(|version| Version::parse(version).unwrap()),
    };
    let good = [
        ("a.wasm", driver("a", None)),
        ("a@1.2.3.wasm", driver("a", Some("1.2.3"))),
        ("a@1.2.3-rc.1+b.wasm", driver("a", Some("1.2.3-rc.1+b"))),
        ("a.b.wasm", driver("a.b", None)),
        ("a:b@0.0.1.wasm", driver("a:b", Some("0.0.1"))),
        (
            "a.toml",
            Role::Settings {
                stem: "a".to_owned(),
            },
        ),
        (
            "a:b.c.toml",
            Role::Settings {
                stem: "a:b.c".to_owned(),
            },
        ),
    ];
    for (name, expected) in good {
        assert_eq!(Role::of(Some(name), name, false), expected, "{name}");
    }
    // Files that are being written, and files that have nothing to do with drivers.
    let nothing = [
        ".a.wasm",
        ".wasm",
        ".toml",
        ".a.wasm.Xy12z",
        "a.wasm.tmp",
        "a.wasm.part",
        "a.wasm~",
        "a.toml~",
        "a.wasm.partial",
        "a.wasm.crdownload",
        "a.toml.swp",
        "a.toml.bak",
        "README",
        "README.md",
        "policy.rego",
        "a.sha256",
        "lost+found",
    ];
    for name in nothing {
        assert_eq!(Role::of(Some(name), name, false), Role::Nothing, "{name}");
    }
    let refused = [
        ("a@.wasm", Some("a"), "has no version behind the @"),
        ("a@1.wasm", Some("a"), "a@1.2.3.wasm"),
        ("a@1.2.wasm", Some("a"), "a@1.2.3.wasm"),
        ("a@v1.2.3.wasm", Some("a"), "has no version"),
        ("a@1.2.3@4.wasm", Some("a"), "has no version"),
        ("a@01.2.3.wasm", Some("a"), "has no version"),
        ("a@latest.wasm", Some("a"), "has no version"),
        ("@1.2.3.wasm", None, "cannot be a plugin's"),
        ("-a.wasm", None, "must begin with"),
        ("a b.wasm", None, "' ' is not allowed"),
        ("é.wasm", None, "is not allowed"),
        ("_a.toml", None, "must begin with"),
        ("a@1.2.3.toml", None, "name the file a.toml"),
        ("a.cwasm", Some("a"), "precompiled"),
        ("a@1.2.3.cwasm", Some("a"), "precompiled"),
        ("a.wat", None, "WebAssembly text"),
        ("a.WASM", None, "only .wasm counts"),
        ("a.Toml", None, "only .toml counts"),
    ];
    for (name, driver, expected) in refused {
        let Role::Refused { stem, reason } = Role::of(Some(name), name, false) else {
            panic!("{name}");
        };
        assert_eq!(stem.as_deref(), driver, "{name}");
        assert!(reason.to_string().contains(expected), "{name}: {reason}");
    }
}

#[test]
fn only_whole_regular_files_of_trusted_owners_count() {
    let site = Site::new();
    let component = component(None);
    site.put("good.wasm", &component);
    site.put("target", &component);
    std::os::unix::fs::symlink("target", site.path("link.wasm")).unwrap();
    std::os::unix::fs::symlink("nowhere", site.path("dangling.wasm")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", site.path("zero.wasm")).unwrap();
    let here = rustix::fs::CWD;
    rustix::fs::mknodat(
        here,
        site.path("fifo.wasm"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(site.path("socket.wasm")).unwrap();
    std::fs::create_dir(site.path("directory.wasm")).unwrap();
    std::fs::create_dir(site.path("older")).unwrap();
    std::fs::create_dir(site.path(".hidden")).unwrap();
    site.put("linked.wasm", &component);
    std::fs::hard_link(site.path("linked.wasm"), site.path("other-name")).unwrap();
    site.put("group.wasm", &component);
    site.mode("group.wasm", 0o664);
    site.put("world.wasm", &component);
    site.mode("world.wasm", 0o646);
    site.put("empty.wasm", "");
    site.put("short.wasm", &component[..6]);
    site.put("module.wasm", wat::parse_str("(module)").unwrap());
    site.put("precompiled.wasm", b"\x7fELF\x02\x01\x01\0\0\0");
    site.put("native.cwasm", b"\x7fELF\x02\x01\x01\0\0\0");
    site.put(
        "large.wasm",
        [&component[..], &vec![0; LIMIT as usize]].concat(),
    );
    site.put("bad@x.wasm", &component);
    site.put("half.wasm.part", &component[..20]);
    let mut strange = site.0.path().to_owned();
    strange.push(OsStr::from_bytes(b"\xff.wasm"));
    std::fs::write(&strange, &component).unwrap();
    let mut expected = vec![
        (
            "link.wasm",
            Some("link"),
            "is a symbolic link, and only regular files are used: copy",
        ),
        ("dangling.wasm", Some("dangling"), "is a symbolic link"),
        ("zero.wasm", Some("zero"), "is a symbolic link"),
        ("fifo.wasm", Some("fifo"), "is a fifo"),
        ("socket.wasm", Some("socket"), "is a socket"),
        ("directory.wasm", Some("directory"), "is a directory"),
        (
            "older",
            None,
            "is a directory, and drivers are not looked for in it",
        ),
        ("linked.wasm", Some("linked"), "has 2 hard links"),
        (
            "group.wasm",
            Some("group"),
            "can be written by its group (mode 0664)",
        ),
        (
            "world.wasm",
            Some("world"),
            "can be written by everybody (mode 0646)",
        ),
        ("empty.wasm", Some("empty"), "is empty"),
        ("short.wasm", Some("short"), "is incomplete"),
        (
            "module.wasm",
            Some("module"),
            "is a core module, not a component: build for wasm32-wasip2",
        ),
        ("precompiled.wasm", Some("precompiled"), "precompiled"),
        ("native.cwasm", Some("native"), "precompiled"),
        (
            "large.wasm",
            Some("large"),
            "at most 64KiB are allowed (limits.max-driver-size in dockside.toml)",
        ),
        ("bad@x.wasm", Some("bad"), "has no version"),
        ("\u{fffd}.wasm", None, "not UTF-8"),
    ];
    if rustix::process::geteuid().is_root() {
        let path = site.put("foreign.wasm", &component);
        std::os::unix::fs::chown(path, Some(12345), None).unwrap();
        expected.push(("foreign.wasm", Some("foreign"), "belongs to user 12345"));
        let device = rustix::fs::FileType::CharacterDevice;
        let null = rustix::fs::makedev(1, 3);
        // Containers without CAP_MKNOD cannot make one.
        if rustix::fs::mknodat(here, site.path("device.wasm"), device, 0o600.into(), null).is_ok() {
            expected.push(("device.wasm", Some("device"), "is a character device"));
        }
    }
    let scan = site.scan();
    assert_eq!(scan.drivers.keys().collect::<Vec<_>>(), ["good"]);
    let mut left: Vec<&str> = scan
        .refused
        .iter()
        .map(|refused| refused.file.as_str())
        .collect();
    for (file, stem, reason) in expected {
        let refused = scan.refused.iter().find(|refused| refused.file == file);
        let refused = refused.unwrap_or_else(|| panic!("{file} is not refused"));
        assert_eq!(refused.stem.as_deref(), stem, "{file}");
        let text = refused.reason.to_string();
        assert!(text.contains(reason), "{file}: {text}");
        left.retain(|other| *other != file);
    }
    assert_eq!(left, [""; 0]);
}

#[test]
fn settings_are_read_or_say_what_is_wrong() {
    let site = Site::new();
    site.put("good.toml", "[config]\nkey = { file = \"key\" }");
    site.put("typo.toml", "\nnmaes = []");
    site.put("binary.toml", b"\xff");
    site.put("open.toml", "");
    site.mode("open.toml", 0o666);
    std::os::unix::fs::symlink("good.toml", site.path("link.toml")).unwrap();
    site.put("large.toml", vec![b'\n'; (1 << 20) + 1]);
    site.put("bad name.toml", "");
    let scan = site.scan();
    let good = scan.plugins["good"].settings.as_ref().unwrap();
    assert_eq!(good.files(), [site.path("key")]);
    for (stem, expected) in [
        (
            "typo",
            "line 2, column 1: unknown key `nmaes`: did you mean `names`?",
        ),
        ("binary", "the file is not UTF-8 text"),
        (
            "open",
            "the file can be written by everybody (mode 0666): chmod go-w it",
        ),
        ("link", "the file is a symbolic link, and only"),
        (
            "large",
            "the file is too large: 1048577 bytes, and at most 1MiB are allowed",
        ),
    ] {
        let error = scan.plugins[stem]
            .settings
            .as_ref()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(scan.plugins.len(), 6);
    let refused: Vec<&str> = scan
        .refused
        .iter()
        .map(|refused| refused.file.as_str())
        .collect();
    assert_eq!(refused, ["bad name.toml"]);
}

#[test]
fn a_directory_that_others_can_write_is_not_used() {
    let site = Site::new();
    site.put("x.wasm", component(None));
    for (mode, usable) in [
        (0o755, true),
        (0o700, true),
        (0o775, false),
        (0o757, false),
        (0o1777, false),
    ] {
        site.mode("", mode);
        let result = scan(site.0.path(), LIMIT);
        assert_eq!(result.is_ok(), usable, "{mode:o}");
        if let Err(error) = result {
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
    }
    site.mode("", 0o700);
    let missing = scan(&site.path("none"), LIMIT).unwrap_err().to_string();
    assert!(missing.contains("install -d -m 0755"), "{missing}");
    let file = scan(&site.path("x.wasm"), LIMIT).unwrap_err().to_string();
    assert!(file.contains("cannot be read"), "{file}");
}
