//! One function for each method.

use serde_json::{Map, Value, json};

use super::links;
use super::request::{self, Wishes, cidr, text};
use super::state::{Endpoint, Net, State};
use crate::breaks::Breaks;
use crate::store::Store;

type Done = Result<Value, String>;

/// One call, while no other runs.
pub(crate) struct Call<'a> {
    pub(crate) breaks: &'a Breaks,
    pub(crate) store: &'a Store,
    pub(crate) prefix: &'a str,
    pub(crate) state: &'a mut State,
    /// What is made fails when it has been made.
    pub(crate) failing: bool,
}

impl Call<'_> {
    pub(crate) fn gateways(&self) -> Done {
        if self.breaks.on("N02") {
            return Ok(json!({"SkipIPv4": "no", "SkipIPv6": "no"}));
        }
        Ok(json!({"SkipIPv4": false, "SkipIPv6": false}))
    }

    pub(crate) fn create_network(&mut self, request: &Value) -> Done {
        let id = text(request, "NetworkID")?;
        let asked = parts(request, &["Options", "IPv4Data", "IPv6Data"]);
        if let Some(net) = self.state.networks.get(id) {
            return if net.asked == asked || self.breaks.on("N04") {
                Ok(json!({}))
            } else {
                Err(format!("network {id} is there already, and is another one"))
            };
        }
        let wishes = Wishes::read(request, self.breaks)?;
        if self.breaks.on("N05")
            && wishes.pools.iter().all(|pool| pool.addr().is_ipv6())
            && !wishes.pools.is_empty()
        {
            return Err("not supported".into());
        }
        if !self.breaks.on("N07") {
            wishes.overlap(self.state)?;
        }
        let net = Net {
            asked,
            bridge: links::name(self.prefix),
            mtu: wishes.mtu,
            note: wishes.note,
            pools: wishes.pools,
            gateways: wishes.gateways,
            internal: wishes.internal,
            whole: false,
            endpoints: Default::default(),
        };
        self.state.networks.insert(id.to_owned(), net);
        self.save()?;
        let net = self.network(id)?;
        let mut made = net.make(self.breaks);
        if self.failing {
            net.unmake();
            made = Err("the backend fails".into());
        }
        if made.is_err() {
            self.state.networks.remove(id);
            self.save()?;
        }
        made?;
        if let Some(net) = self.state.networks.get_mut(id) {
            net.whole = true;
        }
        self.saved(json!({}))
    }

    pub(crate) fn delete_network(&mut self, request: &Value) -> Done {
        let id = text(request, "NetworkID")?;
        // An engine that was killed has not taken its endpoints away.
        if let Some(net) = self.state.networks.get(id) {
            if self.breaks.on("N10") {
                links::delete(&net.bridge);
            } else if !(self.breaks.on("N03") && net.internal) {
                net.unmake();
            }
        }
        if self.state.networks.remove(id).is_none() && self.breaks.on("N09") {
            return Err(format!("there is no network {id}"));
        }
        self.saved(json!({}))
    }

    pub(crate) fn allocate(&mut self, request: &Value) -> Done {
        let id = text(request, "NetworkID")?;
        let next = self
            .state
            .allocated
            .values()
            .max()
            .map_or(4096, |vni| vni + 1);
        let next = if self.breaks.on("N28") {
            rand::random()
        } else {
            next
        };
        if self.breaks.on("N28") {
            self.state.allocated.remove(id);
        }
        let vni = *self.state.allocated.entry(id.to_owned()).or_insert(next);
        self.saved(json!({"Options": {"vni": vni.to_string()}}))
    }

    pub(crate) fn free(&mut self, request: &Value) -> Done {
        let id = text(request, "NetworkID")?;
        self.state.allocated.remove(id);
        self.saved(json!({}))
    }

    pub(crate) fn create_endpoint(&mut self, request: &Value) -> Done {
        let (network, id) = (text(request, "NetworkID")?, text(request, "EndpointID")?);
        let asked = parts(request, &["Interface", "Options"]);
        if self.breaks.on("N14") && !self.state.networks.contains_key(network) {
            return Ok(json!({}));
        }
        let net = self.network(network)?;
        if let Some(endpoint) = net.endpoints.get(id).filter(|_| !self.breaks.on("N15")) {
            return if endpoint.asked == asked {
                Ok(json!({"Interface": endpoint.given}))
            } else {
                Err(format!(
                    "endpoint {id} is there already, and is another one"
                ))
            };
        }
        let interface = request.get("Interface").cloned().unwrap_or(json!({}));
        let mut addresses = Vec::new();
        for field in ["Address", "AddressIPv6"] {
            addresses.extend(cidr(&interface, field)?);
        }
        let mut given = Map::new();
        let mac = match interface.get("MacAddress").and_then(Value::as_str) {
            Some(mac) if !mac.is_empty() => mac.to_owned(),
            _ => {
                let mac = if self.breaks.on("N12") {
                    format!("02:42:64:65:00:{:02x}", rand::random::<u8>())
                } else {
                    links::mac()
                };
                given.insert("MacAddress".into(), json!(mac));
                mac
            }
        };
        if !is_station(&mac) {
            return Err(format!("{mac:?} is no Ethernet address of a station"));
        }
        if addresses.is_empty() {
            for pool in &net.pools {
                let address = net.free_address(pool)?;
                let field = if address.addr().is_ipv4() {
                    "Address"
                } else {
                    "AddressIPv6"
                };
                let text = if self.breaks.on("N13") {
                    address.addr().to_string()
                } else {
                    address.to_string()
                };
                given.insert(field.into(), json!(text));
                addresses.push(address);
            }
        }
        if self.breaks.on("N11") {
            given.extend(interface.as_object().cloned().unwrap_or_default());
        }
        let (outer, inner) = if self.breaks.on("N16") {
            let start: String = id.chars().take(12).collect();
            (format!("fo{start}"), format!("fi{start}"))
        } else {
            (links::name(self.prefix), links::name(self.prefix))
        };
        let endpoint = Endpoint {
            asked,
            given: Value::Object(given.clone()),
            mac,
            addresses,
            outer,
            inner,
            sandbox: None,
            table: None,
            whole: false,
        };
        let (bridge, mtu) = (net.bridge.clone(), net.mtu);
        self.endpoints(network)?
            .insert(id.to_owned(), endpoint.clone());
        self.save()?;
        let mut made = endpoint.make(&bridge, mtu);
        if self.failing {
            if !self.breaks.on("N29") {
                endpoint.unmake();
            }
            made = Err("the backend fails".into());
        }
        let endpoints = self.endpoints(network)?;
        if made.is_err() {
            endpoints.remove(id);
        } else if let Some(endpoint) = endpoints.get_mut(id) {
            endpoint.whole = true;
        }
        self.save()?;
        made?;
        if self.breaks.on("N32") {
            self.forget(network, id)?;
        }
        Ok(json!({"Interface": given}))
    }

    pub(crate) fn delete_endpoint(&mut self, request: &Value) -> Done {
        let (network, id) = (text(request, "NetworkID")?, text(request, "EndpointID")?);
        let late = self.breaks.on("N22");
        if let Ok(endpoints) = self.endpoints(network)
            && let Some(endpoint) = endpoints.get(id)
        {
            if late && !links::is_here(&endpoint.outer) {
                return Err(format!("cannot find device {}", endpoint.outer));
            }
            endpoint.unmake();
            endpoints.remove(id);
        }
        self.saved(json!({}))
    }

    pub(crate) fn info(&mut self, request: &Value) -> Done {
        if self.breaks.on("N24") {
            self.network(text(request, "NetworkID")?)?;
        } else {
            self.endpoint(request)?;
        }
        Ok(json!({"Value": {}}))
    }

    pub(crate) fn join(&mut self, request: &Value) -> Done {
        let key = text(request, "SandboxKey")?.to_owned();
        let net = self.network(text(request, "NetworkID")?)?;
        let gateways = (net.gateway(true), net.gateway(false));
        let (bridge, mtu) = (net.bridge.clone(), net.mtu);
        let breaks = self.breaks;
        if breaks.on("N21") {
            self.one_for_each(&key);
        }
        if breaks.on("N31") {
            let _ = std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "2");
        }
        if breaks.on("N34") {
            stray();
        }
        let endpoint = self.endpoint(request)?;
        if endpoint.sandbox.is_some() && !breaks.on("N20") {
            return Err("the endpoint is in a container already".into());
        }
        if !links::is_here(&endpoint.inner) {
            // It went with a container that is gone.
            links::delete(&endpoint.outer);
            endpoint.make(&bridge, mtu)?;
        }
        endpoint.sandbox = Some(key);
        let mut answer = Map::new();
        let wished = endpoint
            .asked
            .pointer("/1/com.docker.network.endpoint.ifname")
            .and_then(Value::as_str)
            .filter(|_| breaks.on("N18"));
        let prefix = if breaks.on("N17") { "" } else { "eth" };
        let name = json!({"SrcName": wished.unwrap_or(&endpoint.inner), "DstPrefix": prefix});
        answer.insert("InterfaceName".into(), name);
        answer.insert("StaticRoutes".into(), json!([]));
        answer.insert("DisableGatewayService".into(), json!(true));
        let has = |is_v4: bool| {
            endpoint
                .addresses
                .iter()
                .any(|own| own.addr().is_ipv4() == is_v4)
        };
        if let Some(gateway) = gateways.0.filter(|_| has(true)) {
            let length = if breaks.on("N19") { "/24" } else { "" };
            answer.insert("Gateway".into(), json!(format!("{gateway}{length}")));
        }
        if let Some(gateway) = gateways.1.filter(|_| has(false)) {
            answer.insert("GatewayIPv6".into(), json!(gateway.to_string()));
        }
        self.saved(Value::Object(answer))
    }

    pub(crate) fn leave(&mut self, request: &Value) -> Done {
        text(request, "NetworkID")?;
        text(request, "EndpointID")?;
        let twice = self.breaks.on("N23");
        if let Ok(endpoint) = self.endpoint(request)
            && endpoint.sandbox.take().is_none()
            && twice
        {
            return Err("the endpoint is in no container".into());
        }
        self.saved(json!({}))
    }

    pub(crate) fn program(&mut self, request: &Value) -> Done {
        let prefix = self.prefix;
        let endpoint = self.endpoint(request)?;
        let rules = request::rules(request, &endpoint.addresses)?;
        if rules.is_empty() {
            return self.revoke(request);
        }
        let table = endpoint
            .table
            .clone()
            .unwrap_or_else(|| links::name(prefix));
        endpoint.table = Some(table.clone());
        self.save()?;
        links::put_rules(&table, &rules, self.breaks)?;
        Ok(json!({}))
    }

    pub(crate) fn revoke(&mut self, request: &Value) -> Done {
        text(request, "NetworkID")?;
        text(request, "EndpointID")?;
        if let Ok(endpoint) = self.endpoint(request)
            && let Some(table) = endpoint.table.take()
        {
            links::drop_rules(&table);
        }
        self.saved(json!({}))
    }

    /// A mistake: what is kept by the container has room for one network.
    fn one_for_each(&mut self, key: &str) {
        let nets = self.state.networks.values_mut();
        for endpoint in nets.flat_map(|net| net.endpoints.values_mut()) {
            if endpoint.sandbox.as_deref() == Some(key) {
                endpoint.outer.push('x');
            }
        }
    }

    /// A mistake: what was made is in memory alone.
    fn forget(&self, network: &str, id: &str) -> Result<(), String> {
        let mut saved: State = self.store.load()?;
        if let Some(net) = saved.networks.get_mut(network) {
            net.endpoints.remove(id);
        }
        self.store.save(&saved)
    }

    fn network(&self, id: &str) -> Result<&Net, String> {
        self.state
            .networks
            .get(id)
            .ok_or_else(|| format!("there is no network {id}"))
    }

    fn endpoints(
        &mut self,
        network: &str,
    ) -> Result<&mut std::collections::BTreeMap<String, Endpoint>, String> {
        self.state
            .networks
            .get_mut(network)
            .map(|net| &mut net.endpoints)
            .ok_or_else(|| format!("there is no network {network}"))
    }

    fn endpoint(&mut self, request: &Value) -> Result<&mut Endpoint, String> {
        let (network, id) = (text(request, "NetworkID")?, text(request, "EndpointID")?);
        self.endpoints(network)?
            .get_mut(id)
            .ok_or_else(|| format!("there is no endpoint {id} on network {network}"))
    }

    fn save(&self) -> Result<(), String> {
        self.store.save(self.state)
    }

    fn saved(&self, answer: Value) -> Done {
        self.save()?;
        Ok(answer)
    }
}

/// These fields of a request, with nothing and an empty list or map as the same thing.
fn parts(request: &Value, fields: &[&str]) -> Value {
    fields
        .iter()
        .map(|field| match request.get(*field) {
            Some(Value::Array(list)) if list.is_empty() => Value::Null,
            Some(Value::Object(map)) if map.is_empty() => Value::Null,
            other => other.cloned().unwrap_or(Value::Null),
        })
        .collect()
}

/// A mistake: a thread that stays in a namespace which is not the plugin's.
fn stray() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::thread::spawn(|| {
            let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
            loop {
                std::thread::park();
            }
        });
    });
}

fn is_station(mac: &str) -> bool {
    let octets: Option<Vec<u8>> = mac
        .split(':')
        .map(|octet| {
            u8::from_str_radix(octet, 16)
                .ok()
                .filter(|_| octet.len() == 2)
        })
        .collect();
    octets.is_some_and(|octets| {
        octets.len() == 6 && octets.first().is_some_and(|first| first & 1 == 0)
    })
}
