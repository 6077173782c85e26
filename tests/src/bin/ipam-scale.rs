//! How long an address takes in a /8 with a million leases, beside one without any.
//!
//! Bar: the median in the crowded pool is at most 1.5 times that in the empty one. Both are measured in turns, in one run.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::Caller;
use dockside_tests::daemon::Site;
use dockside_tests::files;
use dockside_tests::measure::{Latencies, anonymous_memory};
use serde_json::{Value, json};

const USAGE: &str = "\
ipam-scale: time of an address in a crowded and in an empty /8
  --leases N      leases of the crowded pool (1000000)
  --clients N     connections that fill it (16)
  --calls N       addresses to measure in each pool (2000)
  --percent N     most that the crowded pool's median is of the empty one's (150)";

/// Calls in one pool before it is the other one's turn.
const TURN: u64 = 100;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let leases = arguments.number("--leases", 1_000_000)?;
    let clients = arguments.number("--clients", 16)?;
    let calls = arguments.number("--calls", 2000)?;
    let percent = arguments.number("--percent", 150)?;

    let site = Site::new()?;
    // The default quota is enough for some 300,000.
    site.configure(
        "pool",
        "[grants]\nstate = { max-bytes = \"256MiB\" }\n\n[limits]\nconcurrency = 64\n",
    )?;
    site.drop_in(&files::driver("pool")?, "pool")?;
    let daemon = site.serve()?;
    daemon.wait_plugin("pool")?;
    let mut caller = site.caller("pool");
    let crowded = request_pool(&mut caller, "10.0.0.0/8")?;
    let empty = request_pool(&mut caller, "11.0.0.0/8")?;

    let started = Instant::now();
    let left = AtomicU64::new(leases);
    thread::scope(|scope| {
        let fillers: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut caller = site.caller("pool");
                    let take = |left: u64| left.checked_sub(1);
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                        .is_ok()
                    {
                        request(&mut caller, &crowded)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for filler in fillers {
            filler
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let filled = started.elapsed();

    let mut measured = [Latencies::default(), Latencies::default()];
    // The first calls warm both.
    for turn in 0..=calls / TURN {
        for (pool, latencies) in [&empty, &crowded].into_iter().zip(&mut measured) {
            let mut given = Vec::new();
            for _ in 0..TURN {
                let begun = Instant::now();
                given.push(request(&mut caller, pool)?);
                if turn > 0 {
                    latencies.push(begun.elapsed());
                }
            }
            for address in given {
                release(&mut caller, pool, &address)?;
            }
        }
    }
    let memory = anonymous_memory(daemon.pid())? >> 20;
    let started = Instant::now();
    let answer = caller.call("IpamDriver.ReleasePool", &json!({ "PoolID": crowded }))?;
    ensure!(answer.is_success(), "ReleasePool: {}", answer.err());
    let freed = started.elapsed();
    let [mut empty, mut crowded] = measured;
    let medians = [empty.quantile(0.5), crowded.quantile(0.5)];
    let ratio = ratio(medians);
    let figures = format!(
        "/8 with 0 leases: {} | /8 with {leases} leases: {} | ratio of the medians {ratio:.2} | filled in {filled:.1?}, freed in {freed:.2?}, {memory} MiB",
        empty.summary(),
        crowded.summary(),
    );
    let is_met = ratio * 100.0 <= percent as f64;
    Ok(verdict("ipam-scale", is_met, &figures))
}

fn ratio([empty, crowded]: [Duration; 2]) -> f64 {
    crowded.as_secs_f64() / empty.as_secs_f64().max(f64::EPSILON)
}

fn request_pool(caller: &mut Caller, subnet: &str) -> Result<Value> {
    let body = json!({ "AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": {}, "V6": false });
    let answer = caller.call("IpamDriver.RequestPool", &body)?;
    ensure!(answer.is_success(), "RequestPool: {}", answer.err());
    Ok(answer.at("/PoolID"))
}

fn request(caller: &mut Caller, pool: &Value) -> Result<String> {
    let options = json!({ "com.docker.network.endpoint.macaddress": "02:42:0a:00:00:01" });
    let body = json!({ "PoolID": pool, "Address": "", "Options": options });
    let answer = caller.call("IpamDriver.RequestAddress", &body)?;
    ensure!(answer.is_success(), "RequestAddress: {}", answer.err());
    let address = answer.at("/Address");
    let address = address
        .as_str()
        .and_then(|address| address.split('/').next());
    Ok(address.context("no address")?.to_owned())
}

fn release(caller: &mut Caller, pool: &Value, address: &str) -> Result<()> {
    let body = json!({ "PoolID": pool, "Address": address });
    let answer = caller.call("IpamDriver.ReleaseAddress", &body)?;
    ensure!(answer.is_success(), "ReleaseAddress: {}", answer.err());
    Ok(())
}
