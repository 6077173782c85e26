//! A policy that outlives mistakes: one that cannot be read, compiled or does not pass its own tests leaves the one before in force, over
//! restarts too.

use std::{cell::RefCell, thread::LocalKey};

use dockside_driver::{
    Error, ErrorCode, Result, Table, log, serde::de::DeserializeOwned, state, time,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How much of a policy one value of the state holds, in bytes. A value can have 1 MiB, and text can double in JSON.
const CHUNK: usize = 400 * 1024;

/// Where a policy comes from.
pub trait Source {
    /// Everything that the policy is made of: the settings that it is compiled with, and the texts.
    type Text: Serialize + DeserializeOwned;
    /// The policy, ready to decide.
    type Policy;

    /// What the policy is called in the state and in the log: `policy`.
    fn name(&self) -> &str;

    /// A text that is another one whenever [`Source::read`] may read something else. Asked for before each decision, so it has to be cheap.
    fn stamp(&self) -> Result<String>;

    /// Reads the policy.
    fn read(&self) -> Result<Self::Text>;

    /// Makes a policy of what was read.
    fn compile(&self, text: &Self::Text) -> Result<Self::Policy>;

    /// Tries a policy that was not in force before, for instance by its own tests. An error keeps it from coming into force.
    fn accept(&self, text: &Self::Text, policy: &mut Self::Policy) -> Result<()> {
        let _ = (text, policy);
        Ok(())
    }
}

/// What `status` says of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The SHA-256 of the policy in force, in hexadecimal digits.
    pub digest: String,
    /// Since when it is in force, in seconds since 1970.
    pub since: u64,
    /// Why what is there now is not in force; none when it is.
    pub rejected: Option<String>,
}

/// A policy in memory. An instance that serves several calls reads and compiles it once.
pub struct Held<P> {
    stamp: String,
    policy: P,
    standing: Standing,
}

/// Keeps a policy between the calls of an instance.
pub type Memory<P> = RefCell<Option<Held<P>>>;

#[derive(Serialize, Deserialize)]
struct Good {
    digest: String,
    since: u64,
    chunks: usize,
}

#[derive(Serialize, Deserialize)]
struct Rejected {
    /// What was rejected, so that it is tried and reported once.
    digest: String,
    reason: String,
}

/// Runs an operation on the policy in force.
///
/// # Errors
/// There has never been a policy that could be used; or what `operation` says.
pub fn with<S: Source, T>(
    memory: &'static LocalKey<Memory<S::Policy>>,
    source: &S,
    operation: impl FnOnce(&mut S::Policy, &Standing) -> Result<T>,
) -> Result<T> {
    // A set that is missing has a stamp too: its error.
    let stamp = source.stamp().unwrap_or_else(|error| error.to_string());
    memory.with_borrow_mut(|held| {
        let known = match held {
            Some(known) if known.stamp == stamp => known,
            _ => held.insert(load(source, stamp)?),
        };
        operation(&mut known.policy, &known.standing)
    })
}

/// What is in force now.
///
/// # Errors
/// As [`with`].
pub fn standing<S: Source>(source: &S) -> Result<Standing> {
    load(source, String::new()).map(|held| held.standing)
}

fn load<S: Source>(source: &S, stamp: String) -> Result<Held<S::Policy>> {
    let hold = |(policy, standing)| Held {
        stamp: stamp.clone(),
        policy,
        standing,
    };
    let store = Store(source.name());
    let text = match read(source, &stamp) {
        Ok(text) => text,
        Err(error) => return store.fall_back(source, &error.to_string(), error).map(hold),
    };
    let json = encode(&text)?;
    let digest = hex(&Sha256::digest(json.as_bytes()));
    let good: Option<Good> = state::get(&store.key("good"))?;
    if let Some(good) = good.filter(|good| good.digest == digest) {
        store.clear_rejection(&digest)?;
        let standing = Standing {
            digest,
            since: good.since,
            rejected: None,
        };
        return Ok(hold((source.compile(&text)?, standing)));
    }
    if let Some(rejected) = store.rejected()?.filter(|known| known.digest == digest) {
        return store
            .fall_back(source, &digest, Error::invalid(rejected.reason))
            .map(hold);
    }
    let compiled = source.compile(&text).and_then(|mut policy| {
        source.accept(&text, &mut policy)?;
        Ok(policy)
    });
    match compiled {
        Ok(policy) => {
            let standing = store.keep(&json, digest)?;
            Ok(hold((policy, standing)))
        }
        Err(error) => store.fall_back(source, &digest, error).map(hold),
    }
}

/// Reads a policy that stands still: of several files one may be written while another is read. The stamp of a file that has just been written
/// is another one each time, so what was read twice alike will do too.
fn read<S: Source>(source: &S, stamp: &str) -> Result<S::Text> {
    let mut text = source.read()?;
    if stamp.is_empty() || source.stamp()? == stamp {
        return Ok(text);
    }
    for _ in 0..3 {
        let again = source.read()?;
        if encode(&again)? == encode(&text)? {
            return Ok(again);
        }
        text = again;
    }
    Err(Error::unavailable("the files change while they are read"))
}

struct Store<'a>(&'a str);

impl Store<'_> {
    fn key(&self, what: &str) -> String {
        format!("{}/{what}", self.0)
    }

    fn rejected(&self) -> Result<Option<Rejected>> {
        state::get(&self.key("rejected"))
    }

    /// Puts a policy in force.
    fn keep(&self, json: &str, digest: String) -> Result<Standing> {
        let pieces: Table<String> = Table::with_prefix(self.key("text/"));
        let known = pieces.keys()?;
        let mut chunks = 0;
        let mut rest = json;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(CHUNK));
            pieces.put(&format!("{chunks:06}"), &piece.to_owned())?;
            chunks += 1;
            rest = after;
        }
        for old in known.iter().skip(chunks) {
            pieces.remove(old)?;
        }
        let since = time::unix_seconds();
        let good = Good {
            digest,
            since,
            chunks,
        };
        state::set(&self.key("good"), &good)?;
        state::delete(&self.key("rejected"))?;
        log::info!("{} {} is in force", self.0, short(&good.digest));
        Ok(Standing {
            digest: good.digest,
            since,
            rejected: None,
        })
    }

    /// A policy that was in force before is there again, as it was.
    fn clear_rejection(&self, digest: &str) -> Result<()> {
        if self.rejected()?.is_some() {
            state::delete(&self.key("rejected"))?;
            log::info!("{} {} is there again", self.0, short(digest));
        }
        Ok(())
    }

    /// The policy that was in force last, because what is there now cannot be used.
    fn fall_back<S: Source>(
        &self,
        source: &S,
        rejected: &str,
        error: Error,
    ) -> Result<(S::Policy, Standing)> {
        let Some(good) = state::get::<Good>(&self.key("good"))? else {
            return Err(Error::new(
                ErrorCode::Unavailable,
                format!("there is no usable {}: {error}", self.0),
            ));
        };
        let reason = error.into_message();
        if self
            .rejected()?
            .is_none_or(|known| known.digest != rejected)
        {
            log::error!(
                "the new {} cannot be used, {} stays in force: {reason}",
                self.0,
                short(&good.digest)
            );
            state::set(
                &self.key("rejected"),
                &Rejected {
                    digest: rejected.to_owned(),
                    reason: reason.clone(),
                },
            )?;
        }
        let pieces: Table<String> = Table::with_prefix(self.key("text/"));
        let mut json = String::new();
        for chunk in 0..good.chunks {
            json += &pieces.get(&format!("{chunk:06}"))?.unwrap_or_default();
        }
        let text: S::Text = serde_json::from_str(&json).map_err(|error| {
            Error::other(format!("the {} that was kept is damaged: {error}", self.0))
        })?;
        let standing = Standing {
            digest: good.digest,
            since: good.since,
            rejected: Some(reason),
        };
        Ok((source.compile(&text)?, standing))
    }
}

fn encode(text: &impl Serialize) -> Result<String> {
    serde_json::to_string(text)
        .map_err(|error| Error::other(format!("the policy cannot be kept: {error}")))
}

/// The first digits, which tell one policy from another in a log.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests;
