//! Single addresses.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::check;
use super::lab::{Lab, nth};
use crate::Bench;
use crate::check::{Check, Level, Outcome, Stop};

pub(super) const CHECKS: &[Check] = &[
    check(
        "I11",
        Level::Engine,
        "RequestAddress without an address",
        "An address of the pool with the pool's prefix, and in IPv4 not that of the subnet or of its broadcast: the engine puts it on the interface as it is.",
        gives_addresses,
    ),
    check(
        "I12",
        Level::Engine,
        "RequestAddress with an address",
        "A free one is given; one that is taken, outside, the subnet's own, its broadcast or of the other family is refused: the user asked for it by name, and two containers with one address break both.",
        gives_wanted_addresses,
    ),
    check(
        "I13",
        Level::Engine,
        "the gateway's address",
        "Given, with and without a wish, and to nobody else until it is released: a container with the gateway's address takes the whole network's traffic.",
        keeps_the_gateway,
    ),
    check(
        "I14",
        Level::Robustness,
        "an address outside of the SubPool, inside the pool",
        "Given and held as any other, or refused without a trace: the engine asks so for --aux-address and for --ip. (It makes no network if another plugin than its own refuses an auxiliary address, so giving it is better.)",
        gives_beside_the_range,
    ),
    check(
        "I18",
        Level::Engine,
        "ReleaseAddress for what is not held",
        "A success, and nobody else's address is free: the engine releases again after a crash, and stops the removal of a network at an error.",
        releases_what_is_not_held,
    ),
    check(
        "I19",
        Level::Engine,
        "ReleaseAddress for a gateway that RequestPool named",
        "A success: the engine never asked for that address, and releases it all the same when the network is removed.",
        releases_a_gateway_that_was_told,
    ),
    check(
        "I22",
        Level::Robustness,
        "release and request by turns",
        "Another address than the one just released, while there are others: who still talks to the old container would reach the new one.",
        lets_addresses_rest,
    ),
    check(
        "I24",
        Level::Security,
        "other spellings of an IPv6 address",
        "The same address as its canonical form, or an error: an address that is held under one spelling and free under another belongs to two containers.",
        knows_spellings,
    ),
];

fn gives_addresses(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let mut nets = vec![lab.four(24, 0)?, lab.four(29, 100)?];
    if lab.has_six() {
        nets.push(lab.six(64, 0)?);
    }
    for net in nets {
        let pool = lab.pool(net)?;
        let mut got: Vec<IpAddr> = pool.gateway.into_iter().collect();
        for _ in 0..3 {
            let answer = lab.ask(&pool, "");
            let address = Lab::address_of(&answer)?;
            answer.ensure(net.contains(&address), || {
                format!("{address} is outside of {net}")
            })?;
            let cidr = format!("{address}/{}", net.prefix_len());
            answer.ensure(answer.text("/Address") == cidr, || {
                format!("it is not {cidr}, the address with the pool's prefix")
            })?;
            let own = matches!(net, IpNet::V4(_))
                && (address == net.network() || address == net.broadcast());
            answer.ensure(!own, || {
                format!("{address} is the address of {net} itself, or of its broadcast")
            })?;
            answer.ensure(!got.contains(&address), || {
                format!("{address} was given before, and not released")
            })?;
            got.push(address);
        }
    }
    Ok(())
}

fn gives_wanted_addresses(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let pool = lab.pool(net)?;
    let free = nth(net, 77);
    let got = lab.address(&pool, &free.to_string())?;
    if got != free {
        let answer = lab.ask(&pool, &nth(net, 78).to_string());
        return Err(answer.fail(format!("{free} was asked for, and {got} was given")));
    }
    let held = lab.address(&pool, "")?;
    let refused = [
        ("the same again", free),
        ("one that was given before", held),
        ("an address outside of the pool", nth(lab.four(24, 1)?, 77)),
        ("the subnet's own address", net.network()),
        ("the broadcast address", net.broadcast()),
        ("an address of the other family", nth(lab.six(64, 0)?, 77)),
    ];
    for (what, address) in refused {
        lab.ask(&pool, &address.to_string())
            .errs()
            .map_err(|stop| stop.during(format!("{what}, {address}")))?;
    }
    lab.free(&pool, free).succeeds()?;
    let again = lab.address(&pool, &free.to_string());
    again
        .map_err(|stop| stop.during("after its release"))
        .map(drop)
}

fn keeps_the_gateway(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    for (number, wish) in [Some(1), Some(5), None].into_iter().enumerate() {
        let net = lab.four(29, number)?;
        let pool = lab.pool(net)?;
        let wanted = wish.map(|wish| nth(net, wish));
        let text = wanted.map(|wanted| wanted.to_string()).unwrap_or_default();
        let answer = lab.ask_gateway(&pool, &text);
        let gateway = Lab::address_of(&answer)?;
        answer.ensure(wanted.is_none_or(|wanted| wanted == gateway), || {
            format!("it is not {text}, which was asked for")
        })?;
        answer.ensure(net.contains(&gateway), || {
            format!("{gateway} is outside of {net}")
        })?;
        let (others, _) = lab.drain(&pool, 8)?;
        answer.ensure(
            !others.contains(&gateway),
            || "the gateway's address was given to an endpoint as well",
        )?;
        lab.ask(&pool, &gateway.to_string())
            .errs()
            .map_err(|stop| stop.during("the gateway's address for an endpoint"))?;
        lab.free(&pool, gateway).succeeds()?;
        let again = lab.ask_gateway(&pool, &gateway.to_string());
        Lab::address_of(&again).map_err(|stop| stop.during("after its release"))?;
    }
    Ok(())
}

fn gives_beside_the_range(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let pool = lab.pool_with_range(net, Some(lab.four(28, 4)?))?;
    let beside = nth(net, 200).to_string();
    let first = lab.ask(&pool, &beside);
    if first.is_error() {
        let again = lab.ask(&pool, &beside);
        let text = again.errs()?;
        return again.ensure(first.error().as_ref() == Some(&text), || {
            format!(
                "the first time it was refused otherwise, so something was left behind: {}",
                first.exchange().answer
            )
        });
    }
    let address = Lab::address_of(&first)?;
    first.ensure(address.to_string() == beside, || {
        format!("it is not {beside}, which was asked for")
    })?;
    lab.ask(&pool, &beside)
        .errs()
        .map_err(|stop| stop.during("the same once more, while it is held"))?;
    lab.free(&pool, address).succeeds()?;
    lab.address(&pool, &beside)
        .map_err(|stop| stop.during("after its release"))
        .map(drop)
}

fn releases_what_is_not_held(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let pool = lab.pool(net)?;
    let other = lab.pool(lab.four(24, 1)?)?;
    let kept = lab.address(&pool, "")?;
    let theirs = lab.address(&other, "")?;
    let once = lab.address(&pool, "")?;
    for _ in 0..bench.repeat() {
        lab.free(&pool, once).succeeds()?;
    }
    lab.free(&pool, nth(net, 99)).succeeds()?;
    lab.free(&pool, theirs).succeeds()?;
    lab.free(&pool, "").succeeds()?;
    for (pool, address) in [(&pool, kept), (&other, theirs)] {
        let answer = lab.ask(pool, &address.to_string());
        answer
            .errs()
            .map_err(|stop| stop.during(format!("{address} was held and not released")))?;
    }
    Ok(())
}

fn releases_a_gateway_that_was_told(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let mut request = lab.pool_request(&lab.space, &net.to_string(), "", false);
    let own = &bench.profile().ipam.gateway_options;
    if let Some(options) = request.get_mut("Options").and_then(Value::as_object_mut) {
        options.extend(own.iter().map(|(key, value)| (key.clone(), json!(value))));
    }
    let answer = bench.call("IpamDriver.RequestPool", &request);
    let pool = Lab::got(&answer, net)?;
    let Some(gateway) = pool.gateway else {
        let seen = "the answer to RequestPool names no gateway (`gateway-options` in the profile)";
        return Err(Stop::skip(seen));
    };
    answer.ensure(net.contains(&gateway), || {
        format!("the gateway is outside of {net}")
    })?;
    let endpoint = lab.address(&pool, "")?;
    answer.ensure(
        endpoint != gateway,
        || "the first endpoint got the gateway's address",
    )?;
    lab.free(&pool, endpoint).succeeds()?;
    for _ in 0..bench.repeat() {
        lab.free(&pool, gateway).succeeds()?;
    }
    lab.free_pool(&pool.id).succeeds().map(drop)
}

fn lets_addresses_rest(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let pool = lab.pool(lab.four(24, 0)?)?;
    for _ in 0..3 {
        lab.address(&pool, "")?;
    }
    for _ in 0..10 {
        let address = lab.address(&pool, "")?;
        lab.free(&pool, address).succeeds()?;
        let answer = lab.ask(&pool, "");
        let next = Lab::address_of(&answer)?;
        answer.ensure(next != address, || {
            format!("{address} was released just now, and hundreds are free")
        })?;
    }
    Ok(())
}

fn knows_spellings(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    if !lab.has_six() {
        return Err(Stop::skip(
            "the plugin manages no IPv6 (`ipv6` in the profile)",
        ));
    }
    let net = lab.six(64, 0)?;
    let IpNet::V6(six) = net else { return Ok(()) };
    let pool = lab.pool(net)?;
    let held = Ipv6Addr::from(u128::from(six.network()) + 0xabcd);
    lab.address(&pool, &held.to_string())?;
    let long = held
        .segments()
        .map(|segment| format!("{segment:04x}"))
        .join(":");
    let upper = held.to_string().to_uppercase();
    for text in [&upper, &long, &long.to_uppercase(), &format!("{held}%eth0")] {
        lab.ask(&pool, text)
            .errs()
            .map_err(|stop| stop.during(format!("{held} is held")))?;
    }
    let answer = lab.free(&pool, &upper);
    if answer.is_success() {
        lab.address(&pool, &held.to_string())
            .map_err(|stop| stop.during(format!("after the release of {upper}")))?;
    }
    // What is asked for in one spelling is held in all.
    let other = Ipv6Addr::from(u128::from(six.network()) + 0xbeef);
    let answer = lab.ask(&pool, &other.to_string().to_uppercase());
    if answer.is_success() {
        answer.ensure(Lab::address_of(&answer)? == IpAddr::V6(other), || {
            format!("it is not {other}")
        })?;
        lab.ask(&pool, &other.to_string())
            .errs()
            .map_err(|stop| stop.during("given just now in upper case"))?;
    }
    let four = lab.pool(lab.four(24, 0)?)?;
    let held = lab.address(&four, "")?;
    lab.ask(&four, &format!("::ffff:{held}"))
        .errs()
        .map_err(|stop| stop.during(format!("{held} is held")))
        .map(drop)
}
