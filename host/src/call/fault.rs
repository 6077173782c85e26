//! Why a call has no answer of the driver's.

use std::time::Duration;

use wasmtime::WasmBacktrace;
use wasmtime_wasi::I32Exit;

use crate::sandbox::{DeadlinePassed, InstanceLimits};
use crate::store::{StateError, StoreError};

/// The guest ended its call by a fault of its own.
#[derive(Debug, Clone)]
pub struct Trap {
    /// What wasmtime calls it.
    pub reason: String,
    /// The last lines on its standard error: a panic's message, a traceback.
    pub last_words: Vec<String>,
    /// The guest's functions, innermost first.
    pub backtrace: Vec<String>,
}

/// Why a call failed. The text is what the user of `docker` reads, behind the plugin's name.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// A trap: a panic, an illegal access, a stack overflow.
    #[error("the driver crashed: {}", .0.summary())]
    Trap(Trap),
    /// The driver ended its process.
    #[error("the driver ended itself with status {0} instead of answering")]
    Exit(i32),
    /// No answer in time.
    #[error("the driver did not answer within {:.1} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// More memory than it may have.
    #[error("the driver needs more memory than its limit of {} MiB (limits.memory in its TOML file)", .0 >> 20)]
    OutOfMemory(usize),
    /// The answer makes no sense.
    #[error("the driver's answer makes no sense: {0}")]
    Malformed(String),
    /// Whoever asked for it does not wait any more.
    #[error("nobody waits for it any more")]
    Abandoned,
    /// Too many calls at once.
    #[error("{0}")]
    Crowded(String),
    /// The state could not be read or made durable.
    #[error("the plugin's state could not be saved: {0}")]
    Store(String),
    /// The host's own fault.
    #[error("dockside failed: {0}; this is a bug in dockside, please report it")]
    Internal(String),
}

impl Trap {
    fn summary(&self) -> String {
        // A panic says more than the trap that it ends in.
        match self
            .last_words
            .iter()
            .rev()
            .find(|line| !line.starts_with("note:") && !line.trim().is_empty())
        {
            Some(words) => format!("{words} ({})", self.reason),
            None => self.reason.clone(),
        }
    }
}

impl Fault {
    /// Whether the version is to blame, so that another version may do better with the very same call.
    pub fn blames_version(&self) -> bool {
        matches!(
            self,
            Fault::Trap(_)
                | Fault::Exit(_)
                | Fault::OutOfMemory(_)
                | Fault::Malformed(_)
                | Fault::Timeout(_)
        )
    }

    /// Everything that the author needs, for the log.
    pub fn report(&self) -> String {
        let mut text = format!("{}: {self}", self.class());
        if let Fault::Trap(trap) = self
            && !trap.backtrace.is_empty()
        {
            text.push_str("; at ");
            text.push_str(&trap.backtrace.join(" < "));
        }
        text
    }

    /// A word for logs and metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Fault::Trap(_) => "trap",
            Fault::Exit(_) => "exit",
            Fault::Timeout(_) => "timeout",
            Fault::OutOfMemory(_) => "out-of-memory",
            Fault::Malformed(_) => "malformed-answer",
            Fault::Abandoned => "abandoned",
            Fault::Crowded(_) => "crowded",
            Fault::Store(_) => "store",
            Fault::Internal(_) => "internal",
        }
    }

    pub(crate) fn from_wasm(
        error: &wasmtime::Error,
        limits: Option<&InstanceLimits>,
        last_words: Vec<String>,
    ) -> Fault {
        if error.downcast_ref::<DeadlinePassed>().is_some() {
            return Fault::Timeout(Duration::ZERO);
        }
        if let Some(limits) = limits.filter(|limits| limits.ran_out()) {
            return Fault::OutOfMemory(limits.memory());
        }
        if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
            return Fault::Exit(*status);
        }
        if error
            .downcast_ref::<wasmtime::PoolConcurrencyLimitError>()
            .is_some()
        {
            return Fault::Crowded(
                "all instances are in use (limits.max-calls in dockside.toml)".into(),
            );
        }
        let reason = match error.downcast_ref::<wasmtime::Trap>() {
            Some(trap) => trap.to_string(),
            None => error.root_cause().to_string(),
        };
        let backtrace = error
            .downcast_ref::<WasmBacktrace>()
            .map(frames)
            .unwrap_or_default();
        Fault::Trap(Trap {
            reason,
            last_words,
            backtrace,
        })
    }
}

fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    backtrace
        .frames()
        .iter()
        .map(|frame| {
            let name = match frame.func_name() {
                Some(name) => wasmtime_demangle(name),
                None => format!("function {}", frame.func_index()),
            };
            match frame
                .symbols()
                .iter()
                .find_map(|symbol| Some(format!("{}:{}", symbol.file()?, symbol.line()?)))
            {
                Some(place) => format!("{name} at {place}"),
                None => name,
            }
        })
        .collect()
}

fn wasmtime_demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Store(error.to_string())
    }
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Fault {
        Fault::Store(error.to_string())
    }
}
