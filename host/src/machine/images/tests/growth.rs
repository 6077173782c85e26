//! More room.

use rustix::fs::statvfs;

use super::*;

fn room(path: &Path) -> u64 {
    let figures = statvfs(path).unwrap();
    figures.f_blocks * figures.f_frsize
}

/// Whether this process may let a mounted file system grow: for ext4 that is a capability (24, CAP_SYS_RESOURCE).
fn allowed(filesystem: Filesystem) -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"))
        .unwrap();
    let allowed = filesystem != Filesystem::Ext4
        || u64::from_str_radix(effective, 16).unwrap() & (1 << 24) != 0;
    if !allowed {
        println!("skipped for a mounted {filesystem}: this needs CAP_SYS_RESOURCE");
    }
    allowed
}

fn growth(image: &Image, to: u64) -> Growth {
    Growth {
        file: image.file.clone(),
        filesystem: image.filesystem,
        from: image.size,
        to,
    }
}

#[test]
fn an_image_grows_with_what_is_in_it_mounted_or_not() {
    let Some(place) = Place::new(2048) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        for online in [true, false] {
            let image = place.image(&format!("{filesystem}-{online}"), filesystem);
            perform(&image, soon()).unwrap();
            let mounted = place.mount(&image);
            let before = room(&mounted.path);
            let data: Vec<u8> = (0..4 * MIB).map(|byte| (byte % 251) as u8).collect();
            fs::write(mounted.path.join("data"), &data).unwrap();
            let mut kept = Some(mounted);
            if !online {
                kept = None;
            }
            let to = image.size * 2;
            let can = can_grow(&growth(&image, to));
            if online && !allowed(filesystem) {
                assert_eq!(can.unwrap_err().kind, ErrorKind::Missing);
                let error = grow(&growth(&image, to), soon()).unwrap_err();
                assert_eq!(error.kind, ErrorKind::Missing, "{error}");
                kept = None;
            } else {
                can.unwrap();
            }
            // A second time, and a smaller one later, are what a ledger does that was interrupted.
            for to in [to, to, image.size] {
                grow(&growth(&image, to), soon()).unwrap();
            }
            assert_eq!(kept.is_some(), attached(&image.file).unwrap().is_some());
            assert_eq!(usage(&image.file).unwrap().apparent, to);
            let mounted = kept.unwrap_or_else(|| place.mount(&image));
            let after = room(&mounted.path);
            assert!(
                after > before * 3 / 2,
                "{filesystem} {online}: {before} {after}"
            );
            assert!(fs::read(mounted.path.join("data")).unwrap() == data);
            // Room that can be written to.
            let more = vec![7; usize::try_from(image.size * 3 / 4 + 40 * MIB).unwrap()];
            fs::write(mounted.path.join("more"), &more).unwrap();
            drop(mounted);
            sound(&image);
            assert_eq!(look(&image).unwrap(), Presence::Present);
            undo(&image).unwrap();
        }
    }
    assert_eq!(place.left(), Vec::<String>::new());
}

#[test]
fn growth_that_is_not_possible_is_refused_and_changes_nothing() {
    let Some(place) = Place::new(100) else {
        return;
    };
    let image = place.image("tight", Filesystem::Ext4);
    let missing = growth(&image, 80 * MIB);
    assert_eq!(can_grow(&missing).unwrap_err().kind, ErrorKind::NotFound);
    perform(&image, soon()).unwrap();
    let mounted = place.mount(&image);
    let table = [
        (
            growth(&image, 1024 * MIB),
            ErrorKind::Exhausted,
            "MB are free",
        ),
        (
            growth(&image, 32 * MIB),
            ErrorKind::Invalid,
            "cannot shrink",
        ),
        (growth(&image, 65 * MIB + 1), ErrorKind::Invalid, "multiple"),
        (
            Growth {
                filesystem: Filesystem::Xfs,
                ..growth(&image, 512 * MIB)
            },
            ErrorKind::Invalid,
            "no xfs",
        ),
    ];
    for (growth, kind, text) in table {
        for error in [
            can_grow(&growth).unwrap_err(),
            grow(&growth, soon()).unwrap_err(),
        ] {
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(text), "{error}");
        }
        assert_eq!(usage(&image.file).unwrap().apparent, image.size);
    }
    drop(mounted);
    sound(&image);
    undo(&image).unwrap();
}

#[test]
fn growth_finishes_what_a_killed_one_began() {
    let Some(place) = Place::new(1024) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        for mounted in [true, false] {
            let image = place.image("begun", filesystem);
            perform(&image, soon()).unwrap();
            let kept = (mounted && allowed(filesystem)).then(|| place.mount(&image));
            let to = image.size * 2;
            // As far as the file, which is the first step.
            fs::OpenOptions::new()
                .write(true)
                .open(&image.file)
                .unwrap()
                .set_len(to)
                .unwrap();
            grow(&growth(&image, to), soon()).unwrap();
            let kept = kept.unwrap_or_else(|| place.mount(&image));
            assert!(room(&kept.path) > image.size * 3 / 2, "{filesystem}");
            drop(kept);
            sound(&image);
            undo(&image).unwrap();
        }
    }
}
