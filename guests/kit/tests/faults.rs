//! The host in memory lets host calls fail and instances end, as dockside's tests do it on a machine.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::cell::{Cell, RefCell};

use dockside_driver::{
    Error, ErrorCode, Refusal, Result, Settlement, Table, blobs, config, directories, http, log,
    mounts, outbox, random, state,
    testing::{self, Faults, Report, Run},
};

static VOLUMES: Table<u64> = Table::new("volumes/");

fn create(name: &str) -> Result<u64> {
    log::info!("creating");
    directories::create(name, Default::default())?;
    let number = random::number();
    VOLUMES.put(name, &number)?;
    Ok(number)
}

#[test]
fn a_host_call_that_fails_does_nothing() {
    let wanted = Error::new(ErrorCode::Exhausted, "full");
    testing::fail_host_call(4, wanted.clone());
    assert_eq!(testing::call(|| create("v")), Err(wanted));
    assert_eq!(
        testing::host_calls(),
        ["log", "directories::create", "random::number", "state::set"]
    );
    assert!(testing::state().is_empty() && testing::directories().is_empty());
    assert!(testing::call(|| create("v")).is_ok());
}

#[test]
fn a_call_that_always_answers_does_not_fail() {
    testing::fail_host_call(1, Error::other("no"));
    assert!(testing::call(|| create("v")).is_ok());
}

#[test]
fn directories_fail_as_the_host_says_it() {
    for code in [
        ErrorCode::NotFound,
        ErrorCode::AlreadyExists,
        ErrorCode::InUse,
        ErrorCode::Exhausted,
        ErrorCode::Other,
    ] {
        testing::fail_host_call(1, Error::new(code, "no"));
        assert_eq!(directories::open("v").unwrap_err().code(), code);
    }
}

/// Asks the host for something when it is dropped.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        assert!(state::set("late", &1).is_err());
        log::info!("late");
    }
}

#[test]
fn behind_an_instance_that_ends_nothing_remains_but_what_is_elsewhere() {
    testing::grant_store("s");
    testing::answer_http(|_| Ok(http::Response::default()));
    for number in 1..=5 {
        testing::crash_after_host_call(number);
        let went_on = Cell::new(0);
        let ended = testing::call(|| {
            let step = |_| went_on.set(went_on.get() + 1);
            let _late = Late;
            outbox::note(b"n").map(step)?;
            directories::create("v", Default::default()).map(|_| step(()))?;
            state::set("k", &1).map(step)?;
            blobs::put("s", "b", b"x").map(step)?;
            http::Request::put("http://a/").send().map(|_| step(()))
        });
        let error = ended.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        assert!(
            error.message().contains(&format!("host call {number} ")),
            "{error}"
        );
        assert_eq!(went_on.get(), number - 1);
        assert!(testing::state().is_empty() && testing::directories().is_empty());
        assert_eq!(testing::unsettled().len(), 1);
        assert_eq!(testing::blobs("s").len(), usize::from(number >= 4));
    }
    assert_eq!(testing::http_requests().len(), 1);
    assert!(testing::call(|| create("v")).is_ok());
}

#[test]
fn a_panic_of_the_drivers_own_is_the_tests() {
    let panicked = std::panic::catch_unwind(|| {
        testing::call(|| {
            state::set("k", &1)?;
            std::panic::resume_unwind(Box::new("mine"));
            #[allow(unreachable_code)]
            Ok(())
        })
    });
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
    assert!(testing::state().is_empty());
    assert!(testing::call(|| state::set("k", &1)).is_ok());
}

#[test]
fn a_call_that_loses_runs_again_and_sees_what_won() {
    testing::conflict(|| {
        testing::call(|| {
            outbox::note(b"of the other")?;
            directories::create("v", Default::default())
        })
        .unwrap();
    });
    let keys = RefCell::new(Vec::new());
    let lost = testing::call(|| {
        keys.borrow_mut().push(outbox::call_key());
        outbox::note(b"mine")?;
        directories::create("v", Default::default()).map(drop)
    });
    assert_eq!(lost.unwrap_err().code(), ErrorCode::AlreadyExists);
    let keys = keys.into_inner();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
    let notes = testing::unsettled();
    assert_eq!(
        notes,
        [
            (keys[0].clone(), b"mine".to_vec()),
            (keys[0].clone(), b"mine".to_vec())
        ]
    );
    assert_eq!(testing::directories().len(), 1);
}

#[test]
fn a_call_that_fails_does_not_run_again() {
    testing::conflict(|| panic!("nothing was to be committed"));
    let mut runs = 0;
    let failed = testing::call(|| {
        runs += 1;
        Err::<(), _>(Error::other("no"))
    });
    assert!(failed.is_err());
    assert_eq!(runs, 1);
    testing::reset();
}

#[test]
fn every_host_call_of_a_scenario_is_disturbed() {
    let report = testing::each_fault(|run| {
        run.call("create", || create("v"))?;
        run.call("mount", || {
            mounts::mount("v", &directories::open("v")?, mounts::Flags::default())
        })?;
        run.call("unmount", || mounts::unmount("v"))
    });
    // Of the 7 host calls, two always answer.
    let expected = Report {
        calls: 3,
        host_calls: 7,
        runs: 1 + 3 + 7 + 5,
    };
    assert_eq!(report, expected);
}

#[test]
fn a_scenario_of_refusals_is_one_too() {
    testing::each_fault(|run| {
        let missing = run.call("open", || directories::open("v"));
        assert_eq!(missing.unwrap_err().code(), ErrorCode::NotFound);
        Ok(())
    });
}

fn found(scenario: impl FnMut(&mut Run) -> Result<()>) -> String {
    Faults::new().check(scenario).unwrap_err()
}

#[test]
fn a_driver_that_goes_on_after_a_failure_is_found() {
    let found = found(|run| {
        run.call("create", || {
            let _ = directories::create("v", Default::default());
            VOLUMES.put("v", &1)
        })
    });
    assert_eq!(
        found,
        "host call 1 of `create`, directories::create, fails: `create` leaves something else when it succeeds all the same:\n  directory \"v\" is gone: Attributes { uid: None, gid: None, mode: None }\n"
    );
}

#[test]
fn a_driver_that_takes_a_failure_for_an_answer_is_found() {
    let found = found(|run| {
        run.call("is it there", || {
            Ok(config::get("k").ok().flatten().is_none() && state::exists("k").unwrap_or(true))
        })
        .map(drop)
    });
    assert!(
        found.contains("state::exists, fails: `is it there` answers something else"),
        "{found}"
    );
}

#[test]
fn a_driver_that_remembers_in_a_static_is_found() {
    thread_local!(static MADE: Cell<bool> = const { Cell::new(false) });
    let found = found(|run| {
        MADE.set(false);
        run.call("create", || {
            if !MADE.replace(true) {
                directories::create("v", Default::default())?;
            }
            VOLUMES.put("v", &1)
        })
    });
    assert!(found.contains("runs again"), "{found}");
    assert!(found.contains("directory \"v\" is gone"), "{found}");
}

#[test]
fn a_driver_that_panics_on_a_failure_is_found() {
    let panicked = std::panic::catch_unwind(|| {
        testing::each_fault(|run| {
            run.call("create", || {
                if state::set("k", &1).is_err() {
                    std::panic::resume_unwind(Box::new("mine"));
                }
                Ok(())
            })
        })
    });
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
}

/// Keeps a blob for each volume, and a lock while it does.
struct Locked;

impl Locked {
    fn create() -> Result<()> {
        outbox::note(outbox::call_key().as_bytes())?;
        if blobs::list("s", "locks/")?.is_empty() {
            blobs::put("s", "locks/v", outbox::call_key().as_bytes())?;
        } else {
            return Err(Error::in_use("somebody has the lock"));
        }
        blobs::put("s", "v", b"volume")?;
        state::set("v", &1)?;
        blobs::delete("s", "locks/v")
    }
}

impl Settlement for Locked {
    fn compensate(call_key: &str, _note: &[u8]) -> Result<()> {
        match blobs::get("s", "locks/v") {
            Ok(owner) if owner == call_key.as_bytes() => blobs::delete("s", "locks/v"),
            _ => Ok(()),
        }
    }
}

#[test]
fn what_failed_calls_leave_elsewhere_is_settled_first_if_the_driver_can() {
    let scenario = |run: &mut Run| {
        testing::grant_store("s");
        run.call("create", Locked::create)
    };
    let found = found(scenario);
    assert!(found.contains("somebody has the lock"), "{found}");
    let faults = Faults::new()
        .failing_with(Refusal::Unreachable)
        .settled_by::<Locked>();
    let report = faults.check(scenario).unwrap();
    // One call, 7 host calls, of which all fail but the two that ask for the key, and three are elsewhere.
    assert_eq!(report.runs, 1 + 1 + 8 + 6 + 3);
}

#[test]
fn a_scenario_that_fails_by_itself_is_no_check() {
    let found = found(|run| run.call("open", || directories::open("v")).map(drop));
    assert!(found.contains("when nothing is disturbed"), "{found}");
}
