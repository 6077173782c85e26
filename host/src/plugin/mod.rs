//! A plugin: a name that Docker knows, and the version that serves it now.

mod answer;
mod gate;
mod hooks;
pub mod log;
mod long;
pub mod options;
mod preflight;
mod rejections;
mod swap;
pub mod verbs;
mod version;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{RwLock, Semaphore};

pub use answer::Reply;
pub use gate::Gate;
pub use preflight::Tried;
pub use swap::SwapError;
pub use version::Version;

use crate::ledger::Ledger;
use crate::relay::Relays;
use crate::store::{PluginState, Store, StoreError, UndoKey};
use crate::trace::Tracer;
use crate::trace::ring::Ring;
use log::PluginLog;
use rejections::Rejections;

/// Calls of a new version that must go well before the old one is let go.
const TRIAL_CALLS: i64 = 32;

/// What every plugin shares.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The durable state.
    pub store: Store,
    /// Calls that run at once, over all plugins.
    pub calls: Arc<Semaphore>,
    /// What is on the machine.
    pub ledger: Arc<Ledger>,
    /// The relays that are there.
    pub relays: Arc<Relays>,
    /// Where guests run: threads of their own, so that one that computes never holds the thread that watches the sockets.
    pub guests: tokio::runtime::Handle,
}

/// Numbers of one plugin since the start of the daemon.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls answered, whatever the answer.
    pub calls: AtomicU64,
    /// Calls that a driver refused.
    pub refused: AtomicU64,
    /// Calls that failed: traps, timeouts and so on.
    pub faults: AtomicU64,
    /// Calls that were run again because of a conflict.
    pub conflicts: AtomicU64,
    /// Calls that were run again on the version before.
    pub rescued: AtomicU64,
    /// Swaps.
    pub swaps: AtomicU64,
    /// Swaps taken back.
    pub reverted: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a plugin does with calls now.
#[derive(Debug, Clone)]
pub enum Standing {
    /// A version serves.
    Serving(Arc<Serving>),
    /// A driver is there and must not run: a grant is missing, a file cannot be read. The text says what to do.
    Blocked(Arc<str>),
    /// No driver of it could be loaded.
    Broken(Arc<str>),
    /// Its driver was removed.
    Removed,
}

/// A version that serves, and the one that it has not yet made superfluous.
#[derive(Debug)]
pub struct Serving {
    /// The version.
    pub version: Arc<Version>,
    trial: Option<Trial>,
}

/// The first calls of a new version: if one of them fails by the version's fault, the version before takes over again.
#[derive(Debug)]
struct Trial {
    /// Let go when the trial is over.
    previous: Mutex<Option<Arc<Serving>>>,
    left: AtomicI64,
    /// How to take back what the migration wrote.
    undo: Mutex<Vec<UndoKey>>,
}

impl Serving {
    /// Whether the version before could still take over.
    pub fn on_trial(&self) -> bool {
        self.trial
            .as_ref()
            .is_some_and(|trial| trial.left.load(Ordering::Relaxed) > 0)
    }

    /// Lets go of the versions that are more than `count` behind this one. They wait until one is proven by calls, and without calls each swap
    /// would add another.
    fn forget_behind(self: &Arc<Self>, count: usize) {
        let mut last = Arc::clone(self);
        for _ in 0..count {
            let trial = last.trial.as_ref();
            match trial.and_then(|trial| trial.previous.lock().clone()) {
                Some(previous) => last = previous,
                None => return,
            }
        }
        if let Some(trial) = &last.trial {
            trial.previous.lock().take();
        }
    }
}

/// A name that Docker knows.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    shared: Shared,
    state: Arc<PluginState>,
    log: Arc<PluginLog>,
    tracer: Arc<Tracer>,
    /// Keeps the last calls, if it shall.
    ring: Mutex<Option<Ring>>,
    tried: Mutex<Option<Tried>>,
    standing: ArcSwap<Standing>,
    gate: ArcSwap<Gate>,
    /// Calls share it; a call that lost against another is run again alone.
    turn: RwLock<()>,
    /// One swap at a time.
    swapping: tokio::sync::Mutex<()>,
    rejections: Rejections,
    /// Calls that go on behind their deadline.
    long: long::LongWork,
    /// The right to run a verb.
    verbs: Arc<Semaphore>,
    counters: Counters,
}

impl Plugin {
    /// A plugin that has no version yet.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn new(name: &str, shared: Shared) -> Result<Arc<Plugin>, StoreError> {
        let state = shared.store.plugin(name)?;
        let rejections = Rejections::read(&shared.store, name)?;
        let gate = Gate::new(1, 0, Arc::clone(&shared.calls));
        let tracer = Tracer::new(name);
        Ok(Arc::new(Plugin {
            name: name.to_owned(),
            log: PluginLog::new(&tracer),
            tracer,
            ring: Mutex::default(),
            tried: Mutex::default(),
            state,
            shared,
            standing: ArcSwap::from_pointee(Standing::Broken("it is being loaded".into())),
            gate: ArcSwap::from_pointee(gate),
            turn: RwLock::new(()),
            swapping: tokio::sync::Mutex::new(()),
            rejections,
            long: long::LongWork::default(),
            verbs: Arc::new(Semaphore::new(verbs::AT_ONCE)),
            counters: Counters::default(),
        }))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does with calls now.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// The version that serves.
    pub fn version(&self) -> Option<Arc<Version>> {
        match &**self.standing.load() {
            Standing::Serving(serving) => Some(Arc::clone(&serving.version)),
            _ => None,
        }
    }

    /// Its log.
    pub fn log(&self) -> &Arc<PluginLog> {
        &self.log
    }

    /// Tells of its calls.
    pub fn tracer(&self) -> &Arc<Tracer> {
        &self.tracer
    }

    /// Its durable state.
    pub fn state(&self) -> &Arc<PluginState> {
        &self.state
    }

    /// Where its state is, with the host's own notes.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Its numbers.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many calls go on behind their deadlines.
    pub fn long_calls(&self) -> usize {
        self.long.len()
    }

    /// Why a version must not be tried again, if it must not: it was taken back, or its migration failed.
    pub fn rejection(&self, identity: &str) -> Option<String> {
        let reason = self.rejections.reason(identity)?;
        Some(match reason.strip_prefix(preflight::REFUSED) {
            Some(reason) => reason.to_owned(),
            None => format!("it was taken back: {reason}"),
        })
    }

    /// All versions that must not be tried again, by [`Version::identity`], with the reasons.
    pub fn rejections(&self) -> Vec<(String, String)> {
        self.rejections.all()
    }
}
