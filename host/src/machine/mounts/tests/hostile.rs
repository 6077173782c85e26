//! Users and other processes that mean harm.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn hostile_paths_are_refused_or_harmless() {
    let Some(place) = Place::new() else { return };
    let granted = place.directory("granted/inner");
    symlink("/etc", granted.join("etc")).unwrap();
    symlink("..", granted.join("up")).unwrap();
    symlink("inner", place.path("granted/same")).unwrap();
    symlink("/proc/self/root", granted.join("root")).unwrap();
    let long = "a/".repeat(2500);
    let name = "a".repeat(5000);
    for beneath in [
        "..",
        "../..",
        "inner/../..",
        "/etc",
        "//etc",
        "inner/etc",
        "inner/up",
        "inner/up/up/up",
        "same",
        "inner/root/etc",
        "inner/etc/passwd",
        "a\0b",
        "inner\0",
        long.as_str(),
        name.as_str(),
        "inner/\n,suid",
        "-o",
        ",suid",
        "proc/self/cwd",
    ] {
        let mount = place.bind("granted", beneath);
        let error = refusal(&mount);
        assert!(
            matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound),
            "{beneath}: {error}"
        );
        assert!(error.message.len() < 400, "{error}");
        assert!(!error.message.contains(['\0', '\n']), "{error}");
        place.assert_nothing_left(&mount);
    }
    for name in [",suid", "-o", "a b", "new\nline", "back\\slash", "c:d"] {
        std::fs::write(
            place.directory(&format!("granted/{name}")).join("mark"),
            name,
        )
        .unwrap();
        let mount = place.bind("granted", name);
        make(&mount);
        assert_eq!(look(&mount).unwrap(), Presence::Present, "{name}");
        let mark = std::fs::read_to_string(mount.point.join("mark")).unwrap();
        assert_eq!(mark, name);
        assert!(info(&mount).options.iter().any(|had| had == "nosuid"));
        unmake(&mount);
    }
}

#[test]
fn a_point_that_the_host_did_not_mint_is_refused_by_every_verb() {
    let Some(place) = Place::new() else { return };
    let good = place.tmpfs();
    for (id, point) in [
        ("etc", "/etc".into()),
        ("", "/".into()),
        (good.id.as_str(), place.path("mounts")),
        (good.id.as_str(), "relative".into()),
        (
            good.id.as_str(),
            place.path("mounts/../../..").join(&good.id),
        ),
        ("..", place.path("mounts/..")),
        ("ABCDEFABCDEFABCDEFAB", place.path("ABCDEFABCDEFABCDEFAB")),
    ] {
        let mount = Mount {
            id: id.to_owned(),
            point,
            ..good.clone()
        };
        assert_eq!(refusal(&mount).kind, ErrorKind::Invalid, "{mount:?}");
        assert!(undo_with(&worker(), &mount).is_err(), "{mount:?}");
        assert!(look(&mount).is_err(), "{mount:?}");
    }
}

#[test]
fn hostile_numbers_are_refused() {
    let Some(place) = Place::new() else { return };
    for (size, inodes, mode) in [
        (0, None, None),
        (1, Some(0), None),
        (1, None, Some(0o10000)),
        (u64::MAX, None, Some(u32::MAX)),
    ] {
        let mount = place.mount(Source::Tmpfs {
            size,
            inodes,
            uid: None,
            gid: None,
            mode,
        });
        assert_eq!(refusal(&mount).kind, ErrorKind::Invalid);
        place.assert_nothing_left(&mount);
    }
}

/// Swaps a directory and a symbolic link to /etc for each other, as fast as it can, while mounts are made below it.
#[test]
fn a_source_that_turns_into_a_symbolic_link_never_leads_out() {
    let Some(place) = Place::new() else { return };
    std::fs::write(place.directory("granted/swap/deep").join("mark"), "").unwrap();
    symlink("/etc", place.path("granted/link")).unwrap();
    let root = std::fs::File::open(place.path("granted")).unwrap();
    let (stop, mut mounted, mut refused) = (AtomicBool::new(false), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root, "swap", &root, "link", flags).unwrap();
            }
        });
        let until = Instant::now() + Duration::from_secs(2);
        for beneath in ["swap", "swap/deep", "link", "link/deep"].iter().cycle() {
            if Instant::now() >= until {
                break;
            }
            let mount = place.bind("granted", beneath);
            match perform_with(&worker(), &mount, &no_secrets, soon()) {
                Ok(()) => {
                    let inside =
                        mount.point.join("mark").exists() || mount.point.join("deep/mark").exists();
                    if !inside {
                        stop.store(true, Ordering::Relaxed);
                        panic!("{beneath} led to {:?}", info(&mount));
                    }
                    mounted += 1;
                }
                Err(_) => refused += 1,
            }
            unmake(&mount);
            place.assert_nothing_left(&mount);
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{mounted} mounts, {refused} refusals");
}
