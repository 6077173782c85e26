//! Calls over many connections while the driver is swapped again and again, some of the times for a version that traps.
//!
//! Bar: no call fails and no connection is cut.

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::{Caller, Counters};
use dockside_tests::daemon::{Site, until};
use dockside_tests::files;
use dockside_tests::measure::Latencies;
use serde_json::json;

const USAGE: &str = "\
swap-storm: calls one plugin while its driver is swapped
  --calls N        calls in all (1000000)
  --connections N  connections (64)
  --swaps N        swaps (200)
  --broken N       how many of them are to a version that traps (20)";

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let calls = arguments.number("--calls", 1_000_000)?;
    let connections = arguments.number("--connections", 64)?;
    let swaps = arguments.number("--swaps", 200)?;
    let broken = arguments.number("--broken", 20)?.min(swaps);

    let good = [
        fs::read(files::fixture("counter-1")?)?,
        fs::read(files::fixture("counter-2")?)?,
    ];
    let bad = fs::read(files::fixture("counter-broken")?)?;
    let site = Site::new()?;
    let [first, _] = &good;
    site.configure("counter", "[grants]\ndirectories = {}\n")?;
    fs::write(site.drivers.join("counter.wasm"), first)?;
    let mut daemon = site.serve()?;
    daemon.wait_plugin("counter")?;

    let counters = Arc::new(Counters::default());
    let failed = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicU64::new(0));
    // Set when all swaps have happened: a load that ends before would prove less.
    let swapped = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let callers: Vec<_> = (0..connections)
        .map(|connection| {
            let socket = site.socket("counter");
            let (counters, failed, done, swapped) = (
                Arc::clone(&counters),
                Arc::clone(&failed),
                Arc::clone(&done),
                Arc::clone(&swapped),
            );
            thread::spawn(move || -> Latencies {
                let mut caller = Caller::counting(socket, counters);
                let mut latencies = Latencies::default();
                let name = format!("volume-{connection}");
                let mut number = 0_u64;
                while done.fetch_add(1, Ordering::Relaxed) < calls
                    || !swapped.load(Ordering::Acquire)
                {
                    // `Create` and `Get` write: each is one durable commit. `Mount` only reads.
                    let (method, body) = match number % 100 {
                        0 => ("VolumeDriver.Create", json!({ "Name": name, "Opts": null })),
                        50 => ("VolumeDriver.Get", json!({ "Name": name })),
                        _ => ("VolumeDriver.Mount", json!({ "Name": name, "ID": "one" })),
                    };
                    number += 1;
                    let before = Instant::now();
                    let answer = caller.call(method, &body);
                    latencies.push(before.elapsed());
                    let fine = answer.as_ref().is_ok_and(|answer| match method {
                        "VolumeDriver.Create" => answer.is_success(),
                        "VolumeDriver.Get" => answer.at("/Volume/Name") == name.as_str(),
                        _ => answer
                            .at("/Mountpoint")
                            .as_str()
                            .is_some_and(|path| path.starts_with('/')),
                    });
                    if !fine && failed.fetch_add(1, Ordering::Relaxed) < 5 {
                        eprintln!("{method} {name}: {answer:?}");
                    }
                }
                latencies
            })
        })
        .collect();

    let mut taken_back = 0;
    for swap in 0..swaps {
        let is_broken = broken > 0 && (swap + 1) % (swaps / broken) == 0;
        let before = site.counter("counter", if is_broken { "reverted" } else { "swaps" })?;
        let bytes = if is_broken {
            // A version that was taken back is not tried again, so each broken one is new.
            taken_back += 1;
            files::another_version(&bad, u32::try_from(swap)?)
        } else {
            let [one, two] = &good;
            files::another_version(
                if swap % 2 == 0 { two } else { one },
                u32::try_from(swap % 16)?,
            )
        };
        let partial = site.drivers.join(".counter.partial");
        fs::write(&partial, bytes)?;
        fs::rename(&partial, site.drivers.join("counter.wasm"))?;
        let counter = if is_broken { "reverted" } else { "swaps" };
        until(&format!("swap {swap} to be counted as {counter}"), || {
            site.counter("counter", counter)
                .is_ok_and(|now| now > before)
        })
        .with_context(|| site.log_end())?;
    }
    let swapping = started.elapsed();
    swapped.store(true, Ordering::Release);
    let mut latencies = Latencies::default();
    for caller in callers {
        latencies.append(caller.join().map_err(|_| anyhow!("a caller panicked"))?);
    }
    let failed = failed.load(Ordering::Relaxed);
    let resets = counters.resets.load(Ordering::Relaxed);
    let alive = daemon.is_running()?;
    let rescued = site.counter("counter", "rescued")?;
    let took = started.elapsed();
    let figures = format!(
        "{} over {connections} connections in {took:.1?}, {swaps} swaps ({taken_back} broken, {rescued} calls rescued) in {swapping:.1?}: \
         {failed} failed, {}",
        latencies.summary(),
        counters.summary()
    );
    daemon.terminate()?;
    Ok(verdict(
        "swap-storm",
        failed == 0 && resets == 0 && alive,
        &figures,
    ))
}
