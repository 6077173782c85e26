//! What `RequestAddress` and `ReleaseAddress` do.

use std::net::IpAddr;

use dockside_addresses::record::{Id, not_held};
use dockside_driver::{Error, IpNet, MacAddr, Result, Table, ipam::AddressRequest, time};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    later,
    networks::{self, Network, kind},
    wapi::{NO_CLIENT, Object, Wapi},
};

/// The option by which engines from 29 on say which container an address is for.
const ENDPOINT_NAME: &str = "com.docker.network.endpoint.name";
/// The comment of a gateway in the grid. Hosts that share a network share its gateway.
pub(crate) const GATEWAY: &str = "Docker gateway";
const CONTAINER: &str = "Docker container";
const AUXILIARY: &str = "Docker auxiliary address";

/// An address that this host's engine was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// The fixed address in the grid.
    pub(crate) reference: String,
    /// Whether this driver made it; what somebody else made stays when the address is released.
    pub(crate) is_ours: bool,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) gateway: bool,
    pub(crate) generation: u32,
    pub(crate) since: u64,
    pub(crate) name: String,
}

fn leases(id: &Id<'_>) -> Table<Lease> {
    Table::with_prefix(format!("lease/{}/{}/", id.space, id.subnet))
}

/// `RequestAddress`: the address with its pool's prefix.
pub(crate) fn request_address(request: &AddressRequest) -> Result<IpNet> {
    let name = request.pool_id.as_str();
    let id = Id::parse(name).ok_or_else(|| not_held(name))?;
    let network = networks::get(&id)?.ok_or_else(|| not_held(name))?;
    let asked = Asked {
        id: &id,
        network: &network,
        request,
    };
    let held = match request.address {
        Some(address) => asked.held(address)?,
        None => None,
    };
    let (address, lease) = match (request.address, held) {
        // An engine that starts again gets what it had without the grid.
        (Some(address), Some(lease)) => (
            address,
            Lease {
                generation: network.generation,
                ..lease
            },
        ),
        _ => asked.allocate()?,
    };
    leases(&id).put(&address.to_string(), &lease)?;
    Ok(IpNet::new(address, id.subnet.prefix_len())?)
}

/// `ReleaseAddress`. One that was not given is no error.
pub(crate) fn release_address(name: &str, address: IpAddr) -> Result<()> {
    let Some(id) = Id::parse(name) else {
        return Ok(());
    };
    let leases = leases(&id);
    let Some(lease) = leases.get(&address.to_string())? else {
        return Ok(());
    };
    leases.remove(&address.to_string())?;
    if lease.is_ours && !is_shared(&id, &lease)? {
        later::delete(&Wapi::open()?, &lease.reference)?;
    }
    Ok(())
}

/// Whether other hosts have it too: the gateway of a network that is shared.
fn is_shared(id: &Id<'_>, lease: &Lease) -> Result<bool> {
    let whole = Id {
        sub_pool: None,
        ..id.clone()
    };
    let network = match networks::get(id)? {
        Some(network) => Some(network),
        None => networks::get(&whole)?,
    };
    Ok(lease.gateway && network.is_some_and(|network| network.name.is_some()))
}

/// Forgets all addresses of a network, and says what of them has to be deleted in the grid.
pub(crate) fn forget_all(id: &Id<'_>) -> Result<Vec<String>> {
    let leases = leases(id);
    let mut doomed = Vec::new();
    for (address, lease) in leases.iter()? {
        leases.remove(&address)?;
        if lease.is_ours && !is_shared(id, &lease)? {
            doomed.push(lease.reference);
        }
    }
    Ok(doomed)
}

/// All leases of a network, by address.
pub(crate) fn all(id: &Id<'_>) -> Result<Vec<(String, Lease)>> {
    Ok(leases(id).iter()?.collect())
}

struct Asked<'a> {
    id: &'a Id<'a>,
    network: &'a Network,
    request: &'a AddressRequest,
}

impl Asked<'_> {
    fn mac(&self) -> Option<MacAddr> {
        self.request.mac_address.filter(|_| !self.request.gateway)
    }

    fn is_ipv6(&self) -> bool {
        matches!(self.id.subnet, IpNet::V6(_))
    }

    /// The field of an address, the field of whose it is, and its value for this request.
    fn client(&self) -> (&'static str, &'static str, String) {
        let mac = self
            .mac()
            .map_or_else(|| NO_CLIENT.to_owned(), |mac| mac.to_string());
        if self.is_ipv6() {
            // A DUID of the kind that is an Ethernet address (RFC 8415, 11.4).
            ("ipv6addr", "duid", format!("00:03:00:01:{mac}"))
        } else {
            ("ipv4addr", "mac", mac)
        }
    }

    /// What this engine was given already and asks for again.
    fn held(&self, address: IpAddr) -> Result<Option<Lease>> {
        if !self.id.subnet.contains(&address) {
            return Err(Error::invalid(format!(
                "{address} is not in pool {}",
                self.id.subnet
            )));
        }
        let Some(lease) = leases(self.id).get(&address.to_string())? else {
            return Ok(None);
        };
        let is_same = match (lease.mac, self.mac()) {
            (Some(one), Some(other)) => one == other,
            (_, Some(_)) => false,
            (_, None) => {
                lease.generation < self.network.generation && lease.gateway == self.request.gateway
            }
        };
        Ok(is_same.then_some(lease))
    }

    fn allocate(&self) -> Result<(IpAddr, Lease)> {
        let wapi = Wapi::open()?;
        let (object, is_ours) = match self.existing(&wapi)? {
            Some(found) => {
                // Also what an earlier request of this driver made, and nobody released.
                let is_ours = found.attribute(&wapi.settings.token).is_some();
                (found, is_ours)
            }
            None => (self.create(&wapi)?, true),
        };
        let address: IpAddr = object.address.parse()?;
        let lease = Lease {
            reference: object.reference,
            is_ours,
            mac: self.mac(),
            gateway: self.request.gateway,
            generation: self.network.generation,
            since: time::unix_seconds(),
            name: self.name().to_owned(),
        };
        Ok((address, lease))
    }

    fn name(&self) -> &str {
        self.request.options.get(ENDPOINT_NAME).unwrap_or_default()
    }

    /// A fixed address that the grid has for this very client, or for this network's gateway.
    fn existing(&self, wapi: &Wapi) -> Result<Option<Object>> {
        let kind = kind("fixedaddress", self.is_ipv6());
        let (field, client, value) = self.client();
        let view = &self.network.view;
        let subnet = self.id.subnet.to_string();
        let token = dockside_driver::outbox::call_key();
        let is_this_call = |object: &Object| object.attribute(&wapi.settings.token) == Some(&token);
        if let Some(wanted) = self.request.address {
            let wanted = wanted.to_string();
            let Some(found) = wapi.first(&kind, view, &[(field, &wanted)])? else {
                return Ok(None);
            };
            let is_gateway =
                self.request.gateway && self.network.name.is_some() && found.comment == GATEWAY;
            let is_mine = self.mac().is_some() && found.client.eq_ignore_ascii_case(&value);
            if is_gateway || is_mine || is_this_call(&found) {
                return Ok(Some(found));
            }
            return Err(Error::in_use(format!(
                "{wanted} is in use already in the network {subnet}; choose another address or none"
            )));
        }
        let found = if self.request.gateway && self.network.name.is_some() {
            wapi.first(&kind, view, &[("network", &subnet), ("comment", GATEWAY)])?
        } else if self.mac().is_some() {
            wapi.first(&kind, view, &[("network", &subnet), (client, &value)])?
        } else {
            None
        };
        // Two containers with one Ethernet address must not get one address.
        match &found {
            Some(object) if !self.request.gateway && !is_this_call(object) => {
                let held = leases(self.id).get(&object.address)?;
                if held.is_some() {
                    return Err(Error::in_use(format!(
                        "the Ethernet address {value} has {} already in the network {subnet}",
                        object.address
                    )));
                }
                Ok(found)
            }
            _ => Ok(found),
        }
    }

    fn create(&self, wapi: &Wapi) -> Result<Object> {
        let (field, client, value) = self.client();
        let view = &self.network.view;
        let wanted = match (self.request.address, self.id.sub_pool) {
            (Some(address), _) => address.to_string(),
            (None, Some(range)) => {
                let (first, last) = ends(range, self.id.subnet);
                format!("func:nextavailableip:{first}-{last},{view}")
            }
            (None, None) => format!("func:nextavailableip:{},{view}", self.id.subnet),
        };
        let comment = match (self.request.gateway, self.mac()) {
            (true, _) => GATEWAY,
            (false, Some(_)) => CONTAINER,
            (false, None) => AUXILIARY,
        };
        let mut fields: Map<String, Value> = [
            (field, json!(wanted)),
            (client, json!(value)),
            ("comment", json!(comment)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
        if !self.name().is_empty() {
            fields.insert("name".to_owned(), json!(self.name()));
        }
        let kind = kind("fixedaddress", self.is_ipv6());
        wapi.create(&kind, view, fields, &[]).map_err(|failure| {
            if failure.is_exhausted() {
                let of = self.id.sub_pool.unwrap_or(self.id.subnet);
                Error::exhausted(format!(
                    "the network {} is exhausted: the grid has no free address left in {of}; remove endpoints, or create the network with a larger --subnet or --ip-range",
                    self.id.subnet
                ))
            } else if failure.is_conflict() {
                Error::in_use(Error::from(failure).into_message())
            } else {
                failure.into()
            }
        })
    }
}

/// The first and the last address of a range that an interface of the subnet can have.
fn ends(range: IpNet, subnet: IpNet) -> (IpAddr, IpAddr) {
    use dockside_addresses::subnet as on;
    let (first, last) = on::usable(subnet);
    let start = on::offset(subnet, range.network()).unwrap_or(first);
    let end = on::offset(subnet, range.broadcast()).unwrap_or(last);
    (
        on::address(subnet, start.max(first)),
        on::address(subnet, end.min(last)),
    )
}
