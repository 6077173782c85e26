//! One call that somebody listens to, from its request to its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use wasmtime::component::ResourceTable;

use super::mask::{MASK, Mask, Secrets};
use super::{
    Begin, CallRecord, Earlier, Event, Note, Origin, Outcome, Probe, Recorder, Reply, RunRecord,
    Traced as _, Tracer, VersionId, micros,
};
use crate::call::{Attempt, Client, Fault, Outcome as Ended};
use crate::config::Value as ConfigValue;
use crate::plugin::Version;
use crate::protocol::Description;
use crate::sandbox::bindings::types::ErrorCode;

/// Where drivers read their settings.
const CONFIG: &str = "wasi:config/store";

/// A call, if somebody listens. Clones are the same call; it ends once.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<Heard>>);

#[derive(Debug)]
struct Heard {
    tracer: Arc<Tracer>,
    since: Instant,
    /// Names of options and arguments that the driver has declared secret.
    names: Vec<String>,
    is_handed_over: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    begin: Begin,
    ended: bool,
    attempts: u32,
    earlier: Vec<Earlier>,
    version: Option<VersionId>,
    running: Option<Arc<Recorder>>,
    run: Option<RunRecord>,
    secrets: Secrets,
}

impl Tracer {
    /// A call begins. `request` and `description` are asked for only if somebody listens.
    pub fn begin(
        self: &Arc<Self>,
        origin: Origin,
        method: &str,
        description: impl FnOnce() -> Option<Description>,
        request: impl FnOnce() -> Value,
    ) -> Trace {
        if !self.is_heard() {
            return Trace(None);
        }
        let names = description()
            .map(|description| secret_names(&description))
            .unwrap_or_default();
        let mut request = request();
        let mut mask = Mask::new(&names, self.secrets());
        mask.find(&mut request);
        mask.hide(&mut request);
        let secrets = mask.into_secrets();
        self.hide_all(&secrets);
        let begin = Begin {
            time: jiff::Timestamp::now().to_string(),
            plugin: self.plugin().to_owned(),
            call: hex::encode(rand::random::<[u8; 8]>()),
            origin,
            method: method.to_owned(),
            request,
        };
        self.send(&Event::Begin(begin.clone()));
        Trace(Some(Arc::new(Heard {
            tracer: Arc::clone(self),
            since: Instant::now(),
            names,
            is_handed_over: AtomicBool::new(false),
            state: Mutex::new(State {
                begin,
                ended: false,
                attempts: 0,
                earlier: Vec::new(),
                version: None,
                running: None,
                run: None,
                secrets,
            }),
        })))
    }

    /// Hides what is secret of a version's settings, from now on.
    pub fn hide_settings(&self, version: &Version) {
        self.hide_all(&known_secrets(version, &Client::default()));
    }

    /// Something happened that is no call.
    pub fn note(&self, level: &str, version: &str, text: &str) {
        if self.is_heard() {
            self.send(&Event::Note(Note {
                time: jiff::Timestamp::now().to_string(),
                plugin: self.plugin().to_owned(),
                level: level.to_owned(),
                version: version.to_owned(),
                text: self.secrets().hide(text),
            }));
        }
    }
}

impl Trace {
    /// A version is about to be asked. What is returned has to reach the driver's log.
    pub fn attempt(&self, version: &Version, client: &Client) -> Option<Probe> {
        let heard = self.0.as_ref()?;
        let known = known_secrets(version, client);
        let mut state = heard.state.lock();
        state.secrets.add_all(&known);
        state.settle();
        state.attempts += 1;
        state.version = Some(VersionId {
            label: version.label.to_string(),
            digest: version.driver.digest().to_owned(),
        });
        let recorder = Arc::new(Recorder::default());
        state.running = Some(Arc::clone(&recorder));
        Some(Probe {
            recorder,
            player: None,
        })
    }

    /// How it ended.
    pub fn attempted(&self, result: &Result<Attempt, Fault>, allowed: Duration) {
        let Some(heard) = &self.0 else {
            return;
        };
        let mut state = heard.state.lock();
        let Some(recorder) = state.running.take() else {
            return;
        };
        let outcome = outcome_of(result);
        let committed = outcome == Outcome::Done;
        let Some((mut run, secrets)) = recorder.finish(outcome, committed, allowed) else {
            return;
        };
        let mut mask = Mask::new(&heard.names, std::mem::take(&mut state.secrets));
        secrets.iter().for_each(|secret| mask.add(secret));
        hide_run(&mut mask, &mut run);
        state.secrets = mask.into_secrets();
        state.run = Some(run);
    }

    /// A task of its own sees the call through, and says when it [ends](Self::end), whoever waits for the answer till then.
    pub fn hand_over(&self) -> Trace {
        if let Some(heard) = &self.0 {
            heard.is_handed_over.store(true, Ordering::Relaxed);
        }
        self.clone()
    }

    /// The answer is there. A second one is not heard.
    pub fn end(&self, reply: impl FnOnce() -> Reply) {
        if let Some(heard) = &self.0 {
            heard.end(reply);
        }
    }

    /// As [`end`](Self::end), unless the call was [handed over](Self::hand_over).
    pub fn end_here(&self, reply: impl FnOnce() -> Reply) {
        if let Some(heard) = &self.0
            && !heard.is_handed_over.load(Ordering::Relaxed)
        {
            heard.end(reply);
        }
    }
}

impl Heard {
    fn end(&self, reply: impl FnOnce() -> Reply) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        let mut answer = reply();
        let mut mask = Mask::new(&self.names, std::mem::take(&mut state.secrets));
        hide_reply(&mut mask, &mut answer);
        let mut run = state.run.take();
        if let Some(run) = &mut run
            && run.answer.as_ref() == Some(&answer)
        {
            run.answer = None;
        }
        let record = CallRecord {
            begin: state.begin.clone(),
            version: state.version.take(),
            micros: micros(self.since.elapsed()),
            answer,
            attempts: state.attempts,
            earlier: std::mem::take(&mut state.earlier),
            run,
        };
        self.tracer.hide_all(&mask.into_secrets());
        self.tracer.send(&Event::End(Box::new(record)));
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.end(|| Reply::Lost);
    }
}

impl State {
    /// What ran before is no longer the last attempt.
    fn settle(&mut self) {
        if let (Some(run), Some(version)) = (self.run.take(), self.version.take()) {
            self.earlier.push(Earlier {
                version,
                outcome: run.outcome,
            });
        }
    }
}

/// How an attempt ended, in the words of events.
pub fn outcome_of(result: &Result<Attempt, Fault>) -> Outcome {
    match result {
        Ok(Attempt::Conflict) => Outcome::Conflict,
        Ok(Attempt::Done(Ended::Answer(_), _) | Attempt::Spared(Ended::Answer(_))) => Outcome::Done,
        Ok(Attempt::Done(Ended::Refused(error), _) | Attempt::Spared(Ended::Refused(error))) => {
            Outcome::Refused {
                code: code_of(error.code),
                message: error.message.clone(),
            }
        }
        Err(Fault::Abandoned) => Outcome::Abandoned,
        Err(fault) => Outcome::Fault {
            class: fault.class().to_owned(),
            text: fault.report(),
        },
    }
}

/// The name of a code in the WIT.
pub fn code_of(code: ErrorCode) -> String {
    let shown = code.show(&ResourceTable::new());
    shown.as_str().unwrap_or_default().to_owned()
}

/// Names of options and of arguments of verbs that the driver has declared secret.
pub fn secret_names(description: &Description) -> Vec<String> {
    let options = description.options.iter().map(|option| &option.parameter);
    let arguments = description.verbs.iter().flat_map(|verb| &verb.arguments);
    options
        .chain(arguments)
        .filter(|parameter| parameter.secret)
        .map(|parameter| parameter.name.clone())
        .collect()
}

/// What is secret of a version's settings and of what users have set: configuration that comes from files and variables, or whose key tells;
/// the operator's secrets; everything that users set and that could be a password.
pub(super) fn known_secrets(version: &Version, client: &Client) -> Secrets {
    let mut secrets = Secrets::default();
    let mask = Mask::new(&[], Secrets::default());
    for (key, value) in &version.environment.config {
        let literal = matches!(
            version.settings.config.get(key),
            Some(ConfigValue::Literal(_)) | None
        );
        // A key such as `password-secret` names one, and its value is the name.
        let is_name = version.settings.secrets.contains_key(value.as_str());
        if !is_name && (!literal || mask.tells(key)) {
            secrets.add(value.as_bytes());
        }
    }
    for value in client.settings.values() {
        let plain = value.starts_with('/')
            || value.parse::<f64>().is_ok()
            || matches!(value.as_str(), "true" | "false");
        if !plain {
            secrets.add(value.as_bytes());
        }
    }
    for source in version.settings.secrets.values() {
        if let Ok(value) = source.resolve() {
            secrets.add(&value);
        }
    }
    secrets
}

fn hide_reply(mask: &mut Mask<'_>, reply: &mut Reply) {
    if let Reply::Answered { body, .. } = reply {
        mask.find(body);
        mask.hide(body);
    }
}

/// Hides what is secret of everything that a driver has seen, done and said.
pub(super) fn hide_run(mask: &mut Mask<'_>, run: &mut RunRecord) {
    let text = |mask: &mut Mask<'_>, text: &mut String| {
        if let Some(found) = mask.find_in_text(text) {
            *text = found;
        }
    };
    // First everything that names give away, then that wherever it turns up.
    for (key, value) in &mut run.reads {
        find_in_state(mask, key, value);
    }
    for (key, write) in &mut run.writes {
        find_in_state(mask, key, &mut write.old);
        find_in_state(mask, key, &mut write.new);
    }
    for call in &mut run.calls {
        mask.find(&mut call.args);
        let telling = call.interface == CONFIG
            && matches!(call.args.get(0), Some(Value::String(key)) if mask.tells(key));
        match call.result.get_mut("ok") {
            Some(value @ Value::String(_)) if telling => {
                if let Value::String(text) = value {
                    mask.add(text.as_bytes());
                }
                *value = Value::from(MASK);
            }
            _ => mask.find(&mut call.result),
        }
        if call.interface.ends_with("/secrets") {
            hide_secret_itself(call);
        }
    }
    run.log
        .iter_mut()
        .for_each(|line| text(mask, &mut line.text));
    match &mut run.outcome {
        Outcome::Refused { message, .. } => text(mask, message),
        Outcome::Fault { text: told, .. } => text(mask, told),
        Outcome::Done | Outcome::Conflict | Outcome::Abandoned => {}
    }
    if let Some(answer) = &mut run.answer {
        hide_reply(mask, answer);
    }

    run.reads = std::mem::take(&mut run.reads)
        .into_iter()
        .map(|(key, mut value)| {
            mask.hide(&mut value);
            (mask.hide_text(&key), value)
        })
        .collect();
    run.writes = std::mem::take(&mut run.writes)
        .into_iter()
        .map(|(key, mut write)| {
            mask.hide(&mut write.old);
            mask.hide(&mut write.new);
            (mask.hide_text(&key), write)
        })
        .collect();
    for key in run.listed.iter_mut().flatten() {
        *key = mask.hide_text(key);
    }
    for call in &mut run.calls {
        // What the driver calls its settings is no secret.
        if call.interface != CONFIG {
            mask.hide(&mut call.args);
        }
        mask.hide(&mut call.result);
    }
    if let Some(first) = &mut run.first {
        mask.hide(first);
    }
    for effect in &mut run.effects {
        effect.what = mask.hide_text(&effect.what);
    }
    for line in &mut run.log {
        line.text = mask.hide_text(&line.text);
    }
    match &mut run.outcome {
        Outcome::Refused { message, .. } => *message = mask.hide_text(message),
        Outcome::Fault { text: told, .. } => *told = mask.hide_text(told),
        Outcome::Done | Outcome::Conflict | Outcome::Abandoned => {}
    }
}

/// What is kept by the host and what it reveals is secret as a whole, however short it is.
fn hide_secret_itself(call: &mut super::HostCall) {
    let hidden = || serde_json::json!({ "utf8": MASK });
    if call.function == "keep"
        && let Some(value) = call.args.get_mut(1)
    {
        *value = hidden();
    }
    if call.function.ends_with(".reveal")
        && let Some(value) = call.result.get_mut("ok")
    {
        *value = hidden();
    }
}

fn find_in_state(mask: &mut Mask<'_>, key: &str, value: &mut Value) {
    let name = key.rsplit(['/', ':']).next().unwrap_or(key);
    let is_json = value
        .get("utf8")
        .and_then(Value::as_str)
        .is_some_and(|text| text.trim_start().starts_with(['{', '[']));
    if mask.tells(name) && !is_json && !value.is_null() {
        if let Some(text) = value.get("utf8").and_then(Value::as_str) {
            mask.add(text.as_bytes());
        }
        *value = serde_json::json!({ "utf8": MASK });
    } else {
        mask.find(value);
    }
}
