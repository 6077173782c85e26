//! Events as lines for people.

use serde_json::Value;

use crate::trace::{CallRecord, Event, HostCall, Outcome, Reply, RunRecord};

/// No text on a line is longer than this: a disk image's content is not to be read.
const LONGEST: usize = 400;

/// An event as lines, without the beginning of a call: its end has everything.
pub(super) fn lines(event: &Event) -> Vec<String> {
    match event {
        Event::Begin(_) => Vec::new(),
        Event::Note(note) => vec![format!("-- {}: {}", note.level.to_lowercase(), note.text)],
        Event::Lost { count } => vec![format!(
            "-- {count} events are missing here: the driver was faster than this terminal"
        )],
        Event::End(record) => call(record),
    }
}

fn call(record: &CallRecord) -> Vec<String> {
    let begin = &record.begin;
    // Milliseconds are enough to read.
    let clock: String = begin
        .time
        .split('T')
        .nth(1)
        .unwrap_or_default()
        .trim_end_matches('Z')
        .chars()
        .take("12:00:00.000".len())
        .collect();
    let mut lines = vec![format!(
        "{clock} {} {}",
        begin.method,
        short(&begin.request.to_string())
    )];
    for earlier in &record.earlier {
        lines.push(row(
            "before",
            &format!("{}: {}", earlier.version.label, outcome(&earlier.outcome)),
        ));
    }
    match &record.run {
        Some(run) => lines.extend(ran(run)),
        None => lines.push(row("host", "it was answered without the driver")),
    }
    let time = milliseconds(record.micros);
    let kept = match record.run.as_ref().map(|run| (&run.outcome, run.committed)) {
        Some((Outcome::Done, true)) => ", committed",
        Some(_) => ", nothing of it remains",
        None => "",
    };
    lines.push(match &record.answer {
        Reply::Answered { status, body } => {
            format!("  = {status} {} ({time}{kept})", short(&body.to_string()))
        }
        Reply::Closed => format!("  = the connection is closed without an answer ({time}{kept})"),
        Reply::Lost => format!("  = nobody knows ({time})"),
    });
    lines
}

fn ran(run: &RunRecord) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(keys) = &run.listed {
        lines.push(row("listed", &format!("{} keys", keys.len())));
    }
    for (key, value) in &run.reads {
        lines.push(row("read", &format!("{key}: {}", state(value))));
    }
    for call in &run.calls {
        lines.push(row("asked", &asked(call)));
    }
    for (key, write) in &run.writes {
        lines.push(row(
            "wrote",
            &format!("{key}: {} -> {}", state(&write.old), state(&write.new)),
        ));
    }
    for effect in &run.effects {
        lines.push(row(&effect.change, &effect.what));
    }
    for line in &run.log {
        lines.push(row("log", &format!("{} {}", line.level, line.text)));
    }
    if run.outcome != Outcome::Done {
        lines.push(row("failed", &outcome(&run.outcome)));
    }
    for what in &run.left_out {
        lines.push(row("...", what));
    }
    lines
}

fn asked(call: &HostCall) -> String {
    let interface = call.interface.rsplit('/').next().unwrap_or_default();
    let arguments = match &call.args {
        Value::Array(arguments) => arguments
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let result = match &call.result {
        Value::Null => String::new(),
        Value::Object(result) => match (result.get("ok"), result.get("err")) {
            (Some(Value::Null), _) => " -> ok".to_owned(),
            (Some(ok), _) => format!(" -> {}", handle(ok)),
            (_, Some(error)) => format!(" -> error {error}"),
            _ => format!(" -> {}", handle(&call.result)),
        },
        other => format!(" -> {other}"),
    };
    short(&format!(
        "{interface}.{}({arguments}){result} ({})",
        call.function,
        milliseconds(call.micros)
    ))
}

/// A thing of the host's by its key; what it is made of is in the effects.
fn handle(value: &Value) -> String {
    match value.pointer("/handle/key").and_then(Value::as_str) {
        Some(key) => format!("handle {key:?}"),
        None => value.to_string(),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Refused { code, message } => format!("the driver refuses ({code}): {message}"),
        Outcome::Conflict => {
            "another call changed what this one had read, so it is run again".to_owned()
        }
        Outcome::Fault { class, text } => format!("{class}: {text}"),
        Outcome::Abandoned => "it was ended in the middle".to_owned(),
    }
}

/// A value of the state.
fn state(value: &Value) -> String {
    let field = |name: &str| value.get(name);
    match (
        value,
        field("utf8").and_then(Value::as_str),
        field("base64").and_then(Value::as_str),
        field("cut"),
    ) {
        (Value::Null, ..) => "absent".to_owned(),
        (_, Some(text), ..) => short(text),
        (_, _, Some(data), _) => short(&format!("base64 {data}")),
        (_, _, _, Some(cut)) => format!("{} bytes", cut.get("bytes").unwrap_or(&Value::Null)),
        (other, ..) => short(&other.to_string()),
    }
}

fn row(what: &str, text: &str) -> String {
    format!(
        "    {what:<7} {}",
        text.trim_end().replace('\n', "\n            ")
    )
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!(
            "{}… ({} bytes)",
            text.get(..end).unwrap_or_default(),
            text.len()
        ),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_shown_with_what_it_read_asked_wrote_and_answered() {
        let event: Event = serde_json::from_str(
            r#"{"event": "end", "time": "2026-01-31T12:00:00.5Z", "plugin": "files", "call": "d4c0918d9b1fe3d6", "origin": "engine",
                "method": "VolumeDriver.Create", "request": {"Name": "v1"}, "micros": 3804, "attempts": 1,
                "answer": {"answered": {"status": 200, "body": {"Err": ""}}},
                "run": {"outcome": "done", "committed": true, "micros": 1924, "allowed_ms": 110000,
                 "reads": {"volumes/v1": null}, "writes": {"volumes/v1": {"old": null, "new": {"utf8": "made"}}},
                 "calls": [{"interface": "dockside:host/directories", "function": "create", "args": ["v1", {"mode": 448}],
                            "result": {"ok": null}, "micros": 662}],
                 "effects": [{"change": "made", "what": "directory /d"}],
                 "log": [{"level": "INFO", "source": "driver", "text": "hello"}]}}"#,
        )
        .unwrap();
        assert_eq!(
            lines(&event).join("\n"),
            "12:00:00.5 VolumeDriver.Create {\"Name\":\"v1\"}\n\
             \x20   read    volumes/v1: absent\n\
             \x20   asked   directories.create(\"v1\", {\"mode\":448}) -> ok (0.6 ms)\n\
             \x20   wrote   volumes/v1: absent -> made\n\
             \x20   made    directory /d\n\
             \x20   log     INFO hello\n\
             \x20 = 200 {\"Err\":\"\"} (3.8 ms, committed)"
        );
    }
}
