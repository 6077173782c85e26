//! Guests that loop, grow, flood, trap and lie, beside one that behaves.
//!
//! Bar: every call is answered within its deadline and 50 ms, the neighbour's p99 does not more than double, and the daemon lives.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::Caller;
use dockside_tests::daemon::Site;
use dockside_tests::files;
use dockside_tests::measure::Latencies;
use serde_json::json;

const USAGE: &str = "\
hostile: guests that misbehave in every way, beside a good one
  --rounds N     calls of each behaviour (5)
  --deadline N   the hostile plugin's deadline in milliseconds (1000)
  --slack N      most milliseconds over the deadline (50)
  --neighbour N  most times that the neighbour's p99 may grow (2)
  --quiet N      seconds to measure the neighbour alone (10)
  --only NAME    this behaviour alone";

/// What `create` does when a volume has this name: see `guests/fixtures/README.md`.
const IN_CREATE: &[&str] = &[
    "spin",
    "recurse",
    "bulk-fill",
    "bulk-copy",
    "sleep",
    "sleep-often",
    "clock-loop",
    "poll-loop",
    "list-loop",
    "increment-loop",
    "grow",
    "grow-small",
    "random-flood",
    "random-loop",
    "handle-flood",
    "grow-host",
    "sleep-flood",
    "trap",
    "unreachable",
    "panic",
    "panic-with-ansi",
    "panic-huge",
    "index",
    "out-of-bounds",
    "abort",
    "exit",
    "exit-1",
    "error",
    "huge-error",
    "empty-error",
    "error-with-ansi",
    "bad-text",
    "not-found",
    "not-implemented",
    "log-flood",
    "log-huge",
    "log-with-ansi",
    "stdout-flood",
    "stdout-endless-line",
    "stderr-flood",
    "state-flood",
    "state-flood-on",
    "key-flood",
    "huge-value",
    "huge-key",
    "odd-keys",
    "overflow",
    "not-a-number",
    "other-bucket",
    "directory-flood",
    "traversal",
    "odd-attributes",
    "write-then-trap",
    "write-then-error",
    "write-then-spin",
];

/// What `get` does and answers when a volume has this name.
const IN_GET: &[&str] = &[
    "spin",
    "trap",
    "not-found",
    "huge-answer",
    "many-fields",
    "deep-json",
    "far-future",
    "answer-with-ansi",
    "wrong-name",
    "empty-name",
    "forged-handle",
    "stale-handle",
];

/// What `mount` answers when a volume has this name.
const IN_MOUNT: &[&str] = &[
    "forged-handle",
    "zero-handle",
    "huge-handle",
    "stale-handle",
    "bucket-handle",
    "other-handle",
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let rounds = arguments.number("--rounds", 5)?;
    let deadline = Duration::from_millis(arguments.number("--deadline", 1000)?);
    let slack = Duration::from_millis(arguments.number("--slack", 50)?);
    let most_growth = arguments.number("--neighbour", 2)?;
    let quiet_time = Duration::from_secs(arguments.number("--quiet", 10)?);
    let only = arguments.text("--only", "");

    let site = Site::new()?;
    site.configure(
        "hostile",
        &format!(
            "[grants]\ndirectories = {{}}\n\n[limits]\ndeadline = \"{}ms\"\n",
            deadline.as_millis()
        ),
    )?;
    site.drop_in(&files::fixture("hostile")?, "hostile")?;
    site.configure("good", "[grants]\ndirectories = {}\n")?;
    site.drop_in(&files::fixture("counter-1")?, "good")?;
    let mut daemon = site.serve()?;
    daemon.wait_plugin("hostile")?;
    daemon.wait_plugin("good")?;
    let mut good = site.caller("good");
    ensure!(
        good.call("VolumeDriver.Create", &json!({ "Name": "neighbour" }))?
            .is_success()
    );

    let stop = Arc::new(AtomicBool::new(false));
    let neighbour = neighbour(good, Arc::clone(&stop));
    thread::sleep(quiet_time);
    stop.store(true, Ordering::Release);
    let (mut good, mut quiet) = neighbour
        .join()
        .map_err(|_| anyhow!("the neighbour panicked"))??;

    let behaviours: Vec<(&str, &str)> = IN_CREATE
        .iter()
        .map(|name| ("create", *name))
        .chain(IN_GET.iter().map(|name| ("get", *name)))
        .chain(IN_MOUNT.iter().map(|name| ("mount", *name)))
        .filter(|(_, name)| only.is_empty() || *name == only)
        .collect();
    let mut late = Vec::new();
    let mut unanswered = Vec::new();
    let mut slowest = Duration::ZERO;
    let mut attacked = Latencies::default();
    let mut worst = (Duration::ZERO, "");
    for (method, behaviour) in &behaviours {
        let stop = Arc::new(AtomicBool::new(false));
        let beside = self::neighbour(good, Arc::clone(&stop));
        for round in 0..rounds {
            let (taken, answered) = attack(&site, method, behaviour, round)?;
            slowest = slowest.max(taken);
            if taken > deadline + slack {
                late.push(format!("{behaviour}: {taken:.2?}"));
            }
            if !answered {
                unanswered.push((*behaviour).to_owned());
            }
        }
        stop.store(true, Ordering::Release);
        let (back, mut latencies) = beside
            .join()
            .map_err(|_| anyhow!("the neighbour panicked"))??;
        good = back;
        let p99 = latencies.quantile(0.99);
        if p99 > worst.0 {
            worst = (p99, behaviour);
        }
        attacked.append(latencies);
        ensure!(
            daemon.is_running()?,
            "the daemon ended during {behaviour}\n{}",
            daemon.log_end()
        );
    }
    let alive = daemon.is_running()?;
    for line in &late {
        eprintln!("late: {line}");
    }
    for line in &unanswered {
        eprintln!("not answered: {line}");
    }
    let (before, during) = (quiet.quantile(0.99), attacked.quantile(0.99));
    let figures = format!(
        "{} behaviours, {rounds} calls each, deadline {deadline:?}: {} late, {} not answered, slowest {slowest:.2?}; \
         neighbour alone: {}; during: {}; its worst p99 {:.2?} during {}; daemon alive: {alive}",
        behaviours.len(),
        late.len(),
        unanswered.len(),
        quiet.summary(),
        attacked.summary(),
        worst.0,
        worst.1
    );
    let is_met = late.is_empty()
        && unanswered.is_empty()
        && alive
        && during <= before * u32::try_from(most_growth)?;
    daemon.terminate()?;
    Ok(verdict("hostile", is_met, &figures))
}

/// One misbehaving call: how long it took and whether it was answered.
fn attack(site: &Site, method: &str, behaviour: &str, round: u64) -> Result<(Duration, bool)> {
    let mut caller = site.caller("hostile");
    let name = format!("{method}:{behaviour}/{round}");
    let body = json!({ "Name": name, "ID": "x", "Opts": null });
    let call = match method {
        "create" => "VolumeDriver.Create",
        "get" => "VolumeDriver.Get",
        _ => "VolumeDriver.Mount",
    };
    if method != "create" {
        let made = caller.call_once("VolumeDriver.Create", &body)?;
        ensure!(made.is_success(), "{name}: {made:?}");
    }
    let started = Instant::now();
    // A volume that exists is in the daemon's catalogue, so that even a `Get` has an answer.
    let answer = caller.call_once(call, &body);
    Ok((started.elapsed(), answer.is_ok()))
}

type Neighbour = thread::JoinHandle<Result<(Caller, Latencies)>>;

/// Calls the good plugin some 200 times a second until told to stop.
fn neighbour(mut caller: Caller, stop: Arc<AtomicBool>) -> Neighbour {
    thread::spawn(move || {
        let mut latencies = Latencies::default();
        while !stop.load(Ordering::Acquire) {
            let started = Instant::now();
            let answer = caller.call(
                "VolumeDriver.Mount",
                &json!({ "Name": "neighbour", "ID": "x" }),
            )?;
            latencies.push(started.elapsed());
            ensure!(answer.is_success(), "the neighbour was refused: {answer:?}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok((caller, latencies))
    })
}
