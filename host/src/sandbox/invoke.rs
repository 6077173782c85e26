//! From a call to the function of a component that answers it, and from what the function returns to a checked answer.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::Timestamp;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, Resource};

use super::bindings::{authz, ipam, lifecycle, network, options, types, volume};
use crate::capability::directories::DirectoryHandle;
use crate::protocol::address::{cidr_from_guest, ip_from_guest, ip_to_guest, subnet_from_guest};
use crate::protocol::answer::{EndpointAddresses, GATEWAY_DATA, Joined, Pool, Volume};
use crate::protocol::describe::{
    Declaration, Description, IpamCapabilities, NetworkCapabilities, Scope, Subject, ValueType,
    VolumeCapabilities,
};
use crate::protocol::ipam::{check_address, check_gateway, check_pool};
use crate::protocol::{self, Answer, Call, Decision, KeyValue};

/// The version of the interfaces that this host knows.
const VERSION: &str = "0.1.0";

/// Where a component has the interfaces that it exports.
#[derive(Clone)]
pub struct ExportIndices {
    volume: Option<volume::VolumeKindIndices>,
    network: Option<network::NetworkKindIndices>,
    ipam: Option<ipam::IpamKindIndices>,
    authz: Option<authz::AuthzKindIndices>,
    lifecycle: Option<lifecycle::LifecycleHooksIndices>,
    options: Option<options::OptionDeclarationsIndices>,
}

/// The interfaces that an instance exports.
pub struct Exports {
    volume: Option<volume::VolumeKind>,
    network: Option<network::NetworkKind>,
    ipam: Option<ipam::IpamKind>,
    authz: Option<authz::AuthzKind>,
    lifecycle: Option<lifecycle::LifecycleHooks>,
    options: Option<options::OptionDeclarations>,
}

impl std::fmt::Debug for ExportIndices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportIndices").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Exports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exports").finish_non_exhaustive()
    }
}

impl ExportIndices {
    /// Looks up what a component exports.
    ///
    /// # Errors
    /// When an interface that it exports lacks a function or has one of another type.
    pub fn new<T>(pre: &InstancePre<T>) -> wasmtime::Result<ExportIndices> {
        let exports = |interface: &str| {
            let name = format!("dockside:driver/{interface}@{VERSION}");
            pre.component().get_export_index(None, &name).is_some()
        };
        Ok(ExportIndices {
            volume: exports("volume")
                .then(|| volume::VolumeKindIndices::new(pre))
                .transpose()?,
            network: exports("network")
                .then(|| network::NetworkKindIndices::new(pre))
                .transpose()?,
            ipam: exports("ipam")
                .then(|| ipam::IpamKindIndices::new(pre))
                .transpose()?,
            authz: exports("authz")
                .then(|| authz::AuthzKindIndices::new(pre))
                .transpose()?,
            lifecycle: exports("lifecycle")
                .then(|| lifecycle::LifecycleHooksIndices::new(pre))
                .transpose()?,
            options: exports("options")
                .then(|| options::OptionDeclarationsIndices::new(pre))
                .transpose()?,
        })
    }

    /// Whether the component is a driver of any kind.
    pub fn has_kind(&self) -> bool {
        self.volume.is_some()
            || self.network.is_some()
            || self.ipam.is_some()
            || self.authz.is_some()
    }

    /// Whether the component exports `lifecycle`.
    pub fn has_lifecycle(&self) -> bool {
        self.lifecycle.is_some()
    }

    /// Finds the exports in an instance of the component.
    ///
    /// # Errors
    /// When a function has another type than the interface says.
    pub fn load<T>(&self, store: &mut Store<T>, instance: &Instance) -> wasmtime::Result<Exports> {
        macro_rules! load {
            ($indices:expr) => {
                match &$indices {
                    Some(indices) => Some(indices.load(&mut *store, instance)?),
                    None => None,
                }
            };
        }
        Ok(Exports {
            volume: load!(self.volume),
            network: load!(self.network),
            ipam: load!(self.ipam),
            authz: load!(self.authz),
            lifecycle: load!(self.lifecycle),
            options: load!(self.options),
        })
    }
}

/// What comes of a call that ran to its end.
pub type Invocation = Result<Answer, Failure>;

/// Why a call that ran to its end gives no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The driver says no.
    Driver(types::Error),
    /// The driver's answer makes no sense: which part, and why. Docker must not get it.
    Malformed(String),
}

/// Turns a directory's handle into the directory's path, or says why it has none.
pub type Resolve<'a, T> =
    dyn FnMut(&mut Store<T>, Resource<DirectoryHandle>) -> Result<PathBuf, String> + Send + 'a;

/// Makes a call.
///
/// # Errors
/// When the guest traps, runs out of a limit or the deadline, or does not export what is called.
pub async fn invoke<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
    call: &Call,
    resolve: &mut Resolve<'_, T>,
) -> wasmtime::Result<Invocation> {
    match call {
        Call::Volume(call) => invoke_volume(store, exports, call, resolve).await,
        Call::Network(call) => invoke_network(store, exports, call).await,
        Call::Ipam(call) => invoke_ipam(store, exports, call).await,
        Call::Authz(call) => invoke_authz(store, exports, call).await,
        Call::Lifecycle(call) => invoke_lifecycle(store, exports, call).await,
    }
}

fn exported<'a, E>(export: Option<&'a E>, interface: &str) -> wasmtime::Result<&'a E> {
    export.ok_or_else(|| {
        wasmtime::Error::msg(format!(
            "the component does not export dockside:driver/{interface}"
        ))
    })
}

fn done(result: Result<(), types::Error>) -> Invocation {
    checked(result, |()| Ok(Answer::Done))
}

/// The driver's error, or its answer after a check.
fn checked<R>(
    result: Result<R, types::Error>,
    check: impl FnOnce(R) -> Result<Answer, String>,
) -> Invocation {
    check(result.map_err(Failure::Driver)?).map_err(Failure::Malformed)
}

async fn invoke_volume<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
    call: &protocol::volume::Call,
    resolve: &mut Resolve<'_, T>,
) -> wasmtime::Result<Invocation> {
    use protocol::volume::Call;
    let guest = exported(exports.volume.as_ref(), "volume")?.dockside_driver_volume();
    Ok(match call {
        Call::Create { name, options } => {
            done(guest.call_create(&mut *store, name, options).await?)
        }
        Call::Remove { name } => done(guest.call_remove(&mut *store, name).await?),
        Call::Unmount { name, id } => done(guest.call_unmount(&mut *store, name, id).await?),
        Call::Mount { name, id } => {
            let result = guest.call_mount(&mut *store, name, id).await?;
            checked(result, |handle| {
                mountpoint(store, resolve, Some(handle)).map(Answer::Mountpoint)
            })
        }
        Call::Path { name } => {
            let result = guest.call_path(&mut *store, name).await?;
            checked(result, |handle| {
                mountpoint(store, resolve, handle).map(Answer::Mountpoint)
            })
        }
        Call::Get { name } => {
            let result = guest.call_get(&mut *store, name).await?;
            checked(result, |info| {
                // An engine goes on with the name in the answer, for every later call.
                if info.name != *name {
                    return Err(format!(
                        "name is {}, which is not the one asked for",
                        shown(&info.name)
                    ));
                }
                volume_info(store, resolve, info).map(Answer::Volume)
            })
        }
        Call::List => {
            let result = guest.call_list(&mut *store).await?;
            checked(result, |infos| {
                volume_list(store, resolve, infos).map(Answer::Volumes)
            })
        }
    })
}

/// Text of a driver inside an error: quoted, and cut when it is long.
fn shown(text: &str) -> String {
    protocol::one_line(&format!("{text:?}"), 100)
}

fn mountpoint<T>(
    store: &mut Store<T>,
    resolve: &mut Resolve<'_, T>,
    handle: Option<Resource<DirectoryHandle>>,
) -> Result<Option<PathBuf>, String> {
    let Some(handle) = handle else {
        return Ok(None);
    };
    let path = resolve(store, handle)?;
    check_mountpoint(&path)?;
    Ok(Some(path))
}

/// A path that is not absolute an engine resolves inside a container's own configuration, which would be a way out of the container.
fn check_mountpoint(path: &Path) -> Result<(), String> {
    let text = path.to_str().ok_or_else(|| {
        format!("mountpoint {path:?} is not UTF-8, and Docker's protocol has nothing else")
    })?;
    if !path.is_absolute() || text.contains('\0') {
        return Err(format!("mountpoint {text:?} is not an absolute path"));
    }
    Ok(())
}

fn volume_info<T>(
    store: &mut Store<T>,
    resolve: &mut Resolve<'_, T>,
    info: volume::VolumeInfo,
) -> Result<Volume, String> {
    let mountpoint = mountpoint(store, resolve, info.mountpoint)?;
    let created_at = info
        .created_at
        .map(|seconds| {
            i64::try_from(seconds)
                .ok()
                .filter(|seconds| Timestamp::from_second(*seconds).is_ok())
                .ok_or_else(|| {
                    format!("created-at is {seconds} seconds after 1970, which is no date")
                })
        })
        .transpose()?;
    Ok(Volume {
        name: info.name,
        mountpoint,
        created_at,
        status: distinct("status", info.status)?,
    })
}

fn volume_list<T>(
    store: &mut Store<T>,
    resolve: &mut Resolve<'_, T>,
    infos: Vec<volume::VolumeInfo>,
) -> Result<Vec<Volume>, String> {
    let mut seen = HashSet::new();
    infos
        .into_iter()
        .map(|info| {
            if info.name.is_empty() {
                return Err("the list has a volume without a name".to_owned());
            }
            if !seen.insert(info.name.clone()) {
                return Err(format!(
                    "the list has the volume {} twice",
                    shown(&info.name)
                ));
            }
            volume_info(store, resolve, info)
        })
        .collect()
}

/// Entries that become an object, in which each key can stand once.
fn distinct(field: &str, entries: Vec<KeyValue>) -> Result<Vec<KeyValue>, String> {
    let mut seen = HashSet::new();
    match entries.iter().find(|(key, _)| !seen.insert(key)) {
        Some((key, _)) => Err(format!("{field} has the key {} twice", shown(key))),
        None => Ok(entries),
    }
}

async fn invoke_network<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
    call: &protocol::network::Call,
) -> wasmtime::Result<Invocation> {
    use protocol::network::Call;
    let guest = exported(exports.network.as_ref(), "network")?.dockside_driver_network();
    Ok(match call {
        Call::CreateNetwork {
            network_id,
            options,
            ipv4,
            ipv6,
        } => done(
            guest
                .call_create_network(store, network_id, options, ipv4, ipv6)
                .await?,
        ),
        Call::DeleteNetwork { network_id } => {
            done(guest.call_delete_network(store, network_id).await?)
        }
        Call::AllocateNetwork {
            network_id,
            options,
            ipv4,
            ipv6,
        } => {
            let result = guest
                .call_allocate_network(store, network_id, options, ipv4, ipv6)
                .await?;
            checked(result, |options| {
                distinct("the options", options).map(Answer::NetworkOptions)
            })
        }
        Call::FreeNetwork { network_id } => done(guest.call_free_network(store, network_id).await?),
        Call::GwAllocCheck { options } => {
            let result = guest.call_gw_alloc_check(store, options).await?;
            checked(result, |skip| {
                Ok(Answer::GatewayAllocation {
                    skip_ipv4: skip.skip_ipv4,
                    skip_ipv6: skip.skip_ipv6,
                })
            })
        }
        Call::CreateEndpoint {
            endpoint: at,
            interface,
            options,
        } => {
            let result = guest
                .call_create_endpoint(store, &at.network_id, &at.endpoint_id, *interface, options)
                .await?;
            checked(result, |added| {
                endpoint(interface, added).map(Answer::Endpoint)
            })
        }
        Call::DeleteEndpoint(at) => done(
            guest
                .call_delete_endpoint(store, &at.network_id, &at.endpoint_id)
                .await?,
        ),
        Call::EndpointOperInfo(at) => {
            let result = guest
                .call_endpoint_oper_info(store, &at.network_id, &at.endpoint_id)
                .await?;
            checked(result, |value| {
                distinct("the value", value).map(Answer::OperInfo)
            })
        }
        Call::Join {
            endpoint: at,
            sandbox_key,
            options,
        } => {
            let result = guest
                .call_join(store, &at.network_id, &at.endpoint_id, sandbox_key, options)
                .await?;
            checked(result, |response| joined(response).map(Answer::Joined))
        }
        Call::Leave(at) => done(
            guest
                .call_leave(store, &at.network_id, &at.endpoint_id)
                .await?,
        ),
        Call::ProgramExternalConnectivity {
            endpoint: at,
            options,
        } => done(
            guest
                .call_program_external_connectivity(store, &at.network_id, &at.endpoint_id, options)
                .await?,
        ),
        Call::RevokeExternalConnectivity(at) => done(
            guest
                .call_revoke_external_connectivity(store, &at.network_id, &at.endpoint_id)
                .await?,
        ),
        Call::DiscoverNew(what) => done(guest.call_discover_new(store, what).await?),
        Call::DiscoverDelete(what) => done(guest.call_discover_delete(store, what).await?),
    })
}

/// What a driver adds to an endpoint. An engine fails the container's start when a field comes back that it has sent.
fn endpoint(
    sent: &network::EndpointInterface,
    added: network::EndpointInterface,
) -> Result<EndpointAddresses, String> {
    let given = [
        ("address", sent.address.is_some() && added.address.is_some()),
        (
            "address-ipv6",
            sent.address_ipv6.is_some() && added.address_ipv6.is_some(),
        ),
        (
            "mac-address",
            sent.mac_address.is_some() && added.mac_address.is_some(),
        ),
    ];
    if let Some((field, _)) = given.into_iter().find(|(_, both)| *both) {
        return Err(format!(
            "{field} is returned although Docker had set it: return only what was none in interface"
        ));
    }
    Ok(EndpointAddresses {
        address: family("address", added.address, false)?,
        address_ipv6: family("address-ipv6", added.address_ipv6, true)?,
        mac_address: added.mac_address.map(Into::into),
    })
}

fn family(field: &str, cidr: Option<types::Cidr>, ipv6: bool) -> Result<Option<IpNet>, String> {
    let Some(cidr) = cidr else { return Ok(None) };
    let net = cidr_from_guest(cidr).map_err(|why| format!("{field} {why}"))?;
    check_family(field, net.addr(), ipv6)?;
    Ok(Some(net))
}

fn check_family(field: &str, ip: IpAddr, ipv6: bool) -> Result<(), String> {
    if ip.is_ipv6() == ipv6 {
        return Ok(());
    }
    let wanted = if ipv6 { "IPv6" } else { "IPv4" };
    Err(format!("{field} is {ip}, which is no {wanted} address"))
}

fn joined(response: network::JoinResponse) -> Result<Joined, String> {
    // The host makes no links, so there is none that a handle could stand for.
    if response.interface.is_some() {
        return Err("interface is a link that the host has not made".to_owned());
    }
    let gateway = |field: &str, ip: Option<types::IpAddress>, ipv6: bool| match ip {
        None => Ok(None),
        Some(ip) => {
            let ip = ip_from_guest(ip).map_err(|why| format!("{field} {why}"))?;
            check_family(field, ip, ipv6)?;
            Ok::<_, String>(Some(ip))
        }
    };
    Ok(Joined {
        interface: None,
        gateway: gateway("gateway", response.gateway, false)?,
        gateway_ipv6: gateway("gateway-ipv6", response.gateway_ipv6, true)?,
        static_routes: response
            .static_routes
            .into_iter()
            .map(static_route)
            .collect::<Result<_, _>>()?,
        disable_gateway_service: response.disable_gateway_service,
    })
}

fn static_route(route: network::StaticRoute) -> Result<(IpNet, Option<IpAddr>), String> {
    // The kernel refuses a route with bits behind the prefix, and with it the container's start.
    let destination = subnet_from_guest(route.destination)
        .map_err(|why| format!("destination of a static route {why}"))?;
    let next_hop = match route.next_hop {
        None => None,
        Some(ip) => {
            let ip = ip_from_guest(ip)
                .map_err(|why| format!("next-hop of the route to {destination} {why}"))?;
            check_family(
                &format!("next-hop of the route to {destination}"),
                ip,
                destination.addr().is_ipv6(),
            )?;
            Some(ip)
        }
    };
    Ok((destination, next_hop))
}

async fn invoke_ipam<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
    call: &protocol::ipam::Call,
) -> wasmtime::Result<Invocation> {
    use protocol::ipam::Call;
    let guest = exported(exports.ipam.as_ref(), "ipam")?.dockside_driver_ipam();
    Ok(match call {
        Call::RequestPool(request) => {
            let result = guest.call_request_pool(store, request).await?;
            checked(result, |response| pool(request, response).map(Answer::Pool))
        }
        Call::ReleasePool { pool_id } => done(guest.call_release_pool(store, pool_id).await?),
        Call::RequestAddress(request) => {
            let result = guest.call_request_address(store, request).await?;
            checked(result, |response| {
                let address =
                    cidr_from_guest(response.address).map_err(|why| format!("address {why}"))?;
                check_address(request, address)?;
                Ok(Answer::Address {
                    address,
                    data: distinct("data", response.data)?,
                })
            })
        }
        Call::ReleaseAddress { pool_id, address } => done(
            guest
                .call_release_address(store, pool_id, ip_to_guest(*address))
                .await?,
        ),
    })
}

fn pool(request: &ipam::PoolRequest, response: ipam::PoolResponse) -> Result<Pool, String> {
    if response.pool_id.is_empty() {
        return Err("pool-id is empty".to_owned());
    }
    let pool = subnet_from_guest(response.pool).map_err(|why| format!("pool {why}"))?;
    check_pool(request, pool)?;
    let gateway = match response.gateway {
        None => None,
        Some(gateway) => {
            let gateway = cidr_from_guest(gateway).map_err(|why| format!("gateway {why}"))?;
            check_gateway(pool, gateway)?;
            Some(gateway)
        }
    };
    let data = distinct("data", response.data)?;
    if data.iter().any(|(key, _)| key == GATEWAY_DATA) {
        return Err(format!(
            "data has the key {GATEWAY_DATA}: return the gateway as gateway"
        ));
    }
    Ok(Pool {
        id: response.pool_id,
        pool,
        gateway,
        data,
    })
}

async fn invoke_authz<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
    call: &protocol::authz::Call,
) -> wasmtime::Result<Invocation> {
    use protocol::authz::Call;
    let guest = exported(exports.authz.as_ref(), "authz")?.dockside_driver_authz();
    let result = match call {
        Call::Req(request) => guest.call_authz_req(store, request).await?,
        Call::Res(request, response) => guest.call_authz_res(store, request, response).await?,
    };
    Ok(checked(result, |decision| {
        Ok(Answer::Decision(match decision {
            authz::Decision::Allow => Decision::Allow,
            authz::Decision::Deny(reason) => Decision::Deny(reason),
        }))
    }))
}

async fn invoke_lifecycle<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
    call: &protocol::lifecycle::Call,
) -> wasmtime::Result<Invocation> {
    use protocol::lifecycle::Call;
    let guest = exported(exports.lifecycle.as_ref(), "lifecycle")?.dockside_driver_lifecycle();
    Ok(done(match call {
        Call::Migrate { from } => guest.call_migrate(store, from).await?,
        Call::Start { reason } => guest.call_start(store, *reason).await?,
    }))
}

/// Asks a component what it is. The calls may run out of state and configuration: constants need neither.
///
/// # Errors
/// As for [`invoke`].
pub async fn describe<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
) -> wasmtime::Result<Description> {
    let mut description = Description {
        authz: exports.authz.is_some(),
        lifecycle: exports.lifecycle.is_some(),
        ..Description::default()
    };
    if let Some(kind) = &exports.volume {
        let says = kind
            .dockside_driver_volume()
            .call_capabilities(&mut *store)
            .await?;
        description.volume = Some(VolumeCapabilities {
            scope: says.scope.into(),
        });
    }
    if let Some(kind) = &exports.network {
        let says = kind
            .dockside_driver_network()
            .call_get_capabilities(&mut *store)
            .await?;
        description.network = Some(NetworkCapabilities {
            scope: says.scope.into(),
            connectivity_scope: says.connectivity_scope.map(Into::into),
            gw_alloc_checker: says.gw_alloc_checker,
        });
    }
    if let Some(kind) = &exports.ipam {
        let guest = kind.dockside_driver_ipam();
        let says = guest.call_get_capabilities(&mut *store).await?;
        let spaces = guest.call_get_default_address_spaces(&mut *store).await?;
        description.ipam = Some(IpamCapabilities {
            requires_mac_address: says.requires_mac_address,
            requires_request_replay: says.requires_request_replay,
            local_address_space: spaces.local,
            global_address_space: spaces.global,
        });
    }
    if let Some(hooks) = &exports.options {
        let declared = hooks
            .dockside_driver_options()
            .call_declare(&mut *store)
            .await?;
        description.options = declared.into_iter().map(declaration).collect();
    }
    Ok(description)
}

impl From<types::Scope> for Scope {
    fn from(scope: types::Scope) -> Scope {
        match scope {
            types::Scope::Local => Scope::Local,
            types::Scope::Global => Scope::Global,
        }
    }
}

fn declaration(option: options::OptionDeclaration) -> Declaration {
    Declaration {
        subject: match option.subject {
            options::Subject::Volume => Subject::Volume,
            options::Subject::Network => Subject::Network,
            options::Subject::Ipam => Subject::Ipam,
        },
        name: option.name,
        value_type: match option.value_type {
            options::ValueType::Text => ValueType::Text,
            options::ValueType::Boolean => ValueType::Boolean,
            options::ValueType::Integer(range) => ValueType::Integer {
                min: range.min,
                max: range.max,
            },
            options::ValueType::Size => ValueType::Size,
            options::ValueType::Choice(words) => ValueType::Choice(words),
        },
        default: option.default,
        required: option.required,
        secret: option.secret,
        help: option.help,
    }
}
