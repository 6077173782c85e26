#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const LIMIT: u64 = 1 << 20;

/// A component with nested modules and components, several sections and a version.
pub(in crate::catalog) fn component(version: Option<&str>) -> Vec<u8> {
    let mut bytes = wat::parse_str(
        r#"(component
            (core module $m (func (export "a")) (memory 1) (data (i32.const 0) "some bytes"))
            (core instance $i (instantiate $m))
            (component $c (core module (func) (func) (@custom "inner" "x")) (import "x" (func)))
            (func $f (canon lift (core func $i "a")))
            (export "a" (func $f))
            (core module (func))
            (export "b" (func $f)))"#,
    )
    .unwrap();
    if let Some(version) = version {
        bytes.extend(custom("version", version.as_bytes()));
    }
    bytes
}

fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    let mut section = vec![0, u8::try_from(name.len() + data.len() + 1).unwrap()];
    section.push(u8::try_from(name.len()).unwrap());
    section.extend(name.as_bytes());
    section.extend(data);
    section
}

fn candidate(path: PathBuf) -> Candidate {
    Candidate {
        stem: "x".to_owned(),
        file: "x.wasm".to_owned(),
        semver: None,
        id: FileId::new(&path.symlink_metadata().unwrap()),
        path,
    }
}

#[test]
fn a_driver_is_read_whole_with_its_digest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.wasm");
    let bytes = component(None);
    std::fs::write(&path, &bytes).unwrap();
    let (read_bytes, digest) = read(&candidate(path), LIMIT).unwrap();
    assert_eq!(read_bytes, bytes);
    assert_eq!(digest, hex::encode(Sha256::digest(&bytes)));
}

#[test]
fn another_content_than_the_scan_saw_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.wasm");
    std::fs::write(&path, component(None)).unwrap();
    let seen = candidate(path.clone());
    // The same length, so that only the times tell.
    let mut other = component(None);
    let last = other.len() - 1;
    other[last] ^= 1;
    let renamed = directory.path().join("y.wasm");
    std::fs::write(&renamed, &other).unwrap();
    std::fs::rename(&renamed, &path).unwrap();
    assert_eq!(read(&seen, LIMIT), Err(Refusal::Changing));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read(&seen, LIMIT), Err(Refusal::Gone));
    std::os::unix::fs::symlink(&renamed, &path).unwrap();
    assert_eq!(
        read(&seen, LIMIT),
        Err(Refusal::NotRegular("a symbolic link"))
    );
}

#[test]
fn a_file_that_has_only_just_been_changed_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.wasm");
    std::fs::write(&path, b"x").unwrap();
    let mut id = FileId::new(&path.metadata().unwrap());
    id.changed = (1000, 500_000_000);
    let at = |millis: u64| UNIX_EPOCH + Duration::from_millis(millis);
    let cases = [
        (1_000_500, 100),
        (1_000_501, 99),
        (1_000_599, 1),
        (1_000_600, 0),
        (9_000_000, 0),
        // The clock was set back.
        (1_000_499, 0),
        (0, 0),
    ];
    for (now, wait) in cases {
        assert_eq!(id.unquiet(at(now)), Duration::from_millis(wait), "{now}");
    }
}

#[test]
fn every_cut_of_a_component_is_noticed_or_falls_between_two_sections() {
    let whole = component(Some("1.2.3"));
    check_whole(&whole).unwrap();
    let mut boundaries = section_ends(&whole);
    boundaries.push(8);
    for cut in 0..whole.len() {
        let head = check_head(&whole[..cut.min(HEAD)]);
        let accepted = head.is_ok() && check_whole(&whole[..cut]).is_ok();
        assert!(
            !accepted || boundaries.contains(&cut),
            "cut at {cut} of {}: {boundaries:?}",
            whole.len()
        );
    }
}

/// Where the outermost sections end, read by hand so that the test does not depend on the parser.
fn section_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 8;
    while at < bytes.len() {
        at += 1;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = bytes[at];
            at += 1;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        at += length;
        ends.push(at);
    }
    ends
}

#[test]
fn what_is_no_component_is_called_by_its_name() {
    let cases: [(&[u8], &str); 16] = [
        (
            b"\0asm\x01\0\0\0",
            "is a core module, not a component: build for wasm32-wasip2",
        ),
        (b"\0asm\x0c\0\x01\0", "another version of the binary format"),
        (b"\0asm\x02\0\0\0", "not known"),
        (b"\x7fELF\x02\x01\x01\0", "precompiled or native code"),
        (b"(compone", "is WebAssembly text"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"\x28\xb5\x2f\xfd\0\0\0\0", "zstd"),
        (b"\xfd7zXZ\0\0\x04", "xz"),
        (b"PK\x03\x04\0\0\0\0", "zip"),
        (b"<!DOCTYP", "web page"),
        (b"#!/bin/s", "script"),
        (b"BC\xc0\xde\0\0\0\0", "bitcode"),
        (b"!<arch>\n", "archive"),
        (b"hello", "is no WebAssembly component"),
        (b"\0asn\x0d\0\x01\0", "is no WebAssembly component"),
        (b"", "is empty (still being written?)"),
    ];
    for (head, expected) in cases {
        let refusal = check_head(head).unwrap_err();
        assert!(refusal.to_string().contains(expected), "{refusal}");
        assert_eq!(refusal.is_transient(), head.is_empty());
    }
    let whole = b"\0asm\x0d\0\x01\0";
    check_head(whole).unwrap();
    for cut in 0..whole.len() {
        assert!(
            check_head(&whole[..cut]).unwrap_err().is_transient(),
            "{cut}"
        );
    }
}

#[test]
fn only_root_and_the_daemons_user_may_have_written_a_file() {
    // Owner, mode, the daemon's user, whether it is trusted.
    let cases = [
        (0, 0o100644, 0, true),
        (0, 0o100644, 1000, true),
        (0, 0o100600, 0, true),
        (0, 0o100444, 0, true),
        (0, 0o100755, 0, true),
        (0, 0o104755, 0, true),
        (1000, 0o100644, 1000, true),
        (1000, 0o100644, 0, false),
        (1000, 0o100600, 1001, false),
        (0, 0o100664, 0, false),
        (0, 0o100646, 0, false),
        (0, 0o100666, 0, false),
        (0, 0o100777, 0, false),
        (0, 0o100620, 0, false),
        (0, 0o100602, 0, false),
        (1000, 0o100664, 1000, false),
    ];
    for (owner, mode, user, trusted) in cases {
        assert_eq!(
            trust(owner, mode, user).is_ok(),
            trusted,
            "{owner} {mode:o} {user}"
        );
    }
    assert!(
        trust(0, 0o100664, 0)
            .unwrap_err()
            .to_string()
            .starts_with("can be written by its group (mode 0664): chmod go-w")
    );
    assert!(
        trust(0, 0o100666, 0)
            .unwrap_err()
            .to_string()
            .starts_with("can be written by everybody (mode 0666)")
    );
    assert!(
        trust(7, 0o100644, 0)
            .unwrap_err()
            .to_string()
            .starts_with("belongs to user 7")
    );
}

#[test]
fn a_file_that_is_written_while_it_is_read_is_never_half_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.wasm");
    let versions: Vec<Vec<u8>> = ["1.0.0", "2.0.0"]
        .map(|version| component(Some(version)))
        .into();
    // Pieces of which no number ends between two sections: a writer that is held up for long leaves nothing that looks whole.
    let ends = section_ends(&versions[0]);
    let piece = (5..64)
        .find(|size| ends.iter().chain(&[8]).all(|end| end % size != 0))
        .unwrap();
    std::fs::write(&path, &versions[0]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let bytes = &versions[round % 2];
                match round % 3 {
                    // In place: truncated, then written in pieces.
                    0 => {
                        use std::io::Write;
                        let mut file = File::create(&path).unwrap();
                        for piece in bytes.chunks(piece) {
                            file.write_all(piece).unwrap();
                        }
                    }
                    1 => {
                        let other = directory.path().join(".x.wasm");
                        std::fs::write(&other, bytes).unwrap();
                        std::fs::rename(&other, &path).unwrap();
                    }
                    _ => {
                        let _ = std::fs::remove_file(&path);
                        std::fs::write(&path, bytes).unwrap();
                    }
                }
            }
        });
        for _ in 0..200 {
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            let seen = Candidate {
                id: FileId::new(&metadata),
                stem: "x".to_owned(),
                file: "x.wasm".to_owned(),
                path: path.clone(),
                semver: None,
            };
            match read(&seen, LIMIT) {
                Ok((bytes, _)) => {
                    assert!(versions.contains(&bytes), "half of a file was read");
                }
                Err(refusal) => {
                    assert!(refusal.is_transient(), "{refusal}");
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    // Once the writer has gone, the file is read.
    assert!(read(&candidate(path), LIMIT).is_ok());
}

#[test]
fn the_version_of_a_component_goes_over_that_of_its_module() {
    let inner =
        wat::parse_str("(component (core module (@custom \"version\" \"9.9.9\")))").unwrap();
    let cases = [
        (component(None), None),
        (component(Some("1.2.3")), Some("1.2.3")),
        (component(Some("1.2.3-rc.1\n")), Some("1.2.3-rc.1")),
        (component(Some("one")), None),
        (component(Some("1.2")), None),
        (b"\0asm\x0d\0\x01\0\0\x05".to_vec(), None),
        (b"hello".to_vec(), None),
        (Vec::new(), None),
        (inner.clone(), Some("9.9.9")),
        ([inner, custom("version", b"1.2.3")].concat(), Some("1.2.3")),
    ];
    for (bytes, expected) in cases {
        let version = component_version(&bytes).map(|version| version.to_string());
        assert_eq!(version.as_deref(), expected);
    }
}
