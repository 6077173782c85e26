//! Volumes through the driver `local`.

use std::fs;

use anyhow::Result;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;

use crate::{Setup, inspect, local};

fn setup(version: Version, test: &str) -> Result<Option<Setup>> {
    let Some(setup) = Setup::new(version, test, &[local()?])? else {
        return Ok(None);
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    Ok(Some(setup))
}

// A volume's name has two letters at least here: the docker client takes `v:/data` for a path on a Windows drive.

/// A container that uses volume `vol` and has written to it.
fn run_writer(engine: &Engine, arguments: &[&str]) -> Result<()> {
    let mut all = vec!["run", "-d", "--name", "writer"];
    all.extend(arguments);
    all.extend([
        "-v",
        "vol:/data",
        "--volume-driver",
        "files",
        "busybox:local",
        "sh",
        "-c",
        "echo written >> /data/file; exec sleep 100000",
    ]);
    engine.docker(&all)?;
    // `docker run -d` returns before the shell has run.
    dockside_tests::daemon::until("the container to write", || {
        engine
            .try_docker(&["exec", "writer", "cat", "/data/file"])
            .is_ok_and(|said| said.success && !said.out.is_empty())
    })
}

fn remove_all(engine: &Engine) -> Result<()> {
    engine.docker(&["rm", "-f", "writer"])?;
    engine.docker(&["volume", "rm", "vol"])?;
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?, "");
    Ok(())
}

pub(crate) fn data_outlives_containers_and_ends_with_the_volume(version: Version) -> Result<()> {
    let Some(setup) = setup(version, "data_outlives_containers_and_ends_with_the_volume")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    assert_eq!(
        engine.docker(&[
            "volume",
            "create",
            "-d",
            "files",
            "--label",
            "team=blue",
            "vol"
        ])?,
        "vol"
    );
    assert_eq!(
        engine.docker(&["volume", "ls", "--format", "{{.Driver}} {{.Name}}"])?,
        "files vol"
    );
    let seen = inspect(engine, "volume", "vol")?;
    assert_eq!(
        (&seen["Driver"], &seen["Labels"]["team"]),
        (&"files".into(), &"blue".into()),
        "{seen}"
    );

    engine.docker(&[
        "run",
        "--rm",
        "-v",
        "vol:/data",
        "busybox:local",
        "sh",
        "-c",
        "echo kept > /data/file",
    ])?;
    assert_eq!(
        engine.docker(&[
            "run",
            "--rm",
            "-v",
            "vol:/data:ro",
            "busybox:local",
            "cat",
            "/data/file"
        ])?,
        "kept"
    );
    let refused = engine.docker_fails(&[
        "run",
        "--rm",
        "-v",
        "vol:/data:ro",
        "busybox:local",
        "touch",
        "/data/other",
    ])?;
    assert!(refused.contains("Read-only"), "{refused}");

    engine.docker(&["volume", "rm", "vol"])?;
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?, "");
    // The next volume of that name begins empty.
    let seen = engine.docker(&[
        "run",
        "--rm",
        "-v",
        "vol:/data",
        "--volume-driver",
        "files",
        "busybox:local",
        "ls",
        "-A",
        "/data",
    ])?;
    assert_eq!(seen, "");
    engine.docker(&["volume", "rm", "vol"])?;
    setup.down()
}

pub(crate) fn volumes_in_use_survive_a_restart_of_the_engine(version: Version) -> Result<()> {
    let Some(setup) = setup(version, "volumes_in_use_survive_a_restart_of_the_engine")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    // The container has an init: a shell as process 1 ignores SIGTERM, and the engine would wait 10 s for it.
    run_writer(engine, &["--init", "--restart", "always"])?;
    engine.stop()?;
    engine.up(&[])?;
    dockside_tests::daemon::until("the container to write again", || {
        engine
            .try_docker(&["exec", "writer", "cat", "/data/file"])
            .is_ok_and(|said| said.out == "written\nwritten")
    })?;
    assert_eq!(inspect(engine, "volume", "vol")?["Driver"], "files");
    remove_all(engine)?;
    setup.down()
}

pub(crate) fn volumes_in_use_survive_a_live_restore(version: Version) -> Result<()> {
    let Some(setup) = Setup::new(
        version,
        "volumes_in_use_survive_a_live_restore",
        &[local()?],
    )?
    else {
        return Ok(());
    };
    let engine = &setup.engine;
    engine.up(&["--live-restore"])?;
    engine.image()?;
    run_writer(engine, &[])?;
    engine.stop()?;
    engine.up(&["--live-restore"])?;
    assert_eq!(
        engine.docker(&["exec", "writer", "cat", "/data/file"])?,
        "written"
    );
    // The restarted engine asks for the mount of a container that never stopped, and gives it back.
    engine.docker(&[
        "cp",
        "writer:/data/file",
        &format!("{}/copy", engine.shared().display()),
    ])?;
    assert_eq!(
        engine.docker(&["exec", "writer", "cat", "/data/file"])?,
        "written"
    );
    remove_all(engine)?;
    setup.down()
}

pub(crate) fn volumes_in_use_survive_a_kill_of_the_engine(version: Version) -> Result<()> {
    let Some(setup) = setup(version, "volumes_in_use_survive_a_kill_of_the_engine")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    run_writer(engine, &["--init", "--label", "x=y"])?;
    engine.kill()?;
    engine.up(&[])?;
    engine.docker(&["start", "writer"])?;
    dockside_tests::daemon::until("the container to write again", || {
        engine
            .try_docker(&["exec", "writer", "cat", "/data/file"])
            .is_ok_and(|said| said.out == "written\nwritten")
    })?;
    // No reference of the time before the kill may keep the volume.
    remove_all(engine)?;
    setup.down()
}

pub(crate) fn volumes_in_use_survive_a_kill_of_the_daemon(version: Version) -> Result<()> {
    let Some(mut setup) = setup(version, "volumes_in_use_survive_a_kill_of_the_daemon")? else {
        return Ok(());
    };
    run_writer(&setup.engine, &["--init"])?;
    setup.daemon.kill()?;
    let engine = &setup.engine;
    assert_eq!(
        engine.docker(&["exec", "writer", "cat", "/data/file"])?,
        "written"
    );
    setup.daemon = setup.site.serve()?;
    setup.daemon.wait_plugin("files")?;
    assert_eq!(
        engine.docker(&["volume", "ls", "--format", "{{.Driver}} {{.Name}}"])?,
        "files vol"
    );
    engine.docker(&["restart", "writer"])?;
    remove_all(engine)?;
    setup.down()
}

pub(crate) fn docker_cp_leaves_a_running_container_its_volume(version: Version) -> Result<()> {
    let Some(setup) = setup(version, "docker_cp_leaves_a_running_container_its_volume")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    run_writer(engine, &["--init"])?;
    let outside = engine.shared().join("outside");
    fs::write(&outside, "from outside\n")?;
    let outside = outside.display().to_string();
    engine.docker(&["cp", &outside, "writer:/data/copied"])?;
    engine.docker(&["cp", "writer:/data/file", &format!("{outside}-2")])?;
    assert_eq!(fs::read_to_string(format!("{outside}-2"))?, "written\n");
    assert_eq!(
        engine.docker(&["exec", "writer", "cat", "/data/copied", "/data/file"])?,
        "from outside\nwritten"
    );

    // The same with a stopped container, whose volume is mounted for the copy alone.
    engine.docker(&["stop", "writer"])?;
    engine.docker(&["cp", "writer:/data/copied", &format!("{outside}-3")])?;
    assert_eq!(
        fs::read_to_string(format!("{outside}-3"))?,
        "from outside\n"
    );
    remove_all(engine)?;
    setup.down()
}

pub(crate) fn labels_and_options_survive_a_broken_driver(version: Version) -> Result<()> {
    let Some(mut setup) = setup(version, "labels_and_options_survive_a_broken_driver")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    engine.docker(&[
        "volume",
        "create",
        "-d",
        "files",
        "--label",
        "team=blue",
        "-o",
        "mode=0750",
        "vol",
    ])?;
    engine.docker(&[
        "run",
        "--rm",
        "-v",
        "vol:/data",
        "busybox:local",
        "sh",
        "-c",
        "echo kept > /data/file",
    ])?;
    let before = inspect(engine, "volume", "vol")?;
    assert_eq!(
        (&before["Labels"]["team"], &before["Options"]["mode"]),
        (&"blue".into(), &"0750".into()),
        "{before}"
    );

    // With the daemon down, so that it has no earlier version to fall back on.
    engine.stop()?;
    setup.daemon.terminate()?;
    setup
        .site
        .drop_in(&files::fixture("counter-broken")?, "local")?;
    setup.daemon = setup.site.serve()?;
    setup.daemon.wait_plugin("files")?;
    let engine = &setup.engine;
    engine.up(&[])?;
    let during = inspect(engine, "volume", "vol")?;
    assert_eq!(
        (&during["Labels"], &during["Options"]),
        (&before["Labels"], &before["Options"])
    );
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?, "vol");

    setup.site.drop_in(&local()?.component, "local")?;
    let engine = &setup.engine;
    dockside_tests::daemon::until("the good driver to serve again", || {
        engine
            .try_docker(&[
                "run",
                "--rm",
                "-v",
                "vol:/data",
                "busybox:local",
                "cat",
                "/data/file",
            ])
            .is_ok_and(|said| said.out == "kept")
    })?;
    let after = inspect(engine, "volume", "vol")?;
    assert_eq!(
        (&after["Labels"], &after["Options"]),
        (&before["Labels"], &before["Options"])
    );
    engine.docker(&["volume", "rm", "vol"])?;
    setup.down()
}
