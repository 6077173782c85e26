//! Pools: whose they are, and which there can be.

use std::net::IpAddr;

use ipnet::IpNet;

use super::check;
use super::lab::{Lab, Pool, is_map_of_text, nth};
use crate::Bench;
use crate::check::{Check, Level, Outcome, Stop};

pub(super) const CHECKS: &[Check] = &[
    check(
        "I03",
        Level::Engine,
        "RequestPool with a pool",
        "The same subnet in its canonical form, a PoolID, and no Data or an object of texts: the engine parses Pool as a subnet, keeps PoolID for all that follows, and cannot read any other Data.",
        gives_a_pool,
    ),
    check(
        "I04",
        Level::Engine,
        "the same RequestPool again",
        "The same PoolID, and two releases before the pool is free: a second network may have the same subnet, and the first one's removal must not take away its addresses. Or, with `shared = false` under [ipam] in the profile, an error, and the pool stays as it is.",
        counts_networks,
    ),
    check(
        "I05",
        Level::Engine,
        "RequestPool without a pool",
        "A pool of the family that V6 says: the engine gives addresses of it to interfaces of that family.",
        chooses_by_family,
    ),
    check(
        "I06",
        Level::Engine,
        "RequestPool without a pool, again and again",
        "Each time another pool that overlaps with none of those held, and an error when none is left: the engine asks again at once for as long as it does not like the answer, so a repeated one makes it loop for ever.",
        chooses_another_each_time,
    ),
    check(
        "I07",
        Level::Engine,
        "RequestPool with a SubPool",
        "Refused without a Pool or outside of it; inside, endpoints get addresses of the SubPool only: it is what the user set with --ip-range, and the rest belongs to somebody else.",
        keeps_to_the_range,
    ),
    check(
        "I08",
        Level::Engine,
        "pools that overlap",
        "Refused in one address space, allowed in two: two networks of one machine would give the same address twice.",
        refuses_overlaps,
    ),
    check(
        "I10",
        Level::Robustness,
        "pools that are none",
        "An error, or the subnet that was meant in its canonical form; never one that no interface can be in (everything, loopback, multicast).",
        refuses_bad_pools,
    ),
    check(
        "I20",
        Level::Engine,
        "ReleasePool for what is not held, and with addresses",
        "A success for a pool that is unknown or released already: the engine repeats it after a crash. With addresses in it either all of them are free afterwards, or it is refused and all are kept.",
        releases_pools,
    ),
    check(
        "I21",
        Level::Engine,
        "RequestAddress of a pool that is not held",
        "An error: nobody would keep such an address apart from the next network's.",
        needs_a_pool,
    ),
];

fn gives_a_pool(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let mut nets = vec![lab.four(24, 0)?, lab.four(29, 100)?];
    if lab.has_six() {
        nets.push(lab.six(64, 0)?);
    }
    for net in nets {
        let six = matches!(net, IpNet::V6(_));
        let answer = lab.ask_pool(&lab.space, &net.to_string(), "", six);
        let pool = Lab::got(&answer, net)?;
        answer.ensure(answer.text("/Pool") == net.to_string(), || {
            format!("`Pool` is not {net}")
        })?;
        let data = answer.json().and_then(|json| json.get("Data"));
        answer.ensure(is_map_of_text(data), || "`Data` is no object of texts")?;
        lab.free_pool(&pool.id).succeeds()?;
    }
    Ok(())
}

fn counts_networks(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let first = lab.pool(net)?;
    let answer = lab.ask_pool(&lab.space, &net.to_string(), "", false);
    if !bench.profile().ipam.shared {
        answer.errs()?;
        lab.address(&first, "")
            .map_err(|stop| stop.during("after the refusal"))?;
        lab.free_pool(&first.id).succeeds()?;
        return half_of(&lab);
    }
    let second = Lab::got(&answer, net)?;
    answer.ensure(first.id == second.id, || {
        format!("the first time PoolID was {:?}", first.id)
    })?;
    let held = lab.address(&second, "")?;
    lab.free_pool(&first.id).succeeds()?;
    lab.address(&second, "")
        .map_err(|stop| stop.during("after the first of two releases"))?;
    lab.free(&second, held).succeeds()?;
    lab.free_pool(&second.id).succeeds()?;
    half_of(&lab)
}

/// Free is what another network can have.
fn half_of(lab: &Lab<'_>) -> Outcome {
    let half = lab.four(25, 0)?;
    let pool = lab
        .pool(half)
        .map_err(|stop| stop.during("after all releases, for one half of it"))?;
    lab.free_pool(&pool.id).succeeds().map(drop)
}

fn chooses_by_family(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    if !bench.profile().ipam.chooses {
        return Err(no_choice());
    }
    for six in [false, true] {
        if six && !lab.has_six() {
            continue;
        }
        let answer = lab.ask_pool(&lab.space, "", "", six);
        answer.succeeds()?;
        let net: IpNet = answer
            .text("/Pool")
            .parse()
            .map_err(|_| answer.fail("`Pool` is no subnet"))?;
        answer.ensure(
            matches!(net, IpNet::V6(_)) == six,
            || "`Pool` is of the other family",
        )?;
        answer.ensure(net == net.trunc(), || {
            format!(
                "`Pool` has bits behind its prefix: {} was meant",
                net.trunc()
            )
        })?;
        lab.free_pool(&answer.text("/PoolID")).succeeds()?;
    }
    Ok(())
}

/// An engine that does not like the answers gives up when the plugin does; so many are enough to see that it will.
const MOST_CHOSEN: u32 = 300;

fn chooses_another_each_time(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    if !bench.profile().ipam.chooses {
        return Err(no_choice());
    }
    let mut held: Vec<IpNet> = Vec::new();
    for number in 0..MOST_CHOSEN {
        let answer = lab.ask_pool(&lab.space, "", "", false);
        if answer.is_error() {
            // Not one at all is another check's subject.
            return answer.ensure(number > 0, || "no pool at all");
        }
        answer.succeeds()?;
        let net: IpNet = answer
            .text("/Pool")
            .parse()
            .map_err(|_| answer.fail("`Pool` is no subnet"))?;
        if let Some(other) = held
            .iter()
            .find(|other| other.contains(&net) || net.contains(*other))
        {
            return Err(answer.fail(format!(
                "it overlaps with {other}, one of {number} that were given and are held"
            )));
        }
        held.push(net);
    }
    Ok(())
}

fn no_choice() -> Stop {
    Stop::skip("the plugin chooses no pools (`chooses` in the profile)")
}

fn keeps_to_the_range(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let inside = lab.four(29, 4)?;
    let outside = lab.four(29, 40)?;
    lab.ask_pool(&lab.space, "", &inside.to_string(), false)
        .errs()?;
    lab.ask_pool(&lab.space, &net.to_string(), &outside.to_string(), false)
        .errs()?;
    let pool = lab.pool_with_range(net, Some(inside))?;
    let (got, end) = lab.drain(&pool, 256)?;
    let beside: Vec<&IpAddr> = got
        .iter()
        .filter(|address| !inside.contains(*address))
        .collect();
    end.ensure(beside.is_empty(), || {
        format!("addresses outside of the SubPool {inside} were given: {beside:?}")
    })?;
    end.ensure(!got.is_empty(), || {
        format!("the SubPool {inside} gives no address at all")
    })
}

fn refuses_overlaps(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let held = lab.four(24, 2)?;
    let pool = lab.pool(held)?;
    for other in [lab.four(23, 1)?, lab.four(25, 4)?, lab.four(25, 5)?] {
        lab.ask_pool(&lab.space, &other.to_string(), "", false)
            .errs()
            .map_err(|stop| stop.during(format!("while {held} is held")))?;
    }
    let beside = lab
        .pool(lab.four(24, 3)?)
        .map_err(|stop| stop.during("the subnet beside it"))?;
    lab.free_pool(&beside.id).succeeds()?;
    if let Some(space) = &lab.other {
        let answer = lab.ask_pool(space, &held.to_string(), "", false);
        let there =
            Lab::got(&answer, held).map_err(|stop| stop.during("in another address space"))?;
        answer.ensure(
            there.id != pool.id,
            || "the pools of two address spaces have the same PoolID",
        )?;
        lab.free_pool(&there.id).succeeds()?;
    }
    lab.free_pool(&pool.id).succeeds().map(drop)
}

fn refuses_bad_pools(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let first = net.network();
    let bad = [
        format!("{}/24", nth(net, 5)),
        format!("{first}/33"),
        format!("{first}/-1"),
        format!("{first}/024"),
        format!("{first}/"),
        format!("{first}"),
        format!(" {net}"),
        format!("{net} "),
        "10.201/16".to_owned(),
        "10..0.0/24".to_owned(),
        "/24".to_owned(),
        "0.0.0.0/0".to_owned(),
        "127.0.0.0/8".to_owned(),
        "224.0.0.0/24".to_owned(),
    ];
    let bad6 = [
        "::/0",
        "::1/128",
        "ff02::/64",
        "fd00::/129",
        "fd00:::/64",
        "::ffff:10.201.0.0/120",
    ];
    let bad6 = bad6.iter().map(|text| ((*text).to_owned(), true));
    let bad = bad.into_iter().map(|text| (text, false)).chain(bad6);
    for (text, six) in bad.filter(|(_, six)| !six || lab.has_six()) {
        let answer = lab.ask_pool(&lab.space, &text, "", six);
        if answer.is_error() {
            continue;
        }
        answer.succeeds()?;
        let shown = answer.text("/Pool");
        let net: IpNet = shown
            .parse()
            .map_err(|_| answer.fail("`Pool` is no subnet"))?;
        answer.ensure(shown == net.trunc().to_string(), || {
            format!("`Pool` is not in its canonical form, {}", net.trunc())
        })?;
        let first = net.network();
        let unusable = net.prefix_len() == 0 || first.is_loopback() || first.is_multicast();
        answer.ensure(!unusable, || {
            format!("no interface can have an address of {net}")
        })?;
        lab.free_pool(&answer.text("/PoolID")).succeeds()?;
    }
    Ok(())
}

fn releases_pools(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    lab.free_pool(&bench.name("pool")).succeeds()?;
    let net = lab.four(24, 0)?;
    let pool = lab.pool(net)?;
    for _ in 0..bench.repeat() {
        lab.free_pool(&pool.id).succeeds()?;
    }
    let pool = lab
        .pool(net)
        .map_err(|stop| stop.during("after it was released"))?;
    let wanted = nth(net, 40).to_string();
    lab.address(&pool, &wanted)?;
    let answer = lab.free_pool(&pool.id);
    if answer.is_error() {
        return lab
            .ask(&pool, &wanted)
            .errs()
            .map_err(|stop| stop.during("the pool was not released, because of this address"))
            .map(drop);
    }
    answer.succeeds()?;
    let pool = lab.pool(net)?;
    lab.address(&pool, &wanted)
        .map_err(|stop| stop.during("held in the pool that was released since"))
        .map(drop)
}

fn needs_a_pool(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?;
    let pool = lab.pool(net)?;
    lab.free_pool(&pool.id).succeeds()?;
    let unknown = Pool {
        id: bench.name("pool"),
        ..pool.clone()
    };
    for pool in [&pool, &unknown] {
        for wanted in ["", &nth(net, 9).to_string()] {
            lab.ask(pool, wanted).errs()?;
        }
        lab.ask_gateway(pool, &nth(net, 1).to_string()).errs()?;
    }
    Ok(())
}
