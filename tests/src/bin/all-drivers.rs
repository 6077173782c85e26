//! The memory of one daemon that serves all bundled drivers, beside that of one daemon for each driver, which is how plugins are run otherwise.
//!
//! Bar: together they take less than half.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::Caller;
use dockside_tests::daemon::{Site, until};
use dockside_tests::files;
use dockside_tests::measure::anonymous_memory;
use serde_json::{Value, json};

const USAGE: &str = "\
all-drivers: memory of one daemon with all bundled drivers, beside one daemon for each
  --share N     most percent of the memory of the separate daemons (50)";

/// Everything that a bundled driver asks for.
const SETTINGS: &str = r#"
[grants]
directories = {}
[grants.mounts]
[grants.images]
[grants.links]
[grants.nat]
[grants.http]
[grants.secrets]
[grants.outbox]
[grants.blobs]
[grants.files]
"#;

/// A call of each kind that runs the driver and changes nothing.
const CALLS: [(&str, &str); 4] = [
    ("VolumeDriver", "VolumeDriver.List"),
    ("NetworkDriver", "NetworkDriver.EndpointOperInfo"),
    ("IpamDriver", "IpamDriver.GetDefaultAddressSpaces"),
    ("authz", "AuthZPlugin.AuthZReq"),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let share = arguments.number("--share", 50)?;
    let drivers = drivers()?;
    let mut apart = 0;
    for driver in &drivers {
        let memory = measure(std::slice::from_ref(driver))?;
        println!("{driver} in a daemon of its own: {}", mebibytes(memory));
        apart += memory;
    }
    let together = measure(&drivers)?;
    if let Some(memory) = rclone()? {
        println!(
            "for comparison, the daemon of `rclone serve docker` without a volume: {}",
            mebibytes(memory)
        );
    }
    let figures = format!(
        "{} drivers in one daemon: {} of anonymous memory after a call of each; in {} daemons: {} ({}%)",
        drivers.len(),
        mebibytes(together),
        drivers.len(),
        mebibytes(apart),
        together * 100 / apart.max(1),
    );
    Ok(verdict(
        "all-drivers",
        together * 100 <= apart * share,
        &figures,
    ))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// All that `guests/build` makes.
fn drivers() -> Result<Vec<String>> {
    let example = files::driver("local")?;
    let directory = example.parent().context("no directory of drivers")?;
    let mut names: Vec<String> = fs::read_dir(directory)?
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let is_driver = path.extension().is_some_and(|ending| ending == "wasm");
            is_driver.then(|| path.file_stem()?.to_str().map(str::to_owned))?
        })
        .collect();
    names.sort();
    Ok(names)
}

/// The memory of a daemon with these drivers, compiled before, after a call of each.
fn measure(drivers: &[String]) -> Result<u64> {
    let site = Site::new()?;
    // Docker has plugins of its own that are called as some drivers are.
    let plugin = |driver: &String| format!("the-{driver}");
    for driver in drivers {
        site.configure(&plugin(driver), SETTINGS)?;
        site.drop_in(&files::driver(driver)?, &plugin(driver))?;
    }
    site.serve()?.terminate()?;
    let mut daemon = site.serve()?;
    for driver in drivers {
        let mut caller = Caller::new(site.socket(&plugin(driver)));
        let answer = caller.call_once("Plugin.Activate", &json!({}))?;
        ensure!(answer.is_success(), "{driver}: {answer:?}");
        let kinds = answer.at("/Implements");
        let calls = CALLS.iter().filter(|(kind, _)| {
            kinds
                .as_array()
                .is_some_and(|kinds| kinds.contains(&Value::from(*kind)))
        });
        for (_, method) in calls {
            // What it answers to a call that says nothing is not the question.
            caller.call_once(method, &json!({}))?;
        }
    }
    let memory = anonymous_memory(daemon.pid())?;
    daemon.terminate()?;
    Ok(memory)
}

/// The memory of another plugin's daemon, if it is installed.
fn rclone() -> Result<Option<u64>> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("rclone.sock");
    let Ok(child) = Command::new("rclone")
        .args(["serve", "docker", "--socket-addr"])
        .arg(&socket)
        .arg("--base-dir")
        .arg(directory.path().join("volumes"))
        .env("XDG_CACHE_HOME", directory.path())
        .env("XDG_CONFIG_HOME", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return Ok(None);
    };
    let mut child = Running(child);
    let memory = asked(&mut child, &socket);
    drop(child);
    memory.map(Some)
}

fn asked(child: &mut Running, socket: &Path) -> Result<u64> {
    until("rclone's socket", || socket.exists())?;
    Caller::new(socket).call_once("VolumeDriver.List", &json!({}))?;
    anonymous_memory(child.0.id())
}

/// Ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
