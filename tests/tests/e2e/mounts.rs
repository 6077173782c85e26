//! Volumes that are mounts: in memory and on disk images.

use anyhow::{Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};

use crate::effects::{
    GRANTS, MOUNTS, answer, create, create_arguments, down, holds, in_container, mountpoint,
    nothing_is_left, pairs, setup, start_writer, uses, writes, wrote_without_error,
};
use crate::inspect;

/// An image that is mounted as long as a container uses it.
const IMAGE: [(&str, &str); 4] = [
    ("do", "image disk 16m ext4"),
    ("on-mount", "imgmount disk disk; count mounted"),
    ("on-unmount", "unmount disk; count unmounted"),
    ("mounts", "disk"),
];

/// A tmpfs as long as the volume.
const MEMORY: [(&str, &str); 2] = [("do", "tmpfs memory 8m"), ("mounts", "memory")];

fn settings() -> String {
    format!("{GRANTS}{MOUNTS}")
}

/// One volume is filled until nothing more fits; another and the machine have room as before.
fn is_limited(engine: &Engine, full: &str, other: &str) -> Result<()> {
    let said = engine.docker_fails(&[
        "run",
        "--rm",
        "-v",
        &format!("{full}:/data"),
        "busybox:local",
        "dd",
        "if=/dev/zero",
        "of=/data/much",
        "bs=1M",
        "count=64",
    ])?;
    ensure!(said.contains("No space left on device"), "{said}");
    in_container(
        engine,
        other,
        "dd if=/dev/zero of=/data/some bs=1M count=2 2>&1",
    )?;
    assert_eq!(
        in_container(engine, full, "rm /data/much && cat /data/file")?,
        "kept"
    );
    Ok(())
}

fn is_a_volume_with_a_limit(
    version: Version,
    test: &str,
    options: impl Fn(&str) -> Vec<(&'static str, String)>,
    filesystem: &str,
) -> Result<()> {
    let Some(setup) = setup(version, test, &settings(), &[])? else {
        return Ok(());
    };
    let engine = &setup.engine;
    for name in ["one", "two"] {
        let options = options(name);
        let options: Vec<(&str, &str)> = options
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        create(engine, name, &options)?;
    }
    in_container(engine, "one", "echo kept > /data/file")?;
    assert_eq!(in_container(engine, "one", "cat /data/file")?, "kept");
    let mounted = in_container(engine, "one", "grep ' /data ' /proc/mounts")?;
    let words: Vec<&str> = mounted.split(' ').collect();
    ensure!(words.get(2) == Some(&filesystem), "{mounted}");
    ensure!(mounted.contains("nosuid,nodev"), "{mounted}");
    is_limited(engine, "one", "two")?;
    engine.docker(&["volume", "rm", "one"])?;
    // What is left is the other's.
    assert_eq!(in_container(engine, "two", "ls /data/some")?, "/data/some");
    engine.docker(&["volume", "rm", "two"])?;
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn a_disk_image_is_a_volume_with_a_size_limit(version: Version) -> Result<()> {
    let test = "a_disk_image_is_a_volume_with_a_size_limit";
    let options = |name: &str| {
        vec![
            ("do", format!("image {name} 16m ext4")),
            ("on-mount", format!("imgmount {name} {name}")),
            ("on-unmount", format!("unmount {name}")),
            ("mounts", name.to_owned()),
        ]
    };
    is_a_volume_with_a_limit(version, test, options, "ext4")
}

pub(crate) fn a_volume_in_memory_has_a_size_limit(version: Version) -> Result<()> {
    let test = "a_volume_in_memory_has_a_size_limit";
    let options = |name: &str| {
        vec![
            ("do", format!("tmpfs {name} 8m")),
            ("mounts", name.to_owned()),
        ]
    };
    is_a_volume_with_a_limit(version, test, options, "tmpfs")
}

pub(crate) fn the_driver_unmounts_after_the_last_use(version: Version) -> Result<()> {
    let test = "the_driver_unmounts_after_the_last_use";
    let Some(setup) = setup(version, test, &settings(), &[])? else {
        return Ok(());
    };
    let engine = &setup.engine;
    create(engine, "vol", &IMAGE)?;
    assert!(holds(&setup, "mount")?.is_empty());
    start_writer(engine, "first", "vol")?;
    let place = mountpoint(engine, "vol")?;
    writes(engine, &place)?;
    // What the engine itself mounted and unmounted before the container started does not count here.
    let mounted = answer(engine, "vol", "count mounted")?;
    let unmounted = answer(engine, "vol", "count unmounted")?;
    let same = || -> Result<()> {
        assert_eq!(answer(engine, "vol", "count mounted")?, mounted);
        assert_eq!(answer(engine, "vol", "count unmounted")?, unmounted);
        assert_eq!(holds(&setup, "mount")?, ["disk"]);
        Ok(())
    };
    assert_eq!(uses(&setup, "vol")?, 1);
    start_writer(engine, "second", "vol")?;
    assert_eq!(uses(&setup, "vol")?, 2);
    same()?;
    let copy = engine.shared().join("copy").display().to_string();
    engine.docker(&["cp", "first:/data/ticks", &copy])?;
    engine.docker(&["cp", &copy, "second:/data/copied"])?;
    assert_eq!(uses(&setup, "vol")?, 2);
    same()?;
    engine.docker(&["kill", "first"])?;
    until("the first use to end", || {
        uses(&setup, "vol").is_ok_and(|uses| uses == 1)
    })?;
    same()?;
    // The first is stopped: its volume is mounted for the copy, which must not end the other's use.
    engine.docker(&["cp", "first:/data/copied", &copy])?;
    assert_eq!(uses(&setup, "vol")?, 1);
    same()?;
    writes(engine, &place)?;
    wrote_without_error(engine, "second")?;
    engine.docker(&["rm", "-f", "second"])?;
    assert_eq!(uses(&setup, "vol")?, 0);
    assert_ne!(answer(engine, "vol", "count unmounted")?, unmounted);
    assert!(holds(&setup, "mount")?.is_empty());
    engine.docker(&["rm", "first"])?;
    engine.docker(&["volume", "rm", "vol"])?;
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn containers_go_on_when_the_daemon_is_killed(version: Version) -> Result<()> {
    let test = "containers_go_on_when_the_daemon_is_killed";
    let Some(mut setup) = setup(version, test, &settings(), &[])? else {
        return Ok(());
    };
    create(&setup.engine, "disk", &IMAGE)?;
    create(&setup.engine, "mem", &MEMORY)?;
    start_writer(&setup.engine, "one", "disk")?;
    start_writer(&setup.engine, "two", "mem")?;
    let places = [
        mountpoint(&setup.engine, "disk")?,
        mountpoint(&setup.engine, "mem")?,
    ];
    setup.daemon.kill()?;
    for place in &places {
        writes(&setup.engine, place)?;
    }
    setup.daemon = setup.engine.serve_inside(&setup.site)?;
    setup.daemon.wait_plugin(crate::effects::PLUGIN)?;
    let engine = &setup.engine;
    for place in &places {
        writes(engine, place)?;
    }
    for name in ["one", "two"] {
        wrote_without_error(engine, name)?;
    }
    assert_eq!(holds(&setup, "mount")?.len(), 2);
    // A container that comes now gets what is mounted.
    in_container(engine, "disk", "test -s /data/ticks")?;
    engine.docker(&["rm", "-f", "one", "two"])?;
    assert_eq!(holds(&setup, "mount")?, ["memory"]);
    engine.docker(&["volume", "rm", "disk", "mem"])?;
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn a_long_create_goes_on_and_is_joined(version: Version) -> Result<()> {
    let test = "a_long_create_goes_on_and_is_joined";
    let limits =
        "[limits]\nbackground = \"10m\"\ndeadlines = { \"VolumeDriver.Create\" = \"1s\" }\n";
    let settings = format!("{limits}{}", settings());
    let Some(setup) = setup(version, test, &settings, &[])? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let options = pairs(&[
        ("do", "sleep 6000; mkdir data; count created"),
        ("mounts", "data"),
    ]);
    let command = create_arguments("vol", &options);
    let said = engine.docker_fails(&command)?;
    ensure!(said.contains("still working"), "{said}");
    until("the volume to be there", || {
        engine.try_docker(&command).is_ok_and(|said| said.success)
    })?;
    // All tries together were one call.
    assert_eq!(answer(engine, "vol", "count created")?, "1");
    in_container(engine, "vol", "touch /data/file")?;
    assert_eq!(inspect(engine, "volume", "vol")?["Driver"], "machine");
    engine.docker(&["volume", "rm", "vol"])?;
    nothing_is_left(&setup)?;
    down(setup)
}
