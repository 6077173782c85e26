//! What reaches beyond the machine: secrets, the outbox and HTTP.

use super::{faults, memory, refuse};
use crate::{
    Refusal, Result,
    http::{Request, Response, Target, too_large},
};

/// How large a note may be, in bytes, by the contract.
const MAX_NOTE: usize = 64 << 10;

/// How large a secret may be, in bytes, by the contract.
const MAX_SECRET: usize = 64 << 10;

#[derive(Debug)]
pub(crate) enum Secret {
    Operators(String),
    Kept(String),
}

impl Secret {
    pub(crate) fn name(&self) -> String {
        faults::infallible("Secret::name", || self.known().to_owned())
    }

    fn known(&self) -> &str {
        let (Self::Operators(name) | Self::Kept(name)) = self;
        name
    }

    /// What descriptions of mounts call it.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Operators(name) => name.clone(),
            Self::Kept(name) => format!("kept({name})"),
        }
    }
}

pub(crate) fn open_secret(name: &str) -> Result<Secret> {
    match memory(|memory| memory.secrets.contains_key(name)) {
        true => Ok(Secret::Operators(name.to_owned())),
        false => refuse(
            Refusal::NotGranted,
            format!("the secret {name:?} is not granted"),
        ),
    }
}

pub(crate) fn reveal_secret(secret: &Secret) -> Result<Vec<u8>> {
    let value = match secret {
        Secret::Operators(name) => memory(|memory| memory.secrets.get(name).cloned()),
        Secret::Kept(_) => None,
    };
    match value {
        Some((value, true)) => Ok(value),
        _ => refuse(
            Refusal::NotGranted,
            format!("the secret {:?} may be used and not seen", secret.known()),
        ),
    }
}

pub(crate) fn open_secret_file(path: &str) -> Result<Secret> {
    match memory(|memory| memory.secret_files.get(path).cloned()) {
        Some(name) => open_secret(&name),
        None => refuse(
            Refusal::NotGranted,
            format!("the file {path} is not granted as a secret"),
        ),
    }
}

pub(crate) fn keep_secret(name: &str, value: &[u8]) -> Result<Secret> {
    if !(1..=MAX_SECRET).contains(&value.len()) {
        return refuse(
            Refusal::Invalid,
            format!("a secret has 1 to {MAX_SECRET} bytes"),
        );
    }
    memory(|memory| {
        let kept = &mut memory.machine.kept;
        if kept.contains_key(name) {
            return refuse(
                Refusal::AlreadyExists,
                format!("there is a secret {name:?} already"),
            );
        }
        kept.insert(name.to_owned(), value.to_owned());
        Ok(Secret::Kept(name.to_owned()))
    })
}

pub(crate) fn kept_secret(name: &str) -> Result<Secret> {
    match memory(|memory| memory.machine.kept.contains_key(name)) {
        true => Ok(Secret::Kept(name.to_owned())),
        false => refuse(Refusal::NotFound, format!("there is no secret {name:?}")),
    }
}

pub(crate) fn forget_secret(name: &str) -> Result<()> {
    match memory(|memory| memory.machine.kept.remove(name)) {
        Some(_) => Ok(()),
        None => refuse(Refusal::NotFound, format!("there is no secret {name:?}")),
    }
}

pub(crate) fn call_key() -> String {
    memory(|memory| format!("call-{}", memory.call))
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
            format!("call-{}-{}", memory.call, memory.sent)
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
