//! Collects what one attempt at a call does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::Level;

use super::event::{EffectRecord, HostCall, LogLine, Outcome, Reply, RunRecord, Write};
use super::value::{show_bytes, show_cut};
use crate::plugin::log::Source;

/// Bytes of everything that one attempt may leave in an event. What is beyond it is counted and left out.
const MAX_RECORD: usize = 1 << 20;

/// Bytes of one line of a log.
const MAX_LINE: usize = 4 << 10;

/// Times of the clock, and bytes of randomness, that one attempt may leave in an event.
const MAX_TIMES: usize = 1_000;
const MAX_RANDOM: usize = 16 << 10;

/// What a request of `wasi:http` or its answer has carried so far. Bodies are streams, and are whole only after the call.
pub type Body = Arc<Mutex<Vec<u8>>>;

/// Collects what one attempt does. Clones of the `Arc` are held by everything that a guest can reach.
#[derive(Debug)]
pub struct Recorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    room: usize,
    left_out: BTreeMap<&'static str, u64>,
    first: Option<Value>,
    engine: String,
    asked: Option<Instant>,
    ran: Option<Duration>,
    answer: Option<Reply>,
    reads: BTreeMap<String, Value>,
    listed: Option<Vec<String>>,
    writes: BTreeMap<String, Write>,
    calls: Vec<HostCall>,
    bodies: Vec<(usize, Body, Body)>,
    effects: Vec<EffectRecord>,
    log: Vec<LogLine>,
    clock: Vec<u64>,
    random: Vec<u8>,
    seed: Option<u128>,
    secrets: Vec<Vec<u8>>,
}

impl Recorded {
    /// Whether there is room for so many bytes more.
    fn takes(&mut self, bytes: usize, what: &'static str) -> bool {
        if bytes > self.room {
            *self.left_out.entry(what).or_default() += 1;
            return false;
        }
        self.room -= bytes;
        true
    }

    fn value(&mut self, value: Option<&[u8]>, what: &'static str) -> Value {
        match value {
            None => Value::Null,
            Some(bytes) if self.takes(bytes.len().min(super::value::MAX_VALUE), what) => {
                show_bytes(bytes)
            }
            Some(bytes) => show_cut(bytes),
        }
    }
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder(Mutex::new(Recorded {
            room: MAX_RECORD,
            ..Recorded::default()
        }))
    }
}

impl Recorder {
    /// The driver is asked now, on behalf of this engine, after it was had to do `first`.
    pub fn asked(&self, engine: &str, first: Option<Value>) {
        let mut recorded = self.0.lock();
        recorded.asked = Some(Instant::now());
        engine.clone_into(&mut recorded.engine);
        recorded.first = first;
    }

    /// The driver has come to its end.
    pub fn ran(&self) {
        let mut recorded = self.0.lock();
        recorded.ran = recorded.asked.map(|since| since.elapsed());
    }

    /// What the driver itself has answered.
    pub fn answered(&self, answer: Reply) {
        self.0.lock().answer = Some(answer);
    }

    /// A key of the state was read.
    pub fn read(&self, key: &str, value: Option<&[u8]>) {
        let mut recorded = self.0.lock();
        if recorded.reads.contains_key(key) {
            return;
        }
        if recorded.takes(key.len() + 16, "reads of keys") {
            let value = recorded.value(value, "values that were read");
            recorded.reads.insert(key.to_owned(), value);
        }
    }

    /// The keys of the state were listed.
    pub fn listed<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let mut recorded = self.0.lock();
        if recorded.listed.is_some() {
            return;
        }
        let keys: Vec<String> = keys.map(str::to_owned).collect();
        let bytes = keys.iter().map(|key| key.len() + 4).sum();
        if recorded.takes(bytes, "lists of keys") {
            recorded.listed = Some(keys);
        }
    }

    /// A key of the state was written or removed. `old` is what was there before the call.
    pub fn wrote(&self, key: &str, old: Option<&[u8]>, new: Option<&[u8]>) {
        let mut recorded = self.0.lock();
        let before = recorded.writes.get(key).map(|write| write.old.clone());
        let old = match before {
            Some(before) => before,
            None if recorded.takes(key.len() + 32, "writes of keys") => {
                recorded.value(old, "values that were overwritten")
            }
            None => return,
        };
        let new = recorded.value(new, "values that were written");
        recorded.writes.insert(key.to_owned(), Write { old, new });
    }

    /// The driver has called one of the host's interfaces.
    pub fn called(&self, mut call: HostCall) -> usize {
        let mut recorded = self.0.lock();
        let fit = |value: &mut Value, recorded: &mut Recorded| {
            let text = value.to_string();
            if !recorded.takes(text.len(), "arguments and results") {
                *value = show_cut(text.as_bytes());
            }
        };
        fit(&mut call.args, &mut recorded);
        fit(&mut call.result, &mut recorded);
        if recorded.takes(128, "calls of the host") {
            recorded.calls.push(call);
        }
        recorded.calls.len().saturating_sub(1)
    }

    /// The bodies of a request of `wasi:http`, which are read and written after the call of the host has returned.
    pub fn carries(&self, call: usize, request: Body, response: Body) {
        self.0.lock().bodies.push((call, request, response));
    }

    /// What came back for a call of the host that was recorded before its result was known.
    pub fn came_back(&self, call: usize, result: Value, took: Duration) {
        let mut recorded = self.0.lock();
        if let Some(call) = recorded.calls.get_mut(call) {
            call.result = result;
            call.micros = micros(took);
        }
    }

    /// The recording has no answer to a call of the host that was recorded before that was known.
    pub fn unanswered(&self, call: usize) {
        if let Some(call) = self.0.lock().calls.get_mut(call) {
            call.unanswered = true;
        }
    }

    /// What the call has done to the machine.
    pub fn changed(&self, effects: Vec<EffectRecord>) {
        self.0.lock().effects.extend(effects);
    }

    /// The driver has written a line.
    pub fn line(&self, level: Level, source: Source, text: &str) {
        let mut recorded = self.0.lock();
        if recorded.takes(text.len().min(MAX_LINE) + 16, "lines of the log") {
            recorded.log.push(LogLine {
                level: level.as_str().to_owned(),
                source: source.word().to_owned(),
                text: text.to_owned(),
            });
        }
    }

    /// The driver was told the time.
    pub fn told_time(&self, now: Duration) {
        let mut recorded = self.0.lock();
        if recorded.clock.len() < MAX_TIMES {
            recorded
                .clock
                .push(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        } else {
            *recorded.left_out.entry("times of the clock").or_default() += 1;
        }
    }

    /// The driver was given random bytes.
    pub fn gave_random(&self, bytes: &[u8]) {
        let mut recorded = self.0.lock();
        if recorded.random.len() + bytes.len() <= MAX_RANDOM {
            recorded.random.extend_from_slice(bytes);
        } else {
            *recorded.left_out.entry("random bytes").or_default() += bytes.len() as u64;
        }
    }

    /// The guest's seed.
    pub fn seeded(&self, seed: u128) {
        self.0.lock().seed = Some(seed);
    }

    /// Something that must not be shown has passed by.
    pub fn secret(&self, value: &[u8]) {
        self.0.lock().secrets.push(value.to_vec());
    }

    /// What was collected, and the secrets that passed by. None if the driver was not asked.
    pub fn finish(
        &self,
        outcome: Outcome,
        committed: bool,
        allowed: Duration,
    ) -> Option<(RunRecord, Vec<Vec<u8>>)> {
        let mut recorded = std::mem::take(&mut *self.0.lock());
        let asked = recorded.asked?;
        for (call, request, response) in std::mem::take(&mut recorded.bodies) {
            let Some(call) = recorded.calls.get_mut(call) else {
                continue;
            };
            let body = show_bytes(&request.lock());
            if let Some(head) = call.args.get_mut(0).and_then(Value::as_object_mut) {
                head.insert("body".to_owned(), body);
            }
            let body = show_bytes(&response.lock());
            if let Some(head) = call.result.get_mut("ok").and_then(Value::as_object_mut) {
                head.insert("body".to_owned(), body);
            }
        }
        let run = RunRecord {
            outcome,
            committed,
            micros: micros(recorded.ran.unwrap_or_else(|| asked.elapsed())),
            allowed_ms: u64::try_from(allowed.as_millis()).unwrap_or(u64::MAX),
            answer: recorded.answer,
            engine: recorded.engine,
            first: recorded.first,
            reads: recorded.reads,
            listed: recorded.listed,
            // A key that came and went within the call is no change.
            writes: recorded
                .writes
                .into_iter()
                .filter(|(_, write)| write.old != write.new || !write.new.is_null())
                .collect(),
            calls: recorded.calls,
            effects: recorded.effects,
            log: recorded.log,
            clock: recorded.clock,
            random: hex::encode(recorded.random),
            seed: recorded
                .seed
                .map(|seed| hex::encode(seed.to_be_bytes()))
                .unwrap_or_default(),
            left_out: recorded
                .left_out
                .into_iter()
                .map(|(what, count)| format!("{count} {what}"))
                .collect(),
        };
        Some((run, recorded.secrets))
    }
}

/// Arguments of a call that has no typed ones.
pub fn one_argument(value: Value) -> Value {
    json!([value])
}

/// Microseconds, as events have them.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
