//! Decisions in the log, as JSON in the form of OPA's decision logs, without secrets.

use dockside_authz::{last_good::Standing, mask};
use dockside_driver::{log, time};
use serde_json::{Value, json};

/// The longest line, in bytes. A call can write 64 KiB.
const MAX_LINE: usize = 24 * 1024;

/// What a decision was made of.
pub(crate) struct Record<'a> {
    /// Its ID, which the user reads too.
    pub(crate) id: &'a str,
    /// What the policy was asked.
    pub(crate) input: Value,
    /// Whether it was allowed.
    pub(crate) allowed: bool,
    /// Why not.
    pub(crate) reason: Option<&'a str>,
    /// The policy; none if there was none to ask.
    pub(crate) standing: Option<&'a Standing>,
}

/// Writes a decision into the log.
pub(crate) fn write(record: Record<'_>, pointers: &[String]) {
    log::info!("decision {}", line(record, pointers));
}

fn line(mut record: Record<'_>, pointers: &[String]) -> String {
    hide(&mut record.input, pointers);
    let digest = record.standing.map(|standing| standing.digest.as_str());
    let mut line = json!({
        "decision_id": record.id,
        "config_hash": digest,
        "result": record.allowed,
        "reason": record.reason,
        "timestamp": time::unix_seconds(),
        "input": record.input,
    });
    for part in ["Response", "Body", "Headers", "Query", "Path"] {
        if line.to_string().len() <= MAX_LINE {
            break;
        }
        if let Some(value) = line.pointer_mut(&format!("/input/{part}")) {
            *value = json!({ "omitted": format!("{} bytes", value.to_string().len()) });
        }
    }
    line.to_string()
}

/// Takes the secrets out of an input document.
pub(crate) fn hide(input: &mut Value, pointers: &[String]) {
    mask::by_name(input);
    for pointer in pointers {
        mask::at(input, pointer);
    }
    // Both repeat the query.
    for name in ["Path", "RequestUri"] {
        if let Some(Value::String(text)) = input.get_mut(name) {
            text.truncate(text.find('?').unwrap_or(text.len()));
        }
    }
    // Secrets and configs of a swarm, and what an answer says in text, have no names to go by.
    if let Some(Value::String(text)) = input.pointer_mut("/Response/Body") {
        *text = format!("{} bytes", text.len());
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;

    fn of(input: Value, pointers: &[&str]) -> Value {
        let pointers: Vec<String> = pointers.iter().map(|pointer| (*pointer).into()).collect();
        let record = Record {
            id: "0-1",
            input,
            allowed: false,
            reason: Some("because"),
            standing: None,
        };
        serde_json::from_str(&line(record, &pointers)).unwrap()
    }

    #[test]
    fn a_line_has_the_input_without_its_secrets() {
        let line = of(
            json!({
                "Method": "POST",
                "Path": "/build?buildargs=%7B%22TOKEN%22%3A%22hunter2%22%7D",
                "RequestUri": "/build?x=hunter2",
                "Headers": {"X-Registry-Auth": "hunter2"},
                "Body": {"Env": ["A=b", "MY_PASSWORD=hunter2"], "Hostname": "hunter2"},
                "Response": {"Body": "hunter2"},
            }),
            &["/Body/Hostname"],
        );
        assert!(!line.to_string().contains("hunter2"), "{line}");
        assert_eq!(line["input"]["Body"]["Env"][0], "A=b");
        assert_eq!(line["input"]["Path"], "/build");
        assert_eq!(
            (&line["decision_id"], &line["reason"]),
            (&json!("0-1"), &json!("because"))
        );
    }

    #[test]
    fn a_line_does_not_get_longer_than_the_log_takes() {
        let line = of(
            json!({"Method": "POST", "Body": {"Cmd": ["x".repeat(3_000_000)]}}),
            &[],
        );
        assert!(line.to_string().len() < MAX_LINE);
        assert_eq!(line["input"]["Body"]["omitted"], "3000012 bytes");
        assert_eq!(line["input"]["Method"], "POST");
    }
}
