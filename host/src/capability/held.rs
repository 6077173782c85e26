//! What the capabilities that change the machine have in common: making under the call's transaction, ending behind its commit.

use std::sync::Arc;

use crate::config::{Grants, Refusal, RefusalKind};
use crate::failpoint;
use crate::ledger::{self, Effect, Given, Kind};
use crate::machine::{ErrorKind, MachineError};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::machine::{Error, ErrorCode};
use crate::store::{Intent, ObjectRecord, Transaction};

/// Bytes of a key. A volume's name makes one, and Docker passes names of 5,000 characters on.
const MAX_KEY: usize = 32 << 10;

/// What a wish ends in.
pub(super) type Answer<T> = Result<T, Error>;

/// An error of the host's own.
pub(super) fn error(code: ErrorCode, message: impl Into<String>) -> Error {
    Error {
        code,
        message: message.into(),
    }
}

impl From<MachineError> for Error {
    fn from(from: MachineError) -> Error {
        let code = match from.kind {
            ErrorKind::NotFound => ErrorCode::NotFound,
            ErrorKind::Exists => ErrorCode::AlreadyExists,
            ErrorKind::Busy => ErrorCode::InUse,
            ErrorKind::Unreachable => ErrorCode::Unreachable,
            ErrorKind::Exhausted => ErrorCode::Exhausted,
            ErrorKind::Invalid => ErrorCode::Invalid,
            ErrorKind::Missing => ErrorCode::Missing,
            ErrorKind::Other => ErrorCode::Other,
        };
        error(code, from.message)
    }
}

impl CallContext {
    /// A refusal in the words of this plugin.
    pub(super) fn refused(&self, refusal: &Refusal) -> Error {
        let code = match refusal.kind() {
            RefusalKind::NotGranted => ErrorCode::NotGranted,
            RefusalKind::Exhausted => ErrorCode::Exhausted,
            RefusalKind::Invalid => ErrorCode::Invalid,
        };
        let environment = &self.environment;
        error(code, refusal.text(&environment.plugin, &environment.stem))
    }

    /// Asks the grants.
    pub(super) fn granted<T>(&self, ask: impl FnOnce(&Grants) -> Result<T, Refusal>) -> Answer<T> {
        ask(&self.environment.settings.grants).map_err(|refusal| self.refused(&refusal))
    }

    pub(super) fn records(&mut self) -> Answer<&mut Transaction> {
        self.transaction.as_mut().ok_or_else(|| {
            error(
                ErrorCode::Other,
                "there is no machine while the component is asked what it is",
            )
        })
    }

    /// Everything of a kind that the plugin holds, by key.
    pub(super) fn all(&mut self, kind: Kind) -> Answer<Vec<(String, Arc<ObjectRecord>)>> {
        Ok(self
            .records()?
            .objects()
            .into_iter()
            .filter_map(|object| {
                let (of, key) = Kind::parse(&object.name)?;
                (of == kind).then(|| (key.to_owned(), Arc::clone(&object)))
            })
            .collect())
    }

    /// How many of a kind the plugin holds, when it may have `most` of them. Unlike [`all`](Self::all) it makes the call lose against no other
    /// one: what is mounted takes seconds, and to do it all over for a number would take as long again.
    pub(super) fn count(&mut self, kind: Kind, most: u32) -> Answer<u64> {
        let records = self.records()?;
        let prefix = kind.name("");
        records.limit_objects(&prefix, u64::from(most));
        Ok(records.count_objects(&prefix))
    }

    /// Something that the plugin holds.
    pub(super) fn held(&mut self, kind: Kind, key: &str) -> Answer<(Arc<ObjectRecord>, Effect)> {
        let object = self.records()?.object(&kind.name(key)).ok_or_else(|| {
            error(
                ErrorCode::NotFound,
                format!("there is no {} {key:?}", kind.word()),
            )
        })?;
        let effect = ledger::decode(&object.record)?;
        Ok((object, effect))
    }

    /// Whether a key is free and can be one.
    pub(super) fn free(&mut self, kind: Kind, key: &str) -> Answer<()> {
        if key.len() > MAX_KEY {
            return Err(error(
                ErrorCode::Invalid,
                format!("a key has at most {MAX_KEY} bytes, not {}", key.len()),
            ));
        }
        if self.records()?.object(&kind.name(key)).is_some() {
            return Err(error(
                ErrorCode::AlreadyExists,
                format!("there is a {} {key:?} already", kind.word()),
            ));
        }
        Ok(())
    }

    /// Makes something that the plugin holds from then on.
    pub(super) async fn hold(
        &mut self,
        kind: Kind,
        key: &str,
        id: &str,
        effect: Effect,
    ) -> Answer<()> {
        self.hold_given(kind, key, id, effect, None).await
    }

    /// As [`hold`](Self::hold), made of a secret that came with the call.
    pub(super) async fn hold_given(
        &mut self,
        kind: Kind,
        key: &str,
        id: &str,
        effect: Effect,
        given: Option<Given>,
    ) -> Answer<()> {
        self.free(kind, key)?;
        let record = self.effects.ledger()?.record(kind, key, id, &effect)?;
        self.make(effect, given).await?;
        self.records()?.put_object(record);
        Ok(())
    }

    /// Changes something on the machine that is on record already, or is put there by the caller.
    pub(super) async fn alter(&mut self, effect: Effect) -> Answer<()> {
        self.make(effect, None).await
    }

    async fn make(&mut self, effect: Effect, given: Option<Given>) -> Answer<()> {
        self.records()?;
        let settings = Arc::clone(&self.environment.settings);
        let intent = self
            .effects
            .make(effect, settings, given, self.deadline)
            .await?;
        self.records()?.settle(&intent);
        Ok(())
    }

    /// Writes anew what is on record of something that the plugin holds.
    pub(super) fn rewrite(&mut self, object: &ObjectRecord, effect: &Effect) -> Answer<()> {
        let record = ledger::encode(effect)?;
        self.records()?.put_object(ObjectRecord {
            record,
            ..object.clone()
        });
        Ok(())
    }

    /// Takes something away, behind the commit.
    pub(super) fn end(&mut self, kind: Kind, key: &str) -> Answer<()> {
        let (object, _) = self.held(kind, key)?;
        self.records()?.remove_object(&object.name);
        self.behind(object.record.clone(), false)
    }

    /// Does something, or undoes it, behind the commit.
    pub(super) fn behind(&mut self, record: String, redo: bool) -> Answer<()> {
        let intent = Intent {
            id: ledger::mint(),
            record,
            redo,
        };
        self.records()?.intend(intent.clone());
        self.effects.then(intent);
        Ok(())
    }

    /// Whether this call has made something. Nobody else can use it before the commit.
    pub(super) fn has_made(&mut self, kind: Kind, key: &str) -> Answer<bool> {
        Ok(self.records()?.has_made(&kind.name(key)))
    }

    /// As [`shown_by`](Self::shown_by) of what this call has made: no other call can have mounted it, so that this one loses against none.
    pub(super) fn shown_by_own(&mut self, path: &std::path::Path) -> Answer<Option<String>> {
        for object in self.records()?.peek_objects(&Kind::Mount.name("")) {
            if ledger::decode(&object.record)?.uses(path) {
                return Ok(Kind::parse(&object.name).map(|(_, key)| key.to_owned()));
            }
        }
        Ok(None)
    }

    /// The first mount of the plugin's that shows this directory or file.
    pub(super) fn shown_by(&mut self, path: &std::path::Path) -> Answer<Option<String>> {
        for (key, object) in self.all(Kind::Mount)? {
            if ledger::decode(&object.record)?.uses(path) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// A visit of the failpoint that stands behind every answer of the host's to a guest.
pub(super) fn answered<T>(answer: T) -> wasmtime::Result<T> {
    match failpoint::hit("hostcall") {
        Ok(()) => Ok(answer),
        Err(error) => Err(error.into()),
    }
}
