//! Docker's methods, handed to the kinds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Arguments;
use crate::authz::Authz;
use crate::breaks::Breaks;
use crate::ipam::Ipam;
use crate::network::Network;
use crate::volume::Volumes;

/// How a call ends.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Status 200 and this.
    Done(Value),
    /// An error of the kind that the method belongs to.
    Failed(String),
    /// No such method: status 404.
    Unknown,
    /// The connection is closed without a byte.
    Close,
}

/// What the kinds have in common.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Where the plugin keeps everything.
    pub(crate) dir: PathBuf,
    /// Where it is said what is wrong with the backend.
    pub(crate) faults: PathBuf,
    /// What is broken on purpose.
    pub(crate) breaks: Breaks,
    /// Multiplies the plugin's own limits.
    pub(crate) patience: dockside_check::client::Patience,
    /// What it can do beyond what it does by itself.
    variants: Vec<String>,
}

impl Context {
    /// Whether the plugin was started with this variant of what plugins may do.
    pub(crate) fn has(&self, variant: &str) -> bool {
        self.variants.iter().any(|own| own == variant)
    }

    /// Whether nothing more can be written to the plugin's directory.
    pub(crate) fn dir_is_full(&self) -> bool {
        let probe = self.dir.join("probe");
        let written = std::fs::write(&probe, [0; 4096]);
        let _ = std::fs::remove_file(&probe);
        written.is_err()
    }

    /// What is wrong with the backend: the content of the file `fault`, `hang` or `fail`.
    pub(crate) fn fault(&self) -> Option<String> {
        std::fs::read_to_string(self.faults.join("fault"))
            .ok()
            .map(|text| text.trim().to_owned())
    }
}

/// The plugin.
pub(crate) struct Plugin {
    pub(crate) context: Context,
    kinds: Vec<&'static str>,
    volumes: Volumes,
    network: Network,
    ipam: Ipam,
    authz: Authz,
    greetings: AtomicUsize,
    /// Requests that have begun and are not answered.
    pub(crate) busy: AtomicUsize,
    /// Requests of clients that have gone, in a plugin that waits for them.
    stuck: Mutex<BTreeSet<Vec<u8>>>,
    /// When memory was last lost on purpose.
    leaked: Mutex<Option<Instant>>,
}

impl Plugin {
    pub(crate) fn new(arguments: &Arguments, dir: PathBuf) -> Result<Arc<Self>, String> {
        if arguments.breaks.on("X03") {
            lose_unless_settled(&dir);
        }
        Self::with(
            Context {
                faults: dir.clone(),
                dir,
                breaks: arguments.breaks.clone(),
                patience: arguments.patience,
                variants: arguments.variants.clone(),
            },
            &arguments.kinds,
        )
    }

    /// The plugin on another machine: it looks into the same store.
    pub(crate) fn elsewhere(
        self: &Arc<Self>,
        arguments: &Arguments,
        dir: &Path,
    ) -> Result<Arc<Self>, String> {
        if self.context.breaks.on("I31") {
            let own = dir.join("peer");
            std::fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
            Self::new(arguments, own)
        } else {
            Ok(Arc::clone(self))
        }
    }

    /// Another volume driver in the same process, with nothing in common but that.
    pub(crate) fn neighbour(arguments: &Arguments, dir: &Path) -> Result<Arc<Self>, String> {
        let breaks = &arguments.breaks;
        let own = dir.join("neighbour");
        let context = Context {
            dir: if breaks.on("V39") {
                dir.to_owned()
            } else {
                own.clone()
            },
            faults: if breaks.on("V49") {
                dir.to_owned()
            } else {
                own
            },
            breaks: breaks.clone(),
            patience: arguments.patience,
            variants: arguments.variants.clone(),
        };
        Self::with(context, &["volume".to_owned()])
    }

    fn with(context: Context, wanted: &[String]) -> Result<Arc<Self>, String> {
        let all = [
            ("volume", "VolumeDriver"),
            ("network", "NetworkDriver"),
            ("ipam", "IpamDriver"),
            ("authz", "authz"),
        ];
        let kinds = all
            .into_iter()
            .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|kind| kind == name))
            .map(|(_, implements)| implements)
            .collect();
        Ok(Arc::new(Self {
            kinds,
            volumes: Volumes::new(context.clone())?,
            network: Network::new(context.clone())?,
            ipam: Ipam::new(context.clone())?,
            authz: Authz::new(context.clone())?,
            greetings: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            stuck: Mutex::default(),
            leaked: Mutex::default(),
            context,
        }))
    }

    /// A mistake: memory that grows with the calls, however slow the machine is at them.
    fn leak(&self) {
        let mut last = self.leaked.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= Duration::from_millis(10)) {
            // What nobody looks at would not be allocated at all.
            std::hint::black_box(Box::leak(vec![1u8; 2 << 20].into_boxed_slice()));
            *last = Some(Instant::now());
        }
    }

    /// One call. `caller`: the process at the other end.
    pub(crate) fn call(&self, method: &str, body: &[u8], caller: Option<u32>) -> Reply {
        if method == "Plugin.Activate" {
            return self.activate();
        }
        self.greetings.store(0, Ordering::Relaxed);
        if self.context.breaks.on("X20") {
            self.leak();
        }
        let (kind, name) = match method {
            "AuthZPlugin.AuthZReq" | "AuthZPlugin.AuthZRes" => {
                ("authz", method.trim_start_matches("AuthZPlugin."))
            }
            _ => match method.split_once('.') {
                Some((kind, name)) if kind != "authz" => (kind, name),
                _ => return Reply::Unknown,
            },
        };
        if !self.kinds.contains(&kind) {
            return Reply::Unknown;
        }
        if let Some(wrong) = self.misread(method, body) {
            return wrong;
        }
        let replaced = String::from_utf8_lossy(body);
        let body = if self.context.breaks.on("P16") {
            replaced.as_bytes()
        } else {
            body
        };
        let request = if body.is_empty() {
            None
        } else {
            match serde_json::from_slice::<Value>(body) {
                Ok(mut value @ Value::Object(_)) => {
                    if self.context.breaks.on("P15") {
                        first_name(body, &mut value);
                    }
                    Some(value)
                }
                Ok(_) => return Reply::Failed("the request is no JSON object".into()),
                Err(error) => return Reply::Failed(format!("the request is no JSON: {error}")),
            }
        };
        match kind {
            "VolumeDriver" => {
                let reply = self.volumes.call(name, request, caller);
                let crowded = self.busy.load(Ordering::SeqCst) > 1;
                if self.context.breaks.on("X02") && name == "Create" && crowded {
                    self.forget_on_disk(body);
                }
                reply
            }
            "NetworkDriver" => self.network.call(name, request, caller),
            "IpamDriver" => self.ipam.call(name, request),
            _ => self.authz.call(name, request),
        }
    }

    /// What a plugin loses that under load answers before the disk has it.
    fn forget_on_disk(&self, body: &[u8]) {
        let name = serde_json::from_slice(body)
            .ok()
            .and_then(|request: Value| Some(request.get("Name")?.as_str()?.to_owned()));
        if let Some(name) = name {
            let file = self
                .context
                .dir
                .join(format!("volumes/records/{name}.json"));
            let _ = std::fs::remove_file(file);
        }
    }

    /// The answer to a call could not be delivered.
    pub(crate) fn undelivered(&self, method: &str, body: &[u8]) {
        if self.context.breaks.on("P35") && method == "VolumeDriver.Create" {
            self.stuck().insert(body.to_vec());
        }
    }

    fn stuck(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of a plugin that takes a request for another one.
    fn misread(&self, method: &str, body: &[u8]) -> Option<Reply> {
        let breaks = &self.context.breaks;
        let text = String::from_utf8_lossy(body);
        let taken = || Some(Reply::Done(json!({})));
        if breaks.on("P11") && method == "IpamDriver.ReleasePool" && body.is_empty() {
            return taken();
        }
        if breaks.on("P11b") && method == "VolumeDriver.Get" && body.is_empty() {
            return Some(Reply::Failed("the request has no body".into()));
        }
        if breaks.on("P12") && method == "NetworkDriver.DeleteNetwork" && text == "null" {
            return taken();
        }
        if breaks.on("P13") && method == "VolumeDriver.Create" && text.contains("\"Opts\":null") {
            return Some(Reply::Failed("`Opts` is no object".into()));
        }
        if breaks.on("P14") && text.contains("\"SinceNextYear\"") {
            return Some(Reply::Failed("unknown field `SinceNextYear`".into()));
        }
        if breaks.on("P17") && method == "NetworkDriver.Leave" && text.contains(&"1".repeat(5000)) {
            return taken();
        }
        if self.stuck().contains(body) {
            return Some(Reply::Failed("another call is under way".into()));
        }
        None
    }

    fn activate(&self) -> Reply {
        self.ipam.greeted();
        let breaks = &self.context.breaks;
        if breaks.on("P01") {
            return Reply::Done(json!({"Implements": []}));
        }
        let mut kinds: Vec<&str> = self.kinds.clone();
        if breaks.on("P02") && self.greetings.fetch_add(1, Ordering::Relaxed) == 50 {
            kinds.reverse();
        }
        if breaks.on("P03") {
            kinds.push("volumedriver");
        }
        if breaks.on("P04") {
            kinds.retain(|kind| *kind != "authz");
        }
        Reply::Done(json!({"Implements": kinds}))
    }
}

/// Puts the first `Name` of a body in place of the last.
fn first_name(body: &[u8], request: &mut Value) {
    let text = String::from_utf8_lossy(body);
    let first = text
        .split_once("\"Name\":")
        .and_then(|(_, rest)| rest.split('"').nth(1));
    if let Some(first) = first {
        let decoded: Result<String, _> = serde_json::from_str(&format!("\"{first}\""));
        request["Name"] = json!(decoded.unwrap_or_default());
    }
}

/// What a plugin does that takes the state of some starts before it, which came to no end, for a damaged one.
fn lose_unless_settled(dir: &Path) {
    let mark = dir.join("started");
    let recent = mark
        .metadata()
        .and_then(|meta| meta.modified())
        .is_ok_and(|time| time.elapsed().is_ok_and(|ago| ago.as_millis() < 500));
    let starts = if recent {
        std::fs::read(&mark).map_or(0, |starts| starts.len()) + 1
    } else {
        0
    };
    if starts > 2 {
        let _ = std::fs::remove_dir_all(dir.join("volumes/records"));
    }
    let _ = std::fs::write(mark, vec![b'x'; starts]);
}
