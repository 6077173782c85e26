//! What Docker asks for.

use super::*;
use dockside_driver::{directories::Attributes, images::Filesystem, mounts};

#[test]
fn a_volume_lives_from_create_to_remove() {
    create(
        "v",
        &[
            ("size", "400m"),
            ("fs", "xfs"),
            ("uid", "1000"),
            ("mode", "0700"),
        ],
    )
    .unwrap();
    let made = testing::images();
    assert_eq!(made[0].0, "volume/v");
    assert_eq!(
        (made[0].1.size, made[0].1.filesystem),
        (400 << 20, Filesystem::Xfs)
    );
    let attributes = Attributes {
        uid: Some(1000),
        gid: None,
        mode: Some(0o700),
    };
    assert_eq!(made[0].1.attributes, attributes);
    assert!(ImageDriver::get("v").unwrap().mountpoint.is_none());
    for id in ["1", "2"] {
        assert_eq!(ImageDriver::mount("v", id).unwrap().key(), "v");
    }
    assert_eq!(testing::mounts().len(), 1);
    let info = ImageDriver::get("v").unwrap();
    assert_eq!(info.mountpoint.unwrap().key(), "v");
    assert_eq!(info.status.get("size"), Some("400MiB"));
    assert_eq!(info.status.get("fs"), Some("xfs"));
    assert!(info.status.contains("used"));
    assert_eq!(ImageDriver::list().unwrap().len(), 1);
    assert_eq!(remove("v").unwrap_err().code(), ErrorCode::InUse);
    ImageDriver::unmount("v", "1").unwrap();
    ImageDriver::unmount("v", "1").unwrap();
    remove("v").unwrap();
    remove("v").unwrap();
    assert_eq!(
        ImageDriver::get("v").unwrap_err().code(),
        ErrorCode::NotFound
    );
    assert!(testing::images().is_empty() && testing::mounts().is_empty());
    assert!(testing::state().is_empty());
}

#[test]
fn names_are_any_text() {
    let names = ["../../etc", "a/b", "", "a@b", "ü€\n\0"];
    for name in names {
        volume(name);
        assert_eq!(ImageDriver::get(name).unwrap().name, name);
        run("snapshot", &[("volume", name), ("name", "s")]).unwrap();
    }
    assert_eq!(testing::images().len(), 2 * names.len());
    for name in names {
        assert_eq!(
            ImageDriver::get(name).unwrap().status.get("snapshots"),
            Some("s")
        );
        remove(name).unwrap();
    }
    assert!(testing::images().is_empty() && testing::state().is_empty());
}

#[test]
fn creating_again_succeeds_with_the_same_options_only() {
    create("v", &[("size", "8m"), ("mode", "755")]).unwrap();
    create("v", &[("size", "8MiB"), ("mode", "0755")]).unwrap();
    let error = create("v", &[("size", "9m"), ("mode", "755")]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
    // As compose does after the volume has grown.
    run("grow", &[("volume", "v"), ("size", "16m")]).unwrap();
    create("v", &[("size", "8m"), ("mode", "0755")]).unwrap();
    assert_eq!(testing::images()[0].1.size, 16 << 20);
}

#[test]
fn the_operator_says_what_volumes_are_without_options() {
    testing::set_config("size", "500m");
    testing::set_config("fs", "btrfs");
    create("v", &[]).unwrap();
    let made = testing::images();
    assert_eq!(
        (made[0].1.size, made[0].1.filesystem),
        (500 << 20, Filesystem::Btrfs)
    );
    testing::set_config("size", "much");
    let error = create("w", &[]).unwrap_err();
    assert!(error.message().contains("size under [config]"), "{error}");
    testing::set_config("fs", "ntfs");
    let error = create("w", &[("size", "8m")]).unwrap_err();
    assert!(error.message().contains("fs under [config]"), "{error}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    volume("other");
    for pairs in [
        &[("size", "1k")][..],
        &[("size", "many")],
        &[("fs", "zfs")],
        &[("uid", "root")],
        &[("mode", "0788")],
        &[("mode", "10000")],
        &[("fs", "xfs"), ("size", "10m")],
        &[("from", "nothing")],
        &[("from", "other@nothing")],
        &[("from", "nothing@s")],
        &[("from", "other"), ("backup", "backup-1")],
        &[("from", "other"), ("fs", "xfs")],
        &[("from", "other"), ("uid", "1")],
        &[("from", "other"), ("mode", "0700")],
        &[("backup", "/etc/passwd")],
        &[("backup", "vfs:///x?volume=v")],
        &[("backup", "backup-1")],
    ] {
        let error = create("v", pairs).unwrap_err();
        assert_eq!(
            error.code(),
            ErrorCode::InvalidArgument,
            "{pairs:?} {error}"
        );
    }
    assert_eq!(testing::images().len(), 1);
}

#[test]
fn a_copy_has_content_and_size_and_can_be_larger() {
    volume("v");
    write("v", 1 << 20, "hello");
    create("w", &[("from", "v")]).unwrap();
    run("clone", &[("from", "v"), ("to", "x"), ("size", "20m")]).unwrap();
    write("v", 1 << 20, "HELLO");
    for (copy, size) in [("w", "8MiB"), ("x", "20MiB")] {
        assert_eq!(read(copy, 1 << 20, 5), "hello");
        assert_eq!(
            ImageDriver::get(copy).unwrap().status.get("size"),
            Some(size)
        );
    }
    assert_eq!(ImageDriver::get("w").unwrap().status.get("from"), Some("v"));
    let error = run("clone", &[("from", "v"), ("to", "w")]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
    // A copy outlives what it is of.
    remove("v").unwrap();
    create("w", &[("from", "v")]).unwrap();
    assert_eq!(read("w", 1 << 20, 5), "hello");
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    volume("v");
    ImageDriver::mount("v", "1").unwrap();
    assert_eq!(
        run("grow", &[("volume", "v"), ("size", "10m")]).unwrap(),
        "v has 10MiB"
    );
    let error = run("grow", &[("volume", "v"), ("size", "9m")]).unwrap_err();
    assert!(error.message().contains("never shrinks"), "{error}");
    assert!(run("grow", &[("volume", "w"), ("size", "9m")]).is_err());
    assert_eq!(testing::images()[0].1.size, 10 << 20);
    let table = run("volumes", &[]).unwrap();
    assert_eq!(column(&table, "size"), ["10MiB"]);
}

#[test]
fn a_volume_whose_image_is_gone_is_still_a_volume() {
    volume("v");
    images::delete("volume/v").unwrap();
    let info = ImageDriver::get("v").unwrap();
    assert!(info.status.get("state").unwrap().contains("gone"));
    let code = ImageDriver::mount("v", "1").unwrap_err().code();
    assert_eq!(code, ErrorCode::Unavailable);
    remove("v").unwrap();
}

#[test]
fn after_a_restart_of_the_machine_a_volume_is_mounted_again() {
    volume("v");
    ImageDriver::mount("v", "1").unwrap();
    testing::reboot();
    assert!(mounts::open("v").is_err());
    assert!(ImageDriver::get("v").unwrap().mountpoint.is_none());
    ImageDriver::mount("v", "1").unwrap();
    assert_eq!(testing::mounts().len(), 1);
}

#[test]
fn any_calls_in_any_order_do_what_docker_takes_for_granted() {
    testing::model::volume::<ImageDriver>()
        .options([("size", "8m")])
        .options([("size", "16m"), ("uid", "7")])
        .needs_options()
        .settlement::<ImageDriver>()
        .run();
}

#[test]
fn a_host_call_that_fails_leaves_nothing_behind() {
    let given = options(&[("size", "8m")]);
    let verb = |verb: &'static str, arguments: &'static [(&str, &str)]| {
        move || run_verb::<ImageDriver>(verb, arguments)
    };
    let scenario = |run: &mut testing::Run| {
        store();
        run.call("create", || ImageDriver::create("v", &given))?;
        run.call("mount", || ImageDriver::mount("v", "1"))?;
        run.call("get", || ImageDriver::get("v"))?;
        run.call("unmount", || ImageDriver::unmount("v", "1"))?;
        run.call(
            "snapshot",
            verb("snapshot", &[("volume", "v"), ("name", "s")]),
        )?;
        run.call("backup", || {
            let mut made = run_verb::<ImageDriver>("backup", &[("volume", "v")])?;
            // It is named after the call, and what a failed call has sent is not sent again.
            made["backup"].take();
            made["sent"].take();
            Ok(made)
        })?;
        run.call(
            "revert",
            verb("revert", &[("volume", "v"), ("snapshot", "s")]),
        )?;
        run.call("remove", || ImageDriver::remove("v"))
    };
    let checked = testing::Faults::new()
        .settled_by::<ImageDriver>()
        .check(scenario);
    checked.unwrap_or_else(|found| panic!("{found}"));
}
