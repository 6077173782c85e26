//! Random requests and releases of addresses over 8 connections, with `kill -9` of the daemon in between, against a plain record of what was
//! acknowledged.
//!
//! Bar: no address is given to two at once, every acknowledged address is held, and every acknowledged release is done.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::Caller;
use dockside_tests::daemon::Site;
use dockside_tests::files;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const USAGE: &str = "\
ipam-storm: random IPAM operations over many connections, and kill -9 of the daemon
  --operations N   operations in all (10000)
  --clients N      connections at once (8)
  --kills N        kills (10)
  --seed N         which random operations (1)";

/// Subnets with few addresses, so that they run out.
const SUBNETS: [&str; 3] = ["10.90.0.0/25", "10.90.1.0/24", "fd00:90::/64"];

/// What the answers say.
#[derive(Debug, Default)]
struct Record {
    /// Held addresses, each with its pool.
    held: BTreeMap<String, String>,
    /// Addresses whose request or release was cut off: both may be.
    open: BTreeSet<String>,
    /// Requests that were cut off: as many addresses more may be held.
    unknown: usize,
    wrong: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let operations = arguments.number("--operations", 10_000)?;
    let clients = arguments.number("--clients", 8)?;
    let kills = arguments.number("--kills", 10)?;
    let seed = arguments.number("--seed", 1)?;

    let site = Site::new()?;
    site.drop_in(&files::driver("pool")?, "pool")?;
    let record = Mutex::new(Record::default());
    let done = AtomicU64::new(0);
    let mut pools = Vec::new();
    for round in 0..=kills {
        let mut daemon = site.serve()?;
        daemon.wait_plugin("pool")?;
        if pools.is_empty() {
            for subnet in SUBNETS {
                pools.push(request_pool(&mut site.caller("pool"), subnet)?);
            }
        }
        compare(&site, &mut locked(&record))?;
        let is_over = AtomicBool::new(false);
        let target = operations * (round + 1) / (kills + 1);
        thread::scope(|scope| {
            let load: Vec<_> = (0..clients)
                .map(|client| {
                    let mut rng = StdRng::seed_from_u64(seed ^ round << 16 ^ client << 8);
                    let (site, pools, record, done, is_over) =
                        (&site, &pools, &record, &done, &is_over);
                    scope.spawn(move || {
                        let mut caller = site.caller("pool").with_second(Duration::ZERO);
                        while !is_over.load(Ordering::Relaxed) {
                            if step(&mut caller, &mut rng, pools, record).is_err() {
                                break;
                            }
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            while done.load(Ordering::Relaxed) < target && load.iter().any(|one| !one.is_finished())
            {
                thread::sleep(Duration::from_millis(1));
            }
            if round < kills {
                daemon.kill()?;
            }
            is_over.store(true, Ordering::Relaxed);
            anyhow::Ok(())
        })?;
        if round == kills {
            compare(&site, &mut locked(&record))?;
        }
    }
    let record = locked(&record);
    let done = done.load(Ordering::Relaxed);
    for line in record.wrong.iter().take(10) {
        println!("{line}");
    }
    let figures = format!(
        "{done} operations over {clients} connections, {kills} kills, seed {seed}: {} divergences and duplicate addresses, {} addresses held at the end",
        record.wrong.len(),
        record.held.len()
    );
    Ok(verdict(
        "ipam-storm",
        record.wrong.is_empty() && done >= operations,
        &figures,
    ))
}

fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn request_pool(caller: &mut Caller, subnet: &str) -> Result<String> {
    let body = json!({ "AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": {}, "V6": subnet.contains(':') });
    let answer = caller.call("IpamDriver.RequestPool", &body)?;
    ensure!(answer.is_success(), "RequestPool: {}", answer.err());
    Ok(answer.at("/PoolID").as_str().unwrap_or_default().to_owned())
}

/// One operation. An error is the end of the daemon.
fn step(
    caller: &mut Caller,
    rng: &mut StdRng,
    pools: &[String],
    record: &Mutex<Record>,
) -> Result<()> {
    let Some(pool) = pools.get(rng.random_range(0..pools.len())) else {
        return Ok(());
    };
    if rng.random_bool(0.55) {
        let mac = format!(
            "02:00:00:00:{:02x}:{:02x}",
            rng.random::<u8>(),
            rng.random::<u8>()
        );
        let options = json!({ "com.docker.network.endpoint.macaddress": mac });
        let body = json!({ "PoolID": pool, "Address": "", "Options": options });
        let answer = caller.call_once("IpamDriver.RequestAddress", &body);
        let mut record = locked(record);
        let Ok(answer) = answer else {
            record.unknown += 1;
            anyhow::bail!("cut off");
        };
        if answer.is_success() {
            let address = answer.at("/Address");
            let address = address.as_str().unwrap_or_default();
            let address = address.split('/').next().unwrap_or_default().to_owned();
            record.open.remove(&address);
            if record.held.insert(address.clone(), pool.clone()).is_some() {
                record.wrong.push(format!("{address} was given twice"));
            }
        } else if !answer.err().contains("is exhausted") {
            record.wrong.push(answer.err());
        }
        return Ok(());
    }
    let chosen = {
        let mut record = locked(record);
        let count = record.held.len();
        if count == 0 {
            return Ok(());
        }
        let chosen = record.held.keys().nth(rng.random_range(0..count)).cloned();
        // From here on somebody else may get it.
        chosen.and_then(|address| {
            let pool = record.held.remove(&address)?;
            record.open.insert(address.clone());
            Some((address, pool))
        })
    };
    let Some((address, pool)) = chosen else {
        return Ok(());
    };
    let body = json!({ "PoolID": pool, "Address": address });
    let answer = caller
        .call_once("IpamDriver.ReleaseAddress", &body)
        .context("cut off")?;
    let mut record = locked(record);
    if answer.is_success() {
        record.open.remove(&address);
    } else {
        record.wrong.push(answer.err());
    }
    Ok(())
}

/// Compares the driver's own list with the record.
fn compare(site: &Site, record: &mut Record) -> Result<()> {
    let output = site
        .command("run")?
        .args(["--json", "pool", "leases", "limit=100000"])
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed: Value = serde_json::from_slice(&output.stdout)?;
    let listed: Vec<&str> = listed
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|lease| lease.get("address")?.as_str())
        .collect();
    let distinct: BTreeSet<&str> = listed.iter().copied().collect();
    if distinct.len() < listed.len() {
        record.wrong.push("an address is listed twice".to_owned());
    }
    let lost: Vec<String> = record
        .held
        .keys()
        .filter(|address| !distinct.contains(address.as_str()))
        .map(|address| format!("{address} was given and is not held"))
        .collect();
    record.wrong.extend(lost);
    let more: Vec<&&str> = distinct
        .iter()
        .filter(|address| !record.held.contains_key(**address) && !record.open.contains(**address))
        .collect();
    if more.len() > record.unknown {
        let text = format!(
            "{more:?} are held, and only {} requests were cut off",
            record.unknown
        );
        record.wrong.push(text);
    }
    Ok(())
}
