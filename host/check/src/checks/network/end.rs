//! `Leave` and `DeleteEndpoint`, which the engine sends once, and what the driver tells of an endpoint.

use std::time::{Duration, Instant};

use serde_json::json;

use super::endpoints::field;
use super::life::{Net, absent};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, ensure};
use crate::sandbox::{Sandbox, links};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N21",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "Leave and DeleteEndpoint, with two networks in one container",
        rule: "The endpoint's links are gone from the host and from the container: the engine moves the link back to the host between the two calls, and deletes none.",
        slow: false,
        run: ends,
    },
    Check {
        id: "N22",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "Leave and DeleteEndpoint after the container's namespace is gone",
        rule: "Success: when a container dies with its engine its links die with its namespace, and the driver is told later that the endpoint is to go.",
        slow: false,
        run: ends_late,
    },
    Check {
        id: "N23",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "DeleteEndpoint without Leave, both of them twice, and of what never was",
        rule: "Success: the engine sends DeleteEndpoint alone when Join has failed, and forgets the endpoint whatever the answer is.",
        slow: false,
        run: ends_oddly,
    },
    Check {
        id: "N24",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "EndpointOperInfo of a known and of an unknown endpoint",
        rule: "For a known one a success with an object in Value, for an unknown one an error: before 28.0.4 an error for a known one ends the start of the container.",
        slow: false,
        run: info,
    },
];

fn ends(bench: &Bench) -> Outcome {
    let nets = [Net::create(bench)?, Net::create(bench)?];
    let sandbox = Sandbox::open()?;
    let quiet = links().len();
    let mut endpoints = Vec::new();
    for net in &nets {
        let endpoint = net.endpoint(0)?;
        endpoint.enter(&sandbox)?;
        endpoints.push(endpoint);
    }
    for endpoint in &endpoints {
        endpoint.leave().succeeds()?;
    }
    sandbox.give_back();
    for endpoint in &endpoints {
        endpoint.delete().succeeds()?;
    }
    let inside = sandbox.links()?;
    ensure(inside.is_empty(), || {
        format!("the container still has {} links", inside.len())
    })?;
    as_many(bench, quiet)?;
    for net in &nets {
        net.delete().succeeds()?;
    }
    Ok(())
}

pub(super) fn as_many(bench: &Bench, quiet: usize) -> Outcome {
    bench.until(|| {
        let now = links();
        ensure(now.len() == quiet, || {
            let names: Vec<&str> = now.iter().map(|link| link.name.as_str()).collect();
            format!(
                "after the endpoints are deleted the host has {} links, and had {quiet} before they were made: {}",
                now.len(),
                names.join(", ")
            )
        })
    })
}

fn ends_late(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let quiet = links().len();
    for told in [true, false] {
        let sandbox = Sandbox::open()?;
        let endpoint = net.endpoint(0)?;
        endpoint.enter(&sandbox)?;
        let with = links().len();
        drop(sandbox);
        // The kernel takes a namespace down behind the scenes, and a pair of veths with it.
        let end = Instant::now() + bench.patience().seconds(4.0);
        while links().len() == with && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        if told {
            endpoint.leave().succeeds()?;
        }
        endpoint.delete().succeeds()?;
        as_many(bench, quiet)?;
    }
    net.delete().succeeds().map(drop)
}

fn ends_oddly(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let quiet = links().len();
    let never_left = net.endpoint(0)?;
    let sandbox = Sandbox::open()?;
    never_left.enter(&sandbox)?;
    sandbox.give_back();
    for _ in 0..bench.repeat() {
        never_left.delete().succeeds()?;
    }
    let left_often = net.endpoint(1)?;
    left_often.enter(&sandbox)?;
    left_often.leave().succeeds()?;
    sandbox.give_back();
    for _ in 1..bench.repeat() {
        left_often
            .leave()
            .succeeds()
            .map_err(|stop| stop.during("a second Leave"))?;
    }
    left_often.delete().succeeds()?;
    left_often
        .leave()
        .succeeds()
        .map_err(|stop| stop.during("Leave after DeleteEndpoint"))?;
    let mut never = net.plan_endpoint(2);
    never.leave().succeeds()?;
    never.delete().succeeds()?;
    never.network = bench.id();
    never.leave().succeeds()?;
    never.delete().succeeds()?;
    as_many(bench, quiet)?;
    net.delete().succeeds().map(drop)
}

fn info(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let endpoint = net.endpoint(0)?;
    endpoint.join(&absent(bench)).succeeds()?;
    let known = endpoint.info();
    let value = field(known.succeeds()?, "Value");
    known.ensure(
        value.is_null() || value.is_object(),
        || "Value is no object",
    )?;
    net.plan_endpoint(1)
        .info()
        .errs()
        .map_err(|stop| stop.during("an endpoint that never was"))?;
    endpoint.leave().succeeds()?;
    endpoint.delete().succeeds()?;
    bench
        .call(
            "NetworkDriver.EndpointOperInfo",
            &json!({"NetworkID": endpoint.network, "EndpointID": endpoint.id}),
        )
        .errs()
        .map_err(|stop| stop.during("an endpoint that was deleted"))?;
    net.delete().succeeds().map(drop)
}
