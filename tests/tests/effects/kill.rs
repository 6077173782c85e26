//! The daemon killed at every failpoint of every operation, and at every failpoint of the recovery that follows.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use dockside_tests::daemon::Daemon;
use dockside_tests::world::{Program, Snapshot, World};

use crate::operations::{ALL, Operation};
use crate::{create, created, is_empty, removed, serve, world};

/// Worlds side by side.
const WORLDS: usize = 2;

/// The volume that makes what an operation needs.
const BEFORE: &str = "before";

/// The volume that is the operation.
const VOLUME: &str = "v";

/// How a killed call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Nothing,
    Committed,
}

/// What an operation leads from and to.
struct Expected {
    /// What was there before it, in this very world.
    before: Snapshot,
    /// What it makes, of another time.
    after: Snapshot,
}

impl Operation {
    fn script_in(&self, world: &World) -> String {
        let outside = world.outside.display().to_string();
        self.script.replace("OUTSIDE", &outside)
    }

    fn prepare(&self, world: &World) -> Result<Snapshot> {
        created(world, BEFORE, &[("do", self.before)])
            .with_context(|| format!("what {:?} needs", self.name))?;
        self.look(world)
    }

    /// Notes stay until a driver has settled them, and one that cannot is not asked.
    fn look(&self, world: &World) -> Result<Snapshot> {
        Ok(world.settled()?.without("row note"))
    }

    fn options<'a>(&self, script: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut options = vec![("do", script)];
        options.extend(self.undo.map(|undo| ("undo", undo)));
        options
    }

    fn back(&self, world: &World) -> Result<()> {
        removed(world, VOLUME)?;
        removed(world, BEFORE)
    }
}

fn judge(now: &Snapshot, expected: &Expected) -> Result<End> {
    let from_before = expected.before.difference(now);
    if from_before.is_empty() {
        return Ok(End::Nothing);
    }
    let from_after = expected.after.unlikeness(now);
    if from_after.is_empty() {
        return Ok(End::Committed);
    }
    bail!(
        "something between:\n  against nothing:\n{from_before}  against everything:\n{from_after}"
    )
}

/// Kills the daemon in the call. Whether the caller had its answer before.
fn kill_in_call(
    world: &World,
    mut daemon: Daemon,
    operation: &Operation,
    point: &str,
) -> Result<bool> {
    let script = operation.script_in(world);
    world.arm(&format!("{point}:kill"))?;
    let answer = create(world, VOLUME, &operation.options(&script));
    // The last of it is done behind the answer.
    if let Ok(answer) = &answer {
        ensure!(answer.is_success(), "{answer:?}");
    }
    dockside_tests::daemon::until("the daemon to be killed", || {
        daemon.is_running().is_ok_and(|running| !running)
    })?;
    Ok(answer.is_ok())
}

/// Starts a daemon that is killed before it is ready. Whether it was.
fn kill_in_recovery(world: &World, point: &str) -> Result<bool> {
    world.arm(&format!("{point}:kill"))?;
    let mut daemon = world.spawn(Program::Failpoints, &[])?;
    Ok(daemon.wait_ready().is_err())
}

/// One operation, killed at each of its failpoints. Returns the number of kills.
fn operation(world: &World, operation: &Operation) -> Result<usize> {
    let mut daemon = serve(world, Program::Failpoints)?;
    let script = operation.script_in(world);
    let mut before = operation.prepare(world)?;
    world.arm("")?;
    created(world, VOLUME, &operation.options(&script))?;
    let after = operation.look(world)?;
    let visits = world.visits()?;
    ensure!(
        !before.difference(&after).is_empty(),
        "the operation does nothing"
    );
    operation.back(world)?;
    is_empty(&operation.look(world)?)?;
    before = operation.prepare(world)?;
    let mut expected = Expected { before, after };
    let mut kills = 0;
    let mut last = End::Nothing;
    let again = |expected: &mut Expected| -> Result<()> {
        operation.back(world)?;
        is_empty(&operation.look(world)?)?;
        expected.before = operation.prepare(world)?;
        Ok(())
    };
    for (place, number) in &visits {
        let point = format!("{place}:{number}");
        let at = || format!("killed at {point}");
        let answered = kill_in_call(world, daemon, operation, &point).with_context(at)?;
        kills += 1;
        daemon = serve(world, Program::Failpoints).with_context(at)?;
        let recovery = world.visits()?;
        let now = operation.look(world)?;
        let end = judge(&now, &expected).with_context(at)?;
        // Once something is committed nothing takes it back.
        ensure!(
            end == End::Committed || (last == End::Nothing && !answered),
            "killed at {point}: nothing remains of what was committed"
        );
        last = end;
        if end == End::Committed {
            again(&mut expected).with_context(at)?;
        }
        // The same with a recovery that is killed as well.
        if !matches!(
            place.as_str(),
            "commit.before" | "commit.after" | "effect.after"
        ) {
            continue;
        }
        for (place, number) in recovery {
            let second = format!("{place}:{number}");
            let at = || format!("killed at {point}, and at {second} of the recovery");
            kill_in_call(world, daemon, operation, &point).with_context(at)?;
            if kill_in_recovery(world, &second).with_context(at)? {
                kills += 2;
            }
            daemon = serve(world, Program::Failpoints).with_context(at)?;
            let now = operation.look(world)?;
            if judge(&now, &expected).with_context(at)? == End::Committed {
                again(&mut expected).with_context(at)?;
            }
        }
    }
    created(world, VOLUME, &operation.options(&script)).context("after all kills")?;
    let now = operation.look(world)?;
    ensure!(
        judge(&now, &expected)? == End::Committed,
        "it does nothing any more"
    );
    operation.back(world)?;
    is_empty(&operation.look(world)?)?;
    ensure!(world.integrity()? == "ok", "{}", world.integrity()?);
    Ok(kills)
}

#[test]
fn a_kill_at_any_failpoint_of_any_operation_leaves_nothing_or_everything() -> Result<()> {
    let next = AtomicUsize::new(0);
    let kills = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let only = std::env::var("DOCKSIDE_OPERATION").ok();
    thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| {
                let mut place = None;
                while let Some(one) = ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if only.as_deref().is_some_and(|only| one.name != only) {
                        continue;
                    }
                    let result = (|| {
                        if place.is_none() {
                            place = world("effects::kill", "machine", "")?;
                        }
                        match &place {
                            Some(world) => operation(world, one),
                            None => Ok(0),
                        }
                    })();
                    match result {
                        Ok(count) => {
                            kills.fetch_add(count, Ordering::Relaxed);
                        }
                        Err(error) => {
                            let log = place.as_ref().map(|world| world.site.log_end());
                            let log = log.unwrap_or_default();
                            wrong.lock().unwrap().push(format!(
                                "{}: {error:#}\n  the daemon's log ends\n{log}",
                                one.name
                            ));
                            // What is wrong with it must not be counted against the next operation.
                            place = None;
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    eprintln!(
        "{} operations, {} kills, {} wrong",
        ALL.len(),
        kills.into_inner(),
        wrong.len()
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}
