//! Engines that come and go, and a plugin that does.

use serde_json::{Value, json};

use super::check;
use super::lab::{GATEWAY, Lab, Pool, nth};
use crate::Bench;
use crate::check::{Check, Level, Need, Outcome, Stop, ensure};
use crate::client::{Answer, Connection, as_engine};
use crate::control::Fault;

pub(super) const CHECKS: &[Check] = &[
    check(
        "I25",
        Level::Robustness,
        "RequiresMACAddress, and what follows from it",
        "An endpoint's request without the Ethernet address is refused, or the profile says that it is not (`without-mac`); the same address for the same one again, if the profile promises it (`mac-keeps-address`).",
        wants_macs,
    ),
    check(
        "I26",
        Level::Engine,
        "an engine that starts and replays",
        "The same pools and addresses as before, and no complaint that they are in use: the engine leaves out a network whose replay fails, and containers in it cannot start.",
        bears_replay,
    ),
    check(
        "I27",
        Level::Engine,
        "an engine that starts and replays nothing",
        "Everything is still held: without RequiresRequestReplay the engine relies on the plugin to know what running containers have.",
        keeps_over_engines,
    ),
    Check {
        needs: &[Need::Process],
        ..check(
            "I28",
            Level::Engine,
            "killed right after an answer",
            "What was answered is held after the restart: a container has that address already.",
            keeps_what_it_answered,
        )
    },
    Check {
        needs: &[Need::Process],
        ..check(
            "I29",
            Level::Engine,
            "killed before the answer",
            "At most the one address of that call is held without an owner: addresses that are set aside for later leave a pool empty after some crashes.",
            loses_one_address_at_most,
        )
    },
    check(
        "I30",
        Level::Engine,
        "a network whose creation fails half-way",
        "After the engine's releases everything is free: what a refused request leaves behind can never be released, for nobody knows of it.",
        leaves_nothing_of_a_failure,
    ),
    Check {
        needs: &[Need::Fault],
        slow: true,
        ..check(
            "I33",
            Level::Engine,
            "every call while the backend hangs",
            "An answer within 30 s: the engine has no limit of its own for these calls, and holds a lock meanwhile.",
            answers_in_time,
        )
    },
];

fn wants_macs(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    if !lab.mac {
        return Err(Stop::skip("the plugin wants no Ethernet addresses"));
    }
    let own = &bench.profile().ipam;
    let pool = lab.pool(lab.four(24, 0)?)?;
    let body = json!({"PoolID": pool.id, "Address": "", "Options": null});
    let without = bench.call("IpamDriver.RequestAddress", &body);
    if own.without_mac {
        without.succeeds()?;
    } else {
        without.errs()?;
    }
    let body = lab.address_request(&pool.id, "");
    let first = Lab::address_of(&bench.call("IpamDriver.RequestAddress", &body))?;
    lab.free(&pool, first).succeeds()?;
    if own.mac_keeps_address {
        lab.address(&pool, "")?;
        let again = bench.call("IpamDriver.RequestAddress", &body);
        again.ensure(Lab::address_of(&again)? == first, || {
            format!("before, this Ethernet address had {first}")
        })?;
    }
    Ok(())
}

/// How the plugin is called: from this process, or another.
type Caller<'a> = &'a dyn Fn(&str, &Value) -> Answer;

/// What one engine has: a pool, its gateway, and two endpoints.
struct Holdings {
    pool: Pool,
    request: Value,
    addresses: Vec<(Value, String)>,
}

fn hold(lab: &Lab<'_>, call: Caller<'_>) -> Outcome<Holdings> {
    let net = lab.four(24, 0)?;
    let request = lab.pool_request(&lab.space, &net.to_string(), "", false);
    let pool = Lab::got(&call("IpamDriver.RequestPool", &request), net)?;
    let gateway = json!({
        "PoolID": pool.id,
        "Address": nth(net, 1).to_string(),
        "Options": {"RequestAddressType": GATEWAY},
    });
    let mut addresses = Vec::new();
    for body in [
        gateway,
        lab.address_request(&pool.id, ""),
        lab.address_request(&pool.id, ""),
    ] {
        let answer = call("IpamDriver.RequestAddress", &body);
        answer.succeeds()?;
        addresses.push((body, answer.text("/Address")));
    }
    Ok(Holdings {
        pool,
        request,
        addresses,
    })
}

fn bears_replay(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    if !lab.replay {
        return Err(Stop::skip("the plugin wants no replay"));
    }
    let first = bench.engine()?;
    let held = hold(&lab, &|method, body| bench.call_from(&first, method, body))?;
    for _ in 0..bench.repeat() {
        // Each time one that knows nothing but what is in its files.
        let next = bench.engine()?;
        let answer = bench.call_from(&next, "IpamDriver.RequestPool", &held.request);
        let pool = Lab::got(&answer, held.pool.net)?;
        answer.ensure(pool.id == held.pool.id, || {
            format!("before the engine's restart PoolID was {:?}", held.pool.id)
        })?;
        for (body, before) in &held.addresses {
            let mut body = body.clone();
            let bare = before.split('/').next().unwrap_or_default();
            if let Some(object) = body.as_object_mut() {
                object.insert("Address".into(), json!(bare));
            }
            let answer = bench.call_from(&next, "IpamDriver.RequestAddress", &body);
            answer.succeeds()?;
            answer.ensure(answer.text("/Address") == *before, || {
                format!("before the engine's restart it was {before}")
            })?;
        }
        let body = lab.address_request(&held.pool.id, "");
        let answer = bench.call_from(&next, "IpamDriver.RequestAddress", &body);
        let another = answer.text("/Address");
        answer.ensure(
            held.addresses.iter().all(|(_, before)| *before != another),
            || "a new endpoint got what was replayed",
        )?;
    }
    drop(first);
    Ok(())
}

fn keeps_over_engines(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    if lab.replay {
        return Err(Stop::skip("the plugin wants a replay"));
    }
    let first = bench.engine()?;
    let held = hold(&lab, &|method, body| bench.call_from(&first, method, body))?;
    drop(first);
    let next = bench.engine()?;
    still_held(&lab, &held, &|method, body| {
        bench.call_from(&next, method, body)
    })
}

/// The pool and its addresses are nobody else's.
fn still_held(lab: &Lab<'_>, held: &Holdings, call: &dyn Fn(&str, &Value) -> Answer) -> Outcome {
    for (_, address) in &held.addresses {
        let bare = address.split('/').next().unwrap_or_default();
        let wish = lab.address_request(&held.pool.id, bare);
        call("IpamDriver.RequestAddress", &wish)
            .errs()
            .map_err(|stop| stop.during(format!("{address} was held")))?;
    }
    let answer = call(
        "IpamDriver.RequestAddress",
        &lab.address_request(&held.pool.id, ""),
    );
    answer
        .succeeds()
        .map_err(|stop| stop.during("of the pool that was held"))?;
    let another = answer.text("/Address");
    answer.ensure(
        held.addresses.iter().all(|(_, before)| *before != another),
        || format!("{another} was given before, and not released"),
    )
}

fn keeps_what_it_answered(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let control = bench.control()?;
    let call = |method: &str, body: &Value| bench.call(method, body);
    let mut held = hold(&lab, &call)?;
    for _ in 0..bench.repeat() {
        let body = lab.address_request(&held.pool.id, "");
        let answer = bench.call("IpamDriver.RequestAddress", &body);
        control.kill().map_err(Stop::skip)?;
        answer.succeeds()?;
        held.addresses.push((body, answer.text("/Address")));
        control.start().map_err(Stop::fail)?;
        still_held(&lab, &held, &call)
            .map_err(|stop| stop.during("after the plugin was killed"))?;
    }
    Ok(())
}

fn loses_one_address_at_most(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let control = bench.control()?;
    let net = lab.four(26, 0)?;
    let all = {
        let pool = lab.pool(net)?;
        let (all, _) = lab.drain(&pool, 64)?;
        for address in &all {
            lab.free(&pool, address).succeeds()?;
        }
        lab.free_pool(&pool.id).succeeds()?;
        all.len()
    };
    let pool = lab.pool(net)?;
    let kills = bench.repeat() as usize;
    for number in 0..kills {
        lab.address(&pool, "")?;
        let body = lab.address_request(&pool.id, "").to_string();
        let mut connection = bench.connect()?;
        connection
            .write(&as_engine("IpamDriver.RequestAddress", body.as_bytes()))
            .map_err(Stop::fail)?;
        // Before, in the middle of and after the plugin's work.
        std::thread::sleep(std::time::Duration::from_micros(200 * number as u64));
        control.kill().map_err(Stop::skip)?;
        control.start().map_err(Stop::fail)?;
        Connection::open(bench.socket()).map_err(Stop::fail)?;
    }
    let (rest, _) = lab
        .drain(&pool, 64)
        .map_err(|stop| stop.during("after the plugin was killed"))?;
    for number in 0..64 {
        // Those of the calls without an answer.
        let address = nth(net, number);
        bench.note_undo(
            "IpamDriver.ReleaseAddress",
            json!({"PoolID": pool.id, "Address": address.to_string()}),
        );
    }
    ensure(rest.len() + kills + kills >= all, || {
        format!(
            "of {all} addresses of {net} {kills} were held and {} are left after {kills} calls that were killed: {} are lost",
            rest.len(),
            all - rest.len() - kills
        )
    })
}

fn leaves_nothing_of_a_failure(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let pool = lab.pool(net)?;
    let gateway = Lab::address_of(&lab.ask_gateway(&pool, &nth(net, 1).to_string()))?;
    let body = |address: String| json!({"PoolID": pool.id, "Address": address, "Options": null});
    let auxiliary = bench.call("IpamDriver.RequestAddress", &body(nth(net, 2).to_string()));
    let auxiliary = Lab::address_of(&auxiliary)?;
    let elsewhere = nth(lab.four(24, 1)?, 9).to_string();
    bench
        .call("IpamDriver.RequestAddress", &body(elsewhere))
        .errs()?;
    for address in [auxiliary, gateway] {
        lab.free(&pool, address).succeeds()?;
    }
    lab.free_pool(&pool.id).succeeds()?;
    let larger = lab.pool(lab.four(23, 0)?);
    let pool = larger.map_err(|stop| stop.during(format!("{net} was released")))?;
    for address in [gateway, auxiliary] {
        lab.address(&pool, &address.to_string())
            .map_err(|stop| stop.during("it was released, with its pool"))?;
    }
    Ok(())
}

fn answers_in_time(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let control = bench.control()?;
    let net = lab.four(24, 0)?;
    let pool = lab.pool(net)?;
    let address = lab.address(&pool, "")?;
    control.inject(Fault::Hang).map_err(Stop::skip)?;
    let calls = [
        ("GetCapabilities", Value::Null),
        ("GetDefaultAddressSpaces", Value::Null),
        (
            "RequestPool",
            lab.pool_request(&lab.space, &lab.four(24, 1)?.to_string(), "", false),
        ),
        ("RequestAddress", lab.address_request(&pool.id, "")),
        (
            "ReleaseAddress",
            json!({"PoolID": pool.id, "Address": address.to_string()}),
        ),
        ("ReleasePool", json!({"PoolID": pool.id})),
    ];
    let answers = bench.at_once(calls.len(), |number| {
        let (method, body) = calls.get(number)?;
        let method = format!("IpamDriver.{method}");
        Some(if body.is_null() {
            bench.send(&method, b"")
        } else {
            bench.call(&method, body)
        })
    });
    control.mend().map_err(Stop::skip)?;
    for answer in answers.iter().flatten() {
        answer.ensure(
            answer.response().is_some(),
            || "no answer while the backend hangs",
        )?;
    }
    if !answers.iter().flatten().any(Answer::is_error) {
        return Err(Stop::skip(
            "the hook `hang` does not reach address management",
        ));
    }
    lab.address(&pool, "")
        .map_err(|stop| stop.during("after the backend was mended"))
        .or_else(|stop| match stop {
            // The release that hung may have been done in the end.
            Stop::Fail(_) => lab.pool(net).and_then(|pool| lab.address(&pool, "")),
            skip => Err(skip),
        })
        .map(drop)
}
