//! What the control socket says, as types that daemon and command line share.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::protocol::KeyValue;
use crate::protocol::describe::Verb;

use crate::relay::Attached;

/// The daemon as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of dockside.
    pub version: String,
    /// Process ID of the daemon.
    pub pid: u32,
    /// The directory that is watched.
    pub drivers: String,
    /// Every plugin, by name.
    pub plugins: Vec<PluginSummary>,
    /// Files that are not used, and why.
    pub problems: Vec<Problem>,
}

/// One line of `dockside ls`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PluginSummary {
    /// The name that Docker knows.
    pub name: String,
    /// Docker's names of the kinds that it implements.
    pub kinds: Vec<String>,
    /// `serving`, `trial`, `blocked`, `broken` or `removed`.
    pub state: String,
    /// The version that serves.
    pub version: Option<String>,
    /// The file that it came from.
    pub file: Option<String>,
    /// Why it does not serve, or what is wrong with a newer version.
    pub note: Option<String>,
    /// What an operator can ask of the driver.
    pub verbs: Vec<Verb>,
    /// Calls answered since the daemon started.
    pub calls: u64,
    /// Calls that failed by the driver's fault.
    pub faults: u64,
}

/// A file that is not used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// The file, without its directory.
    pub file: String,
    /// The reason and the cure.
    pub reason: String,
}

/// Everything about one plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PluginDetail {
    /// The line of `dockside ls`.
    #[serde(flatten)]
    pub summary: PluginSummary,
    /// The socket, or the address.
    pub socket: Option<String>,
    /// The file in which Docker reads the address, if the socket is not where it looks for sockets.
    pub discovery: Option<String>,
    /// SHA-256 of the component.
    pub digest: Option<String>,
    /// Bytes of the component.
    pub size: Option<u64>,
    /// The imported interfaces that need a grant, and whether it is there.
    pub capabilities: Vec<Capability>,
    /// Options that the driver declares.
    pub options: serde_json::Value,
    /// What Docker was told and remembers.
    pub published: serde_json::Value,
    /// Names of the configuration values, without the values.
    pub config: Vec<String>,
    /// Keys in the durable state.
    pub state_keys: u64,
    /// Bytes in the durable state.
    pub state_bytes: u64,
    /// Volumes in the catalogue.
    pub volumes: Vec<Volume>,
    /// Directories that the plugin holds on this machine.
    pub directories: Vec<Directory>,
    /// Other numbers since the daemon started.
    pub counters: Counters,
    /// What it holds on the machine: a list of kind, key and place.
    pub holds: serde_json::Value,
    /// Docker's own plugins that lead to it.
    pub relays: Vec<Attached>,
    /// How many calls are kept; 0 keeps none.
    #[serde(default)]
    pub keeps_calls: u32,
    /// What the replay of kept calls has shown of the last version that came.
    #[serde(default)]
    pub preflight: Option<String>,
    /// Versions that were taken back.
    pub rejected: Vec<String>,
}

/// An imported interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Capability {
    /// The interface.
    pub interface: String,
    /// The grant that it needs; none for what every driver has.
    pub grant: Option<String>,
    /// Whether the plugin has it.
    pub granted: bool,
}

/// A volume in the catalogue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Where its files are.
    pub directory: Option<String>,
    /// Mounts that Docker has not ended.
    pub uses: u64,
}

/// A directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Directory {
    /// The driver's key.
    pub key: String,
    /// Where it is.
    pub path: String,
}

/// Numbers of one plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counters {
    /// Calls that the driver refused.
    pub refused: u64,
    /// Calls run again because of a conflict.
    pub conflicts: u64,
    /// Calls answered by the version before.
    pub rescued: u64,
    /// Swaps.
    pub swaps: u64,
    /// Swaps taken back.
    pub reverted: u64,
}

/// The answer to a call that was made by hand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallResult {
    /// HTTP status that Docker would get; none if the connection would have been closed.
    pub status: Option<u16>,
    /// The answer.
    pub body: serde_json::Value,
}

/// A verb to be run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRequest {
    /// The verb.
    pub verb: String,
    /// Its arguments, unchecked.
    pub arguments: Vec<KeyValue>,
}

/// What came of a verb.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// It is done: the driver's answer.
    Answer(Box<RawValue>),
    /// What was asked for makes no sense. Nothing was done.
    Usage(String),
    /// It could not be done. Nothing of it remains.
    Failed(String),
}
