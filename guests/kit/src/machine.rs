//! What the machine can answer to any wish (`dockside:host/machine`).
//!
//! ```
//! use dockside_driver::{ErrorCode, Refusal, secrets};
//!
//! let error = secrets::open("password").unwrap_err();
//! // Whoever asked is told that it cannot be done now; the driver can see why.
//! assert_eq!(error.code(), ErrorCode::Unavailable);
//! assert_eq!(error.refusal(), Some(Refusal::NotGranted));
//! ```

use crate::ErrorCode;

/// The class of the machine's answer, finer than an [`ErrorCode`]: see [`Error::refusal`](crate::Error::refusal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is nothing of that key.
    NotFound,
    /// There is something of that key already, or an address or port is taken.
    AlreadyExists,
    /// It is in use.
    InUse,
    /// The operator has not granted it. The text says what to add to the plugin's TOML file.
    NotGranted,
    /// The other side does not answer or refuses.
    Unreachable,
    /// A limit of the operator's or the machine's is reached: no space, no device, no port.
    Exhausted,
    /// An option, an address or a name makes no sense.
    Invalid,
    /// The machine lacks a tool, a device or a kernel feature. The text says which.
    Missing,
    /// Anything else.
    Other,
}

impl Refusal {
    /// What a driver's caller is told.
    pub(crate) fn code(self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::AlreadyExists => ErrorCode::AlreadyExists,
            Self::InUse => ErrorCode::InUse,
            Self::NotGranted | Self::Unreachable | Self::Missing => ErrorCode::Unavailable,
            Self::Exhausted => ErrorCode::Exhausted,
            Self::Invalid => ErrorCode::InvalidArgument,
            Self::Other => ErrorCode::Other,
        }
    }
}
