//! Where a request begins and ends.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use serde_json::json;

use super::common::{State, USUAL, create, harmless, needing, raw, refused, request, soon};
use crate::Bench;
use crate::bench::invariants::{Process, activate};
use crate::check::{Check, Kind, Level, Outcome, Stop, ensure};
use crate::client::{Answer, Broken, Connection, HOST, as_engine};

/// More than any request of an engine's: 4 MiB of somebody's body, in base64, with its headers.
const TOO_MUCH: usize = 64 << 20;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P21",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "two calls on one connection",
        rule: "Both are answered, in order, unless the first answer says `Connection: close`: the engine keeps its connections.",
        slow: false,
        run: kept,
    },
    Check {
        id: "P28",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "a request that is cut off",
        rule: "No change: an engine that dies in the middle of a request has not asked for anything.",
        slow: false,
        run: cut,
    },
    Check {
        id: "P27",
        level: Level::Security,
        kind: None,
        needs: &[],
        title: "a body without end, by its length and in chunks",
        rule: "Status 413, or the connection is closed, before 64 MiB are read, and the plugin does not keep what it reads: else whoever reaches an authorized API can exhaust the machine's memory by way of the plugin.",
        slow: true,
        run: endless_body,
    },
    Check {
        id: "P29",
        level: Level::Security,
        kind: None,
        needs: &[],
        title: "200 headers, a header of 64 KiB, headers without end",
        rule: "Refused with status 431 or 400, or served as ever; headers that do not end are refused. The next call works.",
        slow: false,
        run: headers,
    },
    Check {
        id: "P30",
        level: Level::Security,
        kind: None,
        needs: &[],
        title: "a length and chunks at once, and two lengths",
        rule: "Two lengths are refused; a length beside chunks is refused, or the connection is closed behind the answer (RFC 9112, 6.1 and 6.3). Who takes one and then reads on takes part of a body for a request.",
        slow: false,
        run: two_lengths,
    },
    Check {
        id: "P24",
        level: Level::Robustness,
        kind: None,
        needs: &[],
        title: "two requests written back to back",
        rule: "Both are answered in order, or the first answer says `Connection: close` and the second is not begun.",
        slow: false,
        run: pipelined,
    },
];

fn kept(bench: &Bench) -> Outcome {
    for (method, body) in harmless(bench) {
        let mut connection = bench.connect()?;
        let mut closes = false;
        for turn in ["first", "second", "third"] {
            if closes {
                break;
            }
            let got = connection
                .write(&as_engine(method, body.as_bytes()))
                .and_then(|()| connection.read(soon(bench)));
            closes = got.as_ref().is_ok_and(|response| response.closes());
            Answer::new(method, body.as_bytes(), got)
                .succeeds()
                .map_err(|stop| stop.during(format!("the {turn} call on one connection")))?;
        }
    }
    Ok(())
}

fn cut(bench: &Bench) -> Outcome {
    let before = State::of(bench)?;
    let mut calls: Vec<_> = needing(bench)
        .into_iter()
        .map(|(method, field)| (method, json!({field: bench.name("half")})))
        .collect();
    if bench.is(Kind::Volume) {
        calls.push(("VolumeDriver.Create", create(bench, &bench.name("half"))));
    }
    for (method, body) in calls {
        bench.note(method, &body);
        let body = body.to_string();
        let whole = as_engine(method, body.as_bytes());
        let part = whole.get(..whole.len() - body.len() / 2).unwrap_or(&whole);
        let mut connection = bench.connect()?;
        connection.write(part).map_err(Stop::fail)?;
        connection
            .stream()
            .shutdown(Shutdown::Write)
            .map_err(Stop::fail)?;
        let answer = Answer::new(method, body.as_bytes(), connection.read(soon(bench)));
        let silent = matches!(answer.broken(), Some(Broken::Closed));
        answer.ensure(
            silent || refused(&answer),
            || "half of the request was sent, and it was answered as if it had been whole",
        )?;
    }
    before.unchanged(bench)
}

fn endless_body(bench: &Bench) -> Outcome {
    let process = Process::behind(bench.socket());
    let resident = || process.and_then(|process| memory(process.pid));
    let before = resident();
    for chunked in [false, true] {
        for method in ["Plugin.Activate"]
            .into_iter()
            .chain(needing(bench).into_iter().map(|(method, _)| method).take(1))
        {
            let framing = if chunked {
                "Transfer-Encoding: chunked"
            } else {
                "Content-Length: 1099511627776"
            };
            let head = format!("POST /{method} HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n");
            let way = format!("{method} with {framing}");
            let mut connection = bench.connect()?;
            connection.write(head.as_bytes()).map_err(Stop::fail)?;
            let taken = pour(&mut connection, chunked);
            ensure(taken < TOO_MUCH, || {
                format!("{way}: the plugin read {TOO_MUCH} bytes and wants more")
            })?;
            let status = connection.read(soon(bench)).map(|response| response.status);
            ensure(!matches!(status, Ok(200..=299)), || {
                format!("{way}: answered with {status:?} while the body went on")
            })?;
        }
    }
    if let (Some(before), Some(after)) = (before, resident()) {
        ensure(after < before + 2 * TOO_MUCH, || {
            format!("the plugin's memory grew from {before} to {after} bytes")
        })?;
    }
    Ok(())
}

/// Writes until the plugin does not take any more, and gives how much it took.
fn pour(connection: &mut Connection, chunked: bool) -> usize {
    let block = [b' '; 64 << 10];
    let _ = connection
        .stream()
        .set_write_timeout(Some(Duration::from_secs(2)));
    let mut taken = 0;
    while taken < TOO_MUCH {
        let written = if chunked {
            connection
                .write(b"10000\r\n")
                .and_then(|()| connection.write(&block))
                .and_then(|()| connection.write(b"\r\n"))
        } else {
            connection.write(&block)
        };
        if written.is_err() {
            break;
        }
        taken += block.len();
    }
    taken
}

fn memory(pid: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

fn headers(bench: &Bench) -> Outcome {
    let many: String = (0..200).map(|n| format!("X-Header-{n}: {n}\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "y".repeat(64 << 10));
    for (what, extra) in [("200 headers", many), ("a header of 64 KiB", long)] {
        let bytes = format!(
            "POST /Plugin.Activate HTTP/1.1\r\nHost: {HOST}\r\n{extra}Content-Length: 0\r\n\r\n"
        );
        let answer = raw(bench, "Plugin.Activate", what, bytes.as_bytes());
        let fits = matches!(answer.status(), 200 | 400 | 413 | 431)
            || matches!(answer.broken(), Some(Broken::Closed | Broken::Io(_)));
        answer.ensure(fits, || "status 431, 400 or a success was expected")?;
        activate(bench.socket(), bench.patience())
            .succeeds()
            .map_err(|stop| stop.during(format!("after {what}")))?;
    }
    let mut connection = bench.connect()?;
    connection
        .write(format!("POST /Plugin.Activate HTTP/1.1\r\nHost: {HOST}\r\nX-Endless: ").as_bytes())
        .map_err(Stop::fail)?;
    let taken = pour(&mut connection, false);
    ensure(taken < TOO_MUCH / 2, || {
        format!("a header of {taken} bytes was read and not refused")
    })?;
    activate(bench.socket(), bench.patience())
        .succeeds()
        .map(drop)
        .map_err(|stop| stop.during("after a header without end"))
}

fn two_lengths(bench: &Bench) -> Outcome {
    let smuggled =
        String::from_utf8_lossy(&request("POST", "/Plugin.Activate", USUAL, b"")).into_owned();
    let head = format!("POST /Plugin.Activate HTTP/1.1\r\nHost: {HOST}\r\n");
    let both = format!(
        "{head}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        5 + smuggled.len()
    );
    let two = format!(
        "{head}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    for (what, bytes, may_serve) in [
        ("a length and chunks", both, true),
        ("two lengths", two, false),
    ] {
        let mut connection = bench.connect()?;
        connection.write(bytes.as_bytes()).map_err(Stop::fail)?;
        let answer = Answer::new(
            "Plugin.Activate",
            what.as_bytes(),
            connection.read(soon(bench)),
        );
        let silent = matches!(answer.broken(), Some(Broken::Closed));
        let refuses = silent || (400..500).contains(&answer.status());
        answer.ensure(refuses || (may_serve && answer.is_success()), || {
            format!("with {what} status 400 was expected")
        })?;
        if !silent {
            let behind = connection.closing(soon(bench));
            answer.ensure(behind.as_ref().is_ok_and(Vec::is_empty), || match behind {
                Ok(_) => format!("with {what} part of the body was taken for a request"),
                Err(_) => format!("with {what} the connection was to be closed behind the answer"),
            })?;
        }
    }
    Ok(())
}

fn pipelined(bench: &Bench) -> Outcome {
    for (method, body) in harmless(bench) {
        let mut connection = bench.connect()?;
        let one = as_engine(method, body.as_bytes());
        connection
            .write(&[one.as_slice(), one.as_slice()].concat())
            .map_err(Stop::fail)?;
        let first = connection.read(soon(bench));
        let closes = first.as_ref().is_ok_and(|response| response.closes());
        Answer::new(method, body.as_bytes(), first)
            .succeeds()
            .map_err(|stop| stop.during("the first of two requests"))?;
        if closes {
            let _ = connection.closing(soon(bench)).map_err(Stop::fail)?;
            continue;
        }
        let began = Instant::now();
        let second = Answer::new(method, body.as_bytes(), connection.read(soon(bench)));
        second.succeeds().map_err(|stop| {
            stop.during(format!(
                "the second of two requests, after {:.1} s",
                began.elapsed().as_secs_f64()
            ))
        })?;
    }
    Ok(())
}
