//! What drivers do to the machine, with real engines: a driver that does what scripts say, and a look at everything that it may leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;
use serde_json::Value;

use crate::{Plugin, Setup, inspect};

/// The name that Docker uses for it.
pub(crate) const PLUGIN: &str = "machine";

/// What scripts may ask for, but for mounts and secrets. The driver can do more than is used here, and serves only with a grant for each.
pub(crate) const GRANTS: &str = r#"
[grants]
directories = {}
outbox = {}
http = { allow = ["GET https://example.com/"] }

[grants.images]
max-size = "1GiB"

[grants.links]
kinds = ["bridge", "veth"]

[grants.nat]
publish = ["1024-65535"]
"#;

/// What scripts may mount without a secret.
pub(crate) const MOUNTS: &str = "
[grants.mounts]
tmpfs = \"64MiB\"

[grants.secrets]
";

/// The driver that does what scripts say, with these settings.
pub(crate) fn machine(settings: &str) -> Result<Plugin> {
    Ok(Plugin {
        name: PLUGIN,
        file: PLUGIN,
        component: files::fixture(PLUGIN)?,
        toml: settings.to_owned(),
    })
}

/// A running engine with the driver and the image, or none when this machine cannot have one.
pub(crate) fn setup(
    version: Version,
    test: &str,
    settings: &str,
    flags: &[&str],
) -> Result<Option<Setup>> {
    let Some(setup) = Setup::inside(version, test, &[machine(settings)?])? else {
        return Ok(None);
    };
    setup.engine.up(flags)?;
    setup.engine.image()?;
    Ok(Some(setup))
}

/// Creates a volume with these options.
pub(crate) fn create(engine: &Engine, name: &str, options: &[(&str, &str)]) -> Result<()> {
    engine
        .docker(&create_arguments(name, &pairs(options)))
        .map(drop)
}

/// Options as docker takes them.
pub(crate) fn pairs(options: &[(&str, &str)]) -> Vec<String> {
    options
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The command that creates a volume with [`pairs`] of options.
pub(crate) fn create_arguments<'a>(name: &'a str, pairs: &'a [String]) -> Vec<&'a str> {
    let mut all = vec!["volume", "create", "-d", PLUGIN];
    for pair in pairs {
        all.extend(["-o", pair]);
    }
    all.push(name);
    all
}

/// Runs a shell script in a container that has the volume at `/data`.
pub(crate) fn in_container(engine: &Engine, volume: &str, script: &str) -> Result<String> {
    let volume = format!("{volume}:/data");
    engine.docker(&[
        "run",
        "--rm",
        "-v",
        &volume,
        "busybox:local",
        "sh",
        "-c",
        script,
    ])
}

/// Starts a container that appends a line to a file of the volume every 100 ms for as long as that works.
pub(crate) fn start_writer(engine: &Engine, name: &str, volume: &str) -> Result<()> {
    let volume = format!("{volume}:/data");
    engine.docker(&[
        "run",
        "-d",
        // A shell as process 1 ignores SIGTERM, and an engine that stops what its predecessor left waits 10 s for it.
        "--init",
        "--name",
        name,
        "-v",
        &volume,
        "busybox:local",
        "sh",
        "-c",
        "while echo tick >> /data/ticks; do usleep 100000; done; echo failed > /broken; sleep 100000",
    ])?;
    Ok(())
}

/// How many lines a writer has written to a volume, as the engine sees the volume. It need not be running.
fn ticks(engine: &Engine, mountpoint: &str) -> Result<u64> {
    let text = engine.shell(&format!("wc -l < {mountpoint}/ticks"))?;
    Ok(text.trim().parse()?)
}

/// Waits until the writer has written something since now.
pub(crate) fn writes(engine: &Engine, mountpoint: &str) -> Result<()> {
    // The first line may still have to come.
    let before = ticks(engine, mountpoint).unwrap_or(0);
    let written = until("the container to write", || {
        ticks(engine, mountpoint).is_ok_and(|now| now > before)
    });
    written.with_context(|| match ticks(engine, mountpoint) {
        Ok(now) => format!("{mountpoint} has {now} lines, and had {before}"),
        Err(error) => format!("{error:#}"),
    })
}

/// The writer never failed.
pub(crate) fn wrote_without_error(engine: &Engine, name: &str) -> Result<()> {
    engine.docker(&["exec", name, "test", "!", "-e", "/broken"])?;
    Ok(())
}

/// Where a volume is mounted.
pub(crate) fn mountpoint(engine: &Engine, volume: &str) -> Result<String> {
    let seen = inspect(engine, "volume", volume)?;
    let place = seen["Mountpoint"].as_str().unwrap_or_default();
    ensure!(place.starts_with('/'), "no mountpoint: {seen}");
    Ok(place.to_owned())
}

/// What an operation of the volume's scripts answered last; nothing if it has not been done.
pub(crate) fn answer(engine: &Engine, volume: &str, operation: &str) -> Result<String> {
    let seen = inspect(engine, "volume", volume)?;
    let answers = &seen["Status"]["answers"];
    // Docker shows what drivers say of a volume; some of its versions as the text that came.
    let answers = match answers.as_str() {
        Some(text) => serde_json::from_str(text)?,
        None => answers.clone(),
    };
    ensure!(answers.is_object(), "no answers: {seen}");
    Ok(answers[operation].as_str().unwrap_or_default().to_owned())
}

/// What `dockside inspect --json` says.
pub(crate) fn detail(setup: &Setup) -> Result<Value> {
    let output = setup
        .site
        .command("inspect")?
        .args(["--json", setup.plugin])
        .output()?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "dockside inspect: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// How many mounts Docker has of a volume, as the daemon counts them.
pub(crate) fn uses(setup: &Setup, volume: &str) -> Result<u64> {
    let detail = detail(setup)?;
    let volumes = detail["volumes"].as_array().cloned().unwrap_or_default();
    let found = volumes.iter().find(|one| one["name"] == volume);
    found
        .and_then(|one| one["uses"].as_u64())
        .with_context(|| format!("no volume {volume} in {detail}"))
}

/// The things of one kind that the plugin holds: their keys.
pub(crate) fn holds(setup: &Setup, kind: &str) -> Result<Vec<String>> {
    let detail = detail(setup)?;
    let all = detail["holds"].as_array().cloned().unwrap_or_default();
    Ok(all
        .iter()
        .filter(|one| one["kind"] == kind)
        .filter_map(|one| one["key"].as_str().map(str::to_owned))
        .collect())
}

/// Waits until nothing of the driver is on the machine any more: some of it goes behind the answer.
pub(crate) fn nothing_is_left(setup: &Setup) -> Result<()> {
    let mut last = Vec::new();
    let gone = until("everything to be taken away", || {
        last = left(setup).unwrap_or_else(|error| vec![format!("{error:#}")]);
        last.is_empty()
    });
    gone.with_context(|| {
        format!(
            "this is left:\n{}\nthe daemon's log ends\n{}",
            last.join("\n"),
            setup.daemon.log_end()
        )
    })
}

/// Everything of the driver that is on the machine, a line each.
fn left(setup: &Setup) -> Result<Vec<String>> {
    let data = setup.site.data.display().to_string();
    let mut found = Vec::new();
    let held = detail(setup)?["holds"].clone();
    if held.as_array().is_none_or(|held| !held.is_empty()) {
        found.push(format!("held {held}"));
    }
    let tables = [
        setup.engine.shell("cat /proc/self/mountinfo")?,
        fs::read_to_string("/proc/self/mountinfo")?,
    ];
    for table in tables {
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let ours = points.filter(|point| point.starts_with(&data));
        found.extend(ours.map(|point| format!("mount {point}")));
    }
    for device in entries(Path::new("/sys/block")) {
        // Most are no loop devices.
        let file = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        if file.starts_with(&data) {
            found.push(format!("loop {}", file.trim()));
        }
    }
    for part in ["volumes", "mounts", "images", "secrets"] {
        // A plugin's own directory is made once and stays.
        for plugin in entries(&setup.site.data.join(part)) {
            let files = entries(&plugin).into_iter();
            found.extend(files.map(|file| format!("file {}", file.display())));
        }
    }
    let runtime = entries(&runtime(setup)?).into_iter();
    found.extend(runtime.map(|file| format!("file {}", file.display())));
    for process in entries(Path::new("/proc")) {
        // Gone in between, or no process.
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&data) && !line.contains(" serve ") {
            found.push(format!("process {line}"));
        }
    }
    found.extend(network(&setup.engine)?);
    Ok(found)
}

/// Links, tables and chains of dockside on the engine's network.
fn network(engine: &Engine) -> Result<Vec<String>> {
    let text = engine.shell_beside(
        "ip -o link | sed -n 's/^[0-9]*: \\(dk[^:]*\\):.*/link \\1/p'
         nft list tables | grep dockside || true
         (iptables-save; ip6tables-save) | grep DOCKSIDE || true",
    )?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(directory).into_iter().flatten();
    list.flatten().map(|entry| entry.path()).collect()
}

/// Where the daemon's helper programs have their files: a directory in memory that is named after the data directory.
fn runtime(setup: &Setup) -> Result<PathBuf> {
    let script = format!("printf %s '{}' | sha256sum", setup.site.data.display());
    let output = Command::new("sh").args(["-c", &script]).output()?;
    let digest = String::from_utf8(output.stdout)?;
    let name = digest.get(..12).context("sha256sum prints no digest")?;
    Ok(Path::new("/run/dockside").join(name))
}

/// Ends daemon and engine.
pub(crate) fn down(setup: Setup) -> Result<()> {
    let runtime = runtime(&setup)?;
    setup.down()?;
    // It is in memory, so the daemon leaves it to the machine's next start.
    match fs::remove_dir(&runtime) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} is not empty", runtime.display()))
        }
        _ => Ok(()),
    }
}
