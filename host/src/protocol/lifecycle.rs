//! A driver's own life, of which Docker knows nothing.

pub use crate::sandbox::bindings::lifecycle::StartReason;

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
}

impl Call {
    /// Interface and function, for logs.
    pub fn function(&self) -> &'static str {
        match self {
            Call::Migrate { .. } => "lifecycle.migrate",
            Call::Start { .. } => "lifecycle.start",
        }
    }
}
