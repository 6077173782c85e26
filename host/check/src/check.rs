//! What a check is, and how it ends.

use std::fmt;

use serde::Serialize;

use crate::Bench;
use crate::client::Exchange;

/// One thing that a plugin has to do right.
#[derive(Clone, Copy)]
pub struct Check {
    /// Letter of the section and number. Never used again for something else.
    pub id: &'static str,
    /// What it means if the check fails.
    pub level: Level,
    /// The kind of plugin that the check is about. `None`: any.
    pub kind: Option<Kind>,
    /// What has to be at hand.
    pub needs: &'static [Need],
    /// What is done, in a few words.
    pub title: &'static str,
    /// What is expected and why it matters, as a sentence for the author of the plugin.
    pub rule: &'static str,
    /// Waits for long by its nature (idle connections, deadlines): more than about two seconds with full patience.
    pub slow: bool,
    /// Does it.
    pub run: fn(&Bench) -> Outcome,
}

/// How bad a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The engine misbehaves or loses data.
    Engine,
    /// Security.
    Security,
    /// Robustness or quality. Does not fail the run.
    Robustness,
}

impl Level {
    /// The letter in tables.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Engine => 'E',
            Self::Security => 'S',
            Self::Robustness => 'R',
        }
    }
}

/// One of Docker's plugin APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `VolumeDriver`
    Volume,
    /// `NetworkDriver`
    Network,
    /// `IpamDriver`
    Ipam,
    /// `authz`
    Authz,
}

impl Kind {
    /// All of them, in the order of the sections.
    pub const ALL: [Self; 4] = [Self::Volume, Self::Network, Self::Ipam, Self::Authz];

    /// The name in the answer to `Plugin.Activate`.
    #[must_use]
    pub fn implements(self) -> &'static str {
        match self {
            Self::Volume => "VolumeDriver",
            Self::Network => "NetworkDriver",
            Self::Ipam => "IpamDriver",
            Self::Authz => "authz",
        }
    }

    /// The field that says what went wrong. IPAM alone has another one (moby's `ipams/remote/api`).
    #[must_use]
    pub fn error_field(self) -> &'static str {
        match self {
            Self::Ipam => "Error",
            _ => "Err",
        }
    }
}

/// What a check needs besides the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Root, and the plugin in the mount and network namespaces of the runner: real mounts and links.
    Root,
    /// The plugin's process: to stop, kill and start it.
    Process,
    /// The plugin's backend: to make it hang or fail.
    Fault,
    /// A driver that is served by dockside: to swap it.
    Driver,
    /// A real Docker Engine.
    Engine,
}

/// How a check ends: well, or not.
pub type Outcome<T = ()> = Result<T, Stop>;

/// Why a check ended early.
#[derive(Debug)]
pub enum Stop {
    /// The plugin did something wrong.
    Fail(Box<Failure>),
    /// The check does not apply, or something is missing that it needs.
    Skip(String),
}

/// What a plugin did wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// What was seen, as opposed to what was expected.
    pub seen: String,
    /// The request and the answer in question.
    pub exchange: Option<Exchange>,
}

impl Stop {
    /// The check fails; `seen` says what the plugin did.
    #[must_use]
    pub fn fail(seen: impl fmt::Display) -> Self {
        Self::Fail(Box::new(Failure {
            seen: seen.to_string(),
            exchange: None,
        }))
    }

    /// The check fails over one exchange.
    #[must_use]
    pub fn at(exchange: &Exchange, seen: impl fmt::Display) -> Self {
        Self::Fail(Box::new(Failure {
            seen: seen.to_string(),
            exchange: Some(exchange.clone()),
        }))
    }

    /// The check does not apply.
    #[must_use]
    pub fn skip(reason: impl fmt::Display) -> Self {
        Self::Skip(reason.to_string())
    }

    /// The same, with what was being done put before what was seen.
    #[must_use]
    pub fn during(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Fail(mut failure) => {
                failure.seen = format!("{what}: {}", failure.seen);
                Self::Fail(failure)
            }
            skip => skip,
        }
    }
}

/// Fails the check unless `holds`.
///
/// # Errors
///
/// A failure with the text of `seen`.
pub fn ensure<S: fmt::Display>(holds: bool, seen: impl FnOnce() -> S) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(Stop::fail(seen()))
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.title)
    }
}
