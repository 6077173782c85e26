//! Instances: one for each call, or a few that are kept for heavy guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use wasmtime::{Store, UpdateDeadline};

use super::context::{CallContext, PluginEnvironment};
use super::driver::Driver;
use super::invoke::Exports;
use crate::plugin::log::CallLog;
use crate::relay;

/// Bytes that a guest may hand over in one call of the host. Docker's largest message, a base64 body of 4 MiB with its headers, stays below.
const HOSTCALL_FUEL: usize = 8 << 20;

/// Handles that the guest may make without the host's help.
const MAX_COMPONENT_HANDLES: usize = 10_000;

/// Ticks after which a call has to share the slow lane. A call of Docker's that computes for so long is rare and can wait for its turn.
const SLOW_AFTER: u32 = 5;

/// The deadline passed while the guest was computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call's deadline passed")]
pub struct DeadlinePassed;

/// A component instance, ready for one call.
#[derive(Debug)]
pub struct Instance {
    /// The store. Dropping it ends whatever the guest is doing.
    pub store: Store<CallContext>,
    /// What the component exports.
    pub exports: Exports,
    served: u32,
}

impl Instance {
    /// Instantiates a driver.
    ///
    /// # Errors
    /// When instantiation traps, runs out of memory or finds no free slot.
    pub async fn new(
        driver: &Driver,
        environment: &Arc<PluginEnvironment>,
        settings: &Arc<relay::Settings>,
        log: Arc<CallLog>,
        deadline: Instant,
    ) -> wasmtime::Result<Instance> {
        let mut context = CallContext::new(Arc::clone(environment), log, deadline);
        context.settings = Arc::clone(settings);
        let mut store = Store::new(driver.engine(), context);
        store.limiter(|context| &mut context.limits);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store.set_max_component_handles(MAX_COMPONENT_HANDLES);
        store.set_epoch_deadline(1);
        let lane = Arc::clone(driver.lane());
        store.epoch_deadline_callback(move |mut store| {
            let context = store.data_mut();
            if Instant::now() >= context.deadline {
                return Err(DeadlinePassed.into());
            }
            context.ticks += 1;
            if context.ticks < SLOW_AFTER {
                return Ok(UpdateDeadline::Yield(1));
            }
            let lane = Arc::clone(&lane);
            let turn = async move { lane.turn().await };
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(turn)))
        });
        let instance = driver.pre().instantiate_async(&mut store).await?;
        let exports = driver.indices().load(&mut store, &instance)?;
        Ok(Instance {
            store,
            exports,
            served: 0,
        })
    }

    fn begin(&mut self, deadline: Instant) {
        let context = self.store.data_mut();
        context.deadline = deadline;
        context.limits.begin_call();
        context.ticks = 0;
        self.store.set_epoch_deadline(1);
    }
}

/// Instances that have answered without a fault and may answer again.
#[derive(Debug)]
pub struct WarmPool {
    reuse: u32,
    idle: Mutex<Vec<Instance>>,
}

/// How many idle instances one plugin keeps. More would only be needed by that many calls at once of a guest that is slow to start.
const MAX_IDLE: usize = 4;

/// How many idle instances all plugins keep together. They hold slots of the pool that calls need: a component of Python's takes thirty.
const MAX_ALL_IDLE: usize = 48;

static ALL_IDLE: AtomicUsize = AtomicUsize::new(0);

impl WarmPool {
    /// Keeps instances for `reuse` calls each; 1 keeps none.
    pub fn new(reuse: u32) -> Self {
        WarmPool {
            reuse,
            idle: Mutex::default(),
        }
    }

    /// An instance for a call under these settings: a kept one, which may remember what it read of them, or a new one.
    ///
    /// # Errors
    /// See [`Instance::new`].
    pub async fn take(
        &self,
        driver: &Driver,
        environment: &Arc<PluginEnvironment>,
        settings: &Arc<relay::Settings>,
        log: &Arc<CallLog>,
        deadline: Instant,
    ) -> wasmtime::Result<Instance> {
        match self.kept(settings) {
            Some(mut instance) => {
                ALL_IDLE.fetch_sub(1, Ordering::Relaxed);
                instance.begin(deadline);
                instance.store.data().log.redirect(log);
                let context = instance.store.data_mut();
                context.probe = log.probe();
                if let Some(probe) = &context.probe {
                    probe.recorder.seeded(context.seed);
                }
                Ok(instance)
            }
            None => {
                let log = Arc::clone(log);
                Instance::new(driver, environment, settings, log, deadline).await
            }
        }
    }

    fn kept(&self, settings: &relay::Settings) -> Option<Instance> {
        if self.reuse <= 1 {
            return None;
        }
        let mut idle = self.idle.lock();
        let suits = |instance: &Instance| *instance.store.data().settings == *settings;
        let index = idle.iter().rposition(suits)?;
        Some(idle.remove(index))
    }

    /// Takes an instance back after a call that ended well. One that trapped, ran out of time or was cancelled must be dropped instead: its
    /// memory may be half changed.
    pub fn put_back(&self, mut instance: Instance) {
        instance.served += 1;
        if instance.served >= self.reuse {
            return;
        }
        let mut idle = self.idle.lock();
        // Those of other settings may never be asked for again.
        let settings = &instance.store.data().settings;
        let other = |kept: &Instance| kept.store.data().settings != *settings;
        if idle.len() == MAX_IDLE
            && let Some(index) = idle.iter().position(other)
        {
            drop(idle.remove(index));
            ALL_IDLE.fetch_sub(1, Ordering::Relaxed);
        }
        if idle.len() < MAX_IDLE && ALL_IDLE.fetch_add(1, Ordering::Relaxed) < MAX_ALL_IDLE {
            idle.push(instance);
        } else if idle.len() < MAX_IDLE {
            ALL_IDLE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for WarmPool {
    fn drop(&mut self) {
        ALL_IDLE.fetch_sub(self.idle.get_mut().len(), Ordering::Relaxed);
    }
}
