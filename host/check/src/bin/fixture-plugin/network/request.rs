//! What requests hold, read strictly.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::state::State;
use crate::breaks::Breaks;

/// A text that must be there.
pub(crate) fn text<'a>(request: &'a Value, field: &str) -> Result<&'a str, String> {
    match request.get(field).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(format!("the request has no {field}")),
    }
}

/// A CIDR that may be missing or empty.
pub(crate) fn cidr(value: &Value, field: &str) -> Result<Option<IpNet>, String> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => text
            .parse()
            .map(Some)
            .map_err(|_| format!("{field} {text:?} is no address with a prefix length")),
        Some(other) => Err(format!("{field} {other} is no text")),
    }
}

/// What `CreateNetwork` asks for.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) pools: Vec<IpNet>,
    pub(crate) gateways: Vec<IpNet>,
    pub(crate) mtu: Option<u32>,
    pub(crate) note: Option<String>,
    pub(crate) internal: bool,
}

impl Wishes {
    pub(crate) fn read(request: &Value, breaks: &Breaks) -> Result<Self, String> {
        let mut wishes = Self::default();
        for (list, is_v4) in [("IPv4Data", true), ("IPv6Data", false)] {
            for data in request
                .get(list)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                wishes
                    .take(data, is_v4, breaks)
                    .map_err(|error| format!("{list}: {error}"))?;
            }
        }
        let options = request.get("Options");
        wishes.internal = options
            .and_then(|options| options.get("com.docker.network.internal"))
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let generic = options
            .and_then(|options| options.get("com.docker.network.generic"))
            .and_then(Value::as_object);
        for (name, value) in generic.into_iter().flatten() {
            let value = value
                .as_str()
                .ok_or_else(|| format!("option {name} is no text"))?;
            match name.as_str() {
                "mtu" => {
                    let mtu = value.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
                    wishes.mtu =
                        Some(mtu.ok_or_else(|| format!("option mtu={value:?}: say 68 to 65535"))?);
                }
                "note" => {
                    let odd = value.len() > 200 || value.chars().any(char::is_control);
                    if odd && !breaks.on("N36") {
                        return Err("option note: at most 200 bytes on one line".into());
                    }
                    wishes.note = Some(value.to_owned()).filter(|note| !note.is_empty());
                }
                // What AllocateNetwork gives.
                "vni" => {}
                _ if breaks.on("N08") => {}
                _ => {
                    return Err(format!(
                        "there is no option {name:?}; there are mtu and note"
                    ));
                }
            }
        }
        Ok(wishes)
    }

    fn take(&mut self, data: &Value, is_v4: bool, breaks: &Breaks) -> Result<(), String> {
        let family = |address: &IpNet| address.addr().is_ipv4() == is_v4;
        // The IPAM driver that gives no addresses says so with a pool that is everything.
        let pool = cidr(data, "Pool")?.filter(|pool| pool.prefix_len() > 0);
        if let Some(pool) = &pool {
            if !family(pool) {
                return Err(format!("pool {pool} is of the other family"));
            }
            self.pools.push(pool.trunc());
        }
        let inside = |what: &str, address: IpNet| {
            let pool = pool.ok_or_else(|| format!("{what} {address} without a pool"))?;
            if pool.contains(&address.addr()) || breaks.on("N06") {
                Ok(address)
            } else {
                Err(format!("{what} {address} is not in the pool {pool}"))
            }
        };
        if let Some(gateway) = cidr(data, "Gateway")? {
            self.gateways.push(inside("gateway", gateway)?);
        }
        for (name, _) in data
            .get("AuxAddresses")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if let Some(address) = data
                .get("AuxAddresses")
                .map(|all| cidr(all, name))
                .transpose()?
                .flatten()
            {
                inside("auxiliary address", address)?;
            }
        }
        Ok(())
    }

    /// Whether a pool is used already, by another network or by the machine.
    pub(crate) fn overlap(&self, state: &State) -> Result<(), String> {
        let used = state
            .networks
            .values()
            .flat_map(|net| net.pools.iter().copied())
            .chain(routes());
        for other in used {
            for pool in &self.pools {
                if pool.contains(&other) || other.contains(pool) {
                    return Err(format!(
                        "pool {pool} overlaps with {other}, which is in use"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Where the machine has ways to, the default routes aside.
fn routes() -> Vec<IpNet> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
    let v4 = read("route").unwrap_or_default();
    let v4 = v4.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let number = |field: Option<&str>| u32::from_str_radix(field?, 16).ok();
        let address = number(fields.next())?.swap_bytes();
        let mask = number(fields.nth(5))?;
        let length = u8::try_from(mask.count_ones()).ok()?;
        IpNet::new(IpAddr::V4(address.into()), length).ok()
    });
    let v6 = read("ipv6_route").unwrap_or_default();
    let v6 = v6.lines().filter_map(|line| {
        let (address, rest) = line.split_once(' ')?;
        let address = u128::from_str_radix(address, 16).ok()?;
        let length = u8::from_str_radix(rest.get(..2)?, 16).ok()?;
        IpNet::new(IpAddr::V6(address.into()), length).ok()
    });
    v4.chain(v6)
        .filter(|route| route.prefix_len() > 0)
        .collect()
}

/// The rules of what an endpoint publishes.
pub(crate) fn rules(request: &Value, addresses: &[IpNet]) -> Result<Vec<String>, String> {
    let map = request
        .pointer("/Options/com.docker.network.portmap")
        .cloned()
        .unwrap_or(json!([]));
    let mut rules = Vec::new();
    for binding in map.as_array().into_iter().flatten() {
        let number = |field: &str| binding.get(field).and_then(Value::as_u64).unwrap_or(0);
        let transport = match number("Proto") {
            6 => "tcp",
            17 => "udp",
            132 => "sctp",
            other => return Err(format!("protocol {other} has no ports")),
        };
        let (Ok(host), Ok(inner)) = (
            u16::try_from(number("HostPort")),
            u16::try_from(number("Port")),
        ) else {
            return Err("a port is larger than 65535".into());
        };
        if host == 0 {
            return Err("ports of the machine have to be named".into());
        }
        for address in addresses.iter().map(IpNet::addr) {
            rules.push(match address {
                IpAddr::V4(address) => {
                    format!(
                        "meta nfproto ipv4 {transport} dport {host} dnat ip to {address}:{inner}"
                    )
                }
                IpAddr::V6(address) => format!(
                    "meta nfproto ipv6 {transport} dport {host} dnat ip6 to [{address}]:{inner}"
                ),
            });
        }
    }
    Ok(rules)
}
