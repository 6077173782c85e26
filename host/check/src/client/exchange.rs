//! A call and its answer, kept for the report.

use serde::Serialize;
use serde_json::Value;

use super::{Broken, Response};
use crate::check::{Outcome, Stop};

/// In a report no body is longer than this.
const SHOWN: usize = 2000;

/// What was asked and what came back, as text for people.
#[derive(Debug, Clone, Serialize)]
pub struct Exchange {
    /// Method and body, or the raw bytes.
    pub request: String,
    /// Status and body, or why there is none.
    pub answer: String,
}

impl Exchange {
    /// One that was written by hand.
    #[must_use]
    pub fn raw(request: &[u8], answer: &Result<Response, Broken>) -> Self {
        Self {
            request: shown(request),
            answer: answered(answer),
        }
    }
}

/// The answer to a call.
#[derive(Debug)]
pub struct Answer {
    exchange: Exchange,
    method: String,
    got: Result<Response, Broken>,
    json: Option<Value>,
}

impl Answer {
    /// Of a call and what came of it.
    #[must_use]
    pub fn new(method: &str, body: &[u8], got: Result<Response, Broken>) -> Self {
        let exchange = Exchange {
            request: format!("{method} {}", shown(body)),
            answer: answered(&got),
        };
        let json = got
            .as_ref()
            .ok()
            .and_then(|response| serde_json::from_slice(&response.body).ok());
        Self {
            exchange,
            method: method.to_owned(),
            got,
            json,
        }
    }

    /// For the report.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The response, if one came.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.got.as_ref().ok()
    }

    /// Why none came.
    #[must_use]
    pub fn broken(&self) -> Option<&Broken> {
        self.got.as_ref().err()
    }

    /// The status; 0 if no response came.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response().map_or(0, |response| response.status)
    }

    /// The body, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<&Value> {
        self.json.as_ref()
    }

    /// What the engine would take as the error's text: the field of an answer that is no success.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        let text = |field: &str| {
            let value = self.json.as_ref()?.get(field)?.as_str()?;
            (!value.is_empty()).then(|| value.to_owned())
        };
        let own = if self.method.starts_with("IpamDriver.") {
            "Error"
        } else {
            "Err"
        };
        match self.status() {
            0 => None,
            200 => text(own),
            status => Some(
                text("Err")
                    .or_else(|| text(own))
                    .unwrap_or_else(|| format!("status {status}")),
            ),
        }
    }

    /// Whether it is a success: status 200 with a JSON object whose error field is absent or empty.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status() == 200
            && self.json.as_ref().is_some_and(Value::is_object)
            && self.error().is_none()
    }

    /// Whether it is an error in the engine's eyes: a text in the error field, or a status that is none of success.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.error().is_some()
    }

    /// The answer of a success.
    ///
    /// # Errors
    ///
    /// The check fails: it is none.
    pub fn succeeds(&self) -> Outcome<&Value> {
        match &self.json {
            Some(value) if self.is_success() => Ok(value),
            _ => Err(self.fail("a success was expected")),
        }
    }

    /// The text of an error.
    ///
    /// # Errors
    ///
    /// The check fails: it is a success, or there was no answer at all.
    pub fn errs(&self) -> Outcome<String> {
        self.error()
            .ok_or_else(|| self.fail("an error was expected"))
    }

    /// The check fails over this exchange.
    #[must_use]
    pub fn fail(&self, seen: impl std::fmt::Display) -> Stop {
        Stop::at(&self.exchange, seen)
    }

    /// Fails the check over this exchange unless `holds`.
    ///
    /// # Errors
    ///
    /// The failure.
    pub fn ensure<S: std::fmt::Display>(&self, holds: bool, seen: impl FnOnce() -> S) -> Outcome {
        if holds {
            Ok(())
        } else {
            Err(self.fail(seen()))
        }
    }

    /// A text field of the answer, empty if absent.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        self.json
            .as_ref()
            .and_then(|json| json.pointer(pointer))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short: String = text
        .chars()
        .take(SHOWN)
        .flat_map(|c| if c == '\n' { vec![c] } else { printable(c) })
        .collect();
    if text.chars().count() > SHOWN {
        format!("{short}… ({} bytes)", bytes.len())
    } else {
        short
    }
}

fn printable(c: char) -> Vec<char> {
    if c.is_control() {
        c.escape_debug().collect()
    } else {
        vec![c]
    }
}

fn answered(got: &Result<Response, Broken>) -> String {
    match got {
        Ok(response) => format!("{} {}", response.status, shown(&response.body)),
        Err(broken) => broken.to_string(),
    }
}
