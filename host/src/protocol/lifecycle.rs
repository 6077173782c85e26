//! A driver's own life, of which Docker knows nothing.

use super::KeyValue;
pub use crate::sandbox::bindings::lifecycle::StartReason;
pub use crate::sandbox::bindings::reconcile::{Fact, Fate, Subject};

/// A call in a driver's own life.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `lifecycle.migrate`.
    Migrate {
        /// The version that served before.
        from: String,
    },
    /// `lifecycle.start`.
    Start {
        /// Why it starts.
        reason: StartReason,
    },
    /// `timers.tick`.
    Tick {
        /// The driver's name for the schedule.
        schedule: String,
    },
    /// `reconcile.reconcile`.
    Reconcile {
        /// What the host found.
        facts: Vec<Fact>,
    },
    /// `settlement.compensate`.
    Compensate {
        /// The failed call's key.
        call: String,
        /// The driver's own note.
        note: Vec<u8>,
    },
    /// `admin.run`.
    Run {
        /// The verb.
        verb: String,
        /// Its arguments, checked and with their defaults.
        arguments: Vec<KeyValue>,
    },
}

impl Call {
    /// Interface and function, for logs.
    pub fn function(&self) -> &'static str {
        match self {
            Call::Migrate { .. } => "lifecycle.migrate",
            Call::Start { .. } => "lifecycle.start",
            Call::Tick { .. } => "timers.tick",
            Call::Reconcile { .. } => "reconcile.reconcile",
            Call::Compensate { .. } => "settlement.compensate",
            Call::Run { .. } => "admin.run",
        }
    }
}
