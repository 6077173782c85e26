use std::fmt;

use crate::machine::Refusal;

/// The result of a driver's method.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of a failure, as far as the host needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The thing is known not to exist. For a volume this is the only code that lets the engine forget the volume: use it when you
    /// are sure, and `Unavailable` when you are not.
    NotFound,
    /// It exists already, with other properties than the ones asked for.
    AlreadyExists,
    /// A name, an option or an address makes no sense. The text says which and what would.
    InvalidArgument,
    /// It is in use and the use has to end first.
    InUse,
    /// Nothing is left to give: no address, no pool, no space.
    Exhausted,
    /// The driver cannot tell now: something that it depends on does not answer.
    Unavailable,
    /// The driver does not have this method. Docker gets HTTP status 404.
    NotImplemented,
    /// Anything else.
    Other,
}

/// Why a method failed: a class for the host, and one sentence that the user of `docker` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: String,
    refusal: Option<Refusal>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident,)*) => {
        $($(#[$doc])*
        pub fn $name(message: impl Into<String>) -> Self {
            Self::new(ErrorCode::$code, message)
        })*
    };
}

impl Error {
    /// An error of any class. No stack trace and no secret belongs into the text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            refusal: None,
        }
    }

    /// What the machine answered, in these words. The code is the one that fits best.
    pub fn refused(refusal: Refusal, message: impl Into<String>) -> Self {
        Self {
            refusal: Some(refusal),
            ..Self::new(refusal.code(), message)
        }
    }

    constructors! {
        /// See [`ErrorCode::NotFound`].
        not_found => NotFound,
        /// See [`ErrorCode::AlreadyExists`].
        already_exists => AlreadyExists,
        /// See [`ErrorCode::InvalidArgument`].
        invalid => InvalidArgument,
        /// See [`ErrorCode::InUse`].
        in_use => InUse,
        /// See [`ErrorCode::Exhausted`].
        exhausted => Exhausted,
        /// See [`ErrorCode::Unavailable`].
        unavailable => Unavailable,
        /// See [`ErrorCode::NotImplemented`].
        not_implemented => NotImplemented,
        /// See [`ErrorCode::Other`].
        other => Other,
    }

    /// The class.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What the machine answered, if that is why the method failed. The modules [`directories`](crate::directories), [`mounts`](crate::mounts),
    /// [`images`](crate::images), [`links`](crate::links), [`nat`](crate::nat), [`secrets`](crate::secrets), [`outbox`](crate::outbox), [`files`](crate::files) and
    /// [`http`](crate::http) make such errors.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The text, without a copy.
    pub fn into_message(self) -> String {
        self.message
    }

    /// The same failure with what was being done before its text: `WHAT: TEXT`.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self {
            message: format!("{what}: {}", self.message),
            ..self
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::other(message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self::other(message)
    }
}

macro_rules! from_parse_error {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::invalid(error.to_string())
            }
        })*
    };
}

from_parse_error!(
    ipnet::AddrParseError,
    ipnet::PrefixLenError,
    std::net::AddrParseError,
    std::num::ParseIntError,
    std::str::ParseBoolError,
);
