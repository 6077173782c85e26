//! New versions of a driver that dockside serves, under load.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Bench;
use crate::bench::invariants::activate;
use crate::check::{Check, Level, Need, Outcome, Stop, ensure};
use crate::control::Driver;

/// Each is compiled anew.
const SWAPS: u32 = 4;
const CLIENTS: usize = 4;
/// Compiling a large driver on a busy machine.
const SOON: Duration = Duration::from_secs(120);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "X09",
        level: Level::Engine,
        kind: None,
        needs: &[Need::Driver],
        title: "new versions under load",
        rule: "No call fails and no connection breaks while a version takes another's place.",
        slow: true,
        run: swaps,
    },
    Check {
        id: "X10",
        level: Level::Engine,
        kind: None,
        needs: &[Need::Driver],
        title: "new versions that cannot serve",
        rule: "The version before keeps serving, and dockside says what is wrong with the file: text, half a file, a module that is no component, a component that is no driver.",
        slow: true,
        run: useless,
    },
];

/// The driver behind the plugin.
pub(super) fn driver<'a>(bench: &'a Bench) -> Outcome<&'a dyn Driver> {
    bench
        .control()?
        .driver()
        .ok_or_else(|| Stop::skip("it is about drivers that dockside serves: give a .wasm file"))
}

/// A version's file that goes away with this value.
pub(super) struct Version {
    pub(super) path: PathBuf,
}

impl Version {
    /// A name in the drivers directory; nothing is there yet.
    pub(super) fn of(driver: &dyn Driver, version: &str) -> Self {
        Self {
            path: driver
                .directory()
                .join(format!("{}@{version}.wasm", driver.plugin())),
        }
    }

    /// Puts a file there as a whole.
    pub(super) fn put(&self, bytes: &[u8]) -> Outcome {
        let partial = self.path.with_extension("partial");
        std::fs::write(&partial, bytes)
            .and_then(|()| std::fs::rename(&partial, &self.path))
            .map_err(|error| Stop::skip(format!("{}: {error}", self.path.display())))
    }

    pub(super) fn file(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        if self.path.is_dir() {
            let _ = std::fs::remove_dir(&self.path);
        } else {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The same component as another file: with a custom section at its end, which means nothing.
pub(super) fn variant(bytes: &[u8], number: u32) -> Vec<u8> {
    let text = format!("check-{number:08}");
    let mut section = vec![0, u8::try_from(text.len() + 1).unwrap_or(0)];
    section.push(u8::try_from(text.len()).unwrap_or(0));
    section.extend_from_slice(text.as_bytes());
    [bytes, section.as_slice()].concat()
}

pub(super) fn bytes_of(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|error| Stop::skip(format!("{}: {error}", path.display())))
}

/// The file that serves, and why others do not.
fn serving(driver: &dyn Driver) -> Outcome<(String, String)> {
    let status = driver.look().map_err(Stop::fail)?;
    let plugin = status
        .get("plugins")
        .and_then(|plugins| plugins.as_array())
        .and_then(|plugins| {
            plugins.iter().find(|plugin| {
                plugin.get("name").and_then(|name| name.as_str()) == Some(driver.plugin())
            })
        })
        .ok_or_else(|| Stop::fail("dockside does not list the plugin any more"))?;
    let text = |key: &str| {
        plugin
            .get(key)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let problems = status
        .get("problems")
        .map(ToString::to_string)
        .unwrap_or_default();
    Ok((text("file"), format!("{} {problems}", text("note"))))
}

/// Waits until that file serves.
pub(super) fn until_served(driver: &dyn Driver, file: &str) -> Outcome {
    let end = Instant::now() + SOON;
    loop {
        let (now, note) = serving(driver)?;
        if now == file {
            return Ok(());
        }
        ensure(Instant::now() < end, || {
            format!(
                "{file} does not serve after {} s, {now} does: {note}",
                SOON.as_secs()
            )
        })?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until dockside says why a file is not used, while another keeps serving.
pub(super) fn until_refused(driver: &dyn Driver, file: &str) -> Outcome {
    let end = Instant::now() + SOON;
    loop {
        let (now, notes) = serving(driver)?;
        ensure(now != file, || format!("{file} serves"))?;
        if notes.contains(file) || notes.contains(file.trim_end_matches(".wasm")) {
            return Ok(());
        }
        ensure(Instant::now() < end, || {
            format!("dockside does not say that {file} is not used, and why: {notes}")
        })?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Calls all the time while `what` is done. None may fail.
pub(super) fn under_load(bench: &Bench, what: impl FnOnce() -> Outcome) -> Outcome {
    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (done, failed) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        one(bench)?;
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), Stop>(())
                })
            })
            .collect();
        let done = what();
        stop.store(true, Ordering::Relaxed);
        let failed: Vec<Stop> = clients
            .into_iter()
            .filter_map(|client| client.join().ok()?.err())
            .collect();
        (done, failed)
    });
    if let Some(stop) = failed.into_iter().next() {
        return Err(stop.during("while versions took each other's place"));
    }
    done?;
    ensure(calls.load(Ordering::Relaxed) > 0, || "no call was made")
}

fn one(bench: &Bench) -> Outcome {
    for kind in bench.kinds() {
        let (method, body) = match kind {
            crate::Kind::Volume => ("VolumeDriver.List", "{}"),
            crate::Kind::Network => ("NetworkDriver.GetCapabilities", ""),
            crate::Kind::Ipam => ("IpamDriver.GetDefaultAddressSpaces", ""),
            crate::Kind::Authz => (
                "AuthZPlugin.AuthZReq",
                r#"{"RequestMethod":"GET","RequestUri":"/_ping"}"#,
            ),
        };
        bench.send(method, body.as_bytes()).succeeds()?;
    }
    activate(bench.socket(), bench.patience())
        .succeeds()
        .map(drop)
}

fn swaps(bench: &Bench) -> Outcome {
    let driver = driver(bench)?;
    let bytes = bytes_of(driver.file())?;
    let own = driver
        .file()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let done = under_load(bench, || {
        let mut versions = Vec::new();
        for number in 1..=SWAPS {
            let version = Version::of(driver, &format!("999.0.{number}"));
            version.put(&variant(&bytes, number))?;
            until_served(driver, &version.file())?;
            versions.push(version);
        }
        drop(versions);
        until_served(driver, &own)
    });
    until_served(driver, &own)?;
    done
}

fn useless(bench: &Bench) -> Outcome {
    let driver = driver(bench)?;
    let bytes = bytes_of(driver.file())?;
    let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
    under_load(bench, || {
        for (number, content) in [
            b"#!/bin/sh\nexit 0\n".as_slice(),
            half,
            b"\0asm\x01\0\0\0",
            b"\0asm\x0d\0\x01\0",
        ]
        .into_iter()
        .enumerate()
        {
            let version = Version::of(driver, &format!("999.1.{number}"));
            version.put(content)?;
            until_refused(driver, &version.file())?;
        }
        Ok(())
    })
}
