//! Volumes as disk images: limited, grown, copied, taken back, backed up to a directory and to an S3 server, and restored.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::{files, skip};
use serde_json::Value;

use crate::effects::{
    down, holds, in_container, mountpoint, nothing_is_left, start_writer, writes,
    wrote_without_error,
};
use crate::{Plugin, Setup, inspect};

const PLUGIN: &str = "image";

/// The least sizes that the file systems can have, with a little more.
const KINDS: [(&str, &str); 3] = [("ext4", "16m"), ("xfs", "300m"), ("btrfs", "120m")];

/// What a backup has to be large enough for, so that it is killed in the middle: MB of noise, in pieces of 64 KiB.
const MUCH: u64 = 24;

fn setup(version: Version, test: &str, more: &str) -> Result<Option<Setup>> {
    let toml = format!(
        "[config]\nsize = \"16m\"\nchunk-size = \"64k\"\nstore = \"disk\"\n\n[grants.images]\nmax = 20\nmax-size = \"400MiB\"\nmax-total = \"2GiB\"\n\n[grants.mounts]\n\n[grants.outbox]\n{more}\n"
    );
    let plugin = Plugin {
        name: PLUGIN,
        file: PLUGIN,
        component: files::driver(PLUGIN)?,
        toml,
    };
    let Some(setup) = Setup::inside(version, test, &[plugin])? else {
        return Ok(None);
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    Ok(Some(setup))
}

fn create(engine: &Engine, name: &str, options: &[&str]) -> Result<()> {
    let mut all = vec!["volume", "create", "-d", PLUGIN];
    for option in options {
        all.extend(["-o", option]);
    }
    all.push(name);
    engine.docker(&all).map(drop)
}

/// What a verb answers, or what it says when it fails.
fn run(setup: &Setup, arguments: &[&str]) -> Result<std::result::Result<Value, String>> {
    let output = setup
        .site
        .command("run")?
        .args(["--json", PLUGIN])
        .args(arguments)
        .output()?;
    Ok(match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).with_context(|| {
            format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stdout))
        })?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    })
}

fn done(setup: &Setup, arguments: &[&str]) -> Result<Value> {
    run(setup, arguments)?.map_err(|error| {
        anyhow::anyhow!(
            "{arguments:?}: {error}; the daemon's log ends\n{}",
            setup.daemon.log_end()
        )
    })
}

fn refused(setup: &Setup, arguments: &[&str]) -> Result<String> {
    match run(setup, arguments)? {
        Ok(answer) => anyhow::bail!("{arguments:?} was answered: {answer}"),
        Err(error) => Ok(error),
    }
}

/// A line of a volume's status, as Docker shows it.
fn status(engine: &Engine, volume: &str, name: &str) -> Result<String> {
    let seen = inspect(engine, "volume", volume)?;
    Ok(seen["Status"][name].as_str().unwrap_or_default().to_owned())
}

fn fill(engine: &Engine, volume: &str) -> Result<String> {
    engine.docker_fails(&[
        "run",
        "--rm",
        "-v",
        &format!("{volume}:/data"),
        "busybox:local",
        "dd",
        "if=/dev/zero",
        "of=/data/much",
        "bs=1M",
    ])
}

/// Megabytes that a volume has, as its containers see it.
fn size(engine: &Engine, volume: &str) -> Result<u64> {
    let text = in_container(engine, volume, "df -m /data | tail -n 1 | awk '{print $2}'")?;
    Ok(text.trim().parse()?)
}

pub(crate) fn volumes_are_limited_grow_and_go_back(version: Version) -> Result<()> {
    let Some(setup) = setup(
        version,
        "volumes_are_limited_grow_and_go_back",
        "[grants.blobs]",
    )?
    else {
        return Ok(());
    };
    let engine = &setup.engine;
    for (fs, bytes) in KINDS {
        let (size, fs_option) = (format!("size={bytes}"), format!("fs={fs}"));
        create(engine, fs, &[&size, &fs_option, "uid=1000", "mode=0750"])?;
        let seen = in_container(
            engine,
            fs,
            "echo kept > /data/file; grep ' /data ' /proc/mounts; stat -c '%u %a' /data",
        )?;
        ensure!(
            seen.contains(&format!(" {fs} ")) && seen.ends_with("1000 750"),
            "{seen}"
        );
    }
    full_volumes_hurt_nobody(&setup)?;
    volumes_in_use_grow(&setup)?;
    snapshots_give_back(&setup)?;
    what_is_not_granted_is_said(&setup)?;
    // Engines prune volumes of their own driver only.
    engine.docker(&["volume", "prune", "-f"])?;
    assert_eq!(in_container(engine, "xfs", "cat /data/file")?, "kept");
    remove_all(engine)?;
    nothing_is_left(&setup)?;
    down(setup)
}

fn remove_all(engine: &Engine) -> Result<()> {
    for volume in engine.docker(&["volume", "ls", "-q"])?.lines() {
        engine.docker(&["volume", "rm", volume])?;
    }
    Ok(())
}

fn full_volumes_hurt_nobody(setup: &Setup) -> Result<()> {
    let engine = &setup.engine;
    for (fs, _) in KINDS {
        let said = fill(engine, fs)?;
        ensure!(said.contains("No space left on device"), "{fs}: {said}");
    }
    for (fs, _) in KINDS {
        assert_eq!(
            in_container(engine, fs, "rm /data/much; cat /data/file")?,
            "kept",
            "{fs}"
        );
    }
    create(engine, "usual", &[])?;
    in_container(
        engine,
        "usual",
        "dd if=/dev/zero of=/data/some bs=1M count=5 2>&1",
    )?;
    assert_eq!(status(engine, "usual", "size")?, "16MiB");
    Ok(())
}

fn volumes_in_use_grow(setup: &Setup) -> Result<()> {
    let engine = &setup.engine;
    // An ext4 grows in use only where the daemon has CAP_SYS_RESOURCE, so this one is at rest.
    for (fs, to, in_use) in [
        ("xfs", "350m", true),
        ("btrfs", "300m", true),
        ("ext4", "64m", false),
    ] {
        let before = size(engine, fs)?;
        if in_use {
            start_writer(engine, "writer", fs)?;
        }
        let arguments = ["grow", &format!("volume={fs}"), &format!("size={to}")];
        done(setup, &arguments)?;
        if in_use {
            writes(engine, &mountpoint(engine, fs)?)?;
            wrote_without_error(engine, "writer")?;
            engine.docker(&["rm", "-f", "writer"])?;
        }
        let after = size(engine, fs)?;
        ensure!(after > before + 20, "{fs}: {before} MB became {after}");
        assert_eq!(status(engine, fs, "size")?, to.replace('m', "MiB"));
        assert_eq!(in_container(engine, fs, "cat /data/file")?, "kept");
    }
    let said = refused(setup, &["grow", "volume=xfs", "size=300m"])?;
    ensure!(said.contains("never shrinks"), "{said}");
    Ok(())
}

fn snapshots_give_back(setup: &Setup) -> Result<()> {
    let engine = &setup.engine;
    for fs in ["ext4", "xfs", "btrfs"] {
        let volume = format!("volume={fs}");
        start_writer(engine, "writer", fs)?;
        writes(engine, &mountpoint(engine, fs)?)?;
        done(setup, &["snapshot", &volume, "name=before"])?;
        writes(engine, &mountpoint(engine, fs)?)?;
        wrote_without_error(engine, "writer")?;
        engine.docker(&["exec", "writer", "sh", "-c", "echo changed > /data/file"])?;
        let said = refused(setup, &["revert", &volume, "snapshot=before"])?;
        ensure!(said.contains("stop the containers"), "{said}");
        // The engine mounts once more for the time of a copy.
        let copy = engine.shared().join("copy").display().to_string();
        engine.docker(&["cp", "writer:/data/file", &copy])?;
        writes(engine, &mountpoint(engine, fs)?)?;
        wrote_without_error(engine, "writer")?;
        engine.docker(&["rm", "-f", "writer"])?;

        let copied = format!("{fs}-copy");
        create(engine, &copied, &[&format!("from={fs}@before")])?;
        assert_eq!(in_container(engine, &copied, "cat /data/file")?, "kept");
        // Both at once: each has an identity of its own.
        let (one, two) = (format!("{fs}:/one"), format!("{copied}:/two"));
        let both = [
            "run",
            "--rm",
            "-v",
            &one,
            "-v",
            &two,
            "busybox:local",
            "cat",
            "/one/file",
            "/two/file",
        ];
        assert_eq!(engine.docker(&both)?, "changed\nkept");
        done(setup, &["revert", &volume, "snapshot=before"])?;
        assert_eq!(in_container(engine, fs, "cat /data/file")?, "kept");
        assert_eq!(status(engine, fs, "snapshots")?, "before");
        engine.docker(&["volume", "rm", &copied])?;
    }
    Ok(())
}

fn what_is_not_granted_is_said(setup: &Setup) -> Result<()> {
    let engine = &setup.engine;
    let said =
        engine.docker_fails(&["volume", "create", "-d", PLUGIN, "-o", "size=500m", "large"])?;
    ensure!(
        said.contains("put max-size = \"500MiB\" under [grants.images] in image.toml"),
        "{said}"
    );
    let said = engine.docker_fails(&["volume", "create", "-d", PLUGIN, "-o", "size=8x", "odd"])?;
    ensure!(said.contains("size"), "{said}");
    let said = refused(setup, &["backup", "volume=xfs", "store=elsewhere"])?;
    ensure!(said.contains("[grants.blobs.elsewhere]"), "{said}");
    Ok(())
}

/// A server of S3 with an empty bucket. It ends with this value.
struct S3 {
    server: Child,
    port: u16,
}

impl S3 {
    fn start(engine: &Engine, test: &str) -> Result<Option<S3>> {
        let program = files::workspace().join("target/tools/moto/bin/moto_server");
        if !program.exists() {
            let reason = "there is no moto_server below target/tools: tests/run installs it";
            ensure!(
                !skip::is_ci(),
                "this test must not be skipped in CI: {reason}"
            );
            skip::skipped(test, reason);
            return Ok(None);
        }
        // The network is the engine's own.
        let port = 5099;
        let server = engine
            .beside(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let s3 = S3 { server, port };
        until("the S3 server to answer", || {
            s3.curl(engine, "-X PUT", "").is_ok()
        })?;
        Ok(Some(s3))
    }

    /// Asks about the bucket.
    fn curl(&self, engine: &Engine, how: &str, query: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/bucket{query}", self.port);
        engine.shell_beside(&format!("curl -sf {how} '{url}'"))
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A directory and a bucket. The keys are any, as the server takes all.
fn stores(store: &Path, port: u16) -> String {
    format!(
        "[grants.blobs.disk]\ndirectory = \"{}\"\n\n[grants.blobs.bucket.s3]\nurl = \"http://127.0.0.1:{port}\"\nbucket = \"bucket\"\nprefix = \"volumes\"\naccess-key = \"key\"\nsecret-key = \"key\"\nprivate = [\"127.0.0.1/32\"]\n\n[secrets]\nkey = {{ env = \"PATH\" }}\n",
        store.display()
    )
}

fn pieces(store: &Path) -> usize {
    let shelves = fs::read_dir(store.join("chunks")).into_iter().flatten();
    let files = shelves
        .flatten()
        .flat_map(|shelf| fs::read_dir(shelf.path()).into_iter().flatten());
    // What was just being written when the daemon was killed is no piece.
    files
        .flatten()
        .filter(|file| !file.file_name().to_string_lossy().starts_with('.'))
        .count()
}

fn checksum(engine: &Engine, volume: &str) -> Result<String> {
    in_container(engine, volume, "md5sum < /data/noise")
}

pub(crate) fn backups_survive_kills_and_come_back(version: Version) -> Result<()> {
    let test = "backups_survive_kills_and_come_back";
    let Some(mut setup) = setup(version, test, "[grants.blobs]")? else {
        return Ok(());
    };
    let store = setup.engine.shared().join("store");
    fs::create_dir(&store)?;
    let Some(s3) = S3::start(&setup.engine, test)? else {
        return down(setup);
    };
    grant(&setup, &stores(&store, s3.port))?;
    for fs in ["ext4", "xfs"] {
        create(&setup.engine, fs, &["size=320m", &format!("fs={fs}")])?;
    }
    let noise = format!("dd if=/dev/urandom of=/data/noise bs=1M count={MUCH} 2>&1");
    in_container(&setup.engine, "ext4", &noise)?;
    in_container(
        &setup.engine,
        "xfs",
        "dd if=/dev/urandom of=/data/noise bs=1M count=3 2>&1",
    )?;
    let ext4 = checksum(&setup.engine, "ext4")?;
    let xfs = checksum(&setup.engine, "xfs")?;

    let sent = a_killed_backup_goes_on(&mut setup, &store)?;
    ensure!(sent < MUCH, "{sent} MB were sent again");
    to_the_bucket(&setup, &s3)?;
    restored_as_they_were(&setup, &ext4, &xfs)?;
    schedules_go_on(&setup)?;

    let engine = &setup.engine;
    for backup in done(&setup, &["backups"])?.as_array().into_iter().flatten() {
        let name = backup["backup"].as_str().unwrap_or_default();
        done(&setup, &["backup-delete", &format!("backup={name}")])?;
    }
    assert_eq!(pieces(&store), 0);
    remove_all(engine)?;
    nothing_is_left(&setup)?;
    drop(s3);
    down(setup)
}

/// Adds grants to the plugin's file and waits until they are in force.
fn grant(setup: &Setup, more: &str) -> Result<()> {
    let file = setup.site.drivers.join("image.toml");
    let text = fs::read_to_string(file)?.replace("[grants.blobs]", more);
    setup.site.configure(PLUGIN, &text)?;
    until("the stores to be granted", || {
        run(setup, &["backups", "store=bucket"]).is_ok_and(|answer| answer.is_ok())
    })
}

/// The daemon is killed in the middle of a backup. Returns the megabytes that the next one had to send.
fn a_killed_backup_goes_on(setup: &mut Setup, store: &Path) -> Result<u64> {
    let mut backup = setup
        .site
        .command("run")?
        .args([PLUGIN, "backup", "volume=ext4"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let limit = Instant::now() + Duration::from_secs(60);
    while pieces(store) < 100 {
        ensure!(Instant::now() < limit, "nothing is sent");
        thread::sleep(Duration::from_millis(2));
    }
    setup.daemon.kill()?;
    ensure!(
        !backup.wait()?.success(),
        "the backup was done before the daemon was killed"
    );
    ensure!(!store.join("backups").exists(), "half a backup counts");
    setup.daemon = setup.engine.serve_inside(&setup.site)?;
    setup.daemon.wait_plugin(PLUGIN)?;
    // By the note of the call that was killed.
    until("the lock to go", || {
        fs::read_dir(store.join("locks")).is_ok_and(|mut locks| locks.next().is_none())
    })?;
    assert_eq!(holds(setup, "image")?, ["volume/ext4", "volume/xfs"]);
    let made = done(setup, &["backup", "volume=ext4"])?;
    let sent = made["sent"].as_str().unwrap_or_default();
    let sent = sent
        .trim_end_matches("MiB")
        .split('.')
        .next()
        .unwrap_or_default();
    // Nothing but what gives each copy an identity of its own.
    let again = done(setup, &["backup", "volume=ext4"])?;
    let little = again["sent"].as_str().unwrap_or_default();
    ensure!(little.ends_with("KiB"), "{again}");
    Ok(sent.parse()?)
}

/// Backups of a volume that is being written to, in an S3 bucket.
fn to_the_bucket(setup: &Setup, s3: &S3) -> Result<()> {
    let engine = &setup.engine;
    start_writer(engine, "writer", "xfs")?;
    writes(engine, &mountpoint(engine, "xfs")?)?;
    let made = done(setup, &["backup", "volume=xfs", "store=bucket"])?;
    wrote_without_error(engine, "writer")?;
    engine.docker(&["rm", "-f", "writer"])?;
    let name = made["backup"].as_str().context("no name")?;
    let listed = s3.curl(engine, "", "?list-type=2&prefix=volumes/backups/")?;
    let id = name.trim_start_matches("bucket/");
    ensure!(
        listed.contains(&format!("<Key>volumes/backups/{id}</Key>")),
        "{listed}"
    );
    done(setup, &["backup-verify", &format!("backup={name}")])?;
    Ok(())
}

fn restored_as_they_were(setup: &Setup, ext4: &str, xfs: &str) -> Result<()> {
    let engine = &setup.engine;
    let first = |store: &str| -> Result<String> {
        let listed = done(setup, &["backups", &format!("store={store}")])?;
        Ok(listed[0]["backup"]
            .as_str()
            .context("no backup")?
            .to_owned())
    };
    create(
        engine,
        "ext4-back",
        &[&format!("backup={}", first("disk")?)],
    )?;
    assert_eq!(checksum(engine, "ext4-back")?, ext4);
    let arguments = [
        "restore",
        &format!("backup={}", first("bucket")?),
        "to=xfs-back",
    ];
    done(setup, &arguments)?;
    assert_eq!(checksum(engine, "xfs-back")?, xfs);
    // Beside what it was made of, and found by Docker although it was not Docker that made it.
    let (one, two) = ("xfs:/one", "xfs-back:/two");
    engine.docker(&[
        "run",
        "--rm",
        "-v",
        one,
        "-v",
        two,
        "busybox:local",
        "cmp",
        "/one/noise",
        "/two/noise",
    ])?;
    Ok(())
}

fn schedules_go_on(setup: &Setup) -> Result<()> {
    create(&setup.engine, "small", &["size=16m"])?;
    done(setup, &["schedule", "volume=small", "every=5s", "keep=2"])?;
    let backup = [
        "schedule",
        "volume=small",
        "what=backup",
        "every=1d",
        "keep=1",
    ];
    done(setup, &backup)?;
    let made = |schedule: &str| -> Result<bool> {
        let all = done(setup, &["schedules"])?;
        let found = all
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["name"] == schedule);
        Ok(found.is_some_and(|one| one["last"].is_string() && one["error"].is_null()))
    };
    until("the schedules to be kept", || {
        made("snapshot-5s").unwrap_or(false) && made("backup-1d").unwrap_or(false)
    })
    .with_context(|| {
        let all = run(setup, &["schedules"]);
        format!("{all:?}; the daemon's log ends\n{}", setup.daemon.log_end())
    })?;
    done(setup, &["unschedule", "volume=small", "name=snapshot-5s"])?;
    let snapshots = done(setup, &["snapshots", "volume=small"])?;
    let count = snapshots.as_array().map_or(0, Vec::len);
    ensure!((1..=2).contains(&count), "{snapshots}");
    Ok(())
}
