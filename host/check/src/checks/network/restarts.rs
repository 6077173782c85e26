//! The plugin's process ends and comes back.

use std::time::Duration;

use rand::Rng;

use super::end::as_many;
use super::life::{Net, absent};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop};
use crate::sandbox::{Sandbox, ip, links};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N32",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root, Need::Process],
        title: "the plugin is killed between and in the middle of calls; then Leave, DeleteEndpoint, DeleteNetwork",
        rule: "Success, and nothing is left: the engine never repeats CreateNetwork or CreateEndpoint, so the plugin has to know from its disk what it has made.",
        slow: true,
        run: killed,
    },
    Check {
        id: "N33",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root, Need::Process],
        title: "the plugin comes back with nothing of its state",
        rule: "A network that it knows no more is an error or is built again from the request, and after `docker network rm` and `create` the same subnet and address can be used: links of the time before must not be in the way.",
        slow: true,
        run: empty,
    },
];

fn restart(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    control.kill().map_err(Stop::fail)?;
    control
        .start()
        .map_err(|error| Stop::fail(format!("after it was killed: {error}")))
}

fn killed(bench: &Bench) -> Outcome {
    for step in 0..5 {
        let sandbox = Sandbox::open()?;
        let net = Net::plan(bench);
        let quiet = links().len();
        let endpoint = net.plan_endpoint(0);
        let during = |stop: Stop| stop.during(format!("killed after step {step}"));
        net.make().succeeds()?;
        if step > 0 {
            endpoint.make().succeeds()?;
        }
        if step > 1 {
            endpoint.enter(&sandbox)?;
        }
        if step > 2 && endpoint.program().status() != 404 && step > 3 {
            endpoint.revoke().succeeds()?;
        }
        restart(bench)?;
        endpoint.end(&sandbox).map_err(during)?;
        restart(bench)?;
        net.delete().succeeds().map_err(during)?;
        as_many(bench, quiet).map_err(during)?;
    }
    in_the_middle(bench)
}

/// Between the steps of one call. When that is, nobody can say, so it is tried at random moments.
fn in_the_middle(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    let mut random = bench.random();
    for round in 0..6 {
        let net = Net::plan(bench);
        let quiet = links().len();
        if round % 2 == 1 {
            net.make().succeeds()?;
        }
        let endpoint = net.plan_endpoint(0);
        let moment = Duration::from_micros(random.random_range(0..8000));
        std::thread::scope(|scope| {
            let call = scope.spawn(|| {
                if round % 2 == 0 {
                    net.make()
                } else {
                    endpoint.make()
                }
            });
            std::thread::sleep(moment);
            let killed = control.kill().map_err(Stop::fail);
            let _ = call.join();
            killed
        })?;
        control
            .start()
            .map_err(|error| Stop::fail(format!("after it was killed: {error}")))?;
        endpoint.leave().succeeds()?;
        endpoint.delete().succeeds()?;
        net.delete().succeeds()?;
        as_many(bench, quiet).map_err(|stop| {
            stop.during(format!(
                "killed {} µs after {}",
                moment.as_micros(),
                if round % 2 == 0 {
                    "CreateNetwork"
                } else {
                    "CreateEndpoint"
                }
            ))
        })?;
    }
    Ok(())
}

fn empty(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    let quiet = links();
    let net = Net::create(bench)?;
    let old = net.endpoint(0)?;
    control.kill().map_err(Stop::fail)?;
    let forgotten = control.forget();
    control
        .start()
        .map_err(|error| Stop::fail(format!("without its state: {error}")))?;
    if let Err(reason) = forgotten {
        old.delete().succeeds()?;
        net.delete().succeeds()?;
        return Err(Stop::skip(reason));
    }
    let judged = reused(bench, &net);
    let _ = old.delete();
    let _ = net.delete();
    // A plugin without its state may not know which links are its own.
    for link in links() {
        if !quiet.iter().any(|known| known.number == link.number) {
            let _ = ip(&[format!("link delete dev {}", link.name)]);
        }
    }
    judged
}

fn reused(bench: &Bench, net: &Net) -> Outcome {
    let stale = net.plan_endpoint(1);
    let made = stale.make();
    if made.is_error() {
        stale.join(&absent(bench)).errs()?;
    } else {
        made.succeeds()?;
    }
    stale.delete().succeeds()?;
    // `docker network rm` and `docker network create` with the same subnet.
    net.delete().succeeds()?;
    let mut again = Net::plan(bench);
    again.v4 = net.v4;
    again.v6 = net.v6;
    again
        .make()
        .succeeds()
        .map_err(|stop| stop.during("the same subnet again"))?;
    let endpoint = again.endpoint(0)?;
    let sandbox = Sandbox::open()?;
    endpoint.enter(&sandbox)?;
    endpoint.end(&sandbox)?;
    again.delete().succeeds().map(drop)
}
