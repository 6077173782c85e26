//! Endpoints: a container's place on a network, before the container is there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::life::{Net, Subnet, absent};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};
use crate::client::Answer;
use crate::sandbox::links;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N11",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "CreateEndpoint with addresses that the engine has chosen",
        rule: "The answer's Interface holds only what came in empty: for an address that is sent back, even the same one, the engine gives up the start of the container (\"driver modified interface address\").",
        slow: false,
        run: no_echo,
    },
    Check {
        id: "N12",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "CreateEndpoint without an Ethernet address, 10,000 times",
        rule: "The driver chooses one, valid, of one station, locally administered, and never the same again: the engine shows no other address, and two stations with one address lose each other's packets.",
        slow: true,
        run: ethernet_addresses,
    },
    Check {
        id: "N13",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "CreateEndpoint without any address",
        rule: "What the driver chooses is an address with its prefix length (192.0.2.5/24): the engine cannot parse another form, and gives up the start of the container.",
        slow: false,
        run: own_addresses,
    },
    Check {
        id: "N14",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "calls about a network that the driver does not know",
        rule: "An error from all that need the network: CreateNetwork is never repeated by an engine that starts again, and a container that starts on a network which is not there has no connection.",
        slow: false,
        run: unknown_network,
    },
    Check {
        id: "N15",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "CreateEndpoint again with the same IDs",
        rule: "With the same arguments a success and no second link, with others an error: a second link is one that nobody will ever delete.",
        slow: false,
        run: again,
    },
    Check {
        id: "N16",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "two endpoints whose IDs begin alike",
        rule: "Two links with names of at most 15 bytes: a name that is cut out of the ID is the same for both, and the second container does not start.",
        slow: false,
        run: alike,
    },
];

fn no_echo(bench: &Bench) -> Outcome {
    let net = Net::plan(bench).both();
    let made = net.make();
    if !made.is_success() {
        return Err(Stop::skip("networks of both families are N05's subject"));
    }
    for mac in ["", "02:42:64:65:00:0a"] {
        let mut endpoint = net.plan_endpoint(0);
        endpoint.mac = mac.into();
        let answer = endpoint.make();
        answer.succeeds()?;
        for (field, sent) in [
            ("Address", &endpoint.address),
            ("AddressIPv6", &endpoint.address6),
            ("MacAddress", &endpoint.mac),
        ] {
            let back = answer.text(&format!("/Interface/{field}"));
            answer.ensure(sent.is_empty() || back.is_empty(), || {
                format!("{field} was sent, and comes back")
            })?;
        }
        endpoint.delete().succeeds()?;
    }
    net.delete().succeeds().map(drop)
}

fn ethernet_addresses(bench: &Bench) -> Outcome {
    // Drivers may make an Ethernet address of the other one, so each endpoint has an address that no other has.
    let mut net = Net::plan(bench);
    net.v4 = net
        .v4
        .map(|_| Subnet::around(bench.profile().network.pool.into()));
    net.make().succeeds()?;
    let count = bench.many(10_000);
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(BTreeSet::new());
    let results = bench.at_once(4, |_| -> Outcome {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let endpoint = net.plan_endpoint(u32::try_from(number).unwrap_or(0));
            let answer = endpoint.make();
            answer.succeeds()?;
            let mac = answer.text("/Interface/MacAddress");
            if mac.is_empty() && number == 0 && !gives_links(&endpoint.join(&absent(bench))) {
                return Err(Stop::skip(
                    "the driver gives no links, and so no Ethernet addresses",
                ));
            }
            station(&answer, &mac)?;
            let new = seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(mac.clone());
            answer.ensure(new, || format!("{mac} was given before, number {number}"))?;
            endpoint.delete().succeeds()?;
        }
    });
    results.into_iter().collect::<Outcome<Vec<()>>>()?;
    net.delete().succeeds().map(drop)
}

fn gives_links(joined: &Answer) -> bool {
    !joined.text("/InterfaceName/SrcName").is_empty()
}

fn station(answer: &Answer, mac: &str) -> Outcome {
    let octets: Option<Vec<u8>> = mac
        .split(':')
        .map(|octet| {
            u8::from_str_radix(octet, 16)
                .ok()
                .filter(|_| octet.len() == 2)
        })
        .collect();
    let octets = octets
        .filter(|octets| octets.len() == 6)
        .unwrap_or_default();
    let first = *octets.first().ok_or_else(|| {
        answer.fail(format!(
            "MacAddress is {mac:?}, six bytes in hexadecimal are expected"
        ))
    })?;
    answer.ensure(first & 1 == 0, || {
        format!("{mac} is the address of a group of stations")
    })?;
    answer.ensure(first & 2 == 2, || {
        format!("{mac} is not locally administered: it belongs to some manufacturer")
    })
}

fn own_addresses(bench: &Bench) -> Outcome {
    // As the engine does with --ipam-driver null.
    let mut any = false;
    let null = json!([{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]);
    let net = Net::plan(bench);
    let mut without = net.body();
    if let Some(body) = without.as_object_mut() {
        body.insert("IPv4Data".into(), null);
        body.insert("IPv6Data".into(), json!([]));
    }
    for body in [net.body(), without] {
        let made = bench.call("NetworkDriver.CreateNetwork", &body);
        if made.is_error() {
            continue;
        }
        made.succeeds()?;
        let mut endpoint = net.plan_endpoint(0);
        endpoint.address.clear();
        endpoint.address6.clear();
        let answer = endpoint.make();
        if !answer.is_error() {
            answer.succeeds()?;
            for (field, is_v4) in [("Address", true), ("AddressIPv6", false)] {
                let given = answer.text(&format!("/Interface/{field}"));
                if given.is_empty() {
                    continue;
                }
                any = true;
                let address = given.contains('/').then(|| given.parse::<IpNet>().ok());
                let right = address
                    .flatten()
                    .is_some_and(|address| address.addr().is_ipv4() == is_v4);
                answer.ensure(right, || {
                    format!("{field} is {given:?}, an address with its prefix length is expected")
                })?;
            }
            endpoint.delete().succeeds()?;
        }
        net.delete().succeeds()?;
    }
    if any {
        Ok(())
    } else {
        Err(Stop::skip(
            "the driver chooses no addresses: those of the engine's IPAM are the only ones",
        ))
    }
}

fn unknown_network(bench: &Bench) -> Outcome {
    let net = Net::plan(bench);
    let endpoint = net.plan_endpoint(0);
    endpoint.make().errs()?;
    endpoint.join(&absent(bench)).errs()?;
    endpoint.info().errs()?;
    let program = endpoint.program();
    if program.status() != 404 {
        program.errs()?;
    }
    // An endpoint of another network is none of this one.
    let other = Net::create(bench)?;
    let mut stray = other.endpoint(0)?;
    stray.network.clone_from(&net.id);
    stray
        .join(&absent(bench))
        .errs()
        .map_err(|stop| stop.during("Join of an endpoint under another network's ID"))?;
    stray.network.clone_from(&other.id);
    stray.delete().succeeds()?;
    other.delete().succeeds().map(drop)
}

fn again(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let without = links().len();
    let mut endpoint = net.plan_endpoint(0);
    let first = endpoint.make();
    first.succeeds()?;
    let with = links().len();
    for _ in 1..bench.repeat() {
        let repeated = endpoint.make();
        repeated.succeeds()?;
        repeated.ensure(
            links().len() == with,
            || "the repetition has made another link",
        )?;
    }
    let other = net.plan_endpoint(1);
    let kept = (endpoint.address.clone(), endpoint.address6.clone());
    endpoint.address = other.address;
    endpoint.address6 = other.address6;
    let refused = endpoint.make();
    refused
        .errs()
        .map_err(|stop| stop.during("the same IDs with another address"))?;
    refused.ensure(
        links().len() == with,
        || "the refused call has made or deleted a link",
    )?;
    (endpoint.address, endpoint.address6) = kept;
    endpoint.delete().succeeds()?;
    bench.until(|| {
        let now = links().len();
        ensure(now == without, || {
            format!("after DeleteEndpoint there are {now} links, and were {without} before CreateEndpoint")
        })
    })?;
    net.delete().succeeds().map(drop)
}

fn alike(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let mut first = net.plan_endpoint(0);
    let mut second = net.plan_endpoint(1);
    let common: String = first.id.chars().take(16).collect();
    for (endpoint, end) in [(&mut first, "0a"), (&mut second, "0b")] {
        endpoint.id = format!("{common}{}{end}", "0".repeat(46));
    }
    first.make().succeeds()?;
    second.make().succeeds()?;
    let mut names = BTreeSet::new();
    for endpoint in [&first, &second] {
        let joined = endpoint.join(&absent(bench));
        joined.succeeds()?;
        let name = joined.text("/InterfaceName/SrcName");
        if name.is_empty() {
            return Err(Stop::skip("the driver gives no links"));
        }
        joined.ensure(name.len() <= 15, || {
            format!("the name {name:?} is longer than 15 bytes")
        })?;
        joined.ensure(names.insert(name.clone()), || {
            format!("the other endpoint has {name} too")
        })?;
        joined.ensure(links().iter().any(|link| link.name == name), || {
            format!("there is no link {name}")
        })?;
    }
    for endpoint in [&first, &second] {
        endpoint.leave().succeeds()?;
        endpoint.delete().succeeds()?;
    }
    net.delete().succeeds().map(drop)
}

/// What an answer holds under a field that may be missing.
pub(super) fn field<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer.get(name).unwrap_or(&Value::Null)
}
