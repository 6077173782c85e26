//! A host in memory, for drivers' own tests: there only when a driver is compiled for the machine itself.
//!
//! Everything belongs to the thread that calls, so each `#[test]` begins with nothing. Every operation is granted, and no operation touches the
//! machine: it is remembered, and refused where the real host would refuse it.
//!
//! A method that a test calls itself undoes nothing when it fails. [`call`] calls it as the host does, in a transaction:
//!
//! ```
//! use dockside_driver::{Error, directories, testing};
//!
//! let failed = testing::call(|| {
//!     directories::create("v", Default::default())?;
//!     Err::<(), _>(Error::other("on second thoughts"))
//! });
//! assert!(failed.is_err() && testing::directories().is_empty());
//! ```

mod call;
mod difference;
mod faults;
#[cfg(feature = "model")]
pub mod model;

pub use call::{call, conflict, crash_after_host_call, fail_host_call, host_calls, settle};
pub use faults::{Faults, Report, Run, each_fault};

use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    Admin, Error, KeyValues, MacAddr, Result, Transport,
    directories::Attributes,
    http::{Request, Response},
    images::Filesystem,
    links::{Kind, Route},
    log::Level,
    mounts::{Flags, Health},
    reconcile::{Fact, Fate, Subject},
    sys::{self, Machine, memory},
};

/// A mount, as the host in memory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted, in words: `tmpfs 1048576`, `directory KEY`, `overlay LOWER,LOWER UPPER WORK`, `image KEY`,
    /// `sshfs REMOTE OPTION=VALUE ROLE:SECRET ROLE:kept(SECRET) ROLE="TEXT"`.
    pub source: String,
    /// How it is mounted.
    pub flags: Flags,
    /// How it does.
    pub health: Health,
    pub(crate) directories: Vec<sys::Directory>,
    pub(crate) image: Option<String>,
}

/// An image, as the host in memory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its size in bytes.
    pub size: u64,
    /// Its file system.
    pub filesystem: Filesystem,
    /// Owner and mode of its root.
    pub attributes: Attributes,
    /// Stands for its files: a number of its own for each image made, and that of the original for a copy.
    pub content: u64,
    /// What is in it, by blocks. A new file system has its number in the first.
    pub(crate) data: BTreeMap<u64, Vec<u8>>,
    /// It is being received.
    pub(crate) blank: bool,
}

/// What is done with a store of blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobOperation {
    /// A blob is written.
    Put,
    /// A blob is read.
    Get,
    /// A blob is deleted.
    Delete,
    /// Blobs are listed.
    List,
}

/// A link, as the host in memory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it is; none is an end of a pair.
    pub kind: Option<Kind>,
    /// The key of the other end of a pair.
    pub peer: Option<String>,
    /// Its MTU, if one was set.
    pub mtu: Option<u32>,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it is in the host's network namespace.
    pub here: bool,
    /// The key of the bridge that it is in.
    pub master: Option<String>,
    /// Whether it is kept from other ports that are kept so too.
    pub isolated: bool,
    /// Whether frames may leave by it that came in by it.
    pub hairpin: bool,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Behind which VXLAN ends Ethernet addresses are.
    pub fdb: Vec<(MacAddr, IpAddr)>,
    /// Which Ethernet addresses IP addresses have.
    pub neighbours: Vec<(IpAddr, MacAddr)>,
}

/// A rule, as the host in memory knows it: links are their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rule {
    /// See [`nat::Rule::Masquerade`](crate::nat::Rule::Masquerade).
    Masquerade { source: IpNet, link: String },
    /// See [`nat::Publish`](crate::nat::Publish). The host's port is the one that was given.
    Publish {
        transport: Transport,
        host_address: Option<IpAddr>,
        host_port: u16,
        container_address: IpAddr,
        container_port: u16,
        link: String,
    },
    /// See [`nat::Rule::Forward`](crate::nat::Rule::Forward).
    Forward(String),
    /// See [`nat::Rule::Internal`](crate::nat::Rule::Internal).
    Internal(String),
    /// See [`nat::Rule::Isolate`](crate::nat::Rule::Isolate).
    Isolate(String),
}

/// Forgets everything.
pub fn reset() {
    memory(|memory| *memory = Default::default());
    sys::faults::count(None);
    sys::set_random(None);
}

/// Sets a value of the plugin's configuration.
pub fn set_config(key: &str, value: &str) {
    memory(|memory| memory.config.insert(key, value));
}

/// Grants a secret, and its value too if it is to be revealed.
pub fn set_secret(name: &str, value: &[u8], reveal: bool) {
    memory(|memory| {
        memory
            .secrets
            .insert(name.to_owned(), (value.to_owned(), reveal))
    });
}

/// Grants a set of files of which nothing is there yet.
pub fn grant_files(set: &str) {
    memory(|memory| {
        memory.files.entry(set.to_owned()).or_default();
    });
}

/// Puts a file into a set, in place of the one of that name; the name is empty for a set that is one file. Grants the set.
pub fn put_file(set: &str, name: &str, content: &[u8]) {
    memory(|memory| {
        let stamp = memory.next();
        let set = memory.files.entry(set.to_owned()).or_default();
        set.stamp = stamp;
        set.files
            .insert(name.to_owned(), (content.to_owned(), stamp));
    });
}

/// Removes a file from a set.
pub fn remove_file(set: &str, name: &str) {
    memory(|memory| {
        let stamp = memory.next();
        if let Some(set) = memory.files.get_mut(set) {
            set.stamp = stamp;
            set.files.remove(name);
        }
    });
}

/// Makes random data the same each time from here on: what [`random`](crate::random) gives, and Ethernet addresses that nobody chose.
pub fn set_random(seed: u64) {
    sys::set_random(Some(seed));
}

/// Sets the time of day, in seconds since 1970, which stands still from then on.
pub fn set_time(seconds: u64) {
    memory(|memory| memory.time = Some(seconds));
}

/// Grants a store of blobs.
pub fn grant_store(name: &str) {
    memory(|memory| {
        memory.blobs.entry(name.to_owned()).or_default();
    });
}

/// All blobs of a store: names and contents. A failed call leaves what it wrote there.
pub fn blobs(store: &str) -> Vec<(String, Vec<u8>)> {
    memory(|memory| {
        let blobs = memory.blobs.get(store).cloned().unwrap_or_default();
        let pair = |(name, (data, _)): (String, (Vec<u8>, u64))| (name, data);
        blobs.into_iter().map(pair).collect()
    })
}

/// Changes a blob behind the driver's back; none removes it.
pub fn set_blob(store: &str, name: &str, data: Option<&[u8]>) {
    memory(|memory| {
        let blobs = memory.blobs.entry(store.to_owned()).or_default();
        match data {
            Some(data) => drop(blobs.insert(name.to_owned(), (data.to_owned(), 0))),
            None => drop(blobs.remove(name)),
        }
    });
}

/// Makes an absolute path of the machine a symbolic link, for [`files::resolve_path`](crate::files::resolve_path).
pub fn link_path(from: &str, to: &str) {
    memory(|memory| {
        memory
            .paths
            .insert(from.trim_end_matches('/').to_owned(), to.to_owned())
    });
}

/// Runs a verb as `dockside run` does: checks the names of its arguments and adds the defaults, runs it as [`call`] does, and reads the answer.
/// The types of the arguments are not checked.
pub fn run_verb<D: Admin>(verb: &str, arguments: &[(&str, &str)]) -> Result<serde_json::Value> {
    let verbs = D::verbs();
    let Some(declared) = verbs.iter().find(|known| known.name == verb) else {
        return Err(Error::invalid(format!("there is no verb {verb:?}")));
    };
    let mut given: KeyValues = arguments.iter().copied().collect();
    let names: Vec<&str> = declared
        .arguments
        .iter()
        .map(|argument| argument.name.as_str())
        .collect();
    given.allow_only(&names)?;
    for argument in &declared.arguments {
        match &argument.default {
            _ if given.contains(&argument.name) => {}
            Some(default) => given.insert(&argument.name, default),
            None if argument.required => {
                let text = format!("argument {:?} is required", argument.name);
                return Err(Error::invalid(text));
            }
            None => {}
        }
    }
    let answer = call(|| D::run(verb, &given))?;
    serde_json::from_str(&answer)
        .map_err(|error| Error::other(format!("the answer is no JSON: {error}: {answer}")))
}

/// Is asked before each operation on a blob, with its name or prefix, whether it works.
pub fn judge_blobs(judge: impl FnMut(BlobOperation, &str) -> Result<()> + 'static) {
    memory(|memory| memory.blob_judge = Some(Box::new(judge)));
}

/// Writes into an image, as a container does whose volume it is. One that is not there stays away.
pub fn write_image(key: &str, offset: u64, data: &[u8]) {
    memory(|memory| {
        if let Some(image) = memory.machine.images.get_mut(key) {
            image.write(offset, data);
        }
    });
}

/// Says that a secret that was set is in this file of the machine.
pub fn set_secret_file(path: &str, name: &str) {
    memory(|memory| memory.secret_files.insert(path.to_owned(), name.to_owned()));
}

/// Answers the HTTP requests that follow. Until this is called nobody answers.
pub fn answer_http(answerer: impl FnMut(&Request) -> Result<Response> + 'static) {
    memory(|memory| memory.answerer = Some(Box::new(answerer)));
}

/// The HTTP requests sent so far.
pub fn http_requests() -> Vec<Request> {
    memory(|memory| memory.requests.clone())
}

/// The notes of failed calls that were not taken yet, each with its call's key: what
/// [`Settlement::compensate`](crate::Settlement::compensate) would get. Takes them.
pub fn unsettled() -> Vec<(String, Vec<u8>)> {
    memory(|memory| std::mem::take(&mut memory.unsettled))
}

/// Sets how a mount does. One that is not there stays away.
pub fn set_health(key: &str, health: Health) {
    memory(|memory| {
        if let Some(mount) = memory.machine.mounts.get_mut(key) {
            mount.health = health;
        }
    });
}

/// Moves a link into a container, or out of it again, as Docker does.
pub fn move_link(key: &str, here: bool) {
    memory(|memory| {
        if let Some(link) = memory.machine.links.get_mut(key) {
            link.here = here;
            link.master = None;
        }
    });
}

/// There is a directory at a path of the machine, with data that nobody may touch.
pub fn put_path(path: &str, attributes: Attributes) {
    memory(|memory| {
        memory.machine.paths.insert(path.to_owned(), attributes);
    });
}

/// What is made at a path of the machine from now on cannot be removed with what is in it.
pub fn keep_no_marks() {
    memory(|memory| memory.unmarked = true);
}

/// Somebody else removes something that the driver made: the fact for [`Reconcile::reconcile`](crate::Reconcile::reconcile).
pub fn lose(subject: Subject, key: &str) -> Fact {
    memory(|memory| {
        let machine = &mut memory.machine;
        match subject {
            Subject::Mount => drop(machine.mounts.remove(key)),
            Subject::Link => machine.forget_link(key),
            Subject::Rules => drop(machine.rules.remove(key)),
            Subject::Image => drop(machine.images.remove(key)),
            Subject::Directory => {
                machine.directories.remove(key);
                machine.born.remove(key);
            }
        }
    });
    Fact {
        subject,
        key: key.to_owned(),
        fate: Fate::Removed,
    }
}

/// Starts the machine again: mounts, links and rules are gone. Returns the facts for [`Reconcile::reconcile`](crate::Reconcile::reconcile).
pub fn reboot() -> Vec<Fact> {
    let Machine {
        mounts,
        links,
        rules,
        ..
    } = memory(|memory| {
        let before = memory.machine.clone();
        memory.machine.mounts.clear();
        memory.machine.links.clear();
        memory.machine.rules.clear();
        before
    });
    let all = [
        (Subject::Mount, mounts.into_keys().collect::<Vec<_>>()),
        (Subject::Link, links.into_keys().collect()),
        (Subject::Rules, rules.into_keys().collect()),
    ];
    let fact = |subject| {
        move |key| Fact {
            subject,
            key,
            fate: Fate::Rebooted,
        }
    };
    all.into_iter()
        .flat_map(|(subject, keys)| keys.into_iter().map(fact(subject)))
        .collect()
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        $($(#[$doc])*
        pub fn $name() -> Vec<(String, $type)> {
            memory(|memory| memory.machine.$name.clone().into_iter().collect())
        })*
    };
}

tables! {
    /// All state: keys and raw values.
    state: Vec<u8>,
    /// All directories: keys and the attributes that they were made with.
    directories: Attributes,
    /// All mounts by their keys.
    mounts: Mount,
    /// Directories at paths of the machine, with what they were made with or [`put_path`] said.
    paths: Attributes,
    /// Paths that the host would remove on demand, by their keys.
    made_paths: String,
    /// All images by their keys.
    images: Image,
    /// All links by their keys.
    links: Link,
    /// All secrets in the host's keeping, with their values.
    kept: Vec<u8>,
    /// All sets of rules by their keys.
    rules: Vec<Rule>,
}

/// The lines logged so far.
pub fn log() -> Vec<(Level, String)> {
    memory(|memory| memory.log.clone())
}
