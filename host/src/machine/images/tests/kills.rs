//! The daemon is killed.

use super::*;

const IMAGE: &str = "DOCKSIDE_TEST_IMAGE";

/// What the process of its own does: make the image, again and again.
fn victim() -> bool {
    let Some(record) = std::env::var_os(IMAGE) else {
        return false;
    };
    let image: Image = serde_json::from_slice(record.as_encoded_bytes()).unwrap();
    loop {
        perform(&image, soon()).unwrap();
        undo(&image).unwrap();
    }
}

fn record(image: &Image) -> std::ffi::OsString {
    serde_json::to_string(image).unwrap().into()
}

/// Whether what is mounted can be written to: if it is frozen for ever, this does not end.
fn writable(directory: &Path) {
    let file = directory.join("writable");
    let mut child = Command::new("touch").arg(&file).spawn().unwrap();
    let status = tool::wait(&mut child, soon()).unwrap();
    if status.is_none() {
        ran([
            "fsfreeze".as_ref(),
            "--unfreeze".as_ref(),
            directory.as_os_str(),
        ]);
    }
    assert!(status.expect("it is frozen").success());
    fs::remove_file(&file).unwrap();
}

#[test]
fn undo_leaves_nothing_of_a_perform_that_was_killed_at_any_instant() {
    if victim() {
        return;
    }
    let Some(place) = Place::new(2048) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        let mut image = place.image(&format!("new-{filesystem}"), filesystem);
        image.owner.mode = 0o1770;
        for round in 0..8 {
            let child = again(
                "kills::undo_leaves_nothing_of_a_perform_that_was_killed_at_any_instant",
                IMAGE,
                &record(&image),
            );
            until("it began", || place.path().join("images").exists());
            thread::sleep(Duration::from_micros(5_300 * round));
            assert!(killed(child));
            match look(&image).unwrap() {
                Presence::Absent => {}
                Presence::Present => sound(&image),
                Presence::Changed(text) => panic!("{text}"),
            }
            undo(&image).unwrap();
            assert_eq!(place.left(), Vec::<String>::new());
            fs::remove_dir(place.path().join("images")).unwrap();
        }
    }
}

#[test]
fn a_copy_that_was_killed_while_its_source_was_frozen_leaves_nothing_and_the_writers_go_on() {
    if victim() {
        return;
    }
    let Some(place) = Place::new(3072) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        let mut source = place.image(&format!("source-{filesystem}"), filesystem);
        source.size = 512 * MIB;
        perform(&source, soon()).unwrap();
        let mounted = place.mount(&source);
        fs::write(mounted.path.join("data"), vec![5; 128 << 20]).unwrap();
        let copy = place.copy("copy", &source);
        let mark = source.file.with_file_name(".copy.img.frozen");
        for round in 0..6 {
            let child = again(
                "kills::a_copy_that_was_killed_while_its_source_was_frozen_leaves_nothing_and_the_writers_go_on",
                IMAGE,
                &record(&copy),
            );
            until("the copy began", || mark.exists());
            thread::sleep(Duration::from_micros(4_700 * round));
            assert!(killed(child));
            // Without the help of `undo`.
            writable(&mounted.path);
            undo(&copy).unwrap();
            writable(&mounted.path);
            assert_eq!(place.left(), [format!("source-{filesystem}.img")]);
        }
        drop(mounted);
        sound(&source);
        undo(&source).unwrap();
    }
}
