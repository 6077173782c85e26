//! What happens between calls: schedules, and settling what failed calls left on other machines.

use anyhow::{Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::world::{Program, World};

use crate::{create, created, serve, status, world};

/// What the driver was told between calls, as one text.
fn told(world: &World) -> String {
    status(world, "shown").map_or_else(|error| error.to_string(), |status| status.to_string())
}

#[test]
fn what_a_failed_call_noted_is_settled_and_what_a_good_one_noted_is_dropped() -> Result<()> {
    let Some(world) = world("effects::outbox", "machine-hooks", "")? else {
        return Ok(());
    };
    let mut daemon = serve(&world, Program::Failpoints)?;
    created(&world, "shown", &[])?;
    created(&world, "good", &[("do", "note all-is-well; callkey")])?;
    let refused = create(
        &world,
        "bad",
        &[("do", "note sent-it; tmpfs t 1m; fail no")],
    )?;
    ensure!(!refused.is_success(), "{refused:?}");
    until("the failed call to be settled", || {
        told(&world).contains("sent-it")
    })?;
    // The daemon dies behind the note.
    world.arm("intent.before:1:kill")?;
    let cut = create(&world, "cut", &[("do", "note before-the-end; tmpfs t 1m")]);
    ensure!(cut.is_err(), "{cut:?}");
    until("the daemon to be killed", || {
        daemon.is_running().is_ok_and(|running| !running)
    })?;
    let _daemon = serve(&world, Program::Failpoints)?;
    until("the call that was cut off to be settled", || {
        told(&world).contains("before-the-end")
    })?;
    // A settlement that fails is tried again until it does not.
    created(
        &world,
        "stubborn",
        &[("do", "set on-settle \"fail not yet\"")],
    )?;
    let refused = create(&world, "late", &[("do", "note some-time; fail no")])?;
    ensure!(!refused.is_success(), "{refused:?}");
    until("the settlement to be tried", || {
        world.site.log_end().contains("not yet")
    })?;
    created(&world, "willing", &[("do", "unset on-settle")])?;
    until("the settlement to succeed", || {
        told(&world).contains("some-time")
    })?;
    let told = told(&world);
    ensure!(!told.contains("all-is-well"), "{told}");
    for note in ["sent-it", "before-the-end", "some-time"] {
        ensure!(told.matches(note).count() == 1, "{note}: {told}");
    }
    Ok(())
}

#[test]
fn schedules_run_in_transactions_of_their_own() -> Result<()> {
    let Some(world) = world("effects::timers", "machine-hooks", "")? else {
        return Ok(());
    };
    let _daemon = serve(&world, Program::Plain)?;
    created(&world, "shown", &[])?;
    until("the schedule to run twice", || {
        status(&world, "shown").is_ok_and(|status| {
            let ticks = status.pointer("/values/ticks~1second");
            let ticks = ticks.and_then(serde_json::Value::as_str);
            ticks.and_then(|ticks| ticks.parse().ok()).unwrap_or(0) >= 2
        })
    })?;
    // What fails leaves nothing, not even the count of its runs.
    created(
        &world,
        "failing",
        &[("do", "set on-tick \"tmpfs t 1m; fail never\"")],
    )?;
    until("the schedule to fail", || {
        world.site.log_end().contains("never")
    })?;
    created(&world, "quiet", &[("do", "unset on-tick")])?;
    let held = world.settled()?;
    ensure!(!held.has("mount") && !held.has("row object"), "{held}");
    Ok(())
}
