//! What the machine runs out of.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::json;

use crate::Bench;
use crate::bench::invariants::{Process, activate};
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};

const CLIENTS: usize = 1000;
const FILES: u64 = 64;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "X06",
        level: Level::Robustness,
        kind: None,
        needs: &[Need::Root, Need::Process],
        title: "64 open files and 1,000 clients",
        rule: "The plugin refuses or lets them wait, and serves again a second after they are gone: many volumes at an engine's start open a connection each. A server that ends its accept loop at the first `too many open files` never comes back.",
        slow: true,
        run: few_files,
    },
    Check {
        id: "X20",
        level: Level::Robustness,
        kind: None,
        needs: &[],
        title: "a mixed load for a minute",
        rule: "Memory does not grow with the number of calls: a plugin runs for as long as the machine does. Growth is measured over the second half of the load.",
        slow: true,
        run: long,
    },
];

fn few_files(bench: &Bench) -> Outcome {
    let process = Process::behind(bench.socket())
        .ok_or_else(|| Stop::skip("the plugin's process cannot be told"))?;
    let pid = i32::try_from(process.pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Stop::skip("the plugin's process cannot be told"))?;
    let own = getrlimit(Resource::Nofile);
    let more = Rlimit {
        current: Some(CLIENTS as u64 + 200).max(own.current),
        maximum: own.maximum,
    };
    if setrlimit(Resource::Nofile, more).is_err() {
        return Err(Stop::skip("this process may not open 1,000 files"));
    }
    let open = process.load().map_or(0, |(files, _)| files as u64);
    let limit = Rlimit {
        current: Some(open + FILES),
        maximum: most_files(process.pid),
    };
    let Ok(before) = prlimit(Some(pid), Resource::Nofile, limit) else {
        return Err(Stop::skip("the plugin's limits may not be changed"));
    };
    let clients: Vec<UnixStream> = (0..CLIENTS)
        .map_while(|_| {
            let end = Instant::now() + Duration::from_secs(1);
            // A queue that is full makes a connection wait, here for ever.
            connect_until(bench, end)
        })
        .collect();
    std::thread::sleep(bench.patience().seconds(2.0));
    drop(clients);
    let freed = Instant::now();
    let limit = Duration::from_secs(1).max(bench.patience().seconds(1.0));
    let answered = loop {
        let answer = activate(bench.socket(), bench.patience());
        if answer.is_success() || freed.elapsed() > limit {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = prlimit(Some(pid), Resource::Nofile, before);
    let _ = setrlimit(Resource::Nofile, own);
    answered
        .succeeds()
        .map(drop)
        .map_err(|stop| stop.during("a second after 1,000 clients went away"))
}

/// The most that a process may raise its limit of open files to. `None`: there is no bound.
fn most_files(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

fn connect_until(bench: &Bench, end: Instant) -> Option<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let address = SocketAddrUnix::new(bench.socket()).ok()?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    loop {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        if rustix::net::connect(&socket, &address).is_ok() {
            return Some(UnixStream::from(socket));
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What allocators keep for themselves.
const GROWTH: usize = 16 << 20;

fn long(bench: &Bench) -> Outcome {
    let process = Process::behind(bench.socket())
        .ok_or_else(|| Stop::skip("the plugin's process cannot be told"))?;
    let resident = || memory(process.pid).ok_or_else(|| Stop::skip("its memory cannot be seen"));
    let half = bench.patience().seconds(30.0);
    let first = calls_for(bench, half)?;
    let before = resident()?;
    let second = calls_for(bench, half)?;
    let after = resident()?;
    ensure(after <= before + GROWTH, || {
        format!(
            "after {first} calls the plugin takes {} KiB of memory, and after {second} more {} KiB",
            before >> 10,
            after >> 10
        )
    })
}

fn calls_for(bench: &Bench, time: Duration) -> Outcome<usize> {
    let end = Instant::now() + time;
    let done = bench.at_once(4, |_| {
        let mut count = 0;
        while Instant::now() < end {
            some(bench)?;
            count += 1;
        }
        Ok::<usize, Stop>(count)
    });
    done.into_iter().sum()
}

/// One call of each kind, and for volumes a whole life.
fn some(bench: &Bench) -> Outcome {
    activate(bench.socket(), bench.patience()).succeeds()?;
    if bench.is(Kind::Volume) {
        let name = bench.name("long");
        let body = json!({"Name": name, "Opts": bench.profile().volume.filled(&name)});
        bench.call("VolumeDriver.Create", &body).succeeds()?;
        bench.call("VolumeDriver.Get", &body).succeeds()?;
        bench.call("VolumeDriver.Remove", &body).succeeds()?;
    }
    for (kind, method, body) in [
        (Kind::Network, "NetworkDriver.GetCapabilities", ""),
        (Kind::Ipam, "IpamDriver.GetDefaultAddressSpaces", ""),
        (
            Kind::Authz,
            "AuthZPlugin.AuthZReq",
            r#"{"RequestMethod":"GET","RequestUri":"/_ping"}"#,
        ),
    ] {
        if bench.is(kind) {
            bench.send(method, body.as_bytes()).succeeds()?;
        }
    }
    Ok(())
}

fn memory(pid: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}
