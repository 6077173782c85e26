//! What is made again and again.

use super::*;
use crate::schedule::{BACKUPS, SNAPSHOTS};
use dockside_driver::{Error, Timers, testing::judge_blobs};

const HOUR: u64 = 3600;

fn tick(timer: &str, time: u64) {
    testing::set_time(time);
    testing::call(|| ImageDriver::tick(timer)).unwrap();
}

fn snapshots(volume: &str) -> Vec<String> {
    column(&run("snapshots", &[("volume", volume)]).unwrap(), "created")
}

fn schedule(volume: &str, what: &str, every: &str, keep: &str) -> Result<Value> {
    run(
        "schedule",
        &[
            ("volume", volume),
            ("what", what),
            ("every", every),
            ("keep", keep),
        ],
    )
}

#[test]
fn snapshots_are_made_on_time_and_the_oldest_go() {
    volume("v");
    testing::set_time(0);
    run("snapshot", &[("volume", "v"), ("name", "mine")]).unwrap();
    assert_eq!(schedule("v", "snapshot", "1h", "2").unwrap(), "snapshot-1h");
    for (time, made) in [
        (0, 1),
        (5, 1),
        (HOUR - 1, 1),
        (HOUR, 2),
        (HOUR + 5, 2),
        (2 * HOUR + 3, 2),
    ] {
        tick(SNAPSHOTS, time);
        tick(BACKUPS, time);
        assert_eq!(snapshots("v").len(), made + 1, "{time}");
    }
    assert_eq!(
        snapshots("v"),
        [
            "1970-01-01T00:00:00Z",
            "1970-01-01T01:00:00Z",
            "1970-01-01T02:00:03Z"
        ]
    );
    assert_eq!(snapshots("v").len(), 3, "the one without a schedule stays");
}

#[test]
fn what_was_missed_is_made_once() {
    volume("v");
    testing::set_time(0);
    schedule("v", "snapshot", "1h", "9").unwrap();
    tick(SNAPSHOTS, 0);
    // The daemon was down for a day and a half hour.
    let late = 24 * HOUR + HOUR / 2;
    for beat in 0..10 {
        tick(SNAPSHOTS, late + beat * 5);
    }
    assert_eq!(snapshots("v").len(), 2);
    tick(SNAPSHOTS, 25 * HOUR);
    assert_eq!(snapshots("v").len(), 3, "and the beat is as it was");
}

#[test]
fn a_failure_is_shown_and_tried_again_and_holds_nobody_up() {
    store();
    testing::set_time(0);
    for name in ["a", "b"] {
        volume(name);
        schedule(name, "backup", "1d", "2").unwrap();
    }
    judge_blobs(|_, _| Err(Error::unavailable("the store is down")));
    tick(BACKUPS, 0);
    tick(BACKUPS, 5);
    let table = run("schedules", &[]).unwrap();
    assert_eq!(column(&table, "error"), ["the store is down"; 2]);
    let errors = testing::log();
    assert!(
        errors
            .iter()
            .any(|(_, line)| line.contains("the backup of \"a\" failed"))
    );
    assert_eq!(testing::images().len(), 2);
    judge_blobs(|_, _| Ok(()));
    tick(BACKUPS, 10);
    assert!(blobs("backups/").is_empty(), "not at once");
    tick(BACKUPS, 305);
    tick(BACKUPS, 310);
    assert_eq!(blobs("backups/").len(), 2);
    assert!(blobs("locks/").is_empty());
    assert_eq!(column(&run("schedules", &[]).unwrap(), "error"), ["", ""]);
}

#[test]
fn old_backups_of_the_schedule_go_with_their_pieces() {
    store();
    testing::set_time(0);
    volume("v");
    volume("w");
    let mine = run("backup", &[("volume", "v")]).unwrap();
    let other = run("backup", &[("volume", "w")]).unwrap();
    schedule("v", "backup", "1d", "2").unwrap();
    for day in 0..5 {
        write("v", PIECE, &format!("day {day}"));
        tick(BACKUPS, day * 24 * HOUR);
    }
    let table = run("backups", &[]).unwrap();
    let left = column(&table, "backup");
    assert_eq!(left.len(), 4);
    for by_hand in [mine, other] {
        let name = by_hand["backup"].as_str().unwrap().to_owned();
        assert!(left.contains(&name));
    }
    // Two first pieces of file systems, and one of each of the last two days.
    assert_eq!(blobs("chunks/").len(), 4);
    for backup in left {
        run("backup-verify", &[("backup", &backup)]).unwrap();
    }
    assert_eq!(
        column(&table, "schedule"),
        ["", "", "backup-1d", "backup-1d"]
    );
}

#[test]
fn schedules_are_changed_listed_and_ended() {
    store();
    volume("v");
    testing::set_time(100);
    schedule("v", "snapshot", "1h", "2").unwrap();
    tick(SNAPSHOTS, 100);
    schedule("v", "snapshot", "60m", "5").unwrap();
    schedule("v", "backup", "1d", "7").unwrap();
    let table = run("schedules", &[]).unwrap();
    assert_eq!(column(&table, "name"), ["backup-1d", "snapshot-1h"]);
    assert_eq!(table[1]["keep"], 5);
    assert_eq!(
        table[1]["last"], "1970-01-01T00:01:40Z",
        "it is the same one"
    );
    for (every, keep) in [("1s", "1"), ("soon", "1"), ("1h", "0")] {
        assert!(
            schedule("v", "snapshot", every, keep).is_err(),
            "{every} {keep}"
        );
    }
    assert!(schedule("nothing", "snapshot", "1h", "1").is_err());
    let error = run("unschedule", &[("volume", "v"), ("name", "x")]).unwrap_err();
    assert!(
        error.message().contains("backup-1d, snapshot-1h"),
        "{error}"
    );
    run("unschedule", &[("volume", "v"), ("name", "snapshot-1h")]).unwrap();
    tick(SNAPSHOTS, 10 * HOUR);
    assert_eq!(snapshots("v").len(), 1);
    remove("v").unwrap();
    assert!(
        run("schedules", &[])
            .unwrap()
            .as_array()
            .unwrap()
            .is_empty()
    );
    tick(BACKUPS, 100 * HOUR);
    assert!(blobs("").is_empty());
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_schedule() {
    volume("v");
    testing::set_time(1000 * HOUR);
    schedule("v", "snapshot", "1h", "9").unwrap();
    tick(SNAPSHOTS, 1000 * HOUR);
    tick(SNAPSHOTS, 10 * HOUR);
    tick(SNAPSHOTS, 11 * HOUR + 1);
    assert!(snapshots("v").len() >= 2, "{:?}", snapshots("v"));
}
