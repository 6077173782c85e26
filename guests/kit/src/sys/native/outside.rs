//! What reaches beyond the machine: secrets, the outbox and HTTP.

use super::{memory, refuse};
use crate::{
    Refusal, Result,
    http::{Request, Response, Target, too_large},
};

/// How large a note may be, in bytes, by the contract.
const MAX_NOTE: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn name(&self) -> String {
        self.0.clone()
    }
}

pub(crate) fn open_secret(name: &str) -> Result<Secret> {
    match memory(|memory| memory.secrets.contains_key(name)) {
        true => Ok(Secret(name.to_owned())),
        false => refuse(
            Refusal::NotGranted,
            format!("the secret {name:?} is not granted"),
        ),
    }
}

pub(crate) fn reveal_secret(secret: &Secret) -> Result<Vec<u8>> {
    match memory(|memory| memory.secrets.get(&secret.0).cloned()) {
        Some((value, true)) => Ok(value),
        _ => refuse(
            Refusal::NotGranted,
            format!("the secret {:?} may be used and not seen", secret.0),
        ),
    }
}

pub(crate) fn call_key() -> String {
    memory(|memory| format!("call-{}", memory.calls))
}

pub(crate) fn note(note: &[u8]) -> Result<()> {
    if note.len() > MAX_NOTE {
        return refuse(
            Refusal::Invalid,
            format!(
                "a note may have {MAX_NOTE} bytes, and this one has {}",
                note.len()
            ),
        );
    }
    memory(|memory| memory.notes.push(note.to_owned()));
    Ok(())
}

pub(crate) fn send(request: &Request, _target: &Target<'_>) -> Result<Response> {
    let mut request = request.clone();
    let is_key = |(name, _): &(String, String)| name.eq_ignore_ascii_case("idempotency-key");
    if !request.headers.iter().any(is_key) {
        let key = memory(|memory| {
            memory.sent += 1;
            format!("call-{}-{}", memory.calls, memory.sent)
        });
        request = request.header("Idempotency-Key", key);
    }
    // The answer may ask the host for something.
    let answerer = memory(|memory| {
        memory.requests.push(request.clone());
        memory.answerer.take()
    });
    let Some(mut answerer) = answerer else {
        return refuse(Refusal::Unreachable, "the server cannot be reached");
    };
    let answer = answerer(&request);
    memory(|memory| {
        memory.answerer.get_or_insert(answerer);
    });
    let answer = answer?;
    if answer.body.len() > request.limit {
        return Err(too_large(request.limit));
    }
    Ok(answer)
}
