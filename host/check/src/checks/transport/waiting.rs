//! Connections that wait, and clients that are slow.

use std::time::{Duration, Instant};

use super::common::soon;
use crate::Bench;
use crate::bench::invariants::activate;
use crate::check::{Check, Level, Outcome, Stop, ensure};
use crate::client::{Answer, Broken, Connection, HOST, as_engine};

const GREET: &str = "Plugin.Activate";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P22",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "a connection that is idle for 35 s",
        rule: "Its next call is answered, unless the answer before said `Connection: close`. Engines keep idle connections for 30 s or for ever; one that the plugin closes at the wrong moment costs a call, which is sent again without its body.",
        slow: true,
        run: idle,
    },
    Check {
        id: "P23",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "calls at the very moment at which idle connections are closed",
        rule: "No call is lost: a plugin that closes idle connections at all must not close one on which a request has arrived. Not closing them is the simplest way.",
        slow: true,
        run: straddled,
    },
    Check {
        id: "P25",
        level: Level::Security,
        kind: None,
        needs: &[],
        title: "headers at one byte a second",
        rule: "The connection is closed within 15 s, and others are served meanwhile: else one client that is stuck, or means harm, holds a connection for ever.",
        slow: true,
        run: slow_head,
    },
    Check {
        id: "P26",
        level: Level::Security,
        kind: None,
        needs: &[],
        title: "a body at one byte a second",
        rule: "The connection is closed within 35 s, and others are served meanwhile.",
        slow: true,
        run: slow_body,
    },
];

/// A connection with one answered call behind it. `None`: the plugin closes it, and said so.
fn answered(bench: &Bench) -> Outcome<Option<Connection>> {
    let mut connection = bench.connect()?;
    let got = connection
        .write(&as_engine(GREET, b""))
        .and_then(|()| connection.read(soon(bench)));
    let closes = got.as_ref().is_ok_and(|response| response.closes());
    Answer::new(GREET, b"", got).succeeds()?;
    Ok((!closes).then_some(connection))
}

fn idle(bench: &Bench) -> Outcome {
    let Some(mut connection) = answered(bench)? else {
        return Ok(());
    };
    let time = bench.patience().seconds(35.0);
    std::thread::sleep(time);
    let got = connection
        .write(&as_engine(GREET, b""))
        .and_then(|()| connection.read(soon(bench)));
    Answer::new(GREET, b"", got)
        .succeeds()
        .map(drop)
        .map_err(|stop| stop.during(format!("after {:.0} s idle", time.as_secs_f64())))
}

/// Proxies and web servers close after 5 to 75 s.
const LONGEST_IDLE: f64 = 80.0;
const AT_ONCE: usize = 100;
const ROUNDS: usize = 3;

fn straddled(bench: &Bench) -> Outcome {
    let Some(mut connection) = answered(bench)? else {
        return Ok(());
    };
    let began = Instant::now();
    match connection.closing(bench.patience().seconds(LONGEST_IDLE)) {
        // Nothing is closed, so nothing can be lost.
        Err(Broken::Late(_)) => return Ok(()),
        Err(broken) => return Err(Stop::fail(broken)),
        Ok(_) => {}
    }
    let limit = began.elapsed();
    for round in 0..ROUNDS {
        let lost = bench.at_once(AT_ONCE, |number| {
            // From 98 % to 104 %: a server that looks around from time to time closes late.
            let part = 0.98 + 0.06 * (number as f64) / (AT_ONCE as f64);
            call_after(bench, limit.mul_f64(part))
        });
        let lost: Vec<String> = lost.into_iter().filter_map(Result::err).collect();
        ensure(lost.is_empty(), || {
            format!(
                "idle connections are closed after {:.1} s; of {AT_ONCE} calls around that time {} were lost in round {}: {}",
                limit.as_secs_f64(),
                lost.len(),
                round + 1,
                lost.first().map(String::as_str).unwrap_or_default()
            )
        })?;
    }
    Ok(())
}

/// A call on a connection that was idle so long. One that is seen to be closed before the call is no loss: the engine takes another.
fn call_after(bench: &Bench, idle: Duration) -> Result<(), String> {
    let Ok(Some(mut connection)) = answered(bench) else {
        return Ok(());
    };
    std::thread::sleep(idle);
    match connection.closing(Duration::from_micros(1)) {
        Err(Broken::Late(_)) => {}
        _ => return Ok(()),
    }
    if connection.write(&as_engine(GREET, b"")).is_err() {
        return Ok(());
    }
    connection
        .read(soon(bench))
        .map(drop)
        .map_err(|broken| broken.to_string())
}

fn slow_head(bench: &Bench) -> Outcome {
    let head = format!("POST /{GREET} HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ");
    drip(bench, &head, 15.0)
}

fn slow_body(bench: &Bench) -> Outcome {
    let mut connection = bench.connect()?;
    let head = format!("POST /{GREET} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1024\r\n\r\n");
    connection.write(head.as_bytes()).map_err(Stop::fail)?;
    until_closed(bench, &mut connection, b" ", 35.0)
}

fn drip(bench: &Bench, head: &str, seconds: f64) -> Outcome {
    let mut connection = bench.connect()?;
    connection.write(head.as_bytes()).map_err(Stop::fail)?;
    until_closed(bench, &mut connection, b"x", seconds)
}

/// Writes a byte each second until the plugin closes, at the latest after so many seconds.
fn until_closed(bench: &Bench, connection: &mut Connection, byte: &[u8], seconds: f64) -> Outcome {
    let step = bench.patience().seconds(1.0);
    // A busy machine closes a little later.
    let limit = bench.patience().seconds(seconds) + Duration::from_millis(250);
    let end = Instant::now() + limit;
    loop {
        let other = Instant::now();
        activate(bench.socket(), bench.patience())
            .succeeds()
            .map_err(|stop| stop.during("a second connection meanwhile"))?;
        match connection.closing(
            step.saturating_sub(other.elapsed())
                .max(Duration::from_millis(1)),
        ) {
            Err(Broken::Late(_)) => {}
            _ => return Ok(()),
        }
        if connection.write(byte).is_err() {
            return Ok(());
        }
        ensure(Instant::now() < end, || {
            format!(
                "after {:.1} s the connection is still open",
                limit.as_secs_f64()
            )
        })?;
    }
}
