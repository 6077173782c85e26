//! Networks and endpoints as the engine makes and unmakes them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Map, Value, json};

use crate::Bench;
use crate::check::{Outcome, Stop, ensure};
use crate::client::Answer;
use crate::sandbox::{Link, Sandbox, Wanted, links};

/// Subnets are given out once, until all were.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A subnet with its gateway, as the engine's own IPAM would choose it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subnet {
    pub(super) pool: IpNet,
    pub(super) gateway: IpNet,
}

impl Subnet {
    pub(super) fn v4(bench: &Bench) -> Self {
        let base = bench.profile().network.pool;
        let count = 1u32 << 24u8.saturating_sub(base.prefix_len());
        let first = u32::from(base.network()) + ((next() % count) << 8);
        Self::of(
            Ipv4Net::new(first.into(), 24.max(base.prefix_len())).map(IpNet::V4),
            base.into(),
        )
    }

    pub(super) fn v6(bench: &Bench) -> Self {
        let base = bench.profile().network.pool6;
        let bits = 64u8.saturating_sub(base.prefix_len()).min(31);
        let number = u128::from(next() % (1u32 << bits));
        let first = u128::from(base.network()) + (number << 64);
        Self::of(
            Ipv6Net::new(first.into(), 64.max(base.prefix_len())).map(IpNet::V6),
            base.into(),
        )
    }

    fn of(pool: Result<IpNet, ipnet::PrefixLenError>, base: IpNet) -> Self {
        let pool = pool.unwrap_or(base);
        Self {
            pool,
            gateway: host(pool, 1),
        }
    }

    /// One that is given.
    pub(super) fn around(pool: IpNet) -> Self {
        Self::of(Ok(pool.trunc()), pool)
    }

    /// Its n-th address, with the prefix length.
    pub(super) fn host(&self, number: u32) -> IpNet {
        host(self.pool, number)
    }

    /// The entry in `IPv4Data` or `IPv6Data`.
    pub(super) fn data(&self) -> Value {
        json!({
            "AddressSpace": "LocalDefault",
            "Gateway": self.gateway.to_string(),
            "Pool": self.pool.to_string(),
        })
    }
}

/// The file of a sandbox that is not there yet: engines before 28.0 send `Join` before they make it.
pub(super) fn absent(bench: &Bench) -> String {
    let end: String = bench.id().chars().skip(52).collect();
    format!("/var/run/docker/netns/{end}")
}

fn next() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn host(pool: IpNet, number: u32) -> IpNet {
    let address = match pool.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first).wrapping_add(number)).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first).wrapping_add(number.into())).into()),
    };
    IpNet::new(address, pool.prefix_len()).unwrap_or(pool)
}

/// A network that the plugin is to make.
pub(super) struct Net<'b> {
    bench: &'b Bench<'b>,
    pub(super) id: String,
    pub(super) v4: Option<Subnet>,
    pub(super) v6: Option<Subnet>,
    /// The user's options.
    pub(super) options: Map<String, Value>,
    pub(super) internal: bool,
    /// The links of the machine before.
    before: Vec<Link>,
}

impl<'b> Net<'b> {
    /// One with a subnet of the family that the driver can do, IPv4 if both. Nothing is sent yet.
    pub(super) fn plan(bench: &'b Bench<'b>) -> Self {
        let profile = &bench.profile().network;
        let options = profile.options.iter();
        Self {
            bench,
            id: bench.id(),
            v4: profile.ipv4.then(|| Subnet::v4(bench)),
            v6: (!profile.ipv4 && profile.ipv6).then(|| Subnet::v6(bench)),
            options: options
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect(),
            internal: false,
            before: links(),
        }
    }

    /// The same, made.
    pub(super) fn create(bench: &'b Bench<'b>) -> Outcome<Self> {
        let net = Self::plan(bench);
        net.make().succeeds()?;
        Ok(net)
    }

    /// With both families, if the driver can do both.
    pub(super) fn both(mut self) -> Self {
        if self.v6.is_none() && self.bench.profile().network.ipv6 {
            self.v6 = Some(Subnet::v6(self.bench));
        }
        self
    }

    /// The body of `CreateNetwork`.
    pub(super) fn body(&self) -> Value {
        let list =
            |subnet: Option<Subnet>| -> Vec<Value> { subnet.iter().map(Subnet::data).collect() };
        let mut options = json!({
            "com.docker.network.enable_ipv4": self.v4.is_some(),
            "com.docker.network.enable_ipv6": self.v6.is_some(),
            "com.docker.network.generic": self.options,
        });
        if self.internal
            && let Some(options) = options.as_object_mut()
        {
            options.insert("com.docker.network.internal".into(), json!(true));
        }
        json!({
            "NetworkID": self.id,
            "Options": options,
            "IPv4Data": list(self.v4),
            "IPv6Data": list(self.v6),
        })
    }

    pub(super) fn make(&self) -> Answer {
        self.bench.call("NetworkDriver.CreateNetwork", &self.body())
    }

    pub(super) fn delete(&self) -> Answer {
        self.bench.call(
            "NetworkDriver.DeleteNetwork",
            &json!({"NetworkID": self.id}),
        )
    }

    /// The n-th endpoint, which is not there yet.
    pub(super) fn plan_endpoint(&self, number: u32) -> Endpoint<'b> {
        let address = |subnet: Option<Subnet>| {
            subnet
                .map(|subnet| subnet.host(number + 2).to_string())
                .unwrap_or_default()
        };
        Endpoint {
            bench: self.bench,
            network: self.id.clone(),
            id: self.bench.id(),
            address: address(self.v4),
            address6: address(self.v6),
            mac: String::new(),
            options: json!({
                "com.docker.network.endpoint.exposedports": [],
                "com.docker.network.portmap": [],
            }),
            before: self.before.clone(),
        }
    }

    /// The n-th endpoint, made.
    pub(super) fn endpoint(&self, number: u32) -> Outcome<Endpoint<'b>> {
        let endpoint = self.plan_endpoint(number);
        endpoint.make().succeeds()?;
        Ok(endpoint)
    }

    /// Links that were not there before the network.
    pub(super) fn new_links(&self) -> Vec<Link> {
        let mut all = links();
        all.retain(|link| !self.before.iter().any(|old| old.number == link.number));
        all
    }

    /// Fails the check if a link is there that was not before the network. A driver may need a moment.
    pub(super) fn nothing_left(&self) -> Outcome {
        self.bench.until(|| {
            let names: Vec<String> = self.new_links().into_iter().map(|link| link.name).collect();
            ensure(names.is_empty(), || {
                format!("links are left on the host: {}", names.join(", "))
            })
        })
    }
}

/// A container's place on a network.
pub(super) struct Endpoint<'b> {
    bench: &'b Bench<'b>,
    pub(super) network: String,
    pub(super) id: String,
    /// With prefix length; empty if the engine has none for it.
    pub(super) address: String,
    pub(super) address6: String,
    pub(super) mac: String,
    pub(super) options: Value,
    before: Vec<Link>,
}

impl Endpoint<'_> {
    fn names(&self) -> Value {
        json!({"NetworkID": self.network, "EndpointID": self.id})
    }

    fn call(&self, method: &str, more: Value) -> Answer {
        let mut body = self.names();
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.bench.call(&format!("NetworkDriver.{method}"), &body)
    }

    pub(super) fn make(&self) -> Answer {
        let interface = json!({
            "Address": self.address,
            "AddressIPv6": self.address6,
            "MacAddress": self.mac,
        });
        self.call(
            "CreateEndpoint",
            json!({"Interface": interface, "Options": self.options}),
        )
    }

    /// `Join`, with the file of a sandbox.
    pub(super) fn join(&self, key: &str) -> Answer {
        self.call("Join", json!({"SandboxKey": key, "Options": self.options}))
    }

    pub(super) fn leave(&self) -> Answer {
        self.call("Leave", json!({}))
    }

    pub(super) fn delete(&self) -> Answer {
        self.call("DeleteEndpoint", json!({}))
    }

    pub(super) fn info(&self) -> Answer {
        self.call("EndpointOperInfo", json!({}))
    }

    pub(super) fn program(&self) -> Answer {
        self.call(
            "ProgramExternalConnectivity",
            json!({"Options": self.options}),
        )
    }

    pub(super) fn revoke(&self) -> Answer {
        self.call("RevokeExternalConnectivity", json!({}))
    }

    /// `Join`, and what the engine does with the link that the answer names. `None`: it names none.
    ///
    /// A name that cannot be used ends the check without a verdict, for that is another check's subject.
    pub(super) fn enter(&self, sandbox: &Sandbox) -> Outcome<Option<String>> {
        let joined = self.join(&sandbox.key());
        joined.succeeds()?;
        let Some(wanted) = self.wanted(&joined)? else {
            return Ok(None);
        };
        sandbox
            .take(&wanted)
            .map(Some)
            .map_err(|error| joined.fail(error))
    }

    /// What the engine makes of an answer to `Join`. `None`: there is no link in it.
    pub(super) fn wanted(&self, joined: &Answer) -> Outcome<Option<Wanted>> {
        let source = joined.text("/InterfaceName/SrcName");
        let prefix = joined.text("/InterfaceName/DstPrefix");
        if source.is_empty() {
            return Ok(None);
        }
        let usable = source.len() <= 15
            && prefix.len() <= 10
            && !prefix.is_empty()
            && prefix.chars().all(|c| c.is_ascii_alphabetic())
            && !self.before.iter().any(|link| link.name == source)
            && links().iter().any(|link| link.name == source);
        if !usable {
            return Err(Stop::skip(format!(
                "the engine could not move the link {source:?} into a container as {prefix:?}: see N17 and N18"
            )));
        }
        let addresses = [&self.address, &self.address6];
        let mut routes: Vec<(String, Option<String>)> = Vec::new();
        let fixed = joined
            .json()
            .and_then(|says| says.get("StaticRoutes")?.as_array());
        for route in fixed.into_iter().flatten() {
            let text = |name: &str| route.get(name).and_then(Value::as_str);
            let next = text("NextHop").filter(|next| !next.is_empty());
            if let Some(destination) = text("Destination") {
                routes.push((destination.to_owned(), next.map(str::to_owned)));
            }
        }
        for gateway in ["/Gateway", "/GatewayIPv6"] {
            if let Ok(gateway) = joined.text(gateway).parse::<IpAddr>() {
                routes.push(("default".to_owned(), Some(gateway.to_string())));
            }
        }
        Ok(Some(Wanted {
            source,
            prefix,
            addresses: addresses
                .into_iter()
                .filter(|address| !address.is_empty())
                .cloned()
                .collect(),
            mac: self.mac.clone(),
            routes,
        }))
    }

    /// What the engine does when a container ends or is disconnected.
    pub(super) fn end(&self, sandbox: &Sandbox) -> Outcome {
        self.leave().succeeds()?;
        sandbox.give_back();
        self.delete().succeeds().map(drop)
    }
}
