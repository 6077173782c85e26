//! Start and end of the plugin, and of its clients.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::common::{create, harmless, soon};
use crate::Bench;
use crate::bench::invariants::activate;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};
use crate::client::{Broken, Connection, as_engine};

/// What service managers give a service to end in (systemd's `DefaultTimeoutStopSec`).
const GRACE: f64 = 90.0;
const CLIENTS: usize = 16;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P35",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "a client that goes away in the middle of a call",
        rule: "The operation is done as a whole or undone, and the same call again gives an answer that fits: users interrupt commands, and the engine then closes the connection and asks again later.",
        slow: false,
        run: gone,
    },
    Check {
        id: "P36",
        level: Level::Engine,
        kind: None,
        needs: &[Need::Process],
        title: "SIGTERM with calls in flight",
        rule: "They are answered, then the process ends within its grace: a call that is cut off is sent again without its body, so an update of the plugin must not cut one off.",
        slow: true,
        run: told_to_end,
    },
    Check {
        id: "P34",
        level: Level::Robustness,
        kind: None,
        needs: &[Need::Process],
        title: "a start over a stale socket, and a second start",
        rule: "The first replaces what a crash left behind. The second ends with an exit status and a message that say so, and leaves the socket to the one that runs.",
        slow: true,
        run: again,
    },
];

fn gone(bench: &Bench) -> Outcome {
    let mut calls = harmless(bench);
    let name = bench.name("abandoned");
    if bench.is(Kind::Volume) {
        calls.push((
            "VolumeDriver.Create",
            create(bench, &name).to_string() + "\n",
        ));
    }
    if bench.is(Kind::Network) {
        calls.push((
            "NetworkDriver.DeleteNetwork",
            json!({"NetworkID": bench.id()}).to_string(),
        ));
    }
    if bench.is(Kind::Ipam) {
        calls.push((
            "IpamDriver.ReleasePool",
            json!({"PoolID": bench.id()}).to_string(),
        ));
    }
    for (method, body) in &calls {
        if *method == "VolumeDriver.Create" {
            bench.note(method, &create(bench, &name));
        }
        for _ in 0..bench.repeat() {
            let mut connection = bench.connect()?;
            connection
                .write(&as_engine(method, body.as_bytes()))
                .map_err(Stop::fail)?;
            let _ = connection.stream().shutdown(Shutdown::Both);
        }
    }
    // The calls may go on for a while; the engine asks again after a second at the earliest.
    std::thread::sleep(
        bench
            .patience()
            .seconds(1.0)
            .max(Duration::from_millis(200)),
    );
    for (method, body) in &calls {
        bench
            .send(method, body.as_bytes())
            .succeeds()
            .map_err(|stop| stop.during("again, after clients that did not wait for the answer"))?;
    }
    if bench.is(Kind::Volume) {
        for (method, there) in [("VolumeDriver.Get", true), ("VolumeDriver.Remove", true)] {
            let answer = bench.call(method, &json!({"Name": name}));
            answer.ensure(
                answer.is_success() == there,
                || "after the call was repeated",
            )?;
        }
    }
    Ok(())
}

/// A call of a client that goes on until the plugin is gone.
enum Lost {
    /// Nobody listens any more: nothing was asked.
    Ended,
    /// It was asked, and not answered.
    Call(String),
}

fn told_to_end(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    let (told, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let calls = harmless(bench);
    let mut asked = Ok(());
    let lost: Vec<Lost> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    calls
                        .iter()
                        .cycle()
                        .find_map(|(method, body)| one(bench, method, body, &told, &answered).err())
                        .unwrap_or(Lost::Ended)
                })
            })
            .collect();
        while answered.load(Ordering::Relaxed) < 4 * CLIENTS
            && clients.iter().any(|client| !client.is_finished())
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        told.store(true, Ordering::Relaxed);
        asked = control.ask_to_end();
        clients
            .into_iter()
            .filter_map(|client| client.join().ok())
            .collect()
    });
    let ended = control.ended(bench.patience().seconds(GRACE).max(Duration::from_secs(5)));
    if ended.is_err() {
        let _ = control.kill();
    }
    control.start().map_err(Stop::fail)?;
    asked.map_err(Stop::fail)?;
    ended.map_err(|error| Stop::fail(format!("after SIGTERM {error}")))?;
    let cut: Vec<String> = lost
        .into_iter()
        .filter_map(|lost| match lost {
            Lost::Call(what) => Some(what),
            Lost::Ended => None,
        })
        .collect();
    ensure(cut.is_empty(), || {
        format!(
            "{} of {CLIENTS} clients lost a call, the first: {}",
            cut.len(),
            cut.first().map(String::as_str).unwrap_or_default()
        )
    })
}

fn one(
    bench: &Bench,
    method: &str,
    body: &str,
    told: &AtomicBool,
    answered: &AtomicUsize,
) -> Result<(), Lost> {
    let mut connection = match Connection::open(bench.socket()) {
        Ok(connection) => connection,
        Err(_) if told.load(Ordering::Relaxed) => return Err(Lost::Ended),
        Err(broken) => return Err(Lost::Call(format!("before SIGTERM: {broken}"))),
    };
    // Whole or not at all: what the kernel did not take was not asked.
    if connection
        .write(&as_engine(method, body.as_bytes()))
        .is_err()
    {
        return Err(Lost::Ended);
    }
    match connection.read(soon(bench)) {
        Ok(_) => {
            answered.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        Err(Broken::Late(limit)) if told.load(Ordering::Relaxed) => {
            Err(Lost::Call(Broken::Late(limit).to_string()))
        }
        Err(broken) => Err(Lost::Call(format!("{method}: {broken}"))),
    }
}

fn again(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    control.kill().map_err(Stop::fail)?;
    control
        .start()
        .map_err(|error| Stop::fail(format!("over the socket of one that was killed: {error}")))?;
    let second = control.start_again(Duration::from_secs(20));
    let greeting = activate(bench.socket(), bench.patience());
    greeting
        .succeeds()
        .map_err(|stop| stop.during("after a second start"))?;
    let (status, said) =
        second.map_err(|error| Stop::fail(format!("at a second start {error}")))?;
    ensure(status > 0, || {
        format!("a second start ends with the exit status {status}")
    })?;
    ensure(
        !said.trim().is_empty(),
        || "a second start ends without a word",
    )?;
    Ok(())
}
