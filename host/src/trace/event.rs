//! What events say. All of it is JSON both ways: a recording is a file of events, and a replay reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A call begins.
    Begin(Begin),
    /// A call has ended. Everything about it is here once more, so that a listener who missed its beginning misses nothing.
    End(Box<CallRecord>),
    /// Something happened to the plugin that is no call: a version serves, a version was taken back.
    Note(Note),
    /// The listener was too slow, and so many events are missing in this place.
    Lost {
        /// How many.
        count: u64,
    },
}

/// A version of a plugin's driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionId {
    /// Its semver, or the first digits of its digest.
    pub label: String,
    /// SHA-256 of the component, in hex.
    pub digest: String,
}

/// How a call came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// An engine, or `dockside call`.
    Engine,
    /// `dockside run`.
    Verb,
    /// The driver's own timer.
    Timer,
    /// The host: the start and the migration of a version, what was found on the machine, what has to be settled elsewhere.
    Hook,
}

/// See [`Event::Begin`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// When, as RFC 3339 in UTC.
    pub time: String,
    /// The plugin.
    pub plugin: String,
    /// What tells the call from all others, also from those of before a restart. A call that is run again keeps it.
    pub call: String,
    /// How it came about.
    pub origin: Origin,
    /// Docker's method (`VolumeDriver.Create`), or what is called of the driver (`admin.run`, `timers.tick`, `lifecycle.start`).
    pub method: String,
    /// The request's JSON; of a call that is not Docker's an object with its arguments.
    pub request: Value,
}

/// See [`Event::Note`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When, as RFC 3339 in UTC.
    pub time: String,
    /// The plugin.
    pub plugin: String,
    /// `TRACE` to `ERROR`.
    pub level: String,
    /// The version that it is about; may be empty.
    pub version: String,
    /// One line.
    pub text: String,
}

/// A call from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// How it began.
    #[serde(flatten)]
    pub begin: Begin,
    /// The version that ran last; none if the host answered without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Microseconds from the request to the answer, waiting included.
    pub micros: u64,
    /// What Docker, or whoever asked, was answered.
    pub answer: Reply,
    /// How often it was run: more than once after a conflict with another call, or on the version before after a fault of a new one.
    pub attempts: u32,
    /// How the attempts before the last one ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// The last attempt; none if the driver was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunRecord>,
}

/// What whoever asked was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// An answer.
    Answered {
        /// HTTP status. Verbs, timers and hooks have those that Docker's methods would have.
        status: u16,
        /// The JSON.
        body: Value,
    },
    /// The connection was closed without a byte.
    Closed,
    /// The daemon lost sight of the call.
    Lost,
}

impl Reply {
    /// Done, with nothing to say.
    pub fn done() -> Reply {
        Reply::Answered {
            status: 200,
            body: json!({}),
        }
    }

    /// It could not be done, for this reason.
    pub fn failed(reason: &str) -> Reply {
        Reply::Answered {
            status: 500,
            body: json!({ "Err": reason }),
        }
    }

    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        matches!(self, Reply::Answered { status: 200, .. })
    }
}

/// An attempt of which nothing remains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The version that ran.
    pub version: VersionId,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// The driver answered, and what it did is committed.
    Done,
    /// The driver said no. Nothing of the call remains.
    Refused {
        /// Its error's code, in the words of the WIT.
        code: String,
        /// Its text.
        message: String,
    },
    /// Another call changed what this one had read. Nothing remains; it was run again.
    Conflict,
    /// It failed. Nothing remains.
    Fault {
        /// `trap`, `timeout`, `out-of-memory` …: see [`Fault::class`](crate::call::Fault::class).
        class: String,
        /// What the log says of it.
        text: String,
    },
    /// It was ended in the middle.
    Abandoned,
}

/// One run of the driver: what it was shown, what it did, what it said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Whether state and machine keep what it did. A call that changed nothing and succeeded counts.
    pub committed: bool,
    /// Microseconds that the driver ran, without the commit.
    pub micros: u64,
    /// How long it might have run, in milliseconds.
    pub allowed_ms: u64,
    /// The driver's own answer, before the host added to it and put what a relay shows in place of paths. None if it is [`CallRecord::answer`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Reply>,
    /// The engine that asked, by a name that no other process has; empty if it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub engine: String,
    /// The host had the driver unmount first, in the same transaction, with this request of `VolumeDriver.Unmount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Value>,
    /// What it read of its state, by key: the value before the call, null for a key that was not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reads: BTreeMap<String, Value>,
    /// All keys of its state, if it listed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Vec<String>>,
    /// What it wrote of its state, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub writes: BTreeMap<String, Write>,
    /// What it asked of the host, in order. Reads and writes of the state and lines of the log are not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<HostCall>,
    /// What the call did to the machine, as the ledger has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<EffectRecord>,
    /// What the driver wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    /// Each time that it was told by `wasi:clocks/wall-clock`, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clock: Vec<u64>,
    /// What it was given by `wasi:random/insecure-seed`, in hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seed: String,
    /// The random bytes that it was given, in hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub random: String,
    /// What had to be left out because it was too much, each in a few words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl RunRecord {
    /// A run that did nothing at all.
    pub fn empty() -> RunRecord {
        RunRecord {
            outcome: Outcome::Done,
            committed: false,
            micros: 0,
            allowed_ms: 0,
            answer: None,
            engine: String::new(),
            first: None,
            reads: BTreeMap::new(),
            listed: None,
            writes: BTreeMap::new(),
            calls: Vec::new(),
            effects: Vec::new(),
            log: Vec::new(),
            clock: Vec::new(),
            seed: String::new(),
            random: String::new(),
            left_out: Vec::new(),
        }
    }
}

/// A change of the state. Values are as [`show_bytes`](super::value::show_bytes) has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// The value before; null if the key was not there.
    pub old: Value,
    /// The value after; null if the key was removed.
    pub new: Value,
}

/// A call of one of the host's interfaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostCall {
    /// The interface, without its version: `dockside:host/mounts`.
    pub interface: String,
    /// The function as the WIT has it: `mount`, `[method]link.set-up`.
    pub function: String,
    /// Its arguments, the handle of a method first.
    pub args: Value,
    /// What it returned: `{"ok": …}` and `{"err": …}` for results, null for nothing.
    pub result: Value,
    /// Microseconds.
    pub micros: u64,
    /// In a replay: the recording has no answer to it, and this one is the host's refusal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
}

/// A change to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectRecord {
    /// `made`; `ended` for what goes behind the commit, and `then` for what is done there.
    pub change: String,
    /// What, in a few words: `mount v1 at /var/lib/…`.
    pub what: String,
}

/// A line of the driver's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `TRACE` to `ERROR`.
    pub level: String,
    /// `driver` by `wasi:logging`, `stdout` or `stderr`; `host` for what the host said about the call.
    pub source: String,
    /// The text.
    pub text: String,
}
