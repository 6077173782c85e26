//! The interfaces that a component exports.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::sandbox::bindings::{
    admin, authz, ipam, lifecycle, network, options, reconcile, settlement, timers, volume,
};

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
    timers: Option<timers::TimerHooksIndices>,
    reconcile: Option<reconcile::ReconcileHookIndices>,
    settlement: Option<settlement::SettlementHookIndices>,
    admin: Option<admin::AdminVerbsIndices>,
}

/// The interfaces that an instance exports.
pub struct Exports {
    pub(super) volume: Option<volume::VolumeKind>,
    pub(super) network: Option<network::NetworkKind>,
    pub(super) ipam: Option<ipam::IpamKind>,
    pub(super) authz: Option<authz::AuthzKind>,
    pub(super) lifecycle: Option<lifecycle::LifecycleHooks>,
    pub(super) options: Option<options::OptionDeclarations>,
    pub(super) timers: Option<timers::TimerHooks>,
    pub(super) reconcile: Option<reconcile::ReconcileHook>,
    pub(super) settlement: Option<settlement::SettlementHook>,
    pub(super) admin: Option<admin::AdminVerbs>,
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
            timers: exports("timers")
                .then(|| timers::TimerHooksIndices::new(pre))
                .transpose()?,
            reconcile: exports("reconcile")
                .then(|| reconcile::ReconcileHookIndices::new(pre))
                .transpose()?,
            settlement: exports("settlement")
                .then(|| settlement::SettlementHookIndices::new(pre))
                .transpose()?,
            admin: exports("admin")
                .then(|| admin::AdminVerbsIndices::new(pre))
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

    /// Whether the component exports `reconcile`.
    pub fn has_reconcile(&self) -> bool {
        self.reconcile.is_some()
    }

    /// Whether the component exports `settlement`.
    pub fn has_settlement(&self) -> bool {
        self.settlement.is_some()
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
            timers: load!(self.timers),
            reconcile: load!(self.reconcile),
            settlement: load!(self.settlement),
            admin: load!(self.admin),
        })
    }
}
