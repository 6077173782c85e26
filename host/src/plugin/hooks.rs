//! Calls that the host makes of itself: a driver's own life, its timers, what was found on the machine, what has to be settled elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Level;

use super::log::CallLog;
use super::swap::LIFECYCLE_DEADLINE;
use super::{Plugin, Version};
use crate::call::{Attempt, Client, Fault, Leash, Outcome, Run};
use crate::ledger::{self, Kind};
use crate::protocol::{Call, lifecycle};
use crate::store::{Note, UndoKey};
use crate::trace::{self, Origin, Trace};

/// How long a call of the host's own may take.
const HOOK_DEADLINE: Duration = Duration::from_secs(60);

/// How often a call of the host's own is run again that loses against others.
pub(super) const ATTEMPTS: usize = 16;

/// How a call of the host's own runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook<'a> {
    /// When it has to be over.
    pub(super) deadline: Instant,
    /// See [`Run::note`].
    pub(super) note: Option<(&'a str, &'a str)>,
    /// See [`Run::leash`].
    pub(super) leash: Option<&'a Leash>,
}

impl Plugin {
    /// Tells the driver that it begins to serve, and before that what the host found on the machine. A failure is reported and changes
    /// nothing.
    pub async fn start(&self, reason: lifecycle::StartReason) {
        let Some(version) = self.version() else {
            return;
        };
        self.tell(&version).await;
        if version.driver.has_lifecycle() {
            let call = lifecycle::Call::Start { reason };
            let _ = self.reported(&version, call, LIFECYCLE_DEADLINE).await;
        }
    }

    /// Tells the driver what the host found on the machine, if there is anything.
    pub async fn tell(&self, version: &Version) {
        let facts = self.shared.ledger.news(&self.name);
        if facts.is_empty() {
            return;
        }
        if version.driver.has_reconcile() {
            let told = facts.iter().filter_map(to_guest).collect();
            let call = lifecycle::Call::Reconcile { facts: told };
            if !self.reported(version, call, HOOK_DEADLINE).await {
                // At the next occasion.
                self.shared.ledger.tell(&self.name, facts);
                return;
            }
        }
        if let Err(error) = self.shared.ledger.told(&self.name).await {
            tracing::warn!(plugin = self.name, %error, "what the plugin was told is told once more after the next start");
        }
    }

    /// Runs one of the driver's schedules. A failure is reported, and the next time is another chance.
    pub async fn tick(&self, schedule: &str) {
        let Some(version) = self.version() else {
            return;
        };
        let call = lifecycle::Call::Tick {
            schedule: schedule.to_owned(),
        };
        let _ = self
            .reported(&version, call, version.settings.limits.timers)
            .await;
    }

    /// Lets the driver settle what a failed call left elsewhere. Says whether it did.
    pub async fn compensate(&self, note: &Note) -> bool {
        let Some(version) = self.version() else {
            return false;
        };
        if !version.driver.has_settlement() {
            self.log.host(
                Level::WARN,
                &version.label,
                "a call failed after it had noted what would settle it, and the driver exports no dockside:driver/settlement: look into it by hand",
            );
            return true;
        }
        let call = lifecycle::Call::Compensate {
            call: note.call.clone(),
            note: note.note.clone(),
        };
        self.reported(&version, call, HOOK_DEADLINE).await
    }

    async fn reported(&self, version: &Version, call: lifecycle::Call, allowed: Duration) -> bool {
        let call = Call::Lifecycle(call);
        match self.hook(version, &call, allowed, None).await {
            Ok(_) => true,
            Err(error) => {
                let text = format!("{} failed: {error}", call.function());
                self.log.host(Level::ERROR, &version.label, &text);
                false
            }
        }
    }

    /// Runs a call of the host's own, with a note to be committed with it.
    pub(super) async fn hook(
        &self,
        version: &Version,
        call: &Call,
        allowed: Duration,
        note: Option<(&str, &str)>,
    ) -> Result<Vec<UndoKey>, String> {
        let hook = Hook {
            deadline: Instant::now() + allowed,
            note,
            leash: None,
        };
        let origin = match call {
            Call::Lifecycle(lifecycle::Call::Tick { .. }) => Origin::Timer,
            _ => Origin::Hook,
        };
        let trace = self.begin(origin, call.function(), || trace::request_of(call));
        let result = self.hook_again(version, call, hook, &trace).await;
        trace.end(|| match &result {
            Ok(_) => trace::Reply::done(),
            Err(error) => trace::Reply::failed(error),
        });
        result
    }

    async fn hook_again(
        &self,
        version: &Version,
        call: &Call,
        hook: Hook<'_>,
        trace: &Trace,
    ) -> Result<Vec<UndoKey>, String> {
        let key = self.shared.ledger.begin();
        for _ in 0..ATTEMPTS {
            match self
                .hook_once(version, call, key.as_str(), hook, trace)
                .await
            {
                Ok(Attempt::Done(Outcome::Answer(_), undo)) => return Ok(undo),
                Ok(
                    Attempt::Done(Outcome::Refused(error), _)
                    | Attempt::Spared(Outcome::Refused(error)),
                ) => {
                    return Err(error.message);
                }
                Ok(Attempt::Spared(Outcome::Answer(_))) => return Ok(Vec::new()),
                Ok(Attempt::Conflict) => {}
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Err("the plugin's state changed again and again while it ran".to_owned())
    }

    /// Runs a call of the host's own once.
    pub(super) async fn hook_once(
        &self,
        version: &Version,
        call: &Call,
        key: &str,
        hook: Hook<'_>,
        trace: &Trace,
    ) -> Result<Attempt, Fault> {
        let client = Client {
            settings: self.shared.relays.settings(&self.name).unwrap_or_default(),
            ..Client::default()
        };
        let log = CallLog::new(
            &self.log,
            &version.label,
            call.function(),
            version.environment.log_bytes,
        );
        let log = Arc::new(log.watched(trace.attempt(version, &client)));
        let allowed = hook.deadline.saturating_duration_since(Instant::now());
        let run = Run {
            store: &self.shared.store,
            state: &self.state,
            version,
            log: &log,
            ledger: &self.shared.ledger,
            key,
            client: &client,
            relays: &self.shared.relays,
            deadline: hook.deadline,
            note: hook.note,
            leash: hook.leash,
        };
        let result = run.attempt(call).await;
        trace.attempted(&result, allowed);
        result
    }
}

fn to_guest(fact: &ledger::Fact) -> Option<lifecycle::Fact> {
    Some(lifecycle::Fact {
        subject: match fact.kind {
            Kind::Mount => lifecycle::Subject::Mount,
            Kind::Image => lifecycle::Subject::Image,
            Kind::Link => lifecycle::Subject::Link,
            Kind::Rules => lifecycle::Subject::Rules,
            // Nothing that happens to the machine takes one.
            Kind::Secret => return None,
            Kind::Path => lifecycle::Subject::Directory,
            Kind::Relay => return None,
        },
        key: fact.key.clone(),
        fate: match fact.fate {
            ledger::Fate::Rebooted => lifecycle::Fate::Rebooted,
            ledger::Fate::Removed => lifecycle::Fate::Removed,
            ledger::Fate::Degraded => lifecycle::Fate::Degraded,
        },
    })
}
