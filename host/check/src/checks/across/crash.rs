//! Ends without a warning.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rand::Rng;
use serde_json::{Value, json};

use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};

const ROUNDS: u32 = 12;
const CLIENTS: usize = 4;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "X02",
        level: Level::Engine,
        kind: None,
        needs: &[Need::Process],
        title: "kill -9 at random moments under load",
        rule: "What was acknowledged is there after the restart, nothing is left mounted or linked, and the state opens each time: the engine has stored what it was told, and will not ask again.",
        slow: true,
        run: killed,
    },
    Check {
        id: "X03",
        level: Level::Engine,
        kind: None,
        needs: &[Need::Process],
        title: "kill -9 again while the plugin recovers",
        rule: "As after one kill: a recovery that is interrupted begins anew and loses nothing. A service manager starts a plugin again at once, and what killed it first is often still there.",
        slow: true,
        run: killed_again,
    },
    Check {
        id: "X14",
        level: Level::Engine,
        kind: None,
        needs: &[Need::Process],
        title: "a second instance on the same state",
        rule: "It ends and says that another one, and where it can which, holds the state or the socket: two that write to one state destroy it.",
        slow: true,
        run: second,
    },
];

/// What was acknowledged, by name.
#[derive(Default)]
struct Acknowledged {
    there: Mutex<BTreeSet<String>>,
    gone: Mutex<BTreeSet<String>>,
    count: AtomicU32,
}

fn add(set: &Mutex<BTreeSet<String>>, name: &str) {
    set.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .insert(name.to_owned());
}

fn create(bench: &Bench, name: &str) -> Value {
    json!({"Name": name, "Opts": bench.profile().volume.filled(name)})
}

/// Volumes that are made, and every third of them removed, until told to stop.
fn load(bench: &Bench, seen: &Acknowledged, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let number = seen.count.fetch_add(1, Ordering::Relaxed);
        let name = bench.name("acked");
        if !bench.is(Kind::Volume) {
            let _ = bench.send("Plugin.Activate", b"");
            continue;
        }
        if !bench
            .call("VolumeDriver.Create", &create(bench, &name))
            .is_success()
        {
            continue;
        }
        if !number.is_multiple_of(3) {
            add(&seen.there, &name);
        } else if bench
            .call("VolumeDriver.Remove", &json!({"Name": name}))
            .is_success()
        {
            add(&seen.gone, &name);
        }
    }
}

/// An address that was acknowledged, with its pool.
fn address(bench: &Bench) -> Outcome<Option<(String, String)>> {
    if !bench.is(Kind::Ipam) {
        return Ok(None);
    }
    let spaces = bench.call("IpamDriver.GetDefaultAddressSpaces", &json!({}));
    let space = spaces.text("/LocalDefaultAddressSpace");
    let pool = bench.call(
        "IpamDriver.RequestPool",
        &json!({"AddressSpace": space, "Pool": "", "SubPool": "", "Options": {}, "V6": false}),
    );
    if !pool.is_success() {
        return Ok(None);
    }
    let pool = pool.text("/PoolID");
    let answer = bench.call(
        "IpamDriver.RequestAddress",
        &json!({"PoolID": pool, "Address": "", "Options": {}}),
    );
    answer.succeeds()?;
    Ok(Some((pool, answer.text("/Address"))))
}

fn still_taken(bench: &Bench, held: Option<&(String, String)>) -> Outcome {
    let Some((pool, address)) = held else {
        return Ok(());
    };
    let bare = address.split('/').next().unwrap_or_default();
    let answer = bench.call(
        "IpamDriver.RequestAddress",
        &json!({"PoolID": pool, "Address": bare, "Options": {}}),
    );
    answer.ensure(answer.is_error(), || {
        format!("{address} was given before the plugin was killed, and is given again")
    })
}

fn kept(bench: &Bench, seen: &Acknowledged) -> Outcome {
    if !bench.is(Kind::Volume) {
        return Ok(());
    }
    let answer = bench.call("VolumeDriver.List", &json!({}));
    let listed: BTreeSet<String> = answer
        .succeeds()?
        .get("Volumes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|volume| volume.get("Name")?.as_str().map(str::to_owned))
        .collect();
    let of = |set: &Mutex<BTreeSet<String>>| {
        set.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    };
    let lost: Vec<String> = of(&seen.there).difference(&listed).cloned().collect();
    let back: Vec<String> = of(&seen.gone).intersection(&listed).cloned().collect();
    ensure(lost.is_empty(), || {
        format!(
            "{} volumes were acknowledged and are not there after kill -9: {}",
            lost.len(),
            lost.first().map(String::as_str).unwrap_or_default()
        )
    })?;
    ensure(back.is_empty(), || {
        format!(
            "{} volumes were removed and are there again after kill -9: {}",
            back.len(),
            back.first().map(String::as_str).unwrap_or_default()
        )
    })
}

fn killed(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    let seen = Acknowledged::default();
    let held = address(bench)?;
    let mut random = bench.random();
    for round in 1..=ROUNDS {
        let wait = Duration::from_millis(random.random_range(20..150));
        let stop = AtomicBool::new(false);
        let killed = std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| load(bench, &seen, &stop));
            }
            std::thread::sleep(wait);
            // From here on nothing new is begun; what is under way is answered or cut off.
            let killed = control.kill();
            stop.store(true, Ordering::Relaxed);
            killed
        });
        let started = control.start();
        killed.map_err(Stop::fail)?;
        started.map_err(|error| Stop::fail(format!("after kill -9 number {round}: {error}")))?;
        kept(bench, &seen)?;
    }
    still_taken(bench, held.as_ref())
}

fn killed_again(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    let seen = Acknowledged::default();
    let held = address(bench)?;
    let stop = AtomicBool::new(false);
    let first = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load(bench, &seen, &stop));
        }
        std::thread::sleep(Duration::from_millis(200));
        let killed = control.kill();
        stop.store(true, Ordering::Relaxed);
        killed
    });
    let mut outcome = first.map_err(Stop::fail);
    for _ in 0..3 {
        let began = control.start();
        if outcome.is_ok() {
            outcome = began.map_err(|error| {
                Stop::fail(format!("a start after kill -9, one of several: {error}"))
            });
        }
        let _ = control.kill();
    }
    control.start().map_err(Stop::fail)?;
    outcome?;
    kept(bench, &seen)?;
    still_taken(bench, held.as_ref())
}

fn second(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    let (status, said) = control
        .start_again(Duration::from_secs(20))
        .map_err(|error| Stop::fail(format!("at a second start {error}")))?;
    ensure(status > 0, || {
        format!("a second start ends with the exit status {status}")
    })?;
    let lower = said.to_lowercase();
    let names = ["another", "already", "in use", "held by", "lock", "pid"]
        .iter()
        .any(|word| lower.contains(word));
    ensure(names, || {
        format!(
            "a second start does not say that another one runs: {:?}",
            said.trim().lines().last().unwrap_or_default()
        )
    })
}
