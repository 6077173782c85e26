//! What `RequestPool` and `ReleasePool` do.

use dockside_addresses::record::Id;
use dockside_driver::{Error, ErrorCode, IpNet, Result, Table, ipam::PoolRequest, outbox, state};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    addresses, later,
    settings::Space,
    wapi::{Failure, Object, Wapi},
};

/// The networks that this host's engine has, by address space and subnet.
static NETWORKS: Table<Network> = Table::new("network/");

/// A network of the grid that the engine's networks are on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Network {
    /// The network view.
    pub(crate) view: String,
    /// Its reference.
    pub(crate) reference: String,
    /// The name under which hosts share it.
    pub(crate) name: Option<String>,
    /// The ranges that addresses come from, and how many networks of the engine have each; none asked for it since the engine started: 0.
    pub(crate) ranges: Vec<(Option<IpNet>, u32)>,
    /// The engine process that asked last.
    #[serde(default)]
    pub(crate) engine: String,
    /// Counts the engine processes that asked: what an earlier one was given is given again.
    #[serde(default)]
    pub(crate) generation: u32,
}

/// The object type for a subnet: `network` or `ipv6network`, `fixedaddress` or `ipv6fixedaddress`.
pub(crate) fn kind(base: &str, ipv6: bool) -> String {
    if ipv6 {
        format!("ipv6{base}")
    } else {
        base.to_owned()
    }
}

fn key(id: &Id<'_>) -> String {
    format!("{}/{}", id.space, id.subnet)
}

/// What is known of a pool.
pub(crate) fn get(id: &Id<'_>) -> Result<Option<Network>> {
    let network = NETWORKS.get(&key(id))?;
    Ok(network.filter(|network| {
        network
            .ranges
            .iter()
            .any(|(range, _)| *range == id.sub_pool)
    }))
}

/// All networks, by their keys.
pub(crate) fn all() -> Result<Vec<(String, Network)>> {
    Ok(NETWORKS.iter()?.collect())
}

/// `RequestPool`: the pool's name and its subnet. What the engine has is answered without the grid.
pub(crate) fn request_pool(request: &PoolRequest) -> Result<(String, IpNet)> {
    let space = Space::read(&request.address_space, request.ipv6)?;
    let name = request
        .options
        .get("network-name")
        .filter(|name| !name.is_empty());
    let known = match (request.pool, name) {
        (Some(subnet), _) => NETWORKS.get(&format!("{}/{subnet}", request.address_space))?,
        (None, Some(name)) => shared(&request.address_space, request.ipv6, name)?,
        (None, None) => None,
    };
    if request.pool.is_none() && request.sub_pool.is_some() {
        return Err(Error::invalid(
            "--ip-range needs a --subnet that it is a part of",
        ));
    }
    let (subnet, network) = match known {
        Some(network) => join(request, name, network)?,
        None => {
            let object = allocate(request, &space, name)?;
            let subnet: IpNet = object.network.parse()?;
            let network = Network {
                view: space.view.clone(),
                reference: object.reference,
                name: name.map(str::to_owned),
                ranges: vec![(range(request, subnet), 1)],
                engine: request.engine.clone(),
                generation: 0,
            };
            (subnet, network)
        }
    };
    let id = Id {
        space: &request.address_space,
        subnet,
        sub_pool: range(request, subnet),
    };
    NETWORKS.put(&key(&id), &network)?;
    Ok((id.to_string(), subnet))
}

fn range(request: &PoolRequest, subnet: IpNet) -> Option<IpNet> {
    request.sub_pool.filter(|range| *range != subnet)
}

/// A network of this host's engine with this name.
fn shared(space: &str, ipv6: bool, name: &str) -> Result<Option<Network>> {
    let of = |(key, network): &(String, Network)| {
        let subnet = key
            .strip_prefix(space)
            .and_then(|key| key.strip_prefix('/'));
        subnet.is_some_and(|subnet| subnet.contains(':') == ipv6)
            && network.name.as_deref() == Some(name)
    };
    Ok(all()?.into_iter().find(of).map(|(_, network)| network))
}

/// One network of the engine more on a network that it has.
fn join(
    request: &PoolRequest,
    name: Option<&str>,
    mut network: Network,
) -> Result<(IpNet, Network)> {
    let subnet = match request.pool {
        Some(subnet) => subnet,
        None => subnet_of(&network.reference)?,
    };
    let is_repeated = !request.engine.is_empty() && request.engine != network.engine;
    if is_repeated {
        // The first engine that says its name is no later one.
        if !network.engine.is_empty() {
            network.generation = network.generation.saturating_add(1);
            network
                .ranges
                .iter_mut()
                .for_each(|(_, networks)| *networks = 0);
        }
        network.engine.clone_from(&request.engine);
    } else if name != network.name.as_deref() {
        return Err(in_use(subnet, &network.view));
    }
    let wanted = range(request, subnet);
    match network
        .ranges
        .iter_mut()
        .find(|(range, _)| *range == wanted)
    {
        Some((_, networks)) => *networks = networks.saturating_add(1),
        None => network.ranges.push((wanted, 1)),
    }
    Ok((subnet, network))
}

/// The subnet in a reference: `network/ID:SUBNET/VIEW`.
fn subnet_of(reference: &str) -> Result<IpNet> {
    let parts = reference
        .split_once(':')
        .map(|(_, label)| label.replace("%3A", ":"));
    let label = parts.unwrap_or_default();
    let mut parts = label.split('/');
    let subnet = format!(
        "{}/{}",
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default()
    );
    subnet
        .parse()
        .map_err(|_| Error::other(format!("the reference {reference:?} names no subnet")))
}

fn in_use(subnet: IpNet, view: &str) -> Error {
    Error::in_use(format!(
        "the network {subnet} is in use already in the network view {view}; choose another --subnet, or share it with the --ipam-opt network-name that it has"
    ))
}

/// A network of the grid that this engine does not have yet.
fn allocate(request: &PoolRequest, space: &Space, name: Option<&str>) -> Result<Object> {
    let grid = Grid {
        wapi: Wapi::open()?,
        kind: kind("network", request.ipv6),
        view: &space.view,
    };
    if let Some(found) = grid.known(request.pool, name)? {
        return Ok(found);
    }
    let Some(name) = name else {
        return grid.make(request, space, None);
    };
    // Two hosts that ask for one name at the same time must get one network.
    let lock = format!("Docker lock {} {name}", space.view);
    let token = outbox::call_key();
    if !grid.lock(&lock, &token)? {
        return Err(Error::unavailable(format!(
            "the network {name:?} is being made by another host at this moment; try again. If that host is gone, delete the extensible attribute {lock:?} in the grid"
        )));
    }
    let found = match grid.known(request.pool, Some(name))? {
        Some(found) => found,
        None => grid.make(request, space, Some(name))?,
    };
    for held in grid.wapi.find(later::LOCK, None, &[("name", &lock)])? {
        later::delete(&grid.wapi, &held.reference)?;
    }
    Ok(found)
}

struct Grid<'a> {
    wapi: Wapi,
    kind: String,
    view: &'a str,
}

impl Grid<'_> {
    /// The network that the grid has already, if it may be used.
    fn known(&self, wanted: Option<IpNet>, name: Option<&str>) -> Result<Option<Object>> {
        let attribute = format!("*{}", self.wapi.settings.network_name);
        let own = |object: &Object| {
            let settings = &self.wapi.settings;
            let is_named = name.is_some() && object.attribute(&settings.network_name) == name;
            let tenant = settings
                .attributes
                .iter()
                .find(|(name, _)| name == "Tenant ID");
            let is_ours =
                tenant.is_some_and(|(name, tenant)| object.attribute(name) == Some(tenant));
            let has_name = object
                .attribute(&settings.network_name)
                .is_some_and(|name| !name.is_empty());
            let is_this_call = object.attribute(&settings.token) == Some(&outbox::call_key());
            is_named || is_this_call || (name.is_none() && is_ours && !has_name)
        };
        if let Some(subnet) = wanted {
            let filter = [("network", &*subnet.to_string())];
            match self.wapi.first(&self.kind, self.view, &filter)? {
                Some(found) if own(&found) => return Ok(Some(found)),
                Some(_) => return Err(in_use(subnet, self.view)),
                None => {}
            }
        }
        let Some(name) = name else {
            return Ok(None);
        };
        match (
            self.wapi
                .first(&self.kind, self.view, &[(&attribute, name)])?,
            wanted,
        ) {
            (Some(found), Some(subnet)) => Err(Error::in_use(format!(
                "the network {name:?} has the subnet {}, not {subnet}; leave --subnet out to share it",
                found.network
            ))),
            (found, _) => Ok(found),
        }
    }

    fn lock(&self, name: &str, token: &str) -> Result<bool> {
        if self.wapi.claim(later::LOCK, name, token)? {
            return Ok(true);
        }
        let held = self.wapi.find(later::LOCK, None, &[("name", name)])?;
        Ok(held.iter().any(|one| one.comment == token))
    }

    fn make(&self, request: &PoolRequest, space: &Space, name: Option<&str>) -> Result<Object> {
        self.ensure_view()?;
        let attribute = self.wapi.settings.network_name.clone();
        let extra: Vec<(&str, &str)> = name
            .map(|name| (attribute.as_str(), name))
            .into_iter()
            .collect();
        let create = |network: String| {
            let fields: Map<String, Value> = [("network".to_owned(), json!(network))]
                .into_iter()
                .collect();
            self.wapi.create(&self.kind, self.view, fields, &extra)
        };
        if let Some(subnet) = request.pool {
            return create(subnet.to_string()).map_err(|failure| {
                if failure.is_conflict() {
                    in_use(subnet, self.view)
                } else {
                    failure.into()
                }
            });
        }
        if space.containers.is_empty() {
            let family = if request.ipv6 { "ipv6-" } else { "" };
            return Err(Error::invalid(format!(
                "no subnet can be chosen: name one with --subnet, or set {}-{family}network-container under [config]",
                request.address_space
            )));
        }
        let length = request
            .options
            .parse("prefix-length")?
            .unwrap_or(space.prefix_length);
        for container in &space.containers {
            if length < container.prefix_len() || length > container.max_prefix_len() {
                return Err(Error::invalid(format!(
                    "prefix-length {length} does not fit into the network container {container}"
                )));
            }
            self.ensure_container(*container)?;
            let next = format!(
                "func:nextavailablenetwork:{container},{},{length}",
                self.view
            );
            match create(next) {
                Ok(made) => return Ok(made),
                Err(failure) if failure.is_exhausted() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        let containers: Vec<String> = space.containers.iter().map(IpNet::to_string).collect();
        Err(Error::exhausted(format!(
            "the network containers {} of the network view {} have no /{length} left",
            containers.join(", "),
            self.view
        )))
    }

    /// As the plugin does that this driver replaces. It is looked for once in the life of the state.
    fn ensure_view(&self) -> Result<()> {
        let seen = format!("seen/view/{}", self.view);
        if self.view == "default" || state::exists(&seen)? {
            return Ok(());
        }
        self.wapi
            .ensure("networkview", &json!({ "name": self.view }))?;
        state::set(&seen, &true)
    }

    fn ensure_container(&self, container: IpNet) -> Result<()> {
        let seen = format!("seen/container/{}/{container}", self.view);
        if state::exists(&seen)? {
            return Ok(());
        }
        let kind = format!("{}container", self.kind);
        let filter = [("network", &*container.to_string())];
        if self.wapi.first(&kind, self.view, &filter)?.is_none() {
            let body = json!({ "network": container, "network_view": self.view });
            self.wapi.ensure(&kind, &body)?;
        }
        state::set(&seen, &true)
    }
}

/// `ReleasePool`: with the last of the engine's networks its addresses go, and the grid's network if it is nobody else's.
pub(crate) fn release_pool(name: &str) -> Result<()> {
    let Some(id) = Id::parse(name) else {
        return Ok(());
    };
    let Some(mut network) = get(&id)? else {
        return Ok(());
    };
    for (range, networks) in &mut network.ranges {
        if *range == id.sub_pool {
            *networks = networks.saturating_sub(1);
        }
    }
    network
        .ranges
        .retain(|(range, networks)| *range != id.sub_pool || *networks > 0);
    if !network.ranges.is_empty() {
        return NETWORKS.put(&key(&id), &network);
    }
    free(&id, &network)
}

/// Forgets a network and has what it is in the grid deleted.
pub(crate) fn free(id: &Id<'_>, network: &Network) -> Result<()> {
    NETWORKS.remove(&key(id))?;
    let wapi = Wapi::open()?;
    let mut doomed = addresses::forget_all(id)?;
    if network.name.is_none() {
        doomed.push(network.reference.clone());
    }
    let mut is_answering = true;
    for reference in &doomed {
        let deleted = if is_answering {
            wapi.delete(reference)
        } else {
            Ok(())
        };
        match deleted {
            Ok(()) if is_answering => {}
            Ok(()) => later::delete_later(reference)?,
            Err(failure) => {
                is_answering &= !matches!(failure, Failure::Unsure(_));
                later::delete_later(reference)?;
            }
        }
    }
    if network.name.is_some() && wapi.settings.delete_shared && is_answering {
        delete_shared(&wapi, id, network)?;
    }
    Ok(())
}

/// Deletes a shared network that nobody has an address in any more.
fn delete_shared(wapi: &Wapi, id: &Id<'_>, network: &Network) -> Result<()> {
    let kind = kind("fixedaddress", matches!(id.subnet, IpNet::V6(_)));
    let subnet = id.subnet.to_string();
    let held = wapi.find(&kind, Some(&network.view), &[("network", &subnet)]);
    match held.map_err(Error::from) {
        Ok(held) if held.iter().all(|one| one.comment == addresses::GATEWAY) => {
            later::delete(wapi, &network.reference)
        }
        Err(error) if error.code() != ErrorCode::Unavailable => Err(error),
        _ => Ok(()),
    }
}
