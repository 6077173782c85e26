//! `Join`: the link that the engine moves into the container.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::endpoints::field;
use super::life::{Net, absent};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};
use crate::client::Answer;
use crate::sandbox::{Link, Sandbox, ip, links};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N17",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "Join names a link",
        rule: "SrcName is a link of the host at that moment, with at most 15 bytes, and DstPrefix is letters: the engine moves the link into the container and names it with the prefix and a number.",
        slow: false,
        run: names_a_link,
    },
    Check {
        id: "N18",
        level: Level::Security,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "the link is the endpoint's own",
        rule: "SrcName is a link that the driver has made for this endpoint, whatever the options say: the engine moves any link of that name into the container, the machine's own network card too.",
        slow: false,
        run: own_link,
    },
    Check {
        id: "N19",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "gateways and routes of Join",
        rule: "Gateways are addresses without a prefix length inside the subnet; a route of type 0 has a next hop and one of type 1 has none, and a default route is left to the gateway: with anything else the container does not start.",
        slow: false,
        run: routes,
    },
    Check {
        id: "N20",
        level: Level::Robustness,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "Join twice, and of an unknown endpoint",
        rule: "An error, and no second link: an endpoint is in one container.",
        slow: false,
        run: twice,
    },
];

fn names_a_link(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let endpoint = net.endpoint(0)?;
    let sandbox = Sandbox::open()?;
    let joined = endpoint.join(&sandbox.key());
    joined.succeeds()?;
    let source = joined.text("/InterfaceName/SrcName");
    if source.is_empty() {
        return Err(Stop::skip("the driver gives no links"));
    }
    joined.ensure(source.len() <= 15, || {
        format!("SrcName {source:?} is longer than 15 bytes")
    })?;
    joined.ensure(links().iter().any(|link| link.name == source), || {
        format!("there is no link {source:?} in the engine's network namespace")
    })?;
    let prefix = joined.text("/InterfaceName/DstPrefix");
    let letters = !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_alphabetic());
    joined.ensure(letters && prefix.len() <= 10, || {
        format!("DstPrefix is {prefix:?}")
    })?;
    let wanted = endpoint.wanted(&joined)?;
    if let Some(wanted) = wanted {
        let name = sandbox.take(&wanted).map_err(|error| joined.fail(error))?;
        let inside = sandbox.links()?;
        ensure(inside.iter().any(|link| link.name == name), || {
            format!("the container has no link {name}")
        })?;
    }
    endpoint.end(&sandbox)?;
    net.delete().succeeds().map(drop)
}

/// A link of the machine that is none of the driver's.
struct HostLink(String);

impl HostLink {
    fn make(bench: &Bench) -> Outcome<Self> {
        let end: String = bench.id().chars().skip(56).collect();
        let name = format!("dkc{end}");
        // Not every kernel has dummies.
        ip(&[format!("link add {name} type dummy")])
            .or_else(|_| ip(&[format!("link add {name} type bridge")]))
            .map_err(|error| Stop::skip(format!("no link can be made here: {error}")))?;
        Ok(Self(name))
    }
}

impl Drop for HostLink {
    fn drop(&mut self) {
        let _ = ip(&[format!("link delete dev {}", self.0)]);
    }
}

fn own_link(bench: &Bench) -> Outcome {
    let host = HostLink::make(bench)?;
    let net = Net::create(bench)?;
    let names = [
        "",
        "com.docker.network.endpoint.ifname",
        "com.docker.network.endpoint.srcname",
        "ifname",
        "srcname",
        "interface",
        "link",
        "parent",
    ];
    let mut any = false;
    for (number, option) in (0u32..).zip(names) {
        let before = links();
        let mut endpoint = net.plan_endpoint(number);
        if let Some(options) = endpoint
            .options
            .as_object_mut()
            .filter(|_| !option.is_empty())
        {
            options.insert(option.into(), json!(host.0));
        }
        let made = endpoint.make();
        if made.is_error() && !option.is_empty() {
            continue;
        }
        made.succeeds()?;
        let joined = endpoint.join(&absent(bench));
        if !joined.is_error() {
            joined.succeeds()?;
            let source = joined.text("/InterfaceName/SrcName");
            any |= !source.is_empty();
            foreign(&joined, &source, &before)?;
        }
        endpoint.leave().succeeds()?;
        endpoint.delete().succeeds()?;
    }
    net.delete().succeeds()?;
    if any {
        Ok(())
    } else {
        Err(Stop::skip("the driver gives no links"))
    }
}

fn foreign(joined: &Answer, source: &str, before: &[Link]) -> Outcome {
    let old = before.iter().find(|link| link.name == source);
    joined.ensure(old.is_none(), || {
        format!("{source} is a link that was there before the endpoint")
    })
}

fn routes(bench: &Bench) -> Outcome {
    let net = Net::plan(bench).both();
    if !net.make().is_success() {
        return Err(Stop::skip("networks of both families are N05's subject"));
    }
    let endpoint = net.endpoint(0)?;
    let sandbox = if rustix::process::geteuid().is_root() {
        Some(Sandbox::open()?)
    } else {
        None
    };
    let key = sandbox.as_ref().map_or_else(|| absent(bench), Sandbox::key);
    let joined = endpoint.join(&key);
    let says = joined.succeeds()?;
    let mut gateways = Vec::new();
    for (name, subnet) in [("Gateway", net.v4), ("GatewayIPv6", net.v6)] {
        let text = joined.text(&format!("/{name}"));
        if text.is_empty() {
            continue;
        }
        let gateway: IpAddr = text
            .parse()
            .map_err(|_| joined.fail(format!("{name} {text:?} is no plain address")))?;
        let inside = subnet.is_some_and(|subnet| subnet.pool.contains(&gateway));
        let near = matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
        joined.ensure(inside || near, || {
            format!("{name} {gateway} is not in the subnet")
        })?;
        gateways.push(gateway);
    }
    for route in field(says, "StaticRoutes").as_array().into_iter().flatten() {
        let text = |name: &str| field(route, name).as_str().unwrap_or_default();
        let destination: IpNet = text("Destination").parse().map_err(|_| {
            joined.fail(format!(
                "a route to {:?}, which is no CIDR",
                text("Destination")
            ))
        })?;
        let next = text("NextHop");
        let kind = field(route, "RouteType").as_u64().unwrap_or(0);
        match kind {
            0 => joined.ensure(next.parse::<IpAddr>().is_ok(), || {
                format!("the route to {destination} is of type 0 and has no next hop")
            })?,
            1 => joined.ensure(next.is_empty(), || {
                format!("the route to {destination} is of type 1 and has a next hop")
            })?,
            other => {
                return Err(joined.fail(format!("the route to {destination} is of type {other}")));
            }
        }
        let family = |gateway: &IpAddr| gateway.is_ipv4() == destination.addr().is_ipv4();
        joined.ensure(
            destination.prefix_len() > 0 || !gateways.iter().any(family),
            || "there is a gateway, and a default route beside it",
        )?;
    }
    let routes = field(says, "StaticRoutes");
    joined.ensure(
        routes.is_null() || routes.is_array(),
        || "StaticRoutes is no list",
    )?;
    let service = field(says, "DisableGatewayService");
    joined.ensure(
        service.is_null() || matches!(service, Value::Bool(_)),
        || "DisableGatewayService is no boolean",
    )?;
    if let Some(sandbox) = &sandbox {
        if let Some(wanted) = endpoint.wanted(&joined)? {
            sandbox.take(&wanted).map_err(|error| joined.fail(error))?;
        }
        endpoint.end(sandbox)?;
    } else {
        endpoint.leave().succeeds()?;
        endpoint.delete().succeeds()?;
    }
    net.delete().succeeds().map(drop)
}

fn twice(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let endpoint = net.endpoint(0)?;
    let sandbox = Sandbox::open()?;
    endpoint.enter(&sandbox)?;
    let before = links().len();
    let second = endpoint.join(&absent(bench));
    second.errs()?;
    second.ensure(
        links().len() == before,
        || "the refused call has made or deleted a link",
    )?;
    net.plan_endpoint(1)
        .join(&absent(bench))
        .errs()
        .map_err(|stop| stop.during("an endpoint that never was"))?;
    endpoint.end(&sandbox)?;
    net.delete().succeeds().map(drop)
}
