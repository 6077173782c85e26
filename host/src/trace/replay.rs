//! Recorded calls against a version of a driver, in transactions that are thrown away. The machine and the store are out of reach: whatever a
//! call asks of the host is answered from the recording.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::call::{hide_run, outcome_of};
use super::mask::{MASK, Mask, Secrets};
use super::value::restore_bytes;
use super::{
    CallRecord, Compared, Difference, Ignore, Known, Origin, Outcome, Player, Probe, Recorder,
    Reply, RunRecord, call_of, compare, secret_names,
};
use crate::call::{Attempt, Fault, Outcome as Ended, invoke_all, reply_of};
use crate::plugin::log::CallLog;
use crate::plugin::options;
use crate::protocol::{self, Call, Decoded, Method, encode_error, lifecycle};
use crate::sandbox::invoke::{Failure, Invocation};
use crate::sandbox::{Driver, Instance, PluginEnvironment};
use crate::store::{PluginState, Quota, Transaction, Value as Bytes};

/// What a value stands for that the recording knows to be there and does not have. A driver that reads it is told nothing else about it.
const UNKNOWN: &[u8] = b"";

/// Plays recorded calls, one after another, to one version.
#[derive(Debug)]
pub struct Replay {
    driver: Arc<Driver>,
    environment: Arc<PluginEnvironment>,
    ignore: Ignore,
    known: Arc<Known>,
    state: BTreeMap<String, Value>,
}

/// One call, replayed.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Replayed {
    /// Its name in the recording.
    pub call: String,
    /// When it was recorded.
    pub time: String,
    /// Docker's method, or what was called.
    pub method: String,
    /// What it was about: a name, an ID.
    pub about: String,
    /// What came of it.
    pub result: Compared,
    /// Microseconds that the driver ran when it was recorded, and now.
    pub micros: (u64, u64),
}

impl Replayed {
    /// The differences; none if it was the same or was not run.
    pub fn differences(&self) -> &[Difference] {
        match &self.result {
            Compared::Differs(differences) => differences,
            Compared::Same | Compared::Skipped(_) => &[],
        }
    }

    /// Whether the version fails where the recorded one did not, beyond doubt.
    pub fn fails(&self) -> bool {
        let differences = self.differences();
        let doubtful = |difference: &Difference| matches!(difference, Difference::Unrecorded(_));
        differences.iter().any(Difference::is_failure) && !differences.iter().any(doubtful)
    }
}

/// The environment of a driver that is only replayed: nothing is granted, because nothing is asked for in earnest.
pub fn environment(plugin: &str, memory: u64) -> PluginEnvironment {
    PluginEnvironment {
        plugin: plugin.to_owned(),
        stem: plugin.to_owned(),
        settings: Arc::default(),
        config: BTreeMap::new(),
        quota: Quota::default(),
        directories: None,
        http: None,
        blobs: Default::default(),
        memory,
        log_bytes: 1 << 20,
    }
}

/// What a replayed call came to, with what it read that nobody knows.
struct Ran {
    run: RunRecord,
    unknown: Vec<String>,
}

impl Replay {
    /// Plays to `driver`, which reads `config` where the recording does not say what was read.
    pub fn new(
        driver: Arc<Driver>,
        environment: PluginEnvironment,
        config: BTreeMap<String, String>,
        ignore: Ignore,
    ) -> Replay {
        Replay {
            driver,
            environment: Arc::new(environment),
            ignore,
            known: Arc::new(Known::new(config)),
            state: BTreeMap::new(),
        }
    }

    /// Plays the next call of the recording.
    ///
    /// What is not done by `until` is skipped.
    pub async fn play(&mut self, record: &CallRecord, until: Option<Instant>) -> Replayed {
        let mut replayed = Replayed {
            call: record.begin.call.clone(),
            time: record.begin.time.clone(),
            method: record.begin.method.clone(),
            about: about(&record.begin.request),
            result: Compared::Same,
            micros: (0, 0),
        };
        let Some(recorded) = &record.run else {
            replayed.result = Compared::Skipped("the host answered without the driver".to_owned());
            return replayed;
        };
        self.learn(recorded);
        let answer = recorded.answer.as_ref().unwrap_or(&record.answer);
        replayed.result = match self.run(record, recorded, until).await {
            Ok(Ran { run, unknown }) => {
                replayed.micros = (recorded.micros, run.micros);
                compare(recorded, answer, &run, unknown, &self.ignore)
            }
            Err(reason) => Compared::Skipped(reason),
        };
        self.remember(recorded);
        replayed
    }

    /// What the state was before this call, as far as it saw it.
    fn learn(&mut self, run: &RunRecord) {
        if let Some(listed) = &run.listed {
            let listed: BTreeSet<&String> = listed.iter().collect();
            self.state.retain(|key, _| listed.contains(key));
        }
        for (key, value) in &run.reads {
            self.state.insert(key.clone(), value.clone());
        }
        for (key, write) in &run.writes {
            self.state
                .entry(key.clone())
                .or_insert_with(|| write.old.clone());
        }
        Arc::make_mut(&mut self.known).learn(run);
    }

    /// What the state is behind this call.
    fn remember(&mut self, run: &RunRecord) {
        if run.committed {
            for (key, write) in &run.writes {
                self.state.insert(key.clone(), write.new.clone());
            }
        }
    }

    async fn run(
        &self,
        record: &CallRecord,
        recorded: &RunRecord,
        until: Option<Instant>,
    ) -> Result<Ran, String> {
        match &recorded.outcome {
            Outcome::Conflict | Outcome::Abandoned => {
                return Err("it was ended in the middle when it was recorded".to_owned());
            }
            Outcome::Fault { class, .. }
                if matches!(class.as_str(), "crowded" | "store" | "internal") =>
            {
                return Err("the host failed when it was recorded".to_owned());
            }
            _ => {}
        }
        let call = match self.call(record, recorded)? {
            Ok(call) => call,
            // The host refuses it on the driver's behalf.
            Err(answer) => {
                let run = RunRecord {
                    answer: Some(answer),
                    outcome: Outcome::Refused {
                        code: "invalid-argument".to_owned(),
                        message: String::new(),
                    },
                    ..RunRecord::empty()
                };
                let unknown = Vec::new();
                return Ok(Ran { run, unknown });
            }
        };
        let first = match &recorded.first {
            Some(request) => {
                let body = request.to_string();
                match protocol::decode(Method::VolumeUnmount, body.as_bytes()) {
                    Ok(Decoded::Call(call)) => Some(call),
                    _ => return Err("the unmount that went before it cannot be read".to_owned()),
                }
            }
            None => None,
        };
        let began = record.begin.time.parse::<jiff::Timestamp>();
        let began = began.map_or(Duration::ZERO, |time| {
            Duration::from_nanos(u64::try_from(time.as_nanosecond()).unwrap_or(0))
        });
        let allowed = Duration::from_millis(recorded.allowed_ms.max(1));
        let own = Instant::now() + allowed;
        let deadline = until.map_or(own, |until| own.min(until));
        let player = Arc::new(Player::new(recorded, Arc::clone(&self.known), began));
        let recorder = Arc::new(Recorder::default());
        let mut transaction = self.transaction(recorded);
        let mut unknown = BTreeSet::new();
        if let Some(from) = self.migrates(record) {
            let migrating = Arc::new(Recorder::default());
            migrating.asked("", None);
            transaction.watched_by(Some(Arc::clone(&migrating)));
            let call = Call::Lifecycle(lifecycle::Call::Migrate { from });
            let probe = Probe {
                recorder: Arc::clone(&migrating),
                player: Some(Arc::clone(&player)),
            };
            let (ran, left) = self.invoke(transaction, None, &call, probe, deadline).await;
            let Some(left) = left.filter(|_| matches!(ran, Ok(Ok(_)))) else {
                let why = match ran {
                    Ok(Err(Failure::Driver(error))) => error.message,
                    Ok(Err(Failure::Malformed(reason))) => reason,
                    Err(fault) => fault.to_string(),
                    Ok(Ok(_)) => "its transaction is gone".to_owned(),
                };
                return Err(format!(
                    "the version did not migrate the little of the state that is recorded: {why}"
                ));
            };
            transaction = left;
            if let Some((run, _)) = migrating.finish(Outcome::Done, false, allowed) {
                unknown.extend(self.unknown_of(&run, recorded));
            }
        }
        recorder.asked(&recorded.engine, None);
        transaction.watched_by(Some(Arc::clone(&recorder)));
        let probe = Probe {
            recorder: Arc::clone(&recorder),
            player: Some(player),
        };
        let (ran, _) = self
            .invoke(transaction, first.as_ref(), &call, probe, deadline)
            .await;
        recorder.ran();
        let result = match ran {
            Ok(invocation) => {
                recorder.answered(reply_of(&call, &invocation));
                match invocation {
                    Ok(answer) => Ok(Attempt::Done(Ended::Answer(answer), Vec::new())),
                    Err(Failure::Driver(error)) => {
                        Ok(Attempt::Done(Ended::Refused(error), Vec::new()))
                    }
                    Err(Failure::Malformed(reason)) => Err(Fault::Malformed(reason)),
                }
            }
            Err(Fault::Timeout(_)) if deadline < own => {
                return Err("there was no more time for it".to_owned());
            }
            Err(fault) => Err(fault),
        };
        let outcome = outcome_of(&result);
        let committed = outcome == Outcome::Done;
        let Some((mut run, secrets)) = recorder.finish(outcome, committed, allowed) else {
            return Err("the driver was not asked".to_owned());
        };
        unknown.extend(self.unknown_of(&run, recorded));
        let names = secret_names(self.driver.description());
        let mut mask = Mask::new(&names, Secrets::default());
        secrets.iter().for_each(|secret| mask.add(secret));
        hide_run(&mut mask, &mut run);
        let unknown = unknown.into_iter().collect();
        Ok(Ran { run, unknown })
    }

    /// Makes a call in an instance of its own. What is left of the transaction is for the next one.
    async fn invoke(
        &self,
        transaction: Transaction,
        first: Option<&Call>,
        call: &Call,
        probe: Probe,
        deadline: Instant,
    ) -> (Result<Invocation, Fault>, Option<Transaction>) {
        let log = Arc::new(CallLog::discard().watched(Some(probe)));
        let work = async {
            let settings = Arc::default();
            let instance = Instance::new(
                &self.driver,
                &self.environment,
                &settings,
                Arc::clone(&log),
                deadline,
            );
            let mut instance = match instance.await {
                Ok(instance) => instance,
                Err(error) => return (Err(Fault::from_wasm(&error, None, log.finish())), None),
            };
            let context = instance.store.data_mut();
            context.transaction = Some(transaction);
            context.of_engine = call.method().is_some();
            let ran = invoke_all(&mut instance, first, call).await;
            let context = instance.store.data_mut();
            let left = context.transaction.take();
            let words = log.finish();
            match ran {
                Ok(invocation) => (Ok(invocation), left),
                Err(error) => {
                    let fault = Fault::from_wasm(&error, Some(&context.limits), words);
                    (Err(fault), None)
                }
            }
        };
        let since = Instant::now();
        let (ran, left) = match tokio::time::timeout_at(deadline.into(), work).await {
            Ok(done) => done,
            Err(_) => (Err(Fault::Timeout(since.elapsed())), None),
        };
        let ran = ran.map_err(|fault| match fault {
            Fault::Timeout(_) => Fault::Timeout(since.elapsed()),
            fault => fault,
        });
        (ran, left)
    }

    /// The version before, if the state that was recorded was written by another version than the one that is played to, and that one migrates.
    fn migrates(&self, record: &CallRecord) -> Option<String> {
        let version = record.version.as_ref()?;
        let other = version.digest != self.driver.digest() && self.driver.has_lifecycle();
        (other && record.begin.method != "lifecycle.migrate").then(|| version.label.clone())
    }

    /// A transaction over the state as the recording knows it.
    fn transaction(&self, recorded: &RunRecord) -> Transaction {
        let mut keys: BTreeMap<String, Bytes> = self
            .state
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| {
                let bytes = restore_bytes(value).unwrap_or_else(|| UNKNOWN.to_vec());
                (key.clone(), Bytes::from(bytes))
            })
            .collect();
        for key in recorded.listed.iter().flatten() {
            keys.entry(key.clone())
                .or_insert_with(|| Bytes::from(UNKNOWN));
        }
        let state = PluginState::apart(&self.environment.plugin, keys);
        Transaction::new(Arc::new(state), self.environment.quota)
    }

    /// What a run read that the recording does not know.
    fn unknown_of(&self, run: &RunRecord, recorded: &RunRecord) -> Vec<String> {
        let is_known = |key: &String| match self.state.get(key) {
            Some(Value::Null) => true,
            Some(value) => restore_bytes(value).is_some(),
            None => recorded
                .listed
                .as_ref()
                .is_some_and(|listed| !listed.contains(key)),
        };
        let keys = run.reads.keys().filter(|key| !is_known(key));
        let mut unknown: Vec<String> = keys
            .map(|key| format!("key {:?}", protocol::one_line(key, 100)))
            .collect();
        if run.listed.is_some() && recorded.listed.is_none() {
            unknown.push("the list of all keys".to_owned());
        }
        let asked = run.calls.iter().filter(|call| {
            call.unanswered && super::only_tells(&call.interface, &call.function, &call.args)
        });
        unknown.extend(asked.map(|call| {
            format!(
                "{}.{}{}",
                call.interface,
                call.function,
                protocol::one_line(&call.args.to_string(), 100)
            )
        }));
        unknown
    }

    /// The call as this version would get it; or the host's refusal in its place.
    fn call(
        &self,
        record: &CallRecord,
        recorded: &RunRecord,
    ) -> Result<Result<Call, Reply>, String> {
        let begin = &record.begin;
        if super::value::is_cut(&begin.request) {
            return Err("its request was too long to be recorded".to_owned());
        }
        let description = self.driver.description();
        let Some(method) = Method::parse(&begin.method) else {
            let call = call_of(&begin.method, &begin.request)
                .ok_or_else(|| format!("this dockside has no call {}", begin.method))?;
            if begin.origin == Origin::Verb
                && let Call::Lifecycle(lifecycle::Call::Run { verb, .. }) = &call
                && !description.verbs.iter().any(|known| known.name == *verb)
            {
                return Ok(Err(Reply::failed("its driver has no such verb")));
            }
            let misses = match &call {
                Call::Lifecycle(
                    lifecycle::Call::Migrate { .. } | lifecycle::Call::Start { .. },
                ) => !self.driver.has_lifecycle(),
                Call::Lifecycle(lifecycle::Call::Reconcile { .. }) => !self.driver.has_reconcile(),
                Call::Lifecycle(lifecycle::Call::Compensate { .. }) => {
                    !self.driver.has_settlement()
                }
                Call::Lifecycle(lifecycle::Call::Tick { schedule }) => !description
                    .schedules
                    .iter()
                    .any(|known| known.name == *schedule),
                _ => false,
            };
            if misses {
                return Err("the version does not take part in this, and is not asked".to_owned());
            }
            return Ok(Ok(call));
        };
        if !description.has(method.kind()) {
            let text = format!("it is no {}", method.kind().prefix());
            return Ok(Err(Reply::Answered {
                status: 404,
                body: serde_json::from_slice(&encode_error(method.kind(), &text))
                    .unwrap_or_default(),
            }));
        }
        let body = match &begin.request {
            Value::Null => Vec::new(),
            request => request.to_string().into_bytes(),
        };
        let mut call = match protocol::decode(method, &body) {
            Ok(Decoded::Call(call)) => call,
            Ok(_) => return Err("the host answers it without the driver".to_owned()),
            Err(error) => return Err(format!("its request cannot be read: {error}")),
        };
        let hidden = begin.request.to_string().contains(MASK);
        if let Some((subject, options)) = call.options_mut() {
            let given = std::mem::take(options);
            match options::check(&description.options, subject, given.clone()) {
                Ok(complete) => *options = complete,
                // What is hidden need not look like a number.
                Err(_) if hidden => *options = given,
                Err(error) => {
                    let body = encode_error(method.kind(), &error.to_string());
                    return Ok(Err(Reply::Answered {
                        status: 500,
                        body: serde_json::from_slice(&body).unwrap_or_default(),
                    }));
                }
            }
        }
        if let Call::Ipam(call) = &mut call {
            call.asked_by(&recorded.engine);
        }
        Ok(Ok(call))
    }
}

fn about(request: &Value) -> String {
    const NAMES: [&str; 8] = [
        "Name",
        "NetworkID",
        "PoolID",
        "Pool",
        "RequestURI",
        "RequestUri",
        "verb",
        "schedule",
    ];
    let found = NAMES.iter().find_map(|name| request.get(*name)?.as_str());
    protocol::one_line(found.unwrap_or_default(), 80)
}
