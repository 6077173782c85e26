//! What belongs to one call: everything that a guest can reach hangs here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::chance::{Chance, Clock};
use super::limits::InstanceLimits;
use crate::blobs::Stores;
use crate::capability::http::Http;
use crate::config;
use crate::ledger::Effects;
use crate::outbound::Client;
use crate::plugin::log::{CallLog, GuestStream};
use crate::relay;
use crate::store::{Quota, Transaction};
use crate::trace::Probe;

/// Handles that a guest may hold at once.
const MAX_HANDLES: usize = 1_024;

/// Bytes of randomness for one request. A driver needs a seed or a token, not a disk image.
const MAX_RANDOM: u64 = 64 << 10;

/// What a plugin's calls have in common, fixed for as long as its settings are.
#[derive(Debug)]
pub struct PluginEnvironment {
    /// The name that Docker knows.
    pub plugin: String,
    /// The name of its TOML file, without `.toml`.
    pub stem: String,
    /// The operator's settings.
    pub settings: Arc<config::Plugin>,
    /// Values under `[config]`, read when the settings were.
    pub config: BTreeMap<String, String>,
    /// Limits of the durable state.
    pub quota: Quota,
    /// Where the plugin's directories are; none without the grant.
    pub directories: Option<PathBuf>,
    /// What makes its HTTP requests; none without the grant.
    pub http: Option<Arc<Client>>,
    /// Its stores of blobs; none without the grant.
    pub blobs: Stores,
    /// Bytes over all linear memories of an instance.
    pub memory: u64,
    /// Bytes that one call may write to the log.
    pub log_bytes: usize,
}

/// The data of a wasmtime store.
pub struct CallContext {
    wasi: WasiCtx,
    /// Handles that the guest holds.
    pub table: ResourceTable,
    /// Memory and tables.
    pub limits: InstanceLimits,
    /// The plugin that is called.
    pub environment: Arc<PluginEnvironment>,
    /// What users have set: it goes over the operator's configuration.
    pub settings: Arc<relay::Settings>,
    /// The call's view of the state; none while a component is only asked what it is.
    pub transaction: Option<Transaction>,
    /// Whether an engine asks, and not the host itself or an operator.
    pub of_engine: bool,
    /// What the call has done to the machine, to be kept or undone.
    pub effects: Effects,
    /// What it needs for HTTP requests.
    pub http: Http,
    /// Where the guest's output goes.
    pub log: Arc<CallLog>,
    /// When the call has to be over.
    pub deadline: Instant,
    /// Who watches it, if somebody does.
    pub probe: Option<Probe>,
    /// The guest's seed of `wasi:random/insecure-seed`.
    pub(super) seed: u128,
    /// Ticks of the epoch that it has computed through.
    pub(super) ticks: u32,
}

impl std::fmt::Debug for CallContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallContext")
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

impl CallContext {
    /// A context for a new instance, with nothing granted but what `environment` says.
    pub fn new(environment: Arc<PluginEnvironment>, log: Arc<CallLog>, deadline: Instant) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let chance = Chance(Arc::clone(&log));
        let probe = log.probe();
        let seed = chance.seed(probe.as_ref());
        let wasi = WasiCtxBuilder::new()
            .stdout(GuestStream::stdout(Arc::clone(&log)))
            .stderr(GuestStream::stderr(Arc::clone(&log)))
            .wall_clock(Clock(Arc::clone(&log)))
            .secure_random(chance.clone())
            .insecure_random(chance)
            .insecure_random_seed(seed)
            .max_random_size(MAX_RANDOM)
            .build();
        CallContext {
            wasi,
            table,
            limits: InstanceLimits::new(environment.memory),
            http: Http::new(environment.http.clone(), Arc::clone(&log), deadline),
            environment,
            settings: Arc::default(),
            transaction: None,
            of_engine: false,
            effects: Effects::none(),
            probe,
            seed,
            log,
            deadline,
            ticks: 0,
        }
    }
}

impl CallContext {
    /// Whether a recording answers in the host's place.
    pub fn is_replayed(&self) -> bool {
        self.probe
            .as_ref()
            .is_some_and(|probe| probe.player.is_some())
    }
}

impl WasiView for CallContext {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}
