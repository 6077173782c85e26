//! What the kernel, or a known tool, is asked for on behalf of drivers. It knows nothing of wasm, of the store or of Docker.
//!
//! Whatever can be made here is a record that says completely how to make it, how to take it away and where it is, with three verbs.
//! `perform` makes it; a failure leaves nothing. `undo` takes it away, and is right also when it was never made, is half made, or went with
//! a restart of the machine; it never touches what is not provably ours. `look` says whether it is there.

pub mod files;
pub mod fuse;
pub mod images;
pub mod kept;
pub mod links;
pub mod mounts;
pub mod nat;
pub mod paths;

/// Whether something that a record describes is on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is, as the record says.
    Present,
    /// It is not.
    Absent,
    /// It is, but not as the record says. The text says what differs.
    Changed(String),
}

/// The class of a failure, as far as drivers tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What is asked for does not exist.
    NotFound,
    /// It exists already, or the name, port or address is taken.
    Exists,
    /// It is in use.
    Busy,
    /// The other side does not answer, or refuses.
    Unreachable,
    /// No space, no free device, no free port.
    Exhausted,
    /// An option or an address makes no sense or is not allowed.
    Invalid,
    /// The machine lacks a tool, a device or a kernel feature. The text says which and how to get it.
    Missing,
    /// Anything else.
    Other,
}

/// The machine said no. The text is fit for the user of `docker`: what was tried, what the machine said, what to do about it; no secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct MachineError {
    /// The class.
    pub kind: ErrorKind,
    /// One sentence.
    pub message: String,
}

impl MachineError {
    /// An error of a class with its text.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> MachineError {
        MachineError {
            kind,
            message: message.into(),
        }
    }

    /// What the kernel said of something that was tried.
    pub fn io(tried: &str, error: &std::io::Error) -> MachineError {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            std::io::ErrorKind::ResourceBusy => ErrorKind::Busy,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::Exhausted
            }
            _ => ErrorKind::Other,
        };
        MachineError::new(kind, format!("cannot {tried}: {error}"))
    }
}
