//! A driver that traps, takes too long or takes too much memory after each of its operations.

use anyhow::{Context, Result, ensure};
use dockside_tests::world::{Program, World};

use crate::{create, created, is_empty, removed, serve, world};

/// What a call before this one made.
const BEFORE: &str = "mkdir old; tmpfs t 1m; image j 16m ext4; bridge br; addr br 10.8.0.1/24; pair one two; nat was forward@br; keep old hunter2";

/// A call that uses every capability, one operation after the other.
const CALL: &str = "\
mkdir low; mkdir up; mkdir work; mkdir d uid=5; tmpfs m 4m; bind n d; overlay o low up work; hostpath h OUTSIDE; \
image i 16m ext4; imgclone i c; imgmount e i; imgrestore j c; imggrow c 32m; bridge b; addr b 10.9.0.1/24; route b 10.77.0.0/16 10.9.0.2; \
neigh b 10.9.0.7 06:00:00:00:00:66; mtu b 1400; pair a p; master p b; isolate p; down a; vxlan x 77 device=wire0; fdb x 06:00:00:00:00:55 10.1.2.3; \
macvlan v wire0; nat r masq=10.9.0.0/24@b,forward@b,publish=tcp:18080:10.9.0.2:80@b; note what would settle it; set k value; count c; secret token; keep s hunter2; \
natdel was; forget old; unmount t; rmdir old; imgdelete j; linkdel one; deladdr br 10.8.0.1/24; linkdel br";

/// Ends the driver after each operation in this way. Returns how often.
fn each(test: &str, end: &str, limits: &str) -> Result<usize> {
    let Some(world) = world(test, "machine", limits)? else {
        return Ok(0);
    };
    let mut daemon = serve(&world, Program::Plain)?;
    created(&world, "before", &[("do", BEFORE)])?;
    let before = look(&world)?;
    let call = CALL.replace("OUTSIDE", &world.outside.display().to_string());
    let operations: Vec<&str> = call.split("; ").collect();
    for number in 1..=operations.len() {
        let (done, _) = operations.split_at(number);
        let at = || format!("{end} after {}", done.last().unwrap());
        let script = format!("{}; {end}", done.join("; "));
        let answer = create(&world, "v", &[("do", &script)]).with_context(at)?;
        ensure!(!answer.is_success(), "{}: {answer:?}", at());
        let difference = before.difference(&look(&world).with_context(at)?);
        ensure!(
            difference.is_empty(),
            "{} something remains:\n{difference}  the answer was {}\n{}",
            at(),
            answer.err(),
            world.site.log_end()
        );
        ensure!(daemon.is_running()?, "{}: the daemon ended", at());
    }
    // It is a call that can succeed.
    if limits.is_empty() {
        created(&world, "v", &[("do", &call), ("undo", "")])?;
        ensure!(!before.unlikeness(&look(&world)?).is_empty());
    } else {
        removed(&world, "before")?;
        is_empty(&look(&world)?)?;
    }
    eprintln!("{test}: {} times", operations.len());
    Ok(operations.len())
}

/// Notes wait for a driver that can settle them, and mounting a file system changes what is in it.
fn look(world: &World) -> Result<dockside_tests::world::Snapshot> {
    Ok(world.settled()?.without("row note").without("content"))
}

#[test]
fn a_trap_after_any_operation_leaves_nothing() -> Result<()> {
    each("effects::guest: trap", "trap", "").map(drop)
}

#[test]
fn an_error_after_any_operation_leaves_nothing() -> Result<()> {
    each("effects::guest: error", "fail so", "").map(drop)
}

#[test]
fn a_driver_that_runs_out_of_memory_after_any_operation_leaves_nothing() -> Result<()> {
    each("effects::guest: memory", "oom", "memory = \"32MiB\"").map(drop)
}

#[test]
fn a_driver_that_runs_out_of_time_after_any_operation_leaves_nothing() -> Result<()> {
    each("effects::guest: time", "spin", "deadline = \"1s\"").map(drop)
}
