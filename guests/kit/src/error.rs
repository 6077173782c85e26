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
///
/// ```
/// use dockside_driver::{Error, ErrorCode, KeyValues, Result, directories};
///
/// fn create(name: &str, options: &KeyValues) -> Result<()> {
///     // Each `?` hands on what the user is to read: of an option, of a text that is no number, of the host.
///     let uid = options.parse("uid")?;
///     let attributes = directories::Attributes { uid, ..Default::default() };
///     let made = directories::create(name, attributes);
///     made.map_err(|error| error.context(format!("volume {name}"))).map(drop)
/// }
///
/// let error = create("v", &KeyValues::new().with("uid", "joe")).unwrap_err();
/// assert_eq!(error.code(), ErrorCode::InvalidArgument);
/// assert_eq!(error.message(), "option uid=joe: invalid digit found in string");
///
/// create("v", &KeyValues::new())?;
/// let error = create("v", &KeyValues::new()).unwrap_err();
/// assert_eq!(error.code(), ErrorCode::AlreadyExists);
/// assert_eq!(error.to_string(), r#"volume v: there is a directory for "v" already"#);
///
/// // What is not of a kind of its own is said as it is.
/// assert_eq!(Error::from("the moon is full").code(), ErrorCode::Other);
/// # Ok::<(), Error>(())
/// ```
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
    std::num::ParseFloatError,
    std::num::ParseIntError,
    std::num::TryFromIntError,
    std::str::ParseBoolError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
);

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_code_that_fits_and_its_text() {
        let error = Error::refused(Refusal::Missing, "there is no mkfs.xfs");
        assert_eq!(error.code(), ErrorCode::Unavailable);
        assert_eq!(error.refusal(), Some(Refusal::Missing));
        let error = error.context("volume v");
        assert_eq!(error.refusal(), Some(Refusal::Missing));
        assert_eq!(error.message(), "volume v: there is no mkfs.xfs");
    }

    #[test]
    fn what_cannot_be_read_is_invalid_and_says_why() {
        let errors: [Option<Error>; 6] = [
            "x".parse::<u8>().map_err(Error::from).err(),
            "x".parse::<f32>().map_err(Error::from).err(),
            "x".parse::<bool>().map_err(Error::from).err(),
            "x".parse::<ipnet::IpNet>().map_err(Error::from).err(),
            u8::try_from(300).map_err(Error::from).err(),
            String::from_utf8(vec![0xff]).map_err(Error::from).err(),
        ];
        for error in errors {
            let code = error.as_ref().map(Error::code);
            assert_eq!(code, Some(ErrorCode::InvalidArgument));
            assert!(error.is_some_and(|error| !error.message().is_empty()));
        }
    }
}
