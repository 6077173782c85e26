//! One call: begin a transaction, run the driver, commit or undo, answer.

mod catalogue;
mod fault;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;
use wasmtime::Store as WasmStore;
use wasmtime::component::Resource;

pub use catalogue::from_catalogue;
use catalogue::note_gone;
pub use fault::{Fault, Trap};

use crate::capability::directories::{DirectoryHandle, Effects, sweep};
use crate::plugin::Version;
use crate::plugin::log::CallLog;
use crate::protocol::{Answer, Call};
use crate::sandbox::bindings::types;
use crate::sandbox::invoke::{Failure, invoke};
use crate::sandbox::{CallContext, Instance};
use crate::store::{Outcome as Committed, PluginState, Store, Transaction, UndoKey};

/// How a call ended that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// The driver's answer, committed.
    Answer(Answer),
    /// The driver's error. Nothing of the call remains.
    Refused(types::Error),
}

/// How one attempt at a call ended.
#[derive(Debug)]
pub enum Attempt {
    /// It is over. The keys say how to take its writes back.
    Done(Outcome, Vec<UndoKey>),
    /// Another call changed what this one had read. Nothing of it remains; it has to be run again.
    Conflict,
}

/// What an attempt needs besides the call.
#[derive(Debug)]
pub struct Run<'a> {
    /// The durable state.
    pub store: &'a Store,
    /// The plugin's part of it.
    pub state: &'a Arc<PluginState>,
    /// The version to run.
    pub version: &'a Version,
    /// Where the driver's output goes.
    pub log: &'a Arc<CallLog>,
    /// When it has to be over.
    pub deadline: Instant,
    /// A note to be committed with it by a call that changes what all state means. Commits of calls that began earlier are refused then.
    pub note: Option<(&'a str, &'a str)>,
}

impl Run<'_> {
    /// Runs a call once.
    ///
    /// # Errors
    /// When the driver does not answer, or what it answered cannot be made durable. Nothing of the call remains then.
    pub async fn attempt(&self, call: &Call) -> Result<Attempt, Fault> {
        let mut transaction =
            Transaction::new(Arc::clone(self.state), self.version.environment.quota);
        if let Some((key, value)) = self.note {
            transaction.supersede();
            transaction.set_meta(key, Some(value));
        }
        let looked_up = catalogue::looked_up(self.state, call);
        let started = Instant::now();
        let ran = match timeout_at(self.deadline.into(), self.run(transaction, call)).await {
            Ok(ran) => ran,
            Err(_) => Err(Fault::Timeout(started.elapsed())),
        };
        let ran = ran.map_err(|fault| match fault {
            Fault::Timeout(_) => Fault::Timeout(started.elapsed()),
            fault => fault,
        })?;
        let mut transaction = ran
            .transaction
            .ok_or_else(|| Fault::Internal("the call's transaction is gone".into()))?;
        let warm = &self.version.warm;
        let answer = match ran.invocation {
            Ok(answer) => answer,
            Err(Failure::Driver(error)) => {
                // What it wrote did not happen, so an instance that may remember it must not serve again.
                if transaction.is_read_only() {
                    warm.put_back(ran.instance);
                }
                if error.code == types::ErrorCode::NotFound {
                    note_gone(self.store, self.state, call, looked_up).await?;
                }
                return Ok(Attempt::Done(Outcome::Refused(error), Vec::new()));
            }
            Err(Failure::Malformed(reason)) => return Err(Fault::Malformed(reason)),
        };
        catalogue::record(&mut transaction, call, &answer);
        // From here on the commit decides, also if this call is dropped while it waits.
        let effects = ran.effects.hold();
        match self.store.commit(transaction).await {
            Ok(Committed::Conflict) => {
                effects.undo(|_| true);
                Ok(Attempt::Conflict)
            }
            Ok(Committed::Committed { undo }) => {
                warm.put_back(ran.instance);
                if effects.removes() {
                    tokio::spawn(sweep(self.store.clone(), self.store.directory().to_owned()));
                }
                Ok(Attempt::Done(Outcome::Answer(answer), undo))
            }
            Err(error) => {
                // The commit may have got through all the same: what is on record stays.
                let snapshot = self.state.snapshot();
                effects.undo(|id| snapshot.directories().all(|known| known.id != id));
                Err(error.into())
            }
        }
    }

    async fn run(&self, transaction: Transaction, call: &Call) -> Result<Ran, Fault> {
        let version = self.version;
        let mut instance = version
            .warm
            .take(
                &version.driver,
                &version.environment,
                self.log,
                self.deadline,
            )
            .await
            .map_err(|error| Fault::from_wasm(&error, None, self.log.finish()))?;
        instance.store.data_mut().transaction = Some(transaction);
        let invocation = invoke(&mut instance.store, &instance.exports, call, &mut path_of).await;
        let context = instance.store.data_mut();
        let transaction = context.transaction.take();
        let effects = std::mem::take(&mut context.effects);
        let last_words = context.log.finish();
        match invocation {
            Ok(invocation) => Ok(Ran {
                invocation,
                transaction,
                effects,
                instance,
            }),
            Err(error) => Err(Fault::from_wasm(&error, Some(&context.limits), last_words)),
        }
    }
}

/// A call that the driver has answered and that is not committed yet.
struct Ran {
    invocation: Result<Answer, Failure>,
    transaction: Option<Transaction>,
    effects: Effects,
    instance: Instance,
}

/// Turns the handle in an answer into the path that Docker gets. Only a handle that the host made for this very call has one.
fn path_of(
    store: &mut WasmStore<CallContext>,
    handle: Resource<DirectoryHandle>,
) -> Result<PathBuf, String> {
    let context = store.data_mut();
    let directory = context
        .table
        .delete(handle)
        .map_err(|error| format!("the directory handle is not valid: {error}"))?;
    let still_there = context
        .transaction
        .as_mut()
        .and_then(|transaction| transaction.directory(&directory.record.key))
        .is_some_and(|record| record.id == directory.record.id);
    if !still_there {
        return Err(format!(
            "the directory {:?} was removed in the same call",
            directory.record.key
        ));
    }
    Ok(directory.path)
}
