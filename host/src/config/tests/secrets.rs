use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::plugin;
use crate::config::{Plugin, SecretSource};

fn write(path: &Path, content: &[u8], mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_secret_is_read_where_it_is_when_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (file, content) in [
        ("key", &b"secret\n"[..]),
        ("windows", b"secret\r\n"),
        ("lines", b"one\ntwo\n\n"),
        ("binary", b"\0\xff\n"),
        ("large", &[b's'; 64 << 10]),
        ("newline", &[&[b's'; 64 << 10][..], b"\r\n"].concat()),
    ] {
        write(&root.join(file), content, 0o640);
    }
    let plugin = Plugin::parse(
        &format!(
            "[secrets]\nabsolute = {{ file = {:?} }}\nkey.file = \"key\"\nwindows.file = \"./windows\"\nlines.file = \"lines\"\nbinary.file = \"binary\"\n\
             large.file = \"large\"\nnewline.file = \"newline\"\nvariable.env = \"V\"\nhanded.credential = \"key\"",
            root.join("key")
        ),
        root,
    )
    .unwrap();
    let environment = |name: &str| match name {
        "V" => Some(OsString::from_vec(b"\xffvalue\n".to_vec())),
        "CREDENTIALS_DIRECTORY" => Some(root.as_os_str().to_owned()),
        _ => None,
    };
    for (name, expected) in [
        ("absolute", &b"secret"[..]),
        ("key", b"secret"),
        ("windows", b"secret"),
        ("lines", b"one\ntwo\n"),
        ("binary", b"\0\xff"),
        ("large", &[b's'; 64 << 10]),
        ("newline", &[b's'; 64 << 10]),
        // A variable has no end of file that an editor could have added a newline to.
        ("variable", b"\xffvalue\n"),
        ("handed", b"secret"),
    ] {
        let secret = plugin.secrets[name].resolve_with(environment).unwrap();
        assert_eq!(secret.as_slice(), expected, "{name}");
    }
    // Nothing is loaded anew when a secret changes: the next use reads it.
    assert_eq!(plugin.files(), Vec::<std::path::PathBuf>::new());
    write(&root.join("key"), b"changed", 0o600);
    assert_eq!(
        plugin.secrets["key"].resolve().unwrap().as_slice(),
        b"changed"
    );
}

#[test]
fn a_secret_that_cannot_be_used_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(&root.join("open"), b"hidden", 0o644);
    write(&root.join("writable"), b"hidden", 0o602);
    write(&root.join("empty"), b"\n", 0o600);
    write(&root.join("large"), &[b'h'; (64 << 10) + 1], 0o600);
    std::fs::create_dir(root.join("dir")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let environment = |name: &str| match name {
        "BLANK" => Some(OsString::new()),
        "LARGE" => Some(OsString::from_vec(vec![b'h'; (64 << 10) + 1])),
        _ => None,
    };
    let file = |name: &str| SecretSource::File(root.join(name));
    for (source, expected) in [
        (file("none"), "cannot be opened: No such file"),
        (file("dir"), "is no regular file"),
        (file("fifo"), "is no regular file"),
        (file("empty"), "is empty"),
        (file("large"), "is larger than 64KiB"),
        (
            file("open"),
            "is open to everybody on this machine (mode 0644): run chmod o-rwx /",
        ),
        (file("writable"), "(mode 0602): run chmod o-rwx /"),
        (
            SecretSource::Env("NONE".into()),
            "the environment variable NONE is not set: set it for the daemon",
        ),
        (
            SecretSource::Env("BLANK".into()),
            "the environment variable BLANK is empty",
        ),
        (
            SecretSource::Env("LARGE".into()),
            "the environment variable LARGE is larger than 64KiB",
        ),
        (
            SecretSource::Credential("key".into()),
            "give it this one with LoadCredential=key:PATH",
        ),
    ] {
        let error = source.resolve_with(environment).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
        assert!(
            !error.contains("hh") && !error.contains("hidden"),
            "{error}"
        );
    }
}

#[test]
fn a_secret_is_never_written_into_the_settings() {
    for value in ["\"hunter2\"", "42424242", "true", "1.5", "1979-05-27"] {
        let error = plugin(&format!("[secrets]\ntoken = {value}"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a secret is not written into this file"),
            "{error}"
        );
        assert!(error.starts_with("line 2, column 9: "), "{error}");
        let value = value.trim_matches('"');
        assert!(!error.contains(value), "{error}");
    }
}

#[test]
fn files_that_are_read_later_can_be_checked_beforehand() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(&root.join("open"), b"hidden", 0o644);
    write(&root.join("key"), b"hidden", 0o600);
    let check = |text: &str| -> Vec<String> {
        let plugin = Plugin::parse(text, root).unwrap();
        let errors = plugin.check_files();
        errors.iter().map(ToString::to_string).collect()
    };
    let good = "[secrets]\nkey.file = \"key\"\nelsewhere.env = \"NONE\"\nhanded.credential = \"x\"";
    assert_eq!(check(good), Vec::<String>::new());
    let bad = check(
        "[secrets]\nopen.file = \"open\"\nkey.file = \"key\"\n[grants.http]\nca = \"ca.pem\"\nclient-certificate = \"key\"\nclient-key = \"key\"",
    );
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad[0].starts_with("secrets.open: the file /") && bad[0].contains("chmod o-rwx"));
    assert!(bad[1].starts_with("grants.http.ca: the file /") && bad[1].contains("No such file"));
}
