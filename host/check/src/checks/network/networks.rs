//! Networks by themselves.

use serde_json::{Value, json};

use super::life::{Net, Subnet};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome};
use crate::sandbox::{Link, links};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N03",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "CreateNetwork and DeleteNetwork, also of an internal network",
        rule: "Both succeed, and nothing of the network stays on the machine: the engine forgets it, and no later call can take away what is left.",
        slow: false,
        run: comes_and_goes,
    },
    Check {
        id: "N04",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "CreateNetwork again with the same ID",
        rule: "With the same arguments a success, for that is what a repeated call looks like; with other arguments an error, and the first network stays as it is.",
        slow: false,
        run: again,
    },
    Check {
        id: "N05",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "networks with IPv4 only, IPv6 only, both, and neither",
        rule: "Each works with an endpoint on it, or is refused with an error that names the family: the engine shows that text to the user, and has nothing else to say.",
        slow: false,
        run: families,
    },
    Check {
        id: "N09",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "DeleteNetwork twice, and of a network that never was",
        rule: "A success: the engine removes the network whatever the answer is, and logs an error that nobody can do anything about.",
        slow: false,
        run: deleted_twice,
    },
    Check {
        id: "N10",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "DeleteNetwork with endpoints on it",
        rule: "An error, or everything of the endpoints is gone too: after an engine was killed its endpoints are still there, and nobody else will delete them.",
        slow: false,
        run: deleted_with_endpoints,
    },
];

fn comes_and_goes(bench: &Bench) -> Outcome {
    for internal in [false, true] {
        let mut net = Net::plan(bench);
        net.internal = internal;
        net.make().succeeds()?;
        net.delete().succeeds()?;
        net.nothing_left()?;
    }
    Ok(())
}

fn again(bench: &Bench) -> Outcome {
    let mut net = Net::create(bench)?;
    let made = all_links();
    for _ in 1..bench.repeat() {
        net.make().succeeds()?;
    }
    let first = net.v4.replace(Subnet::v4(bench));
    if first.is_none() {
        net.v4 = None;
        net.v6 = Some(Subnet::v6(bench));
    }
    let other = net.make();
    other
        .errs()
        .map_err(|stop| stop.during("the same ID with another subnet"))?;
    let now = all_links();
    other.ensure(
        made == now,
        || "the links of the machine are not the same after the refusal",
    )?;
    net.delete().succeeds().map(drop)
}

fn all_links() -> Vec<(u32, String)> {
    let name = |link: Link| (link.number, link.name);
    links().into_iter().map(name).collect()
}

fn families(bench: &Bench) -> Outcome {
    for (v4, v6) in [(true, false), (false, true), (true, true), (false, false)] {
        let mut net = Net::plan(bench);
        net.v4 = v4.then(|| Subnet::v4(bench));
        net.v6 = v6.then(|| Subnet::v6(bench));
        let mut body = net.body();
        if let Some(body) = body.as_object_mut() {
            for (list, there) in [("IPv4Data", v4), ("IPv6Data", v6)] {
                if !there {
                    body.insert(list.into(), Value::Null);
                }
            }
        }
        let answer = bench.call("NetworkDriver.CreateNetwork", &body);
        let what = format!(
            "with {}",
            match (v4, v6) {
                (true, false) => "IPv4 only",
                (false, true) => "IPv6 only",
                (true, true) => "both families",
                (false, false) => "no subnet",
            }
        );
        if let Some(error) = answer.error() {
            let text = error.to_ascii_lowercase();
            let words: &[&str] = if v4 || v6 {
                &["ipv4", "ipv6", "v4", "v6"]
            } else {
                &["ipv4", "ipv6", "v4", "v6", "subnet", "pool", "address"]
            };
            answer.ensure(words.iter().any(|word| text.contains(word)), || {
                format!("{what}: the error does not name the family")
            })?;
            continue;
        }
        answer.succeeds().map_err(|stop| stop.during(&what))?;
        let endpoint = net.plan_endpoint(0);
        let made = endpoint.make();
        if v4 || v6 {
            made.succeeds()
                .map_err(|stop| stop.during(format!("an endpoint {what}")))?;
        } else if made.broken().is_some() {
            return Err(made.fail("an endpoint on a network without a subnet"));
        }
        if made.is_success() {
            endpoint.delete().succeeds()?;
        }
        net.delete().succeeds()?;
    }
    Ok(())
}

fn deleted_twice(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    for _ in 0..bench.repeat() {
        net.delete().succeeds()?;
    }
    bench
        .call(
            "NetworkDriver.DeleteNetwork",
            &json!({"NetworkID": bench.id()}),
        )
        .succeeds()
        .map_err(|stop| stop.during("a network that never was"))
        .map(drop)
}

fn deleted_with_endpoints(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let endpoints = (0..2)
        .map(|number| net.endpoint(number))
        .collect::<Outcome<Vec<_>>>()?;
    let deleted = net.delete();
    if deleted.is_success() {
        net.nothing_left()
            .map_err(|stop| stop.during("after a DeleteNetwork that succeeded"))?;
    } else {
        deleted.errs()?;
    }
    for endpoint in &endpoints {
        endpoint.delete().succeeds()?;
    }
    if !deleted.is_success() {
        net.delete().succeeds()?;
    }
    net.nothing_left()
}
