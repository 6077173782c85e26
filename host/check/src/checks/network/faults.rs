//! Steps that fail, and a backend that does not answer.

use serde_json::{Value, json};

use super::end::as_many;
use super::life::{Endpoint, Net, absent};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop};
use crate::client::Answer;
use crate::control::Fault;
use crate::sandbox::{Sandbox, ip, links};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N29",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "steps of CreateNetwork, CreateEndpoint and Join that fail",
        rule: "Everything is undone: after a CreateEndpoint that failed the engine sends no DeleteEndpoint, and after a CreateNetwork that failed no DeleteNetwork.",
        slow: true,
        run: undone,
    },
    Check {
        id: "N35",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Fault],
        title: "every call while the backend hangs",
        rule: "An answer within 30 s, an error from what needs the backend: the engine has no limit for network drivers, and holds locks while it waits.",
        slow: true,
        run: hangs,
    },
];

/// What a refused call has left, or what an accepted one can take away again.
fn judge(
    bench: &Bench,
    what: &str,
    quiet: usize,
    answer: &Answer,
    undo: impl Fn() -> Answer,
) -> Outcome {
    if answer.is_error() {
        return as_many(bench, quiet).map_err(|stop| stop.during(format!("{what} that failed")));
    }
    answer.succeeds().map_err(|stop| stop.during(what))?;
    undo().succeeds()?;
    as_many(bench, quiet).map_err(|stop| stop.during(format!("{what}, and its end")))
}

fn undone(bench: &Bench) -> Outcome {
    wrong_address(bench)?;
    no_bridge(bench)?;
    no_link(bench)?;
    match backend_fails(bench) {
        // What can be done without the backend has been done.
        Err(Stop::Skip(_)) => Ok(()),
        other => other,
    }
}

/// An Ethernet address that the kernel refuses, which comes after the link is made.
fn wrong_address(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let quiet = links().len();
    for mac in ["01:00:5e:00:00:01", "00:00:00:00:00:00", "02:42"] {
        let mut endpoint = net.plan_endpoint(0);
        endpoint.mac = mac.into();
        let what = format!("CreateEndpoint with the Ethernet address {mac}");
        judge(bench, &what, quiet, &endpoint.make(), || endpoint.delete())?;
    }
    net.delete().succeeds()?;
    net.nothing_left()
}

/// Somebody deletes the network's links.
fn no_bridge(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    for link in net.new_links() {
        let _ = ip(&[format!("link delete dev {}", link.name)]);
    }
    let endpoint = net.plan_endpoint(0);
    let made = endpoint.make();
    if made.is_error() {
        net.nothing_left().map_err(|stop| {
            stop.during("CreateEndpoint that failed, for the network's link is gone")
        })?;
    } else {
        made.succeeds()?;
        endpoint.delete().succeeds()?;
    }
    net.delete().succeeds()?;
    net.nothing_left()
}

/// Somebody deletes the endpoint's links before `Join`.
fn no_link(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let quiet = links();
    let endpoint = net.endpoint(0)?;
    for link in links() {
        if !quiet.iter().any(|old| old.number == link.number) {
            let _ = ip(&[format!("link delete dev {}", link.name)]);
        }
    }
    let sandbox = Sandbox::open()?;
    let joined = endpoint.join(&sandbox.key());
    // A link that is not there the engine cannot move: it sends Leave and DeleteEndpoint then.
    if joined.is_success()
        && let Ok(Some(wanted)) = endpoint.wanted(&joined)
    {
        sandbox.take(&wanted).map_err(|error| joined.fail(error))?;
    }
    endpoint.end(&sandbox)?;
    as_many(bench, quiet.len())?;
    net.delete().succeeds().map(drop)
}

fn backend_fails(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    let (there, other) = (Net::create(bench)?, Net::plan(bench));
    let quiet = links().len();
    let joining = there.endpoint(0)?;
    let with = links().len();
    let endpoint = there.plan_endpoint(1);
    control.inject(Fault::Fail).map_err(Stop::skip)?;
    let network = other.make();
    let made = endpoint.make();
    let joined = joining.join(&absent(bench));
    control.mend().map_err(Stop::fail)?;
    // Either may have been accepted, so only with both taken away the count can be as before.
    let mut failed = Vec::new();
    let (no_network, no_endpoint) = (|| other.delete(), || endpoint.delete());
    let calls: [(&str, &Answer, &dyn Fn() -> Answer); 2] = [
        ("CreateNetwork", &network, &no_network),
        ("CreateEndpoint", &made, &no_endpoint),
    ];
    for (what, answer, undo) in calls {
        if answer.is_error() {
            failed.push(what);
        } else {
            answer.succeeds()?;
            undo().succeeds()?;
        }
    }
    as_many(bench, with).map_err(|stop| {
        stop.during(format!("with a backend that fails ({})", failed.join(", ")))
    })?;
    if !joined.is_error() {
        joined.succeeds()?;
    }
    // The engine's next try has new IDs and the same addresses.
    let again = there.endpoint(1)?;
    again.delete().succeeds()?;
    joining.leave().succeeds()?;
    joining.delete().succeeds()?;
    as_many(bench, quiet)?;
    there.delete().succeeds().map(drop)
}

type Call<'a> = Box<dyn Fn() -> Answer + Sync + 'a>;

fn hangs(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    let net = Net::create(bench)?;
    let endpoint = net.endpoint(0)?;
    let joined = net.endpoint(1)?;
    joined.join(&absent(bench)).succeeds()?;
    let (new_net, new_endpoint) = (Net::plan(bench), net.plan_endpoint(2));
    control.inject(Fault::Hang).map_err(Stop::skip)?;
    let calls: Vec<(&str, Call)> = vec![
        ("CreateNetwork", Box::new(|| new_net.make())),
        ("CreateEndpoint", Box::new(|| new_endpoint.make())),
        ("Join", Box::new(|| endpoint.join(&absent(bench)))),
        ("EndpointOperInfo", Box::new(|| joined.info())),
        ("ProgramExternalConnectivity", Box::new(|| joined.program())),
        ("RevokeExternalConnectivity", Box::new(|| joined.revoke())),
        ("Leave", Box::new(|| joined.leave())),
        ("DeleteEndpoint", Box::new(|| delete(bench, &joined))),
        ("DeleteNetwork", Box::new(|| new_net.delete())),
        ("DiscoverNew", Box::new(|| discover(bench, "DiscoverNew"))),
        (
            "DiscoverDelete",
            Box::new(|| discover(bench, "DiscoverDelete")),
        ),
    ];
    let answers = bench.at_once(calls.len(), |number| {
        calls.get(number).map(|(method, call)| (*method, call()))
    });
    drop(calls);
    control.mend().map_err(Stop::fail)?;
    let mut errors = 0;
    for (method, answer) in answers.into_iter().flatten() {
        answer.ensure(answer.status() != 0, || format!("{method} has no answer"))?;
        errors += usize::from(answer.is_error());
    }
    if errors == 0 {
        return Err(Stop::skip("no call needs what hangs"));
    }
    endpoint.leave().succeeds()?;
    for endpoint in [&endpoint, &joined, &new_endpoint] {
        endpoint.delete().succeeds()?;
    }
    net.delete().succeeds()?;
    new_net.delete().succeeds().map(drop)
}

/// Not by [`Bench::call`]: if it fails, the endpoint is still to be taken away.
fn delete(bench: &Bench, endpoint: &Endpoint) -> Answer {
    let body = json!({"NetworkID": endpoint.network, "EndpointID": endpoint.id});
    bench.send("NetworkDriver.DeleteEndpoint", body.to_string().as_bytes())
}

fn discover(bench: &Bench, method: &str) -> Answer {
    let node: Value = json!({"Address": "192.0.2.3", "BindAddress": "", "Self": false});
    bench.call(
        &format!("NetworkDriver.{method}"),
        &json!({"DiscoveryType": 1, "DiscoveryData": node}),
    )
}
