use super::*;
use dockside_driver::testing;

fn options(pairs: &[(&str, &str)]) -> KeyValues {
    pairs.iter().copied().collect()
}

#[test]
fn a_volume_lives_from_create_to_remove() {
    Local::create("v", &options(&[("uid", "1000"), ("mode", "0700")])).unwrap();
    assert_eq!(Local::mount("v", "1").unwrap().key(), "v");
    Local::unmount("v", "1").unwrap();
    let info = Local::get("v").unwrap();
    assert_eq!(info.status, options(&[("uid", "1000"), ("mode", "0700")]));
    assert_eq!(info.mountpoint.unwrap().key(), "v");
    assert_eq!(Local::list().unwrap().len(), 1);
    assert_eq!(Local::path("v").unwrap().unwrap().key(), "v");
    let attributes = Attributes {
        uid: Some(1000),
        gid: None,
        mode: Some(0o700),
    };
    assert_eq!(testing::directories(), [("v".into(), attributes)]);
    Local::remove("v").unwrap();
    assert!(testing::directories().is_empty() && testing::state().is_empty());
}

#[test]
fn names_are_any_text() {
    for name in ["../../etc", "a/b", "", "ü€\n\0", &"x".repeat(5000)] {
        Local::create(name, &options(&[])).unwrap();
        assert_eq!(Local::get(name).unwrap().name, name);
    }
    assert_eq!(Local::list().unwrap().len(), 5);
}

#[test]
fn creating_again_succeeds_with_the_same_options_only() {
    Local::create("v", &options(&[("mode", "755")])).unwrap();
    Local::create("v", &options(&[])).unwrap();
    Local::create("v", &options(&[("mode", "0755")])).unwrap();
    let error = Local::create("v", &options(&[("uid", "1")])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (name, value) in [
        ("mode", "0788"),
        ("mode", "rwx"),
        ("mode", "10000"),
        ("mode", ""),
        ("uid", "root"),
        ("gid", "-1"),
    ] {
        let error = Local::create("v", &options(&[(name, value)])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{name}={value}");
        assert!(
            error.message().contains(&format!("{name}={value}")),
            "{error}"
        );
    }
    assert!(testing::directories().is_empty());
}

#[test]
fn what_was_never_created_is_not_found() {
    assert_eq!(Local::get("v").unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(
        Local::mount("v", "1").unwrap_err().code(),
        ErrorCode::NotFound
    );
    Local::remove("v").unwrap();
}

#[test]
fn a_volume_whose_directory_is_gone_is_still_a_volume() {
    Local::create("v", &options(&[])).unwrap();
    directories::remove("v").unwrap();
    assert!(Local::get("v").unwrap().mountpoint.is_none());
    assert_eq!(Local::list().unwrap().len(), 1);
    assert_eq!(
        Local::mount("v", "1").unwrap_err().code(),
        ErrorCode::Unavailable
    );
    Local::remove("v").unwrap();
    assert_eq!(Local::get("v").unwrap_err().code(), ErrorCode::NotFound);
}

#[test]
fn a_directory_without_a_record_is_not_taken_over() {
    directories::create("v", Attributes::default()).unwrap();
    assert_eq!(
        Local::create("v", &options(&[])).unwrap_err().code(),
        ErrorCode::AlreadyExists
    );
}

#[test]
fn any_calls_in_any_order_do_what_docker_takes_for_granted() {
    testing::model::volume::<Local>()
        .options([("mode", "0700")])
        .run();
}

#[test]
fn a_host_call_that_fails_leaves_nothing_behind() {
    testing::each_fault(|run| {
        run.call("create", || Local::create("v", &options(&[("uid", "7")])))?;
        run.call("get", || Local::get("v"))?;
        run.call("list", Local::list)?;
        run.call("mount", || Local::mount("v", "1"))?;
        run.call("unmount", || Local::unmount("v", "1"))?;
        run.call("remove", || Local::remove("v"))
    });
}
