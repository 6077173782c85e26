//! The engine is killed again and again while containers use volumes that are mounts.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::Version;

use crate::effects::{
    GRANTS, MOUNTS, create, down, holds, mountpoint, nothing_is_left, setup, start_writer, uses,
    writes, wrote_without_error,
};
use crate::{Setup, inspect};

/// How often the engine is killed in each of the two ways to go on.
const KILLS: usize = 10;

/// Names of volumes, which are also those of the containers that use them, with their options.
const VOLUMES: [(&str, &[(&str, &str)]); 3] = [
    (
        "disk",
        &[
            ("do", "image disk 16m ext4"),
            ("on-mount", "imgmount disk disk"),
            ("on-unmount", "unmount disk"),
            ("mounts", "disk"),
        ],
    ),
    (
        "passing",
        &[
            ("on-mount", "tmpfs passing 8m"),
            ("on-unmount", "unmount passing"),
            ("mounts", "passing"),
        ],
    ),
    (
        "lasting",
        &[("do", "tmpfs lasting 8m"), ("mounts", "lasting")],
    ),
];

pub(crate) fn nothing_is_unmounted_under_a_container_when_the_engine_is_killed(
    version: Version,
) -> Result<()> {
    let test = "nothing_is_unmounted_under_a_container_when_the_engine_is_killed";
    let settings = format!("{GRANTS}{MOUNTS}");
    let Some(setup) = setup(version, test, &settings, &["--live-restore"])? else {
        return Ok(());
    };
    let mut kills = 0;
    for flags in [&["--live-restore"][..], &[]] {
        for _ in 0..KILLS {
            let number = kills + 1;
            kill(&setup, flags).with_context(|| {
                format!(
                    "kill {number}, going on with {flags:?}; the daemon's log ends\n{}",
                    setup.daemon.log_end()
                )
            })?;
            kills += 1;
        }
    }
    // Past the test runner's capture.
    writeln!(
        std::io::stderr(),
        "{kills} kills of the engine ({version:?}) under {} containers, 0 unmounted, 0 left",
        VOLUMES.len()
    )?;
    down(setup)
}

/// One kill, from creating the volumes to removing them.
fn kill(setup: &Setup, flags: &[&str]) -> Result<()> {
    let engine = &setup.engine;
    let mut places = Vec::new();
    for (name, options) in VOLUMES {
        create(engine, name, options)?;
        start_writer(engine, name, name)?;
        places.push(mountpoint(engine, name)?);
    }
    for place in &places {
        writes(engine, place)?;
    }
    engine.kill()?;
    for place in &places {
        writes(engine, place).context("without an engine")?;
    }
    engine.up(flags)?;
    for ((name, _), place) in VOLUMES.iter().zip(&places) {
        let is_running = inspect(engine, "container", name)?["State"]["Running"] == true;
        // Without live restore the new engine has killed what the old one left.
        ensure!(
            is_running != flags.is_empty(),
            "the container {name} runs: {is_running}"
        );
        if !is_running {
            engine.docker(&["start", name])?;
        }
        let last = mountpoint(engine, name)?;
        ensure!(
            flags.is_empty() || last == *place,
            "{name} is mounted at {last} and not at {place}"
        );
        writes(engine, &last).context("with the next engine")?;
        wrote_without_error(engine, name)?;
        assert_eq!(uses(setup, name)?, 1, "{name}");
    }
    assert_eq!(holds(setup, "mount")?.len(), VOLUMES.len());
    for (name, _) in VOLUMES {
        engine.docker(&["rm", "-f", name])?;
    }
    until("the last uses to end", || {
        holds(setup, "mount").is_ok_and(|mounts| mounts == ["lasting"])
    })
    .with_context(|| format!("{:?}", holds(setup, "mount")))?;
    for (name, _) in VOLUMES {
        engine.docker(&["volume", "rm", name])?;
    }
    nothing_is_left(setup)
}
