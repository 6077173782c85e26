//! Images as bytes.

use std::os::unix::fs::FileExt;

use super::*;

/// Carries what is in an image into another, as a backup and a restore do.
fn carry(from: &Image, to: &Image) {
    for part in data(&from.file).unwrap() {
        let mut offset = part.offset;
        while offset < part.offset + part.length {
            let left = usize::try_from(part.offset + part.length - offset).unwrap();
            let bytes = read(&from.file, offset, left.min(1 << 20)).unwrap();
            write(to, offset, &bytes).unwrap();
            offset += bytes.len() as u64;
        }
    }
}

#[test]
fn an_image_that_was_carried_as_bytes_mounts_beside_the_other() {
    let Some(place) = Place::new(2048) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        let source = place.image("source", filesystem);
        perform(&source, soon()).unwrap();
        let mounted = place.mount(&source);
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        fs::write(mounted.path.join("file"), &bytes).unwrap();
        // It has a journal or a log to be replayed.
        let copy = place.copy("copy", &source);
        perform(&copy, soon()).unwrap();
        let received = Image {
            blank: true,
            ..place.image("received", filesystem)
        };
        perform(&received, soon()).unwrap();
        assert_eq!(usage(&received.file).unwrap().allocated, 0, "{filesystem}");
        carry(&copy, &received);
        seal(&received, soon()).unwrap();
        assert_eq!(look(&received).unwrap(), Presence::Present);
        let carried = usage(&received.file).unwrap().allocated;
        let copied = usage(&copy.file).unwrap().allocated;
        assert!(
            carried < copied + (8 << 20),
            "{filesystem}: {carried} {copied}"
        );
        let beside = place.mount(&received);
        assert!(
            fs::read(beside.path.join("file")).unwrap() == bytes,
            "{filesystem}"
        );
        fs::write(beside.path.join("new"), "new").unwrap();
        assert!(!mounted.path.join("new").exists(), "{filesystem}");
        drop((beside, mounted));
        sound(&received);
        for image in [&source, &copy, &received] {
            undo(image).unwrap();
        }
        assert!(place.left().is_empty());
    }
}

#[test]
fn what_holds_no_file_system_is_not_sealed() {
    let Some(place) = Place::new(256) else {
        return;
    };
    let received = Image {
        blank: true,
        ..place.image("received", Filesystem::Ext4)
    };
    perform(&received, soon()).unwrap();
    let error = seal(&received, soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    write(&received, 0, &[0x5a; 1 << 16]).unwrap();
    let error = seal(&received, soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    undo(&received).unwrap();
    assert!(place.left().is_empty());
}

#[test]
fn nothing_is_read_or_written_beyond_an_image() {
    let Some(place) = Place::new(64) else {
        return;
    };
    let image = Image {
        blank: true,
        ..place.image("image", Filesystem::Ext4)
    };
    perform(&image, soon()).unwrap();
    let size = image.size;
    write(&image, size - 3, b"end").unwrap();
    for (offset, length) in [(size - 2, 3), (size, 1), (u64::MAX, 1), (u64::MAX - 2, 3)] {
        let error = write(&image, offset, &vec![1; length]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{offset}");
    }
    assert_eq!(fs::metadata(&image.file).unwrap().len(), size);
    for (offset, length, expected) in [
        (size - 3, 3, &b"end"[..]),
        (size - 3, 100, b"end"),
        (size, 100, b""),
        (u64::MAX, 100, b""),
        (0, 0, b""),
        (0, 2, b"\0\0"),
    ] {
        assert_eq!(
            read(&image.file, offset, length).unwrap(),
            expected,
            "{offset}"
        );
    }
    let most = super::super::content::MOST;
    assert_eq!(read(&image.file, 0, most).unwrap().len(), most);
    assert!(read(&image.file, 0, most + 1).is_err());
    assert!(write(&image, 0, &vec![0; most + 1]).is_err());
    // A link in the place of an image is not followed.
    let link = place.path().join("images/link.img");
    std::os::unix::fs::symlink(&image.file, &link).unwrap();
    assert!(read(&link, 0, 1).is_err() && data(&link).is_err());
}

#[test]
fn the_parts_with_data_are_all_there_and_not_too_many() {
    let Some(place) = Place::new(512) else {
        return;
    };
    let parts = |size: u64, written: &[u64]| -> Vec<(u64, u64)> {
        let path = place.path().join("file");
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        for offset in written {
            file.write_all_at(b"x", *offset).unwrap();
        }
        data(&path)
            .unwrap()
            .iter()
            .map(|part| (part.offset, part.length))
            .collect()
    };
    const GRAIN: u64 = 64 << 10;
    for (size, written, expected) in [
        (MIB, &[][..], &[][..]),
        (MIB, &[0], &[(0, GRAIN)]),
        (MIB, &[GRAIN - 1, GRAIN], &[(0, 2 * GRAIN)]),
        (MIB, &[5, 4 * GRAIN + 1], &[(0, GRAIN), (4 * GRAIN, GRAIN)]),
        (MIB - 10, &[MIB - 11], &[(MIB - GRAIN, GRAIN - 10)]),
    ] {
        assert_eq!(parts(size, written), expected, "{size} {written:?}");
    }
    // One byte in each of many places of a large image.
    let size = 1 << 40;
    let places: Vec<u64> = (0..20_000).map(|number| number * (size / 20_000)).collect();
    let found = parts(size, &places);
    assert!(found.len() <= 65_536);
    let held = |place: &u64| {
        let part = found.partition_point(|(offset, _)| offset <= place);
        part > 0 && found[part - 1].0 + found[part - 1].1 > *place
    };
    assert!(places.iter().all(held));
    assert!(
        found
            .windows(2)
            .all(|pair| pair[0].0 + pair[0].1 < pair[1].0)
    );
}
