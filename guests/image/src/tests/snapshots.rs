//! Snapshots of volumes.

use super::*;

fn names(volume: &str) -> Vec<String> {
    column(
        &run("snapshots", &[("volume", volume)]).unwrap(),
        "snapshot",
    )
}

#[test]
fn a_snapshot_keeps_what_was_and_gives_it_back() {
    volume("v");
    write("v", 1 << 20, "one");
    ImageDriver::mount("v", "1").unwrap();
    assert_eq!(
        run("snapshot", &[("volume", "v"), ("name", "first")]).unwrap(),
        "first"
    );
    write("v", 1 << 20, "two");
    run("snapshot", &[("volume", "v"), ("name", "second")]).unwrap();
    assert_eq!(names("v"), ["first", "second"]);
    assert_eq!(
        ImageDriver::get("v").unwrap().status.get("snapshots"),
        Some("first, second")
    );
    create("w", &[("from", "v@first")]).unwrap();
    assert_eq!(read("w", 1 << 20, 3), "one");

    let revert = [("volume", "v"), ("snapshot", "first")];
    let error = run("revert", &revert).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InUse);
    assert!(error.message().contains("stop the containers"), "{error}");
    ImageDriver::unmount("v", "1").unwrap();
    run("grow", &[("volume", "v"), ("size", "10m")]).unwrap();
    run("revert", &revert).unwrap();
    assert_eq!(read("v", 1 << 20, 3), "one");
    assert_eq!(
        ImageDriver::get("v").unwrap().status.get("size"),
        Some("10MiB")
    );
    run("revert", &[("volume", "v"), ("snapshot", "second")]).unwrap();
    assert_eq!(read("v", 1 << 20, 3), "two");

    run("snapshot-delete", &revert).unwrap();
    assert_eq!(names("v"), ["second"]);
    remove("v").unwrap();
    assert_eq!(read("w", 1 << 20, 3), "one");
    let left: Vec<String> = testing::images().into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, ["volume/w"]);
}

#[test]
fn snapshots_without_a_name_are_called_after_the_time() {
    volume("v");
    testing::set_time(1_795_258_862);
    let first = run("snapshot", &[("volume", "v")]).unwrap();
    assert_eq!(first, "20261121-110102");
    assert_eq!(
        run("snapshot", &[("volume", "v")]).unwrap(),
        "20261121-110102-1"
    );
    // The clock of a machine can go back; the order is that of the clock then.
    assert_eq!(names("v"), ["20261121-110102", "20261121-110102-1"]);
}

#[test]
fn what_is_no_snapshot_is_an_error_that_names_the_others() {
    volume("v");
    run("snapshot", &[("volume", "v"), ("name", "s")]).unwrap();
    for name in ["", "a b", "a@b", "../x", "-x", "ü", &"x".repeat(101)] {
        let arguments = [("volume", "v"), ("name", name)];
        // An argument that is empty is one that is not there.
        assert_eq!(
            run("snapshot", &arguments).is_err(),
            !name.is_empty(),
            "{name}"
        );
    }
    assert!(run("snapshot", &[("volume", "v"), ("name", "s")]).is_err());
    for verb in ["revert", "snapshot-delete"] {
        let error = run(verb, &[("volume", "v"), ("snapshot", "t")]).unwrap_err();
        assert!(error.message().contains("it has s"), "{error}");
    }
    assert!(run("snapshots", &[("volume", "w")]).is_err());
    assert!(run("snapshot", &[("volume", "w")]).is_err());
}

#[test]
fn a_volume_with_an_at_in_its_name_is_not_taken_for_a_snapshot() {
    volume("v");
    volume("v@s");
    write("v", 1 << 20, "volume");
    write("v@s", 1 << 20, "decoys");
    run("snapshot", &[("volume", "v"), ("name", "s")]).unwrap();
    create("w", &[("from", "v@s")]).unwrap();
    assert_eq!(read("w", 1 << 20, 6), "decoys");
    assert_eq!(names("v"), ["s"]);
    assert!(names("v@s").is_empty());
    remove("v").unwrap();
    assert_eq!(read("v@s", 1 << 20, 6), "decoys");
}
