//! How long a daemon with many plugins takes to be ready when its drivers are compiled already, and how much memory it has then.
//!
//! Bar, for 1,000 plugins: ready in under 2 s, under 150 MiB of anonymous memory.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::Caller;
use dockside_tests::daemon::Site;
use dockside_tests::files;
use dockside_tests::measure::anonymous_memory;
use serde_json::json;

const USAGE: &str = "\
many-plugins: time to readiness and memory of a daemon with many plugins
  --plugins N     plugins, each a file of its own (1000)
  --drivers LIST  the drivers that they are copies of, in turn (local,pool,null)
  --rounds N      starts to measure; the slowest counts (3)
  --seconds N     most seconds to readiness (2)
  --mebibytes N   most MiB of anonymous memory (150)";

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let plugins = usize::try_from(arguments.number("--plugins", 1000)?)?;
    let rounds = arguments.number("--rounds", 3)?;
    let most_seconds = arguments.number("--seconds", 2)?;
    let most_memory = arguments.number("--mebibytes", 150)? << 20;
    let drivers = arguments.text("--drivers", "local,pool,null");

    let site = Site::new()?;
    let names: Vec<String> = (0..plugins).map(|number| format!("p{number}")).collect();
    for (name, driver) in names.iter().zip(drivers.split(',').cycle()) {
        if driver == "local" {
            site.configure(name, "[grants]\ndirectories = {}\n")?;
        }
        site.drop_in(&files::driver(driver)?, name)?;
    }
    // The first start compiles.
    let started = Instant::now();
    site.serve()?.terminate()?;
    let first = started.elapsed();

    let mut slowest = Duration::ZERO;
    let mut most = 0;
    for _ in 0..rounds {
        let started = Instant::now();
        let mut daemon = site.serve()?;
        let ready = started.elapsed();
        let idle = anonymous_memory(daemon.pid())?;
        for name in &names {
            let answer = Caller::new(site.socket(name)).call_once("Plugin.Activate", &json!({}))?;
            ensure!(answer.is_success(), "{name} answered {answer:?}");
        }
        let used = anonymous_memory(daemon.pid())?;
        println!(
            "ready in {ready:.2?}, {} MiB anonymous, {} MiB after a call of each",
            idle >> 20,
            used >> 20
        );
        slowest = slowest.max(ready);
        most = most.max(idle).max(used);
        daemon.terminate()?;
    }
    let figures = format!(
        "{plugins} plugins: ready in {slowest:.2?} at the slowest of {rounds} (first start, compiling: {first:.1?}), {} MiB of anonymous memory at most",
        most >> 20
    );
    let is_met = slowest < Duration::from_secs(most_seconds) && most < most_memory;
    Ok(verdict("many-plugins", is_met, &figures))
}
