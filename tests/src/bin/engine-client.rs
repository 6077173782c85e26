//! A client shaped like the engine's, with pauses around every timer that can close an idle connection.
//!
//! Bar: no connection is cut with a call in flight, and no call goes out a second time without its body.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::{Caller, Counters};
use dockside_tests::daemon::Site;
use dockside_tests::files;
use rand::Rng;
use serde_json::json;

const USAGE: &str = "\
engine-client: an engine's calls with pauses around every timer
  --calls N        calls in all (20000)
  --connections N  connections, each used by one caller (500)
  --timers LIST    seconds around which to pause (5,10,15,30,35,60)
  --pauses N       long pauses of each connection (6)";

/// How far from a timer a pause ends. The window in which closing and calling cross is some microseconds, a loaded machine's jitter more.
const AROUND: Duration = Duration::from_millis(20);

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let calls = arguments.number("--calls", 20_000)?;
    let connections = arguments.number("--connections", 500)?.clamp(1, calls);
    let pauses = arguments.number("--pauses", 6)?;
    let timers: Vec<u64> = arguments
        .text("--timers", "5,10,15,30,35,60")
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;

    let site = Site::new()?;
    // Several plugins, as on a real host: an engine has few connections to each.
    let plugins: Vec<String> = (0..8).map(|number| format!("counter-{number}")).collect();
    for plugin in &plugins {
        site.configure(plugin, "[grants]\ndirectories = {}\n")?;
        site.drop_in(&files::fixture("counter-1")?, plugin)?;
    }
    let mut daemon = site.serve()?;
    for plugin in &plugins {
        daemon.wait_plugin(plugin)?;
    }
    let counters = Arc::new(Counters::default());
    let failed = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut callers = Vec::new();
    for (connection, plugin) in (0..connections).zip(plugins.iter().cycle()) {
        let (counters, failed, timers) =
            (Arc::clone(&counters), Arc::clone(&failed), timers.clone());
        let socket = site.socket(plugin);
        let share = calls / connections + u64::from(connection < calls % connections);
        callers.push(thread::spawn(move || {
            let mut caller = Caller::counting(socket, counters).with_host("plugin.moby.localhost");
            let mut random = rand::rng();
            let every = (share / pauses.max(1)).max(1);
            for number in 0..share {
                let name = format!("volume-{connection}-{}", number / 4);
                let (method, body) = match number % 4 {
                    0 => (
                        "VolumeDriver.Create",
                        json!({ "Name": name, "Opts": { "number": number.to_string() } }),
                    ),
                    1 => ("VolumeDriver.Get", json!({ "Name": name })),
                    2 => ("VolumeDriver.List", json!({})),
                    _ => ("VolumeDriver.Remove", json!({ "Name": name })),
                };
                if !caller
                    .call(method, &body)
                    .is_ok_and(|answer| answer.is_success())
                {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                if number % every == every - 1 && number + 1 < share {
                    let timer = timers
                        .get(random.random_range(0..timers.len()))
                        .copied()
                        .unwrap_or(1);
                    let offset = random.random_range(Duration::ZERO..2 * AROUND);
                    thread::sleep((Duration::from_secs(timer) + offset).saturating_sub(AROUND));
                }
            }
        }));
    }
    for caller in callers {
        caller.join().map_err(|_| anyhow!("a caller panicked"))?;
    }
    let failed = failed.load(Ordering::Relaxed);
    let clean = counters.resets.load(Ordering::Relaxed) == 0
        && counters.empty_bodies.load(Ordering::Relaxed) == 0;
    let figures = format!(
        "{calls} calls over {connections} connections with {pauses} pauses each around {timers:?} s in {:.1?}: {failed} failed, {}",
        started.elapsed(),
        counters.summary()
    );
    let alive = daemon.is_running()?;
    daemon.terminate()?;
    Ok(verdict(
        "engine-client",
        clean && failed == 0 && alive,
        &figures,
    ))
}
