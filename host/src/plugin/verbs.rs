//! What an operator asks of a driver beside Docker's methods.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use tracing::Level;

use super::hooks::{ATTEMPTS, Hook};
use super::options::{check_arguments, check_default};
use super::{Counters, Plugin, Standing, Version};
use crate::call::{Attempt, Fault, Leash, Outcome};
use crate::config::unknown;
use crate::protocol::describe::{Parameter, Verb};
use crate::protocol::{Answer, Call, KeyValue, error_text, lifecycle, one_line};
use crate::trace::{self, Origin, Trace};

/// How many verbs of one plugin run at once.
pub(super) const AT_ONCE: usize = 8;

/// How many verbs a driver may have, and how many arguments a verb.
const MOST: usize = 100;

/// Bytes of a name.
const MAX_NAME: usize = 64;

/// Why a verb gave no answer. The texts are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerbError {
    /// What was asked for makes no sense. Nothing was done.
    #[error("{0}")]
    Usage(String),
    /// It could not be done. Nothing of it remains.
    #[error("{0}")]
    Failed(String),
}

/// Whether what a driver says of its verbs can be used.
///
/// # Errors
/// One sentence about the first thing that cannot.
pub fn check_declared(verbs: &[Verb]) -> Result<(), String> {
    if verbs.len() > MOST {
        return Err(format!("it has {} verbs: {MOST} are enough", verbs.len()));
    }
    let named = |name: &str, fits: fn(u8) -> bool| {
        (1..=MAX_NAME).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(fits)
    };
    let mut seen = HashSet::new();
    for verb in verbs {
        let shown = one_line(&format!("{:?}", verb.name), 100);
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !named(&verb.name, fits) {
            return Err(format!(
                "the verb {shown} has no proper name: 1 to {MAX_NAME} lower-case letters, digits and -"
            ));
        }
        if !seen.insert(&verb.name) {
            return Err(format!("it has the verb {shown} twice"));
        }
        if verb.arguments.len() > MOST {
            let count = verb.arguments.len();
            return Err(format!(
                "the verb {shown} has {count} arguments: {MOST} are enough"
            ));
        }
        let mut arguments = HashSet::new();
        for argument in &verb.arguments {
            let name = one_line(&format!("{:?}", argument.name), 100);
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if !named(&argument.name, fits) {
                return Err(format!(
                    "the argument {name} of the verb {shown} has no proper name: 1 to {MAX_NAME} letters, digits and - _ ."
                ));
            }
            if !arguments.insert(&argument.name) {
                return Err(format!("the verb {shown} has the argument {name} twice"));
            }
            check_default(argument)
                .map_err(|error| format!("the default of the verb {shown} is wrong: {error}"))?;
        }
    }
    Ok(())
}

impl Plugin {
    /// Runs a verb of the driver's as one call, until it ends or the other end of `leash` is dropped. Returns the answer as JSON text.
    ///
    /// # Errors
    /// See [`VerbError`].
    pub async fn run_verb(
        self: &Arc<Self>,
        verb: &str,
        arguments: Vec<KeyValue>,
        leash: Leash,
    ) -> Result<String, VerbError> {
        let version = self.serving_version()?;
        let call = self.verb_call(&version, verb, arguments.clone())?;
        let allowed = version.settings.limits.run;
        let deadline = Instant::now() + allowed;
        let failed = |text: String| VerbError::Failed(format!("plugin {}: {text}", self.name));
        let one = Arc::clone(&self.verbs).try_acquire_owned().map_err(|_| {
            failed(format!(
                "{AT_ONCE} verbs are running already: wait for one to end"
            ))
        })?;
        let of_all = Arc::clone(&self.shared.calls).acquire_owned();
        let Ok(Ok(of_all)) = tokio::time::timeout_at(deadline.into(), of_all).await else {
            let text = "the daemon was too busy to run this verb in time (limits.max-calls in dockside.toml)";
            return Err(failed(text.to_owned()));
        };
        let plugin = Arc::clone(self);
        let verb = verb.to_owned();
        // A task of its own: it has to come to its end, by the leash at least, when nobody waits for it any more.
        let task = self.shared.guests.spawn(async move {
            let _permits = (one, of_all);
            let trace = plugin.begin(Origin::Verb, call.function(), || trace::request_of(&call));
            let first = (version, call);
            let result = plugin
                .attempt_verb(first, &verb, arguments, deadline, &leash, &trace)
                .await;
            trace.end(|| match &result {
                Ok(text) => trace::Reply::Answered {
                    status: 200,
                    body: serde_json::from_str(text).unwrap_or_default(),
                },
                Err(error) => trace::Reply::failed(&error.to_string()),
            });
            result
        });
        match task.await {
            Ok(result) => result,
            Err(_) => Err(failed(
                Fault::Internal("the task of the verb ended".to_owned()).to_string(),
            )),
        }
    }

    async fn attempt_verb(
        &self,
        first: (Arc<Version>, Call),
        verb: &str,
        arguments: Vec<KeyValue>,
        deadline: Instant,
        leash: &Leash,
        trace: &Trace,
    ) -> Result<String, VerbError> {
        let key = self.shared.ledger.begin();
        let hook = Hook {
            deadline,
            note: None,
            leash: Some(leash),
        };
        let (mut version, mut call) = first;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // A swap may have come between.
                version = self.serving_version()?;
                call = self.verb_call(&version, verb, arguments.clone())?;
            }
            let text = match self
                .hook_once(&version, &call, key.as_str(), hook, trace)
                .await
            {
                Ok(Attempt::Conflict) => continue,
                Ok(
                    Attempt::Done(Outcome::Answer(Answer::Json(text)), _)
                    | Attempt::Spared(Outcome::Answer(Answer::Json(text))),
                ) => return Ok(text),
                // No verb has another answer.
                Ok(Attempt::Done(Outcome::Answer(_), _) | Attempt::Spared(Outcome::Answer(_))) => {
                    return Ok("null".to_owned());
                }
                Ok(
                    Attempt::Done(Outcome::Refused(error), _)
                    | Attempt::Spared(Outcome::Refused(error)),
                ) => {
                    return Err(VerbError::Failed(error_text(&error.message)));
                }
                Err(fault) => {
                    let text = format!("the verb {verb} ended with {}", fault.report());
                    let level = match fault {
                        Fault::Abandoned => Level::INFO,
                        _ => Level::ERROR,
                    };
                    self.log.host(level, &version.label, &text);
                    if fault.blames_version() {
                        Counters::add(&self.counters.faults);
                    }
                    fault.to_string()
                }
            };
            return Err(VerbError::Failed(format!("plugin {}: {text}", self.name)));
        }
        Err(VerbError::Failed(format!(
            "plugin {}: its state changed again and again while the verb ran",
            self.name
        )))
    }

    fn serving_version(&self) -> Result<Arc<Version>, VerbError> {
        match &*self.standing() {
            Standing::Serving(serving) => Ok(Arc::clone(&serving.version)),
            _ => Err(VerbError::Failed(self.standing_text())),
        }
    }

    fn verb_call(
        &self,
        version: &Version,
        name: &str,
        arguments: Vec<KeyValue>,
    ) -> Result<Call, VerbError> {
        let verbs = &version.driver.description().verbs;
        if verbs.is_empty() {
            return Err(VerbError::Usage(format!(
                "plugin {}: its driver has no verbs",
                self.name
            )));
        }
        let usage = |text: &str| {
            VerbError::Usage(format!(
                "{text} (`dockside run {}` shows what there is)",
                self.name
            ))
        };
        let Some(verb) = verbs.iter().find(|verb| verb.name == name) else {
            let known: Vec<&str> = verbs.iter().map(|verb| verb.name.as_str()).collect();
            return Err(usage(&unknown("verb", &one_line(name, MAX_NAME), &known)));
        };
        for (name, value) in &arguments {
            let secret = |known: &&Parameter| known.name == *name && known.secret;
            if verb.arguments.iter().any(|known| secret(&known)) {
                self.tracer.hide(value.as_bytes());
            }
        }
        let arguments =
            check_arguments(verb, arguments).map_err(|error| usage(&error.to_string()))?;
        Ok(Call::Lifecycle(lifecycle::Call::Run {
            verb: verb.name.clone(),
            arguments,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::protocol::describe::ValueType;

    fn argument(name: &str) -> Parameter {
        Parameter {
            name: name.to_owned(),
            value_type: ValueType::Boolean,
            default: None,
            required: false,
            secret: false,
            help: String::new(),
        }
    }

    fn verb(name: &str, arguments: Vec<Parameter>) -> Verb {
        Verb {
            name: name.to_owned(),
            help: String::new(),
            arguments,
        }
    }

    #[test]
    fn verbs_that_could_not_be_typed_or_called_are_refused() {
        let good = vec![
            verb("list-leases", vec![argument("pool"), argument("Pool_2.x")]),
            verb("2", vec![]),
        ];
        assert_eq!(check_declared(&good), Ok(()));
        let odd = Parameter {
            default: Some("perhaps".to_owned()),
            ..argument("sure")
        };
        let many = (0..=MOST).map(|number| verb(&number.to_string(), vec![]));
        for (verbs, why) in [
            (vec![verb("", vec![])], "proper name"),
            (vec![verb("List", vec![])], "proper name"),
            (vec![verb("-x", vec![])], "proper name"),
            (vec![verb("a b\n", vec![])], "proper name"),
            (vec![verb(&"x".repeat(65), vec![])], "proper name"),
            (vec![verb("a", vec![]), verb("a", vec![])], "twice"),
            (vec![verb("a", vec![argument("x=y")])], "proper name"),
            (vec![verb("a", vec![argument("x"), argument("x")])], "twice"),
            (vec![verb("a", vec![odd])], "must be one of"),
            (many.collect(), "are enough"),
        ] {
            let error = check_declared(&verbs).unwrap_err();
            assert!(error.contains(why) && !error.contains('\n'), "{error}");
        }
    }
}
