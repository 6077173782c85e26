//! A disk that is full, or broken, at each durable write of each operation.

use anyhow::{Context, Result, ensure};
use dockside_tests::world::{Program, World};

use crate::operations::{self, End, Operation, VOLUME, judge};
use crate::{create, created, is_empty, serve};

/// Whether everything is done that follows an answer. It is, as a rule; if not, looking again does not help.
fn until_settled(world: &World) -> bool {
    (0..100).any(|_| world.snapshot().is_ok_and(|now| now.is_settled()))
}

/// One operation with each of its writes failing. Returns the number of failed writes.
fn operation(world: &World, operation: &Operation) -> Result<usize> {
    let mut daemon = serve(world, Program::Failpoints)?;
    let script = operation.script_in(world);
    let (mut expected, visits) = operation.expected(world)?;
    let writes = visits
        .iter()
        .filter(|(place, _)| place == "commit.before")
        .count();
    let mut failures = 0;
    for number in 1..=writes {
        for what in ["enospc", "eio"] {
            let at = || format!("{what} at write {number} of {writes}");
            world.arm(&format!("commit.before:{number}:{what}"))?;
            let answer = create(world, VOLUME, &operation.options(&script)).with_context(at)?;
            failures += 1;
            if !until_settled(world) {
                daemon.kill()?;
                daemon = serve(world, Program::Failpoints)?;
            }
            let now = operation.look(world).with_context(at)?;
            let end = judge(&now, &expected).with_context(at)?;
            ensure!(
                (end == End::Committed) == answer.is_success(),
                "{}: {end:?}, and the answer was {answer:?}",
                at()
            );
            ensure!(daemon.is_running()?, "{}: the daemon ended", at());
            // The next call works, whatever this one came to.
            world.arm("")?;
            if end == End::Nothing {
                created(world, VOLUME, &operation.options(&script)).with_context(at)?;
                let now = operation.look(world).with_context(at)?;
                ensure!(
                    judge(&now, &expected).with_context(at)? == End::Committed,
                    "{}: it does nothing any more",
                    at()
                );
            }
            operation.again(world, &mut expected).with_context(at)?;
        }
    }
    operation.back_before(world)?;
    is_empty(&operation.look(world)?)?;
    ensure!(world.integrity()? == "ok", "{}", world.integrity()?);
    Ok(failures)
}

#[test]
fn a_full_or_broken_disk_at_any_write_of_any_operation_leaves_nothing_or_everything() -> Result<()>
{
    operations::each("effects::disk", "failed writes", operation)
}
