//! From a call to the function of a component that answers it, and from what the function returns to a checked answer.

mod check;
mod describe;
mod exports;

use std::path::PathBuf;

use wasmtime::Store;
use wasmtime::component::Resource;

use super::bindings::{authz, types};
use crate::capability::directories::DirectoryHandle;
use crate::capability::links::LinkHandle;
use crate::protocol::address::ip_to_guest;
use crate::protocol::{self, Answer, Call, Decision};

pub use describe::describe;
pub use exports::{ExportIndices, Exports};

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

/// Turns a link's handle into the link's name, or says why it has none.
pub type ResolveLink<'a, T> =
    dyn FnMut(&mut Store<T>, Resource<LinkHandle>) -> Result<String, String> + Send + 'a;

/// What Docker is told in place of handles.
pub struct Names<'a, T: 'static> {
    /// Paths of directories.
    pub directory: &'a mut Resolve<'a, T>,
    /// Names of links.
    pub link: &'a mut ResolveLink<'a, T>,
}

impl<T: 'static> std::fmt::Debug for Names<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// Makes a call.
///
/// # Errors
/// When the guest traps, runs out of a limit or the deadline, or does not export what is called.
pub async fn invoke<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
    call: &Call,
    names: Names<'_, T>,
) -> wasmtime::Result<Invocation> {
    match call {
        Call::Volume(call) => invoke_volume(store, exports, call, names.directory).await,
        Call::Network(call) => invoke_network(store, exports, call, names.link).await,
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
                check::mountpoint(store, resolve, Some(handle)).map(Answer::Mountpoint)
            })
        }
        Call::Path { name } => {
            let result = guest.call_path(&mut *store, name).await?;
            checked(result, |handle| {
                check::mountpoint(store, resolve, handle).map(Answer::Mountpoint)
            })
        }
        Call::Get { name } => {
            let result = guest.call_get(&mut *store, name).await?;
            checked(result, |info| {
                // An engine goes on with the name in the answer, for every later call.
                if info.name != *name {
                    return Err(format!(
                        "name is {}, which is not the one asked for",
                        check::shown(&info.name)
                    ));
                }
                check::volume_info(store, resolve, info).map(Answer::Volume)
            })
        }
        Call::List => {
            let result = guest.call_list(&mut *store).await?;
            checked(result, |infos| {
                check::volume_list(store, resolve, infos).map(Answer::Volumes)
            })
        }
    })
}

async fn invoke_network<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
    call: &protocol::network::Call,
    resolve: &mut ResolveLink<'_, T>,
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
                check::distinct("the options", options).map(Answer::NetworkOptions)
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
                check::endpoint(interface, added).map(Answer::Endpoint)
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
                check::distinct("the value", value).map(Answer::OperInfo)
            })
        }
        Call::Join {
            endpoint: at,
            sandbox_key,
            options,
        } => {
            let result = guest
                .call_join(
                    &mut *store,
                    &at.network_id,
                    &at.endpoint_id,
                    sandbox_key,
                    options,
                )
                .await?;
            checked(result, |response| {
                check::joined(response, |link| resolve(store, link)).map(Answer::Joined)
            })
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
            checked(result, |response| {
                check::pool(request, response).map(Answer::Pool)
            })
        }
        Call::ReleasePool { pool_id } => done(guest.call_release_pool(store, pool_id).await?),
        Call::RequestAddress(request) => {
            let result = guest.call_request_address(store, request).await?;
            checked(result, |response| check::address(request, response))
        }
        Call::ReleaseAddress { pool_id, address } => done(
            guest
                .call_release_address(store, pool_id, ip_to_guest(*address))
                .await?,
        ),
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
    let lifecycle = || {
        exported(exports.lifecycle.as_ref(), "lifecycle")
            .map(|guest| guest.dockside_driver_lifecycle())
    };
    Ok(done(match call {
        Call::Migrate { from } => lifecycle()?.call_migrate(store, from).await?,
        Call::Start { reason } => lifecycle()?.call_start(store, *reason).await?,
        Call::Tick { schedule } => {
            let guest = exported(exports.timers.as_ref(), "timers")?.dockside_driver_timers();
            guest.call_tick(store, schedule).await?
        }
        Call::Reconcile { facts } => {
            let guest =
                exported(exports.reconcile.as_ref(), "reconcile")?.dockside_driver_reconcile();
            guest.call_reconcile(store, facts).await?
        }
        Call::Compensate { call, note } => {
            let guest =
                exported(exports.settlement.as_ref(), "settlement")?.dockside_driver_settlement();
            guest.call_compensate(store, call, note).await?
        }
        Call::Run { verb, arguments } => {
            let guest = exported(exports.admin.as_ref(), "admin")?.dockside_driver_admin();
            let result = guest.call_run(store, verb, arguments).await?;
            return Ok(checked(result, check::json));
        }
    }))
}
