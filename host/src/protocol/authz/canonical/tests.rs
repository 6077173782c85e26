//! Variants of requests, with what the engine does in them as the expectation. "denied" rows name a part of the reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;

use super::*;

mod bodies;
mod messages;
mod properties;
mod targets;

/// Names and values.
pub(super) type Pairs = &'static [(&'static str, &'static str)];

/// A POST of `body` as JSON, as the engine tells of it.
pub(super) fn post(uri: &str, body: impl Into<Vec<u8>>) -> Message {
    let body = body.into();
    Message {
        request_method: "POST".into(),
        request_uri: uri.into(),
        request_headers: headers(&[
            ("Content-Type", "application/json"),
            ("Content-Length", &body.len().to_string()),
        ]),
        request_body: Some(body),
        ..Message::default()
    }
}

/// A request without a body, as the engine tells of it.
pub(super) fn bare(method: &str, uri: &str) -> Message {
    let length: &[(&str, &str)] = if matches!(method, "POST" | "PUT") {
        &[("Content-Length", "0")]
    } else {
        &[]
    };
    Message {
        request_method: method.into(),
        request_uri: uri.into(),
        request_headers: headers(length),
        ..Message::default()
    }
}

pub(super) fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(super) fn judge(message: &Message) -> Result<Request, Denial> {
    canonicalise(message, Trust::default())
}

/// Asserts that `message` is denied for a reason that says `part`.
pub(super) fn denied(message: &Message, part: &str, row: &str) {
    match judge(message) {
        Ok(request) => panic!("{row}: not denied, but read as {request:?}"),
        Err(denial) => assert!(
            denial.reason.contains(part),
            "{row}: denied with {:?}, not {part:?}",
            denial.reason
        ),
    }
}
