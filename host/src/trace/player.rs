//! Answers in the host's place, from a recording.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};

use super::mask::{MASK, Mask, Secrets};
use super::{Function, RunRecord};
use crate::capability::http::HTTP;

/// What of the host's functions only tells, so that a version may ask it more often or less often and does the same all the same. Whatever is
/// not here counts as a change.
const TELLING: [&str; 30] = [
    "wasi:config/store.get",
    "wasi:config/store.get-all",
    "dockside:host/directories.open",
    "dockside:host/directories.list-keys",
    "dockside:host/directories.[method]directory.key",
    "dockside:host/mounts.open",
    "dockside:host/mounts.list-mounts",
    "dockside:host/images.open",
    "dockside:host/images.read",
    "dockside:host/images.data",
    "dockside:host/images.list-images",
    "dockside:host/images.[method]image.key",
    "dockside:host/links.open",
    "dockside:host/links.list-links",
    "dockside:host/links.[method]link.key",
    "dockside:host/links.[method]link.name",
    "dockside:host/nat.list-keys",
    "dockside:host/secrets.open",
    "dockside:host/secrets.open-file",
    "dockside:host/secrets.kept",
    "dockside:host/secrets.[method]secret.name",
    "dockside:host/secrets.[method]secret.reveal",
    "dockside:host/outbox.call-key",
    "dockside:host/blobs.list-stores",
    "dockside:host/blobs.get",
    "dockside:host/blobs.list-blobs",
    "dockside:host/files.list-files",
    "dockside:host/files.read",
    "dockside:host/files.stamp",
    "dockside:host/files.resolve-path",
];

/// Whether a call of the host changes nothing.
pub fn only_tells(interface: &str, function: &str, args: &Value) -> bool {
    if interface == HTTP {
        let method = args.get(0).and_then(|head| head.get("method"));
        return method.is_some_and(|method| method == "GET" || method == "HEAD");
    }
    TELLING
        .iter()
        .any(|known| known.split_once('.') == Some((interface, function)))
}

type Asked = (String, String, String);

/// What other calls of the recording have learnt from the host.
#[derive(Debug, Clone, Default)]
pub struct Known {
    answers: HashMap<Asked, Value>,
    config: Arc<BTreeMap<String, String>>,
}

impl Known {
    /// Nothing but the configuration.
    pub fn new(config: BTreeMap<String, String>) -> Known {
        Known {
            answers: HashMap::new(),
            config: Arc::new(config),
        }
    }

    /// Remembers what the host told in a call.
    pub fn learn(&mut self, run: &RunRecord) {
        for call in &run.calls {
            if call.interface != HTTP && only_tells(&call.interface, &call.function, &call.args) {
                let asked = asked(&call.interface, &call.function, &call.args);
                self.answers.insert(asked, call.result.clone());
            }
        }
    }

    fn answer(&self, asked: &Asked) -> Option<Value> {
        if let Some(known) = self.answers.get(asked) {
            return Some(known.clone());
        }
        match (asked.0.as_str(), asked.1.as_str()) {
            ("wasi:config/store", "get") => {
                let args: Value = serde_json::from_str(&asked.2).ok()?;
                let value = self.config.get(args.get(0)?.as_str()?);
                Some(json!({ "ok": value }))
            }
            ("wasi:config/store", "get-all") => {
                let all: Vec<(&String, &String)> = self.config.iter().collect();
                Some(json!({ "ok": all }))
            }
            _ => None,
        }
    }
}

fn asked(interface: &str, function: &str, args: &Value) -> Asked {
    (interface.to_owned(), function.to_owned(), args.to_string())
}

/// Whether two calls of the host can be the same one, with something hidden in one of them or in both.
fn is_alike(known: &Asked, asked: &Asked) -> bool {
    known.0 == asked.0
        && known.1 == asked.1
        && (matches_hidden(&known.2, &asked.2) || matches_hidden(&asked.2, &known.2))
}

/// Whether a text fits to one in which parts are hidden. What is hidden may have been anything.
fn matches_hidden(hidden: &str, text: &str) -> bool {
    let mut parts = hidden.split(MASK);
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            let Some(at) = rest.find(before) else {
                return false;
            };
            rest = rest.get(at + before.len()..).unwrap_or_default();
        }
    }
    match last {
        Some(end) => rest.ends_with(end),
        None => rest.is_empty(),
    }
}

/// The host of one replayed call.
#[derive(Debug)]
pub struct Player {
    known: Arc<Known>,
    playing: Mutex<Playing>,
}

#[derive(Debug)]
struct Playing {
    answers: HashMap<Asked, VecDeque<Value>>,
    requests: HashMap<(String, String), VecDeque<Value>>,
    clock: VecDeque<u64>,
    now: Duration,
    random: VecDeque<u8>,
    chance: StdRng,
    seed: Option<u128>,
}

impl Player {
    /// Plays what a call has met, and what it has not from what others have. `began` is the time of the call, in case it never asked for it.
    pub fn new(run: &RunRecord, known: Arc<Known>, began: Duration) -> Player {
        let mut answers: HashMap<Asked, VecDeque<Value>> = HashMap::new();
        let mut requests: HashMap<(String, String), VecDeque<Value>> = HashMap::new();
        for call in &run.calls {
            if call.interface == HTTP {
                let text = |name| Some(call.args.get(0)?.get(name)?.as_str()?.to_owned());
                if let (Some(method), Some(uri)) = (text("method"), text("uri")) {
                    let all = requests.entry((method, uri)).or_default();
                    all.push_back(call.result.clone());
                }
                continue;
            }
            let asked = asked(&call.interface, &call.function, &call.args);
            answers
                .entry(asked)
                .or_default()
                .push_back(call.result.clone());
        }
        let seed = hex::decode(&run.seed).ok();
        Player {
            known,
            playing: Mutex::new(Playing {
                answers,
                requests,
                clock: run.clock.iter().copied().collect(),
                now: began,
                random: hex::decode(&run.random).unwrap_or_default().into(),
                chance: StdRng::seed_from_u64(0),
                seed: seed
                    .and_then(|seed| Some(u128::from_be_bytes(seed.try_into().ok()?)))
                    .or(Some(0)),
            }),
        }
    }

    /// The answer to a call of the host. What only tells is answered as often as it is asked; what changes something, as often as it did.
    pub fn answer(&self, function: &Function, args: &Value) -> Option<Value> {
        self.answer_to(function, args).or_else(|| {
            // What a recording hides, it hides by its name.
            let mut hidden = args.clone();
            Mask::new(&[], Secrets::default()).find(&mut hidden);
            self.answer_to(function, &hidden)
        })
    }

    fn answer_to(&self, function: &Function, args: &Value) -> Option<Value> {
        let mut asked = asked(&function.interface, &function.name, args);
        let mut playing = self.playing.lock();
        if !playing.answers.contains_key(&asked)
            && let Some(alike) = playing.answers.keys().find(|known| is_alike(known, &asked))
        {
            asked = alike.clone();
        }
        if let Some(left) = playing.answers.get_mut(&asked) {
            let again = only_tells(&function.interface, &function.name, args) && left.len() == 1;
            let next = match again {
                true => left.front().cloned(),
                false => left.pop_front(),
            };
            if next.is_some() {
                return next;
            }
        }
        self.known.answer(&asked)
    }

    /// The answer to a request of `wasi:http`.
    pub fn http(&self, method: &str, uri: &str) -> Option<Value> {
        let mut playing = self.playing.lock();
        let exact = playing.requests.keys().find(|(_, known)| known == uri);
        let requests = playing.requests.iter();
        let found = exact.cloned().filter(|(of, _)| of == method).or_else(|| {
            let mut open = requests.filter(|(_, left)| !left.is_empty());
            open.find(|((of, known), _)| of == method && matches_hidden(known, uri))
                .map(|(key, _)| key.clone())
        });
        playing.requests.get_mut(&found?)?.pop_front()
    }

    /// The time: as recorded, and then a millisecond later each time.
    pub fn time(&self) -> Duration {
        let mut playing = self.playing.lock();
        playing.now = match playing.clock.pop_front() {
            Some(nanos) => Duration::from_nanos(nanos),
            None => playing.now + Duration::from_millis(1),
        };
        playing.now
    }

    /// Chance: as recorded, and then always the same.
    pub fn random(&self, bytes: &mut [u8]) {
        let mut playing = self.playing.lock();
        playing.chance.fill_bytes(bytes);
        for byte in bytes {
            if let Some(recorded) = playing.random.pop_front() {
                *byte = recorded;
            }
        }
    }

    /// The guest's seed.
    pub fn seed(&self) -> Option<u128> {
        self.playing.lock().seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_fits_to_anything_and_nothing_else_does() {
        for (hidden, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("***", "anything", true),
            ("x***", "xy", true),
            ("x***z", "xyz", true),
            ("x***z", "xy", false),
            ("a***b***c", "a1b2c", true),
            ("a***b***c", "a1c", false),
            ("a***", "b", false),
        ] {
            assert_eq!(matches_hidden(hidden, text), fits, "{hidden} {text}");
        }
    }
}
