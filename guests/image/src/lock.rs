//! Locks in a store, which several machines may share: those who add and read pieces go together, and who deletes pieces is alone.
//!
//! A lock is a blob. Whoever takes one writes it first and looks for others then, so that of two who exclude each other at least one sees the
//! other and steps back. One that was not renewed for long is of somebody who was killed, and counts for nothing; ages are told by the store's
//! own clock. Of a call that fails the host has a note, by which the lock goes again.

use std::cell::Cell;

use dockside_driver::{Error, Result, blobs, log, outbox, time};
use serde::{Deserialize, Serialize};

use crate::repository::Digest256;

const PREFIX: &str = "locks/";

/// How old a lock has to be to count for nothing, in milliseconds. A single request takes two minutes at most.
const STALE: u64 = 15 * 60 * 1000;

/// How often a lock is renewed, in seconds.
const RENEW: u64 = 60;

/// What a lock keeps away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those who are alone.
    Shared,
    /// Everybody.
    Exclusive,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Shared => "locks/shared-",
            Self::Exclusive => "locks/exclusive-",
        }
    }
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct Lock {
    store: String,
    name: String,
    text: String,
    renewed: Cell<u64>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    store: String,
    lock: String,
}

/// Does something under a lock. `what` is what others are told who find it taken.
pub(crate) fn with<T>(
    store: &str,
    kind: Kind,
    what: &str,
    work: impl FnOnce(&Lock) -> Result<T>,
) -> Result<T> {
    match Lock::take(store, kind, what)? {
        Ok(lock) => lock.during(work),
        Err(rival) => Err(Error::unavailable(format!(
            "the store {store} is in use: {rival}; try again when that is over"
        ))),
    }
}

/// As [`with`], unless somebody else is at work there.
pub(crate) fn if_free<T>(
    store: &str,
    kind: Kind,
    what: &str,
    work: impl FnOnce(&Lock) -> Result<T>,
) -> Result<Option<T>> {
    match Lock::take(store, kind, what)? {
        Ok(lock) => lock.during(work).map(Some),
        Err(_) => Ok(None),
    }
}

impl Lock {
    /// Takes a lock, or says what another does that keeps this one away.
    fn take(store: &str, kind: Kind, what: &str) -> Result<Result<Self, String>> {
        let id = Digest256::of(format!("{}\n{what}\n{store}", outbox::call_key()).as_bytes());
        let id: String = id.to_string().chars().take(24).collect();
        let lock = Self {
            store: store.to_owned(),
            name: format!("{}{id}", kind.prefix()),
            text: what.to_owned(),
            renewed: Cell::new(time::unix_seconds()),
        };
        outbox::note_json(&Note {
            store: store.to_owned(),
            lock: lock.name.clone(),
        })?;
        lock.write()?;
        match lock.rival(kind) {
            Ok(None) => Ok(Ok(lock)),
            Ok(Some(rival)) => {
                lock.release()?;
                Ok(Err(rival))
            }
            Err(error) => {
                // The call may go on without it.
                let _ = lock.release();
                Err(error)
            }
        }
    }

    fn during<T>(self, work: impl FnOnce(&Lock) -> Result<T>) -> Result<T> {
        let done = work(&self);
        // If this fails the lock grows old, or goes by its note if the call fails as well.
        if let Err(error) = self.release() {
            log::warn!("a lock stays in a store: {error}");
        }
        done
    }

    fn write(&self) -> Result<()> {
        blobs::put(&self.store, &self.name, self.text.as_bytes())
    }

    /// What another does that keeps this one away.
    fn rival(&self, kind: Kind) -> Result<Option<String>> {
        let all = blobs::list(&self.store, PREFIX)?;
        let own = all.iter().find(|other| other.name == self.name);
        let now = own.map(|own| own.modified).ok_or_else(|| {
            Error::unavailable(format!(
                "the store {} does not list what was just written to it",
                self.store
            ))
        })?;
        for other in &all {
            if other.name == self.name {
                continue;
            }
            if other.modified.saturating_add(STALE) < now {
                blobs::delete(&self.store, &other.name)?;
                continue;
            }
            if kind == Kind::Exclusive || other.name.starts_with(Kind::Exclusive.prefix()) {
                let text = blobs::get(&self.store, &other.name).unwrap_or_default();
                return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
            }
        }
        Ok(None)
    }

    /// Renews it when that is due. To be called now and then by whoever works for long.
    pub(crate) fn keep(&self) -> Result<()> {
        let now = time::unix_seconds();
        if now.saturating_sub(self.renewed.get()) >= RENEW {
            self.write()?;
            self.renewed.set(now);
        }
        Ok(())
    }

    fn release(&self) -> Result<()> {
        blobs::delete(&self.store, &self.name)
    }
}

/// Gives the lock back of a call that failed.
pub(crate) fn settle(note: &[u8]) -> Result<()> {
    let Ok(note) = serde_json::from_slice::<Note>(note) else {
        return Ok(());
    };
    // A store that is not granted any more cannot be settled, and its locks grow old.
    if !blobs::stores().contains(&note.store) {
        return Ok(());
    }
    blobs::delete(&note.store, &note.lock)
}
