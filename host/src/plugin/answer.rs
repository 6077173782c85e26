//! From a request's bytes to an answer's bytes, for one plugin.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard, oneshot};
use tracing::Level;

use super::log::CallLog;
use super::long::{Key, Waiter, Waiting, Work};
use super::{Counters, Plugin, Serving, Standing, Version};
use crate::call::{Attempt, Client, Fault, Outcome, Run, from_catalogue, mount_of, translate};
use crate::failpoint;
use crate::ledger::Health;
use crate::protocol::describe::Declaration;
use crate::protocol::{
    self, Answer, BadRequest, Call, Decoded, Handshake, Kind, Method, encode, encode_error,
    encode_plain_error, one_line, status_of, volume,
};
use crate::sandbox::bindings::types::{self, ErrorCode};
use crate::trace::{self, Origin, Trace};

/// How often a call that lost against another is run again, alone. The second time it can only lose against a swap.
const ATTEMPTS: usize = 8;

/// How long a call that has to run again waits to be alone.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a mount for which nobody waited is kept for the next try.
const ORPHANED: Duration = Duration::from_secs(300);

/// How a call ended, and whether the driver was asked.
struct Ended {
    outcome: Outcome,
    asked: bool,
}

/// Who calls, and under which key.
#[derive(Debug, Clone, Copy)]
struct Caller<'a> {
    client: &'a Client,
    key: &'a str,
    trace: &'a Trace,
}

/// The right to run, beside others or alone.
enum Turn<'a> {
    Together { _guard: RwLockReadGuard<'a, ()> },
    Alone { _guard: RwLockWriteGuard<'a, ()> },
}

/// What to do with the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Answer.
    Json {
        /// HTTP status.
        status: StatusCode,
        /// One JSON object.
        body: Vec<u8>,
    },
    /// Close the connection without a byte. The one answer to `VolumeDriver.Get` that does not make Docker forget the volume when
    /// nobody knows whether it exists.
    Close,
}

impl Reply {
    fn ok(body: Vec<u8>) -> Reply {
        Reply::Json {
            status: StatusCode::OK,
            body,
        }
    }

    /// In the words of events.
    fn traced(&self) -> trace::Reply {
        match self {
            Reply::Json { status, body } => trace::Reply::Answered {
                status: status.as_u16(),
                body: serde_json::from_slice(body).unwrap_or_default(),
            },
            Reply::Close => trace::Reply::Closed,
        }
    }

    fn is_ok(&self) -> bool {
        matches!(self, Reply::Json { status, .. } if status.is_success())
    }

    fn error(status: StatusCode, kind: Kind, text: &str) -> Reply {
        Reply::Json {
            status,
            body: encode_error(kind, text),
        }
    }
}

impl Plugin {
    /// Answers a request of `client`: `path` is what follows the slash, for example `VolumeDriver.Create`.
    pub async fn answer(self: &Arc<Self>, path: &str, body: &[u8], client: &Client) -> Reply {
        Counters::add(&self.counters.calls);
        let trace = self.begin(Origin::Engine, path, || trace::show_request(body));
        let reply = self.reply(path, body, client, &trace).await;
        trace.end_here(|| reply.traced());
        reply
    }

    /// A call begins, for whoever listens.
    pub(super) fn begin(
        &self,
        origin: Origin,
        method: &str,
        request: impl FnOnce() -> serde_json::Value,
    ) -> Trace {
        let description = || Some(self.version()?.driver.description().clone());
        self.tracer.begin(origin, method, description, request)
    }

    async fn reply(
        self: &Arc<Self>,
        path: &str,
        body: &[u8],
        client: &Client,
        trace: &Trace,
    ) -> Reply {
        if path == Handshake::PATH {
            return self.handshake();
        }
        let Some(method) = Method::parse(path) else {
            return Reply::Json {
                status: StatusCode::NOT_FOUND,
                body: encode_plain_error(&format!(
                    "Docker's plugin protocol has no method {}",
                    one_line(path, 100)
                )),
            };
        };
        let serving = match &*self.standing() {
            Standing::Serving(serving) => Arc::clone(serving),
            Standing::Blocked(reason) | Standing::Broken(reason) => {
                return self.without_driver(method, body, &in_a_line(reason), client);
            }
            Standing::Removed => {
                let reason = self.removed_text();
                return self.without_driver(method, body, &reason, client);
            }
        };
        let description = serving.version.driver.description();
        if !description.has(method.kind()) {
            return Reply::error(
                StatusCode::NOT_FOUND,
                method.kind(),
                &format!("plugin {} is no {}", self.name, method.kind().prefix()),
            );
        }
        let call = match protocol::decode(method, body) {
            Ok(Decoded::Call(call)) => call,
            Ok(Decoded::Constant) => {
                let description = serving.version.described();
                return Reply::ok(description.answer(method).unwrap_or_default());
            }
            Ok(Decoded::Answered(answer)) => return Reply::ok(encode(&answer)),
            Ok(Decoded::Refused(error)) => return self.refused(method, None, &error),
            Err(error) => return self.bad_request(method, &error),
        };
        let call = match self.check_options(&serving, call) {
            Ok(mut call) => {
                if let Call::Ipam(call) = &mut call {
                    call.asked_by(&client.engine.name());
                }
                call
            }
            Err(text) => {
                return Reply::error(StatusCode::INTERNAL_SERVER_ERROR, method.kind(), &text);
            }
        };
        let _ = failpoint::hit("decode.after");
        let allowed = serving.version.deadline(method);
        let long = serving
            .version
            .settings
            .limits
            .background
            .and_then(|limit| Some((limit, Key::of(method, &call, body)?)));
        let Some((limit, key)) = long else {
            return self
                .run_to_the_end(serving, method, call, client.clone(), allowed, trace)
                .await;
        };
        let mut rest = allowed;
        if let Ok(mut running) = self.long.enter(&key).map_err(drop) {
            let since = Instant::now();
            let Some(reply) = running.wait(allowed).await else {
                return self.still_working(method, &running, limit);
            };
            self.long.leave(&key, &running);
            // A mount has an ID of its own, which has to be counted too. It finds the volume mounted.
            if method != Method::VolumeMount || !reply.is_ok() {
                return reply;
            }
            rest = allowed.saturating_sub(since.elapsed());
        }
        let (done, mut work) = match self.long.enter(&key) {
            Err(begun) => begun,
            // Another one was quicker; the user's next try joins it.
            Ok(running) => return self.still_working(method, &running, limit),
        };
        let plugin = Arc::clone(self);
        let trace = trace.hand_over();
        let of = client.clone();
        let waiting = Waiting::default();
        let waiter = Waiter(waiting.clone());
        self.shared.guests.spawn(async move {
            let result = plugin
                .run(&serving, method, &call, &of, limit.max(allowed), &trace)
                .await;
            let reply = plugin.conclude(method, &call, &of, result);
            trace.end(|| reply.traced());
            let _ = failpoint::hit("answer.before");
            let mounted = method == Method::VolumeMount && reply.is_ok();
            let _ = done.send(Some(reply));
            if !waiting.answered() && mounted {
                // The engine counted the mount as failed. The next try finds it; if none comes, nobody uses it.
                tokio::time::sleep(ORPHANED).await;
                if let Call::Volume(volume::Call::Mount { name, id }) = &call {
                    plugin.undo_mount(name, id, &of).await;
                }
            }
        });
        let reply = match work.wait(rest).await {
            // The answer that came in the last instant counts as given: it has to be.
            None if !waiter.0.left() => work.wait(Duration::ZERO).await,
            reply => reply,
        };
        match reply {
            Some(reply) => {
                self.long.leave(&key, &work);
                reply
            }
            None => self.still_working(method, &work, limit),
        }
    }

    async fn run_to_the_end(
        self: &Arc<Self>,
        serving: Arc<Serving>,
        method: Method,
        call: Call,
        client: Client,
        allowed: Duration,
        trace: &Trace,
    ) -> Reply {
        let plugin = Arc::clone(self);
        let trace = trace.hand_over();
        let (answer, answered) = oneshot::channel();
        // A task of its own: a client that goes away ends neither the driver in the middle of its work nor, should the host have a fault, the
        // connection's task.
        self.shared.guests.spawn(async move {
            let result = plugin
                .run(&serving, method, &call, &client, allowed, &trace)
                .await;
            let reply = plugin.conclude(method, &call, &client, result);
            trace.end(|| reply.traced());
            let _ = failpoint::hit("answer.before");
            let mounted = method == Method::VolumeMount && reply.is_ok();
            if answer.send(reply).is_err()
                && mounted
                && let Call::Volume(volume::Call::Mount { name, id }) = &call
            {
                // The engine that went away counts the mount as failed and sends no unmount for it.
                plugin.undo_mount(name, id, &client).await;
            }
        });
        match answered.await {
            Ok(reply) => reply,
            Err(_) => {
                tracing::error!(
                    plugin = self.name,
                    method = method.path(),
                    "a call ended the task that ran it"
                );
                self.failed(
                    method,
                    None,
                    &Fault::Internal("the task of the call ended".into()),
                )
            }
        }
    }

    fn still_working(&self, method: Method, work: &Work, limit: Duration) -> Reply {
        Reply::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            method.kind(),
            &format!(
                "plugin {} is still working on this since {} s, and may for up to {} s: repeat the command to wait for it",
                self.name,
                work.began.elapsed().as_secs(),
                limit.as_secs()
            ),
        )
    }

    async fn undo_mount(self: &Arc<Self>, name: &str, id: &str, client: &Client) {
        let Standing::Serving(serving) = &*self.standing() else {
            return;
        };
        let call = Call::Volume(volume::Call::Unmount {
            name: name.to_owned(),
            id: id.to_owned(),
        });
        let allowed = serving.version.deadline(Method::VolumeUnmount);
        let path = Method::VolumeUnmount.path();
        let trace = self.begin(
            Origin::Hook,
            path,
            || serde_json::json!({ "Name": name, "ID": id }),
        );
        let undone = self
            .run(
                serving,
                Method::VolumeUnmount,
                &call,
                client,
                allowed,
                &trace,
            )
            .await;
        trace.end(|| match &undone {
            Ok(Outcome::Answer(_)) => trace::Reply::done(),
            Ok(Outcome::Refused(error)) => trace::Reply::failed(&error.message),
            Err(fault) => trace::Reply::failed(&fault.to_string()),
        });
        if let Err(fault) = undone {
            self.log.host(
                Level::WARN,
                &serving.version.label,
                &format!(
                    "the mount of volume {name:?}, for which nobody waited any more, stays: {fault}"
                ),
            );
        }
    }

    fn handshake(&self) -> Reply {
        let description = match &*self.standing() {
            Standing::Serving(serving) => Some(serving.version.driver.description().clone()),
            // Docker keeps what it knows of a plugin's volumes when the handshake fails, and asks again later. But if it may already have
            // volumes here, let it in: they are answered from the catalogue.
            _ if self.state.snapshot().volumes().next().is_some() => self.published(),
            _ => None,
        };
        match description {
            Some(description) => Reply::ok(Handshake::answer(&description)),
            None => Reply::Json {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                body: encode_plain_error(&self.standing_text()),
            },
        }
    }

    /// Why it does not serve, for people.
    pub fn standing_text(&self) -> String {
        match &*self.standing() {
            Standing::Serving(_) => format!("plugin {} serves", self.name),
            Standing::Blocked(reason) | Standing::Broken(reason) => {
                format!("plugin {}: {}", self.name, in_a_line(reason))
            }
            Standing::Removed => self.removed_text(),
        }
    }

    fn removed_text(&self) -> String {
        format!(
            "the driver of plugin {0} was removed; put it back into the drivers directory, or run `dockside forget {0}`",
            self.name
        )
    }

    fn check_options(&self, serving: &Serving, mut call: Call) -> Result<Call, String> {
        let declared = &serving.version.driver.description().options;
        if let Some((subject, options)) = call.options_mut() {
            let given = std::mem::take(options);
            for (name, value) in &given {
                let is_secret = |known: &&Declaration| known.parameter.name == *name;
                if declared
                    .iter()
                    .filter(is_secret)
                    .any(|known| known.parameter.secret)
                {
                    self.tracer.hide(value.as_bytes());
                }
            }
            *options = super::options::check(declared, subject, given)
                .map_err(|error| error.to_string())?;
        }
        Ok(call)
    }

    async fn run(
        &self,
        serving: &Arc<Serving>,
        method: Method,
        call: &Call,
        client: &Client,
        allowed: Duration,
        trace: &Trace,
    ) -> Result<Outcome, Fault> {
        let deadline = Instant::now() + allowed;
        let gate = self.gate.load_full();
        let _permit = gate.enter(deadline).await?;
        let key = self.shared.ledger.begin();
        let caller = Caller {
            client,
            key: key.as_str(),
            trace,
        };
        let mut blamed: Vec<Arc<Version>> = Vec::new();
        let mut serving = Arc::clone(serving);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (ran, result) = self.execute(&serving, method, call, caller, deadline).await;
            let fault = match result {
                Ok(Ended { outcome, asked }) => {
                    // What the host answers itself is no trial of the driver.
                    if asked {
                        ran.trial_call_went_well();
                    }
                    return Ok(outcome);
                }
                Err(fault) => fault,
            };
            // What ran out of time in the queue is no fault of the version's.
            let its_fault = match fault {
                Fault::Timeout(_) => left >= allowed / 2,
                _ => fault.blames_version(),
            };
            if !its_fault {
                return Err(fault);
            }
            let Some(next) = self.revert(&ran, &fault, deadline).await else {
                // It fails on every version, so it says nothing about the new ones.
                for version in &blamed {
                    self.acquit(version).await;
                }
                return Err(fault);
            };
            if Instant::now() >= deadline {
                return Err(fault);
            }
            Counters::add(&self.counters.rescued);
            blamed.push(Arc::clone(&ran.version));
            serving = next;
        }
    }

    /// Runs a call, again if it loses against another. Returns what it ran on last: a swap may have come between.
    async fn execute(
        &self,
        chosen: &Arc<Serving>,
        method: Method,
        call: &Call,
        caller: Caller<'_>,
        deadline: Instant,
    ) -> (Arc<Serving>, Result<Ended, Fault>) {
        let mut serving = Arc::clone(chosen);
        for attempt in 0..ATTEMPTS {
            let turn = match attempt {
                0 => self.turn_together(deadline).await,
                _ => self.turn_alone(deadline).await,
            };
            let _turn = match turn {
                Ok(turn) => turn,
                Err(fault) => return (serving, Err(fault)),
            };
            // The state may belong to another version by now.
            if let Standing::Serving(current) = &*self.standing() {
                serving = Arc::clone(current);
            }
            match self.attempt(&serving, method, call, caller, deadline).await {
                Ok(Attempt::Done(outcome, _)) => {
                    let asked = true;
                    return (serving, Ok(Ended { outcome, asked }));
                }
                Ok(Attempt::Spared(outcome)) => {
                    let asked = false;
                    return (serving, Ok(Ended { outcome, asked }));
                }
                Ok(Attempt::Conflict) => {
                    Counters::add(&self.counters.conflicts);
                }
                Err(fault) => return (serving, Err(fault)),
            }
        }
        let fault =
            Fault::Crowded("the plugin's state changed again and again while the call ran".into());
        (serving, Err(fault))
    }

    async fn turn_together(&self, deadline: Instant) -> Result<Turn<'_>, Fault> {
        match tokio::time::timeout_at(deadline.into(), self.turn.read()).await {
            Ok(turn) => Ok(Turn::Together { _guard: turn }),
            Err(_) => Err(Fault::Crowded(
                "another call of the same plugin had to run alone and took too long".into(),
            )),
        }
    }

    /// Alone if that can be had soon. A call that takes minutes must not keep all others of the plugin waiting behind this one.
    async fn turn_alone(&self, deadline: Instant) -> Result<Turn<'_>, Fault> {
        match tokio::time::timeout(PATIENCE, self.turn.write()).await {
            Ok(turn) => Ok(Turn::Alone { _guard: turn }),
            Err(_) => self.turn_together(deadline).await,
        }
    }

    async fn attempt(
        &self,
        serving: &Serving,
        method: Method,
        call: &Call,
        caller: Caller<'_>,
        deadline: Instant,
    ) -> Result<Attempt, Fault> {
        let version = &serving.version;
        let log = CallLog::new(
            &self.log,
            &version.label,
            method.path(),
            version.environment.log_bytes,
        );
        let log = Arc::new(log.watched(caller.trace.attempt(version, caller.client)));
        let run = Run {
            store: &self.shared.store,
            state: &self.state,
            version,
            log: &log,
            ledger: &self.shared.ledger,
            key: caller.key,
            client: caller.client,
            relays: &self.shared.relays,
            deadline,
            note: None,
            leash: None,
        };
        let result = run.attempt(call).await;
        if let Err(fault) = &result {
            self.report(&log, fault);
        }
        caller.trace.attempted(&result, version.deadline(method));
        result
    }

    /// One structured line for one fault, with everything that the author needs.
    fn report(&self, log: &CallLog, fault: &Fault) {
        Counters::add(&self.counters.faults);
        log.host(Level::ERROR, &fault.report());
    }

    fn conclude(
        &self,
        method: Method,
        call: &Call,
        client: &Client,
        result: Result<Outcome, Fault>,
    ) -> Reply {
        match result {
            Ok(Outcome::Answer(mut answer)) => {
                self.add_health(&mut answer);
                translate(&self.state, client, call, &mut answer);
                Reply::ok(encode(&answer))
            }
            Ok(Outcome::Refused(error)) => self.refused(method, Some((call, client)), &error),
            Err(fault) => self.failed(method, Some((call, client)), &fault),
        }
    }

    /// Says so in the status of a volume whose mount does not work.
    fn add_health(&self, answer: &mut Answer) {
        let Answer::Volume(volume) = answer else {
            return;
        };
        let Some(mount) = mount_of(&self.state, &volume.name) else {
            return;
        };
        let state = match self.shared.ledger.health(&self.name, &mount) {
            Some(Health::Degraded(reason)) => format!("degraded: {reason}"),
            Some(Health::Gone) => "degraded: it is not mounted any more".to_owned(),
            Some(Health::Alive) | None => return,
        };
        volume.status.push(("dockside".to_owned(), state));
    }

    /// The driver, or the host on its behalf, said no.
    fn refused(
        &self,
        method: Method,
        call: Option<(&Call, &Client)>,
        error: &types::Error,
    ) -> Reply {
        Counters::add(&self.counters.refused);
        if method == Method::VolumeGet && error.code != ErrorCode::NotFound {
            // The driver does not know, so the catalogue has to.
            return match call {
                Some(call) => self.look_up(call, &error.message),
                None => Reply::Close,
            };
        }
        Reply::error(status_of(error.code), method.kind(), &error.message)
    }

    fn failed(&self, method: Method, call: Option<(&Call, &Client)>, fault: &Fault) -> Reply {
        let text = format!("plugin {}: {fault}", self.name);
        match (method, call) {
            (Method::VolumeGet, Some(call)) => self.look_up(call, &text),
            (Method::VolumeGet, None) => Reply::Close,
            (Method::VolumeList | Method::VolumePath, Some(call)) => {
                self.catalogued(call, &text).unwrap_or_else(|| {
                    Reply::error(StatusCode::INTERNAL_SERVER_ERROR, method.kind(), &text)
                })
            }
            _ => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, method.kind(), &text),
        }
    }

    fn bad_request(&self, method: Method, error: &BadRequest) -> Reply {
        // A call without its body is Docker's second try after a cut connection. What it was about is lost, and any answer to this one makes
        // Docker forget a volume.
        if method == Method::VolumeGet {
            return Reply::Close;
        }
        Reply::error(StatusCode::BAD_REQUEST, method.kind(), &error.to_string())
    }

    fn without_driver(&self, method: Method, body: &[u8], reason: &str, client: &Client) -> Reply {
        let text = format!("plugin {}: {reason}", self.name);
        if let Some(answer) = self
            .published()
            .and_then(|published| published.answer(method))
        {
            return Reply::ok(answer);
        }
        match protocol::decode(method, body) {
            Ok(Decoded::Call(call)) => self.failed(
                method,
                Some((&call, client)),
                &Fault::Crowded(reason.to_owned()),
            ),
            Ok(Decoded::Refused(error)) if method == Method::VolumeGet => {
                self.refused(method, None, &error)
            }
            Ok(_) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, method.kind(), &text),
            Err(error) => self.bad_request(method, &error),
        }
    }

    /// Answers a `Get` that the driver did not answer.
    fn look_up(&self, call: (&Call, &Client), reason: &str) -> Reply {
        self.catalogued(call, reason).unwrap_or(Reply::Close)
    }

    fn catalogued(&self, (call, client): (&Call, &Client), reason: &str) -> Option<Reply> {
        let data = self.shared.store.directory();
        let mut answer = from_catalogue(&self.state, data, call, reason)?;
        translate(&self.state, client, call, &mut answer);
        Some(Reply::ok(encode(&answer)))
    }
}

/// A reason with a piece of TOML in it, for Docker and the log, which show one line.
pub(super) fn in_a_line(reason: &str) -> String {
    let lines: Vec<&str> = reason.lines().filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

impl Serving {
    fn trial_call_went_well(&self) {
        if let Some(trial) = &self.trial
            && trial.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            trial.undo.lock().clear();
            trial.previous.lock().take();
        }
    }
}
