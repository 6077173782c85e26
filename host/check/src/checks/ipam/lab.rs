//! What the checks of the section have in common: subnets of their own, and requests as the engine makes them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::{Map, Value, json};

use crate::Bench;
use crate::check::{Outcome, Stop};
use crate::client::Answer;

/// The engine's option that marks a gateway, in requests and in the data of a pool.
pub(super) const GATEWAY: &str = "com.docker.network.gateway";
/// The engine's option with an endpoint's Ethernet address.
pub(super) const MAC: &str = "com.docker.network.endpoint.macaddress";
/// Each check has a part of the profile's subnets, of this prefix; one that leaves something held harms no other.
const PART: u8 = 22;
/// The same for IPv6.
const PART6: u8 = 60;

/// The plugin as a check sees it.
pub(super) struct Lab<'a> {
    pub(super) bench: &'a Bench<'a>,
    /// The address space of local networks.
    pub(super) space: String,
    /// Another one.
    pub(super) other: Option<String>,
    /// The plugin wants to know Ethernet addresses.
    pub(super) mac: bool,
    /// The plugin wants an engine that starts to say what it knows.
    pub(super) replay: bool,
    macs: AtomicU32,
}

/// A pool that is held.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) id: String,
    pub(super) net: IpNet,
    /// The gateway that the answer named.
    pub(super) gateway: Option<IpAddr>,
}

impl<'a> Lab<'a> {
    pub(super) fn new(bench: &'a Bench<'a>) -> Outcome<Self> {
        let capabilities = bench.send("IpamDriver.GetCapabilities", b"");
        let flag = |name: &str| {
            capabilities
                .json()
                .and_then(|json| json.get(name))
                .and_then(Value::as_bool)
                .unwrap_or(false)
        };
        let spaces = bench.send("IpamDriver.GetDefaultAddressSpaces", b"");
        spaces.succeeds()?;
        let own = &bench.profile().ipam;
        let space = own
            .space
            .clone()
            .unwrap_or_else(|| spaces.text("/LocalDefaultAddressSpace"));
        let other = own
            .other_space
            .clone()
            .or_else(|| Some(spaces.text("/GlobalDefaultAddressSpace")))
            .filter(|other| *other != space && !other.is_empty());
        Ok(Self {
            bench,
            space,
            other,
            mac: flag("RequiresMACAddress"),
            replay: flag("RequiresRequestReplay"),
            macs: AtomicU32::new(0),
        })
    }

    /// Whether the plugin manages IPv6.
    pub(super) fn has_six(&self) -> bool {
        self.bench.profile().ipam.ipv6
    }

    /// The `number`th IPv4 subnet of a prefix of at least 22 in this check's part.
    pub(super) fn four(&self, prefix: u8, number: usize) -> Outcome<IpNet> {
        let base = self.bench.profile().ipam.pool;
        let parts = base.subnets(PART.max(base.prefix_len())).ok();
        let count = parts.map_or(0, Iterator::count);
        let part = base
            .subnets(PART.max(base.prefix_len()))
            .ok()
            .and_then(|mut parts| parts.nth(self.section_number() % count.max(1)))
            .unwrap_or(base);
        let mut subnets = part.subnets(prefix).map_err(|_| too_small(base, prefix))?;
        let found: Option<_> = Ipv4Subnets::nth(&mut subnets, number);
        found.map(IpNet::V4).ok_or_else(|| too_small(base, prefix))
    }

    /// The same for IPv6, of a prefix of at least 60.
    pub(super) fn six(&self, prefix: u8, number: usize) -> Outcome<IpNet> {
        let base = self.bench.profile().ipam.pool6;
        let length = PART6.max(base.prefix_len());
        let count = 1usize << (length - base.prefix_len()).min(12);
        let part = base
            .subnets(length)
            .ok()
            .and_then(|mut parts| parts.nth(self.section_number() % count))
            .unwrap_or(base);
        let mut subnets = part.subnets(prefix).map_err(|_| too_small(base, prefix))?;
        let found: Option<_> = Ipv6Subnets::nth(&mut subnets, number);
        found.map(IpNet::V6).ok_or_else(|| too_small(base, prefix))
    }

    fn section_number(&self) -> usize {
        let digits = self.bench.id_of_check().get(1..).unwrap_or_default();
        digits.parse().unwrap_or(0)
    }

    /// `RequestPool` as the engine sends it.
    pub(super) fn ask_pool(&self, space: &str, pool: &str, range: &str, six: bool) -> Answer {
        let body = self.pool_request(space, pool, range, six);
        self.bench.call("IpamDriver.RequestPool", &body)
    }

    pub(super) fn pool_request(&self, space: &str, pool: &str, range: &str, six: bool) -> Value {
        json!({
            "AddressSpace": space,
            "Pool": pool,
            "SubPool": range,
            "Options": self.bench.profile().ipam.options,
            "V6": six,
        })
    }

    /// A pool of that subnet.
    pub(super) fn pool(&self, net: IpNet) -> Outcome<Pool> {
        self.pool_with_range(net, None)
    }

    /// A pool of that subnet, and of its addresses those in the range.
    pub(super) fn pool_with_range(&self, net: IpNet, range: Option<IpNet>) -> Outcome<Pool> {
        let range = range.map(|range| range.to_string()).unwrap_or_default();
        let six = matches!(net, IpNet::V6(_));
        let answer = self.ask_pool(&self.space, &net.to_string(), &range, six);
        Self::got(&answer, net)
    }

    /// The pool of a success.
    pub(super) fn got(answer: &Answer, net: IpNet) -> Outcome<Pool> {
        let data = answer.succeeds()?.get("Data").cloned();
        let id = answer.text("/PoolID");
        answer.ensure(!id.is_empty(), || "there is no PoolID")?;
        let gateway = data
            .as_ref()
            .and_then(|data| data.get(GATEWAY))
            .and_then(Value::as_str)
            .and_then(bare);
        Ok(Pool { id, net, gateway })
    }

    /// `ReleasePool`.
    pub(super) fn free_pool(&self, id: &str) -> Answer {
        self.bench
            .call("IpamDriver.ReleasePool", &json!({"PoolID": id}))
    }

    /// `RequestAddress` for an endpoint, as the engine sends it.
    pub(super) fn ask(&self, pool: &Pool, wanted: &str) -> Answer {
        self.bench.call(
            "IpamDriver.RequestAddress",
            &self.address_request(&pool.id, wanted),
        )
    }

    /// For an endpoint with an Ethernet address that no other has.
    pub(super) fn address_request(&self, id: &str, wanted: &str) -> Value {
        let options = if self.mac {
            json!({ MAC: self.next_mac() })
        } else {
            Value::Null
        };
        json!({"PoolID": id, "Address": wanted, "Options": options})
    }

    pub(super) fn next_mac(&self) -> String {
        let number = self.macs.fetch_add(1, Ordering::Relaxed);
        let [a, b, c, d] = number.to_be_bytes();
        let section = self.section_number();
        format!("02:{section:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }

    /// `RequestAddress` for a gateway.
    pub(super) fn ask_gateway(&self, pool: &Pool, wanted: &str) -> Answer {
        let body = json!({
            "PoolID": pool.id,
            "Address": wanted,
            "Options": {"RequestAddressType": GATEWAY},
        });
        self.bench.call("IpamDriver.RequestAddress", &body)
    }

    /// An address for an endpoint.
    pub(super) fn address(&self, pool: &Pool, wanted: &str) -> Outcome<IpAddr> {
        Self::address_of(&self.ask(pool, wanted))
    }

    /// The address of a success.
    pub(super) fn address_of(answer: &Answer) -> Outcome<IpAddr> {
        answer.succeeds()?;
        bare(&answer.text("/Address"))
            .ok_or_else(|| answer.fail("`Address` is no address with a prefix"))
    }

    /// `ReleaseAddress`.
    pub(super) fn free(&self, pool: &Pool, address: impl ToString) -> Answer {
        let body = json!({"PoolID": pool.id, "Address": address.to_string()});
        self.bench.call("IpamDriver.ReleaseAddress", &body)
    }

    /// Addresses until there are no more, at most `most`, and the error that came then.
    pub(super) fn drain(&self, pool: &Pool, most: usize) -> Outcome<(Vec<IpAddr>, Answer)> {
        let mut got = Vec::new();
        loop {
            let answer = self.ask(pool, "");
            if answer.is_error() {
                return Ok((got, answer));
            }
            let address = Self::address_of(&answer)?;
            answer.ensure(pool.net.contains(&address), || {
                format!("{address} is outside of {}", pool.net)
            })?;
            answer.ensure(!got.contains(&address), || {
                format!("{address} was given a second time without a release")
            })?;
            answer.ensure(got.len() < most, || {
                format!("more than {most} addresses of {}", pool.net)
            })?;
            got.push(address);
        }
    }
}

/// The `number`th address of a subnet, from its first.
pub(super) fn nth(net: IpNet, number: u32) -> IpAddr {
    match net.network() {
        IpAddr::V4(first) => std::net::Ipv4Addr::from(u32::from(first) + number).into(),
        IpAddr::V6(first) => {
            std::net::Ipv6Addr::from(u128::from(first) + u128::from(number)).into()
        }
    }
}

/// The address of a text with or without a prefix.
pub(super) fn bare(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

fn too_small(base: impl std::fmt::Display, prefix: u8) -> Stop {
    Stop::skip(format!(
        "the profile's range {base} has no place for a /{prefix}"
    ))
}

/// Whether a value is an object of texts, or absent.
pub(super) fn is_map_of_text(data: Option<&Value>) -> bool {
    let texts = |map: &Map<String, Value>| map.values().all(Value::is_string);
    match data {
        None | Some(Value::Null) => true,
        Some(data) => data.as_object().is_some_and(texts),
    }
}
