use super::*;
use dockside_driver::testing;

fn options(pairs: &[(&str, &str)]) -> KeyValues {
    pairs.iter().copied().collect()
}

/// As the host calls it: what fails has not happened.
fn create(name: &str, pairs: &[(&str, &str)]) -> Result<()> {
    testing::call(|| Mobyfs::create(name, &options(pairs)))
}

fn attributes(uid: u32, gid: u32, mode: u32) -> Attributes {
    Attributes {
        uid: Some(uid),
        gid: Some(gid),
        mode: Some(mode),
    }
}

#[test]
fn a_volume_without_a_path_is_a_directory_of_its_own() {
    create("v", &[("uid", "1000"), ("mode", "0700")]).unwrap();
    assert_eq!(Mobyfs::mount("v", "1").unwrap().key(), "v");
    Mobyfs::unmount("v", "1").unwrap();
    let info = Mobyfs::get("v").unwrap();
    assert_eq!(info.status, options(&[("uid", "1000"), ("mode", "0700")]));
    assert_eq!(info.mountpoint.unwrap().key(), "v");
    let made = Attributes {
        uid: Some(1000),
        gid: None,
        mode: Some(0o700),
    };
    assert_eq!(testing::directories(), [("v".into(), made)]);
    Mobyfs::remove("v").unwrap();
    assert!(testing::directories().is_empty() && testing::state().is_empty());
    assert!(testing::mounts().is_empty() && testing::paths().is_empty());
}

#[test]
fn a_volume_with_a_path_is_mounted_for_its_uses_and_leaves_its_data() {
    create(
        "images",
        &[("mountpoint", "/data//images/./"), ("uid", "33")],
    )
    .unwrap();
    let made = Attributes {
        uid: Some(33),
        gid: None,
        mode: Some(0o755),
    };
    assert_eq!(testing::paths(), [("/data/images".into(), made)]);
    let info = Mobyfs::get("images").unwrap();
    assert!(info.mountpoint.is_none());
    assert_eq!(
        info.status,
        options(&[
            ("mountpoint", "/data/images"),
            ("delete-on-remove", "false"),
            ("share", "false"),
            ("uid", "33")
        ])
    );
    for _ in 0..2 {
        assert_eq!(Mobyfs::mount("images", "1").unwrap().key(), "images");
        assert_eq!(testing::mounts()[0].1.source, "host-path /data/images");
    }
    assert!(Mobyfs::get("images").unwrap().mountpoint.is_some());
    for _ in 0..2 {
        Mobyfs::unmount("images", "1").unwrap();
        assert!(testing::mounts().is_empty());
    }
    Mobyfs::remove("images").unwrap();
    assert!(testing::state().is_empty() && testing::made_paths().is_empty());
    assert_eq!(testing::paths().len(), 1);
    // Created again, it has what was in it.
    create("images", &[("mountpoint", "/data/images")]).unwrap();
}

#[test]
fn a_path_that_is_there_is_taken_as_it_is() {
    testing::put_path("/srv/old", attributes(5, 6, 0o750));
    for (given, expected) in [
        (("uid", "7"), "uid=7: /srv/old is there already, with uid 5"),
        (("gid", "5"), "gid=5: /srv/old is there already, with gid 6"),
        (
            ("mode", "755"),
            "mode=0755: /srv/old is there already, with mode 0750",
        ),
        (
            ("delete-on-remove", "true"),
            "delete-on-remove: /srv/old is there already",
        ),
    ] {
        let error = create("v", &[("mountpoint", "/srv/old"), given]).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
        assert!(testing::state().is_empty());
    }
    let same = [
        ("mountpoint", "/srv/old"),
        ("uid", "5"),
        ("gid", "6"),
        ("mode", "0750"),
    ];
    create("v", &same).unwrap();
    Mobyfs::remove("v").unwrap();
    assert_eq!(
        testing::paths(),
        [("/srv/old".into(), attributes(5, 6, 0o750))]
    );
}

#[test]
fn only_what_was_made_on_this_condition_is_deleted() {
    create(
        "v",
        &[("mountpoint", "/srv/new"), ("delete-on-remove", "true")],
    )
    .unwrap();
    let status = Mobyfs::get("v").unwrap().status;
    assert_eq!(status.get("delete-on-remove"), Some("true"));
    Mobyfs::mount("v", "1").unwrap();
    Mobyfs::remove("v").unwrap();
    assert!(testing::paths().is_empty() && testing::mounts().is_empty());

    testing::keep_no_marks();
    let error = create(
        "v",
        &[("mountpoint", "/srv/new"), ("delete-on-remove", "true")],
    )
    .unwrap_err();
    assert!(
        error.message().contains("does not keep the mark"),
        "{error}"
    );
    assert!(testing::paths().is_empty() && testing::state().is_empty());
}

#[test]
fn two_volumes_have_one_path_only_if_that_is_wanted() {
    create("a", &[("mountpoint", "/srv/x")]).unwrap();
    let error = create("b", &[("mountpoint", "/srv//x")]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
    assert!(error.message().contains("volume \"a\" is there"), "{error}");
    create("b", &[("mountpoint", "/srv/x"), ("share", "true")]).unwrap();
    // What is below is another directory.
    create("c", &[("mountpoint", "/srv/x/deep")]).unwrap();
    Mobyfs::remove("a").unwrap();
    let error = create("a", &[("mountpoint", "/srv/x")]).unwrap_err();
    assert!(error.message().contains("volume \"b\" is there"), "{error}");
    Mobyfs::remove("b").unwrap();
    create("a", &[("mountpoint", "/srv/x")]).unwrap();
}

#[test]
fn nothing_is_put_where_it_would_be_deleted_with_another_volume() {
    create("a", &[("mountpoint", "/srv/x"), ("delete-on-remove", "1")]).unwrap();
    for path in ["/srv/x", "/srv/x/y", "/srv/x/y/z"] {
        let error = create("b", &[("mountpoint", path), ("share", "true")]).unwrap_err();
        assert!(error.message().contains("\"a\""), "{path}: {error}");
    }
    create("b", &[("mountpoint", "/srv/xy")]).unwrap();
    create("c", &[("mountpoint", "/srv")]).unwrap();
}

#[test]
fn paths_that_could_be_anything_are_refused() {
    for path in [
        "", "relative", "/", "//", "/.", "/a/../b", "/..", "..", "/a\nb", "/a\0",
    ] {
        let error = create("v", &[("mountpoint", path)]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{path:?}");
        assert!(error.message().starts_with("option mountpoint="), "{error}");
        assert!(!error.message().contains(char::is_control), "{error}");
    }
    assert!(testing::state().is_empty() && testing::paths().is_empty());
}

#[test]
fn names_are_any_text() {
    for (index, name) in ["../../etc", "a/b", "", "ü€\n\0", &"x".repeat(5000)]
        .into_iter()
        .enumerate()
    {
        create(name, &[("mountpoint", &format!("/srv/{index}"))]).unwrap();
        assert_eq!(Mobyfs::get(name).unwrap().name, name);
    }
    assert_eq!(Mobyfs::list().unwrap().len(), 5);
}

#[test]
fn creating_again_succeeds_with_the_same_options_only() {
    let wish = [("mountpoint", "/srv/x"), ("mode", "0750")];
    create("v", &wish).unwrap();
    create("v", &[("mountpoint", "/srv/x/"), ("mode", "750")]).unwrap();
    for other in [
        &[("mountpoint", "/srv/x")][..],
        &[("mountpoint", "/srv/y"), ("mode", "0750")],
        &[],
    ] {
        let error = create("v", other).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyExists);
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (name, value) in [
        ("mode", "0788"),
        ("mode", "rwx"),
        ("mode", "10000"),
        ("uid", "root"),
        ("gid", "-1"),
        ("share", "maybe"),
        ("share", "true"),
        ("delete-on-remove", "true"),
        ("delete-on-remove", "false"),
    ] {
        let error = create("v", &[(name, value)]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{name}={value}");
        assert!(error.message().contains(name), "{error}");
    }
    assert!(testing::directories().is_empty());
}

#[test]
fn what_was_never_created_is_not_found() {
    assert_eq!(Mobyfs::get("v").unwrap_err().code(), ErrorCode::NotFound);
    let error = Mobyfs::mount("v", "1").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    Mobyfs::unmount("v", "1").unwrap();
    Mobyfs::remove("v").unwrap();
}

#[test]
fn a_volume_is_mounted_again_after_a_restart_of_the_machine() {
    create("v", &[("mountpoint", "/srv/x")]).unwrap();
    Mobyfs::mount("v", "1").unwrap();
    testing::reboot();
    assert!(Mobyfs::get("v").unwrap().mountpoint.is_none());
    Mobyfs::mount("v", "1").unwrap();
    assert_eq!(testing::mounts().len(), 1);
}

#[test]
fn a_volume_whose_directory_is_gone_is_still_a_volume() {
    create("v", &[]).unwrap();
    directories::remove("v").unwrap();
    assert!(Mobyfs::get("v").unwrap().mountpoint.is_none());
    let error = Mobyfs::mount("v", "1").unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    Mobyfs::remove("v").unwrap();
}

#[test]
fn any_calls_in_any_order_do_what_docker_takes_for_granted() {
    testing::model::volume::<Mobyfs>()
        .setup(|| testing::put_path("/srv/data", Attributes::default()))
        .options([("mode", "0700")])
        .options([("mountpoint", "/srv/data"), ("share", "true")])
        .run();
}

#[test]
fn a_host_call_that_fails_leaves_nothing_behind() {
    let options: KeyValues = [("mountpoint", "/srv/new"), ("delete-on-remove", "true")]
        .into_iter()
        .collect();
    testing::each_fault(|run| {
        run.call("create", || Mobyfs::create("v", &options))?;
        run.call("get", || Mobyfs::get("v"))?;
        run.call("list", Mobyfs::list)?;
        run.call("mount", || Mobyfs::mount("v", "1"))?;
        run.call("unmount", || Mobyfs::unmount("v", "1"))?;
        run.call("remove", || Mobyfs::remove("v"))
    });
}
