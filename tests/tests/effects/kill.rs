//! The daemon killed at every failpoint of every operation, and at every failpoint of the recovery that follows.

use anyhow::{Context, Result, ensure};
use dockside_tests::client::Answer;
use dockside_tests::daemon::{Daemon, until};
use dockside_tests::world::{Program, World};

use crate::operations::{self, End, Operation, VOLUME, judge};
use crate::{create, created, is_empty, serve};

/// Kills the daemon in a call. Whether the caller had its answer before.
pub(crate) fn kill_in_call(
    world: &World,
    daemon: &mut Daemon,
    point: &str,
    call: impl FnOnce() -> std::io::Result<Answer>,
) -> Result<bool> {
    world.arm(&format!("{point}:kill"))?;
    let answer = call();
    // The last of it is done behind the answer.
    if let Ok(answer) = &answer {
        ensure!(answer.is_success(), "{answer:?}");
    }
    until("the daemon to be killed", || {
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
    let (mut expected, visits) = operation.expected(world)?;
    let call = || create(world, VOLUME, &operation.options(&script));
    let mut kills = 0;
    let mut last = End::Nothing;
    for (place, number) in &visits {
        let point = format!("{place}:{number}");
        let at = || format!("killed at {point}");
        let answered = kill_in_call(world, &mut daemon, &point, call).with_context(at)?;
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
            operation.again(world, &mut expected).with_context(at)?;
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
            kill_in_call(world, &mut daemon, &point, call).with_context(at)?;
            if kill_in_recovery(world, &second).with_context(at)? {
                kills += 2;
            }
            daemon = serve(world, Program::Failpoints).with_context(at)?;
            let now = operation.look(world)?;
            if judge(&now, &expected).with_context(at)? == End::Committed {
                operation.again(world, &mut expected).with_context(at)?;
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
    operations::each("effects::kill", "kills", operation)
}
