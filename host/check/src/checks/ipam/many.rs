//! Whole pools, many clients, and long sequences.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::json;

use super::check;
use super::lab::{Lab, Pool, nth};
use crate::Bench;
use crate::bench::invariants::Process;
use crate::check::{Check, Level, Outcome, Stop, ensure};
use crate::client::{Answer, Connection, as_engine};

pub(super) const CHECKS: &[Check] = &[
    check(
        "I15",
        Level::Engine,
        "a /29 until it is exhausted",
        "As many addresses as there are (the profile's `counts` say it, otherwise six), then an error with a text that says so; after a release that one comes.",
        exhausts,
    ),
    check(
        "I16",
        Level::Robustness,
        "the smallest pools: /30, /31, /32, /126, /127, /128",
        "Refused, or as many addresses as the profile's `counts` say, one at least: a pool that nobody can have an address of makes a network that no container can join.",
        exhausts_the_smallest,
    ),
    Check {
        slow: true,
        ..check(
            "I17",
            Level::Engine,
            "64 clients drain a /22",
            "No address twice, and all of them: containers are started at the same time, and two with one address break both.",
            drains_at_once,
        )
    },
    Check {
        slow: true,
        ..check(
            "I23",
            Level::Robustness,
            "10,000 addresses of an IPv6 /64",
            "All different, within 10 s, and with at most 16 MiB more memory: a table or a search over the whole pool would need all there is.",
            serves_large_pools,
        )
    },
    Check {
        slow: true,
        ..check(
            "I31",
            Level::Security,
            "one global address space on two machines",
            "No address twice: the engines of a cluster trust the space to be one. (The profile's `peer` is the socket on the other machine.)",
            keeps_machines_apart,
        )
    },
    Check {
        slow: true,
        ..check(
            "I32",
            Level::Engine,
            "100,000 random calls of 8 clients",
            "Every answer as a simple model of pools and addresses has it; the seed in the report repeats the calls.",
            behaves_as_the_model,
        )
    },
];

/// How many addresses a pool may give: as the profile says, or as plugins commonly have it.
fn counts(lab: &Lab<'_>, net: IpNet) -> Vec<usize> {
    if let Some(count) = lab.bench.profile().ipam.count(net) {
        return vec![count as usize];
    }
    match (net, net.max_prefix_len() - net.prefix_len()) {
        // RFC 3021 lets both addresses of a /31 be hosts.
        (IpNet::V4(_), 1) => vec![0, 2],
        (IpNet::V4(_), 0) => vec![0, 1],
        (IpNet::V4(_), bits) => vec![(1usize << bits) - 2],
        (IpNet::V6(_), 0) => vec![0, 1],
        // With or without the address of the routers (RFC 4291).
        (IpNet::V6(_), 1) => vec![0, 1, 2],
        (IpNet::V6(_), bits) => {
            let all = 1usize << bits.min(16);
            vec![all - 2, all - 1, all]
        }
    }
}

fn exhausts(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(29, 0)?;
    let pool = lab.pool(net)?;
    let (got, end) = lab.drain(&pool, 8)?;
    let count = got.len() + usize::from(pool.gateway.is_some());
    let may = counts(&lab, net);
    end.ensure(may.contains(&count), || {
        format!("{net} has given {count} addresses, and not {may:?}")
    })?;
    let text = end.errs()?;
    end.ensure(
        !text.starts_with("status "),
        || "the error has no text that says so",
    )?;
    for address in [got.last(), got.first()].into_iter().flatten() {
        lab.free(&pool, address).succeeds()?;
        let answer = lab.ask(&pool, "");
        let next = Lab::address_of(&answer)
            .map_err(|stop| stop.during(format!("{address} was released just now")))?;
        answer.ensure(next == *address, || format!("only {address} was free"))?;
    }
    Ok(())
}

fn exhausts_the_smallest(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let mut nets = Vec::new();
    for (number, prefix) in [30, 31, 32].into_iter().enumerate() {
        nets.push(lab.four(prefix, 8 * number)?);
    }
    if lab.has_six() {
        for prefix in [126, 127, 128] {
            nets.push(lab.six(prefix, usize::from(prefix))?);
        }
    }
    for net in nets {
        let may = counts(&lab, net);
        let six = matches!(net, IpNet::V6(_));
        let answer = lab.ask_pool(&lab.space, &net.to_string(), "", six);
        if answer.is_error() {
            answer.ensure(may.contains(&0), || {
                format!("{net} is to give {may:?} addresses")
            })?;
            continue;
        }
        let pool = Lab::got(&answer, net)?;
        let (got, end) = lab.drain(&pool, 8)?;
        let count = got.len() + usize::from(pool.gateway.is_some());
        end.ensure(count > 0, || {
            format!("{net} was given, and has no address for anybody")
        })?;
        end.ensure(may.contains(&count), || {
            format!("{net} has given {count} addresses, and not {may:?}")
        })?;
        for address in got {
            lab.free(&pool, address).succeeds()?;
        }
        lab.free_pool(&pool.id).succeeds()?;
    }
    Ok(())
}

/// As many as an engine's users start at once.
const CLIENTS: usize = 64;

fn drains_at_once(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(22, 0)?;
    let pool = lab.pool(net)?;
    let shares = bench.at_once(CLIENTS, |_| lab.drain(&pool, 1024));
    let mut seen: BTreeSet<IpAddr> = pool.gateway.into_iter().collect();
    for share in shares {
        for address in share?.0 {
            ensure(seen.insert(address), || {
                format!("{address} was given to two clients")
            })?;
        }
    }
    let may = counts(&lab, net);
    ensure(may.contains(&seen.len()), || {
        format!("{net} has given {} addresses, and not {may:?}", seen.len())
    })
}

/// Bytes that a process has in memory. `None`: it may not be looked at.
fn memory(socket: &Path) -> Option<u64> {
    let pid = Process::behind(socket)?.pid;
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let resident: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(resident * rustix::param::page_size() as u64)
}

fn serves_large_pools(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    if !lab.has_six() {
        return Err(Stop::skip(
            "the plugin manages no IPv6 (`ipv6` in the profile)",
        ));
    }
    let pool = lab.pool(lab.six(64, 0)?)?;
    for _ in 0..20 {
        lab.address(&pool, "")?;
    }
    let before = memory(bench.socket());
    let began = Instant::now();
    let most = bench.patience().times(10_000);
    let mut seen = BTreeSet::new();
    for _ in 0..most {
        let answer = lab.ask(&pool, "");
        let address = Lab::address_of(&answer)?;
        answer.ensure(pool.net.contains(&address), || {
            format!("{address} is outside of {}", pool.net)
        })?;
        answer.ensure(seen.insert(address), || {
            format!("{address} was given before, and not released")
        })?;
    }
    let took = began.elapsed();
    ensure(took < Duration::from_secs(10), || {
        format!("{most} addresses took {:.1} s", took.as_secs_f64())
    })?;
    if let (Some(before), Some(after)) = (before, memory(bench.socket())) {
        let more = after.saturating_sub(before) >> 20;
        ensure(more < 16, || {
            format!("after {most} addresses the process has {more} MiB more in memory")
        })?;
    }
    Ok(())
}

/// The same call to the plugin on the other machine.
fn call_peer(bench: &Bench, peer: &Path, method: &str, body: &serde_json::Value) -> Answer {
    let bytes = body.to_string().into_bytes();
    let got = Connection::open(peer).and_then(|mut connection| {
        connection.write(&as_engine(method, &bytes))?;
        connection.read(bench.patience().for_call(method))
    });
    Answer::new(method, &bytes, got)
}

fn keeps_machines_apart(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let (Some(peer), Some(space)) = (&bench.profile().ipam.peer, &lab.other) else {
        return Err(Stop::skip(
            "no socket on another machine is known (`peer` in the profile), or there is no global space",
        ));
    };
    let net = lab.four(22, 0)?;
    let request = lab.pool_request(space, &net.to_string(), "", false);
    let here = Lab::got(&bench.call("IpamDriver.RequestPool", &request), net)?;
    let there = Lab::got(
        &call_peer(bench, peer, "IpamDriver.RequestPool", &request),
        net,
    )?;
    let most = bench.patience().times(500) as usize;
    let halves = bench.at_once(2, |side| {
        let mut got = Vec::new();
        for _ in 0..most {
            let method = "IpamDriver.RequestAddress";
            let answer = if side == 0 {
                bench.call(method, &lab.address_request(&here.id, ""))
            } else {
                call_peer(bench, peer, method, &lab.address_request(&there.id, ""))
            };
            got.push(Lab::address_of(&answer)?);
        }
        Ok::<_, Stop>(got)
    });
    let mut seen = BTreeSet::new();
    let mut twice = None;
    for (side, half) in halves.into_iter().enumerate() {
        for address in half? {
            if !seen.insert(address) {
                twice = Some(address);
            }
            if side == 1 {
                let body = json!({"PoolID": there.id, "Address": address.to_string()});
                call_peer(bench, peer, "IpamDriver.ReleaseAddress", &body);
            }
        }
    }
    let body = json!({"PoolID": there.id});
    call_peer(bench, peer, "IpamDriver.ReleasePool", &body);
    match twice {
        Some(address) => Err(Stop::fail(format!("{address} was given on both machines"))),
        None => Ok(()),
    }
}

/// What one client has, and knows to be so.
struct Client<'a, 'b> {
    lab: &'a Lab<'b>,
    net: IpNet,
    pool: Option<(Pool, u32)>,
    held: BTreeSet<IpAddr>,
    count: Vec<usize>,
}

fn behaves_as_the_model(bench: &Bench) -> Outcome {
    const AT_ONCE: usize = 8;
    let lab = Lab::new(bench)?;
    let each = bench.patience().times(100_000) as usize / AT_ONCE;
    let random = bench.random();
    let ends = bench.at_once(AT_ONCE, |number| {
        // Each has a small subnet, between those of the others: it runs full often.
        let net = lab.four(28, number)?;
        let mut random = random.clone();
        for _ in 0..number {
            random = <StdRng as rand::SeedableRng>::from_rng(&mut random);
        }
        let mut client = Client {
            lab: &lab,
            net,
            pool: None,
            held: BTreeSet::new(),
            count: counts(&lab, net),
        };
        (0..each).try_for_each(|step| {
            client
                .step(&mut random)
                .map_err(|stop| stop.during(format!("call {step} of client {number}")))
        })
    });
    ends.into_iter().collect()
}

impl Client<'_, '_> {
    fn step(&mut self, random: &mut StdRng) -> Outcome {
        let Some((pool, networks)) = self.pool.clone() else {
            let pool = self.lab.pool(self.net)?;
            self.held = pool.gateway.into_iter().collect();
            self.pool = Some((pool, 1));
            return Ok(());
        };
        match random.random_range(0..100) {
            0..40 => self.next(&pool),
            40..55 => self.wanted(&pool, random),
            55..90 => {
                let held: Vec<IpAddr> = self.held.iter().copied().collect();
                let any = nth(self.net, random.random_range(0..16));
                let address = held.choose(random).copied().unwrap_or(any);
                self.lab.free(&pool, address).succeeds()?;
                self.held.remove(&address);
                Ok(())
            }
            90..94 if !self.lab.bench.profile().ipam.shared => {
                let text = self.net.to_string();
                let again = self.lab.ask_pool(&self.lab.space, &text, "", false);
                again.errs().map(drop)
            }
            90..94 => {
                let again = self.lab.pool(self.net)?;
                ensure(again.id == pool.id, || {
                    format!("PoolID of {} was {:?}", self.net, pool.id)
                })?;
                self.pool = Some((pool, networks + 1));
                Ok(())
            }
            94..98 if networks > 1 => {
                self.lab.free_pool(&pool.id).succeeds()?;
                self.pool = Some((pool, networks - 1));
                Ok(())
            }
            98.. if networks == 1 => {
                for address in std::mem::take(&mut self.held) {
                    self.lab.free(&pool, address).succeeds()?;
                }
                self.lab.free_pool(&pool.id).succeeds()?;
                self.pool = None;
                self.lab.ask(&pool, "").errs().map(drop)
            }
            _ => Ok(()),
        }
    }

    fn next(&mut self, pool: &Pool) -> Outcome {
        let answer = self.lab.ask(pool, "");
        if answer.is_error() {
            return answer.ensure(self.count.contains(&self.held.len()), || {
                format!(
                    "only {} of {:?} addresses are held",
                    self.held.len(),
                    self.count
                )
            });
        }
        self.got(&answer, None)
    }

    fn wanted(&mut self, pool: &Pool, random: &mut StdRng) -> Outcome {
        let wanted = nth(self.net, random.random_range(1..15));
        let answer = self.lab.ask(pool, &wanted.to_string());
        if self.held.contains(&wanted) {
            return answer
                .errs()
                .map_err(|stop| stop.during(format!("{wanted} is held")))
                .map(drop);
        }
        self.got(&answer, Some(wanted))
    }

    fn got(&mut self, answer: &Answer, wanted: Option<IpAddr>) -> Outcome {
        let address = Lab::address_of(answer)?;
        answer.ensure(
            wanted.is_none_or(|wanted| wanted == address),
            || "it is not what was asked for",
        )?;
        answer.ensure(self.net.contains(&address), || {
            format!("{address} is outside of {}", self.net)
        })?;
        answer.ensure(self.held.insert(address), || {
            format!("{address} is held already")
        })
    }
}
