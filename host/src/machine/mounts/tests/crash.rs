//! Processes that are killed while they mount.

use super::*;

#[test]
fn undo_clears_up_after_a_process_that_was_killed_at_any_instant() {
    let Some(place) = Place::new() else { return };
    place.directory("granted/a");
    let mut all = vec![place.bind("granted", "a"), place.tmpfs()];
    all.extend(place.disk(Filesystem::Ext4));
    all.extend(place.disk(Filesystem::Xfs));
    for mount in &all {
        // From before it starts to after it ends; which instant a delay hits does not matter.
        for step in 0..12 {
            let mut child = this_test("perform")
                .env(RECORD, serde_json::to_string(mount).unwrap())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(step * 6));
            child.kill().unwrap();
            child.wait().unwrap();
            unmake(mount);
            place.assert_nothing_left(mount);
        }
        make(mount);
        unmake(mount);
        place.assert_nothing_left(mount);
    }
}

#[test]
fn undo_frees_a_loop_device_that_is_not_mounted() {
    let Some(place) = Place::new() else { return };
    let Some(mount) = place.disk(Filesystem::Ext4) else {
        return;
    };
    let Source::Disk { file, .. } = &mount.source else {
        panic!("{mount:?}");
    };
    let status = Command::new("losetup")
        .args(["--find"])
        .arg(file)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(loop_devices(place.directory.path()).len(), 1);
    unmake(&mount);
    place.assert_nothing_left(&mount);
}

#[test]
fn undo_removes_a_point_that_was_never_mounted_and_keeps_one_with_files() {
    let Some(place) = Place::new() else { return };
    let mount = place.tmpfs();
    std::fs::create_dir_all(&mount.point).unwrap();
    unmake(&mount);
    place.assert_nothing_left(&mount);
    std::fs::create_dir_all(mount.point.join("file")).unwrap();
    assert!(refusal(&mount).message.contains("holds files"));
    let error = undo_with(&worker(), &mount).unwrap_err();
    assert!(error.message.contains("holds files"), "{error}");
    assert!(mount.point.join("file").exists());
}
