//! What users may wish for a network, and may not.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::life::{Net, Subnet};
use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N06",
        level: Level::Robustness,
        kind: Some(Kind::Network),
        needs: &[],
        title: "CreateNetwork with addresses that do not fit together",
        rule: "A gateway or an auxiliary address outside the subnet, a mixed family or no CIDR at all: an error, and nothing is made. An IPAM driver with a fault is not to become a network with one.",
        slow: false,
        run: misfits,
    },
    Check {
        id: "N07",
        level: Level::Robustness,
        kind: Some(Kind::Network),
        needs: &[],
        title: "CreateNetwork with a subnet that is in use",
        rule: "A subnet that overlaps with another network of the driver or with a route of the machine is refused, unless the driver is made for it (`overlap = true` under [network] in the profile): packets would go to either.",
        slow: false,
        run: overlap,
    },
    Check {
        id: "N08",
        level: Level::Robustness,
        kind: Some(Kind::Network),
        needs: &[],
        title: "CreateNetwork with unknown options and bad values",
        rule: "An error that names the option: a misspelled option that is passed over in silence leaves its user with another network than the one that was wished for.",
        slow: false,
        run: bad_options,
    },
];

fn misfits(bench: &Bench) -> Outcome {
    let net = Net::plan(bench);
    let other = Subnet::v4(bench);
    let v6 = Subnet::v6(bench);
    let v4 = Subnet::v4(bench);
    let with = |pool: &str, gateway: &str, auxiliary: Option<&str>| {
        let mut data = json!({"AddressSpace": "LocalDefault", "Pool": pool, "Gateway": gateway});
        if let (Some(auxiliary), Some(data)) = (auxiliary, data.as_object_mut()) {
            data.insert("AuxAddresses".into(), json!({"h1": auxiliary}));
        }
        data
    };
    let pool = v4.pool.to_string();
    let gateway = v4.gateway.to_string();
    let outside = other.gateway.to_string();
    let tries = [
        ("a gateway outside the subnet", with(&pool, &outside, None)),
        (
            "a gateway of the other family",
            with(&pool, &v6.gateway.to_string(), None),
        ),
        (
            "a subnet of the other family",
            with(&v6.pool.to_string(), &v6.gateway.to_string(), None),
        ),
        ("no subnet but a word", with("subnet", &gateway, None)),
        (
            "a prefix of 33 bits",
            with("100.101.0.0/33", &gateway, None),
        ),
        (
            "an auxiliary address outside the subnet",
            with(&pool, &gateway, Some(&outside)),
        ),
    ];
    for (what, data) in tries {
        let mut body = net.body();
        if let Some(body) = body.as_object_mut() {
            body.insert("IPv4Data".into(), json!([data]));
            body.insert("IPv6Data".into(), json!([]));
        }
        let answer = bench.call("NetworkDriver.CreateNetwork", &body);
        answer.errs().map_err(|stop| stop.during(what))?;
        net.nothing_left().map_err(|stop| stop.during(what))?;
    }
    Ok(())
}

fn overlap(bench: &Bench) -> Outcome {
    let may = bench.profile().network.overlap;
    let first = Net::create(bench)?;
    let mut second = Net::plan(bench);
    second.v4 = first.v4;
    second.v6 = first.v6;
    let judge = |net: &Net, what: &str| {
        let answer = net.make();
        if may && answer.is_success() {
            return net.delete().succeeds().map(drop);
        }
        answer.errs().map(drop).map_err(|stop| stop.during(what))
    };
    judge(&second, "the subnet of another network")?;
    if let Some(pool) = route_of_the_machine() {
        let mut net = Net::plan(bench);
        net.v4 = Some(Subnet::around(pool));
        net.v6 = None;
        judge(&net, "the subnet of a route of the machine")?;
    }
    first.delete().succeeds().map(drop)
}

/// A subnet that the machine has a route to by IPv4.
fn route_of_the_machine() -> Option<IpNet> {
    let routes = std::fs::read_to_string("/proc/thread-self/net/route").ok()?;
    routes.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let number = |field: Option<&str>| u32::from_str_radix(field?, 16).ok();
        let address = number(fields.next())?.swap_bytes();
        let mask = number(fields.nth(5))?;
        let length = u8::try_from(mask.count_ones()).ok()?;
        let pool = IpNet::new(IpAddr::V4(address.into()), length).ok()?;
        (8..=30).contains(&length).then_some(pool)
    })
}

fn bad_options(bench: &Bench) -> Outcome {
    let unknown = bench.name("option");
    let own = &bench.profile().network.bad_options;
    let own = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let common = [
        (unknown.as_str(), "x"),
        ("mtu", "0"),
        ("mtu", "67"),
        ("mtu", "70000"),
        ("mtu", "many"),
        ("com.docker.network.driver.mtu", "0"),
        ("com.docker.network.driver.mtu", "70000"),
        ("vlan", "0"),
        ("vlan", "4095"),
        ("parent", "dkc-missing"),
        ("parent", "lo"),
    ];
    for (name, value) in own.chain(common) {
        let mut net = Net::plan(bench);
        net.options.insert(name.to_owned(), Value::from(value));
        let answer = net.make();
        let error = answer
            .errs()
            .map_err(|stop| stop.during(format!("{name}={value}")))?;
        answer.ensure(error.contains(name), || {
            format!("the error does not name the option {name}")
        })?;
        net.nothing_left()?;
    }
    Ok(())
}
