//! In what two runs of one call differ.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::player::only_tells;
use super::{HostCall, Outcome, Reply, RunRecord};

/// Bytes of a value in the text of a difference.
const MAX_SHOWN: usize = 200;

/// Differences of one kind that are shown of one call.
const MAX_LINES: usize = 20;

/// Names of fields that are meant to differ, wherever they are: in answers, in values of the state, in arguments.
#[derive(Debug, Clone, Default)]
pub struct Ignore(Vec<String>);

impl Ignore {
    /// These.
    pub fn new(fields: Vec<String>) -> Ignore {
        Ignore(fields)
    }

    /// The value without them, also where it is text with JSON in it.
    fn without(&self, value: &Value) -> Value {
        match value {
            Value::Object(object) => {
                let kept = object.iter().filter(|(name, _)| !self.0.contains(name));
                let kept = kept.map(|(name, inner)| (name.clone(), self.without(inner)));
                Value::Object(kept.collect::<Map<_, _>>())
            }
            Value::Array(list) => list.iter().map(|inner| self.without(inner)).collect(),
            Value::String(text) if text.starts_with(['{', '[']) => {
                match serde_json::from_str::<Value>(text) {
                    Ok(inner) => self.without(&inner),
                    Err(_) => value.clone(),
                }
            }
            other => other.clone(),
        }
    }
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "differs", content = "lines")]
pub enum Difference {
    /// It ended by a fault of its own, which the recorded run did not.
    Traps(Vec<String>),
    /// It was not done within the deadline.
    Slow(Vec<String>),
    /// It says no where the recorded run did what it was asked.
    Fails(Vec<String>),
    /// Another answer.
    Answer(Vec<String>),
    /// It asks other things of the machine.
    Effects(Vec<String>),
    /// It leaves another state.
    Writes(Vec<String>),
    /// It read what the recording does not know, so that everything else about it is uncertain.
    Unrecorded(Vec<String>),
}

impl Difference {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Difference::Traps(_) => "traps",
            Difference::Slow(_) => "is too slow",
            Difference::Fails(_) => "fails",
            Difference::Answer(_) => "answer differs",
            Difference::Effects(_) => "effects differ",
            Difference::Writes(_) => "state writes differ",
            Difference::Unrecorded(_) => "read what was not recorded",
        }
    }

    /// What exactly, a line each: `-` as recorded, `+` now.
    pub fn lines(&self) -> &[String] {
        match self {
            Difference::Traps(lines)
            | Difference::Slow(lines)
            | Difference::Fails(lines)
            | Difference::Answer(lines)
            | Difference::Effects(lines)
            | Difference::Writes(lines)
            | Difference::Unrecorded(lines) => lines,
        }
    }

    /// Whether it makes a version worse and not only different.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Difference::Traps(_) | Difference::Slow(_) | Difference::Fails(_)
        )
    }
}

/// What came of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// It does the same.
    Same,
    /// It does not.
    Differs(Vec<Difference>),
    /// It was not run, for this reason.
    Skipped(String),
}

/// Compares what a version did with what was recorded. `answer` is the recorded run's own answer, and `unknown` what the new run read that the
/// recording does not know.
pub fn compare(
    recorded: &RunRecord,
    answer: &Reply,
    now: &RunRecord,
    unknown: Vec<String>,
    ignore: &Ignore,
) -> Compared {
    let mut differences = Vec::new();
    let refused = refused_effects(now);
    if !refused.is_empty() {
        // What it did then, it did because of a refusal that the host would not have given.
        differences.push(Difference::Effects(refused));
        if !unknown.is_empty() {
            differences.push(Difference::Unrecorded(limited(unknown)));
        }
        return Compared::Differs(differences);
    }
    match (&recorded.outcome, &now.outcome) {
        (Outcome::Fault { class: before, .. }, Outcome::Fault { class: after, .. })
            if before == after => {}
        (before, Outcome::Fault { class, text }) => {
            let mut lines = vec![format!("- {}", shown_outcome(before))];
            lines.push(format!("+ {}", cut(text)));
            differences.push(match class.as_str() {
                "timeout" => Difference::Slow(lines),
                _ => Difference::Traps(lines),
            });
        }
        (before, after) => {
            let to = now.answer.as_ref().unwrap_or(&Reply::Lost);
            let lines = differing_replies(answer, to, ignore);
            let failed = *before == Outcome::Done && *after != Outcome::Done;
            if failed || !lines.is_empty() {
                differences.push(match failed {
                    true => Difference::Fails(lines),
                    false => Difference::Answer(lines),
                });
            }
        }
    }
    // A run that came to nothing changes nothing, and its effects say nothing.
    if recorded.outcome == Outcome::Done && now.outcome == Outcome::Done {
        let lines = differing_effects(&recorded.calls, &now.calls, ignore);
        if !lines.is_empty() {
            differences.push(Difference::Effects(lines));
        }
        let lines = differing_writes(recorded, now, ignore);
        if !lines.is_empty() {
            differences.push(Difference::Writes(lines));
        }
    }
    if !unknown.is_empty() {
        differences.push(Difference::Unrecorded(limited(unknown)));
    }
    match differences.is_empty() {
        true => Compared::Same,
        false => Compared::Differs(differences),
    }
}

fn differing_replies(before: &Reply, after: &Reply, ignore: &Ignore) -> Vec<String> {
    let show = |reply: &Reply| match reply {
        Reply::Answered { status, body } => {
            let mut object = Map::new();
            object.insert("status".to_owned(), Value::from(*status));
            if let Value::Object(fields) = ignore.without(body) {
                object.extend(fields);
            } else {
                object.insert("answer".to_owned(), body.clone());
            }
            Value::Object(object)
        }
        Reply::Closed => Value::from("closed"),
        Reply::Lost => Value::from("no answer"),
    };
    let mut lines = Vec::new();
    differing_values("", &show(before), &show(after), &mut lines);
    limited(lines)
}

fn differing_values(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    if let (Value::Object(before), Value::Object(after)) = (before, after) {
        let names: Vec<&String> = before
            .keys()
            .chain(after.keys().filter(|name| !before.contains_key(*name)))
            .collect();
        for name in names {
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            match (before.get(name), after.get(name)) {
                (Some(before), Some(after)) => differing_values(&path, before, after, lines),
                (Some(before), None) => lines.push(line('-', &path, before)),
                (None, Some(after)) => lines.push(line('+', &path, after)),
                (None, None) => {}
            }
        }
        return;
    }
    if let (Value::Array(before), Value::Array(after)) = (before, after)
        && before.len() == after.len()
    {
        for (index, (before, after)) in before.iter().zip(after).enumerate() {
            differing_values(&format!("{path}[{index}]"), before, after, lines);
        }
        return;
    }
    lines.push(line('-', path, before));
    lines.push(line('+', path, after));
}

fn line(sign: char, path: &str, value: &Value) -> String {
    let value = cut(&value.to_string());
    match path {
        "" => format!("{sign} {value}"),
        path => format!("{sign} {path}: {value}"),
    }
}

/// Changes that were asked of the machine and that the recording does not know.
fn refused_effects(run: &RunRecord) -> Vec<String> {
    let calls = run
        .calls
        .iter()
        .filter(|call| call.unanswered && !only_tells(&call.interface, &call.function, &call.args));
    limited(
        calls
            .map(|call| format!("+ {}", shown_call(call, &call.args)))
            .collect(),
    )
}

fn shown_call(call: &HostCall, args: &Value) -> String {
    let interface = call.interface.rsplit('/').next().unwrap_or(&call.interface);
    format!("{interface}.{}{}", call.function, cut(&args.to_string()))
}

/// Changes that were asked of the machine, and requests that the recording cannot answer. Their order counts only among equals: two that are
/// swapped end in the same.
fn differing_effects(before: &[HostCall], after: &[HostCall], ignore: &Ignore) -> Vec<String> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let mut order = Vec::new();
    for (calls, step) in [(before, 1), (after, -1)] {
        for call in calls {
            if only_tells(&call.interface, &call.function, &call.args) {
                continue;
            }
            let key = shown_call(call, &ignore.without(&call.args));
            if !counts.contains_key(&key) {
                order.push(key.clone());
            }
            *counts.entry(key).or_default() += step;
        }
    }
    let lines = order
        .into_iter()
        .filter_map(|key| match counts.get(&key).copied().unwrap_or(0) {
            0 => None,
            more if more > 0 => Some(format!("- {key}")),
            _ => Some(format!("+ {key}")),
        });
    limited(lines.collect())
}

fn differing_writes(before: &RunRecord, after: &RunRecord, ignore: &Ignore) -> Vec<String> {
    let mut lines = Vec::new();
    let keys: Vec<&String> = before
        .writes
        .keys()
        .chain(
            after
                .writes
                .keys()
                .filter(|key| !before.writes.contains_key(*key)),
        )
        .collect();
    for key in keys {
        let new = |run: &RunRecord| {
            let write = run.writes.get(key)?;
            // A write of what was there already changes nothing.
            (write.old != write.new).then(|| ignore.without(&write.new))
        };
        let (before, after) = (new(before), new(after));
        if before == after {
            continue;
        }
        let show = |sign: char, value: Option<Value>| match value {
            None => format!("{sign} {key}: not written"),
            Some(Value::Null) => format!("{sign} {key}: removed"),
            Some(value) => {
                let text = value.get("utf8").unwrap_or(&value).to_string();
                format!("{sign} {key}: {}", cut(&text))
            }
        };
        lines.push(show('-', before));
        lines.push(show('+', after));
    }
    limited(lines)
}

fn shown_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Refused { message, .. } => format!("refused: {}", cut(message)),
        Outcome::Conflict => "lost against another call".to_owned(),
        Outcome::Fault { text, .. } => cut(text),
        Outcome::Abandoned => "ended in the middle".to_owned(),
    }
}

fn limited(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MAX_LINES);
    if more > 0 {
        lines.truncate(MAX_LINES);
        lines.push(format!("… and {more} more"));
    }
    lines
}

fn cut(text: &str) -> String {
    crate::protocol::one_line(text, MAX_SHOWN)
}
