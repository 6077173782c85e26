//! What the networks are, as it is saved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::links;
use crate::breaks::Breaks;

/// All networks, by their IDs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<String, Net>,
    /// What a manager of a swarm was told, by network.
    pub(crate) allocated: BTreeMap<String, u32>,
}

/// A network.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Net {
    /// What it was made of, to tell a repetition from another wish.
    pub(crate) asked: Value,
    pub(crate) bridge: String,
    pub(crate) mtu: Option<u32>,
    pub(crate) note: Option<String>,
    pub(crate) pools: Vec<IpNet>,
    pub(crate) gateways: Vec<IpNet>,
    pub(crate) internal: bool,
    /// Whether the call that made it came to its end.
    pub(crate) whole: bool,
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
}

/// A container's place on a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) asked: Value,
    /// What the engine was told beyond what it asked.
    pub(crate) given: Value,
    pub(crate) mac: String,
    pub(crate) addresses: Vec<IpNet>,
    /// The end that stays, and the one that goes into the container.
    pub(crate) outer: String,
    pub(crate) inner: String,
    pub(crate) sandbox: Option<String>,
    /// The name of its table of rules, if it publishes ports.
    pub(crate) table: Option<String>,
    pub(crate) whole: bool,
}

impl State {
    /// Takes away what calls were making when the plugin was ended.
    pub(crate) fn undo_unfinished(&mut self) {
        for net in self.networks.values_mut() {
            net.endpoints.retain(|_, endpoint| {
                if !endpoint.whole {
                    endpoint.unmake();
                }
                endpoint.whole
            });
        }
        self.networks.retain(|_, net| {
            if !net.whole {
                net.unmake();
            }
            net.whole
        });
    }
}

impl State {
    /// The names of all links and tables.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for net in self.networks.values() {
            all.insert(net.bridge.clone());
            for endpoint in net.endpoints.values() {
                all.extend([endpoint.outer.clone(), endpoint.inner.clone()]);
                all.extend(endpoint.table.clone());
            }
        }
        all
    }
}

impl Net {
    /// The gateway of a family, as containers use it.
    pub(crate) fn gateway(&self, is_v4: bool) -> Option<IpAddr> {
        self.gateways
            .iter()
            .map(IpNet::addr)
            .find(|gateway| gateway.is_ipv4() == is_v4)
            .filter(|_| !self.internal)
    }

    /// An address of a pool that nobody has.
    pub(crate) fn free_address(&self, pool: &IpNet) -> Result<IpNet, String> {
        let taken = |address: IpAddr| {
            let mut all = self
                .endpoints
                .values()
                .flat_map(|endpoint| &endpoint.addresses)
                .chain(&self.gateways);
            all.any(|other| other.addr() == address)
        };
        let free = pool.hosts().take(1 << 16).find(|address| !taken(*address));
        free.and_then(|address| IpNet::new(address, pool.prefix_len()).ok())
            .ok_or_else(|| format!("pool {pool} has no free address"))
    }

    pub(crate) fn make(&self, breaks: &Breaks) -> Result<(), String> {
        links::bridge(
            &self.bridge,
            self.mtu,
            self.note.as_deref(),
            &self.gateways,
            breaks,
        )
    }

    pub(crate) fn unmake(&self) {
        for endpoint in self.endpoints.values() {
            endpoint.unmake();
        }
        links::delete(&self.bridge);
    }
}

impl Endpoint {
    pub(crate) fn make(&self, bridge: &str, mtu: Option<u32>) -> Result<(), String> {
        links::pair(&self.outer, &self.inner, bridge, &self.mac, mtu)
    }

    pub(crate) fn unmake(&self) {
        if let Some(table) = &self.table {
            links::drop_rules(table);
        }
        links::delete(&self.outer);
    }
}
