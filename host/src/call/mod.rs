//! One call: begin a transaction, run the driver, commit or undo, answer.

mod catalogue;
mod fault;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;
use wasmtime::Store as WasmStore;
use wasmtime::component::Resource;

pub use catalogue::{from_catalogue, note_gone};
pub use fault::{Fault, Trap};

use crate::capability::directories::{DirectoryHandle, Effects, sweep};
use crate::plugin::Version;
use crate::plugin::log::CallLog;
use crate::protocol::{Answer, Call, Method};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::types;
use crate::sandbox::invoke::{Failure, invoke};
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
    /// Whether commits of calls that began earlier have to be refused: this one changes what all state means.
    pub supersedes: bool,
}

impl Run<'_> {
    /// Runs a call once.
    ///
    /// # Errors
    /// When the driver does not answer, or what it answered cannot be made durable. Nothing of the call remains then.
    pub async fn attempt(&self, method: Option<Method>, call: &Call) -> Result<Attempt, Fault> {
        let version = self.version;
        let mut transaction = Transaction::new(Arc::clone(self.state), version.environment.quota);
        if self.supersedes {
            transaction.supersede();
        }
        let started = Instant::now();
        let invoked = timeout_at(self.deadline.into(), self.invoke(transaction, call)).await;
        let (invocation, transaction, effects) = match invoked {
            Ok(result) => result?,
            Err(_) => return Err(Fault::Timeout(started.elapsed())),
        };
        let answer = match invocation {
            Ok(answer) => answer,
            Err(Failure::Driver(error)) => return self.refused(method, call, error).await,
            Err(Failure::Malformed(reason)) => return Err(Fault::Malformed(reason)),
        };
        let mut transaction =
            transaction.ok_or_else(|| Fault::Internal("the call's transaction is gone".into()))?;
        catalogue::record(&mut transaction, call, &answer);
        match self.store.commit(transaction).await? {
            Committed::Conflict => Ok(Attempt::Conflict),
            Committed::Committed { undo } => {
                if effects.keep() {
                    tokio::spawn(sweep(self.store.clone(), self.store.directory().to_owned()));
                }
                Ok(Attempt::Done(Outcome::Answer(answer), undo))
            }
        }
    }

    async fn invoke(
        &self,
        transaction: Transaction,
        call: &Call,
    ) -> Result<(Result<Answer, Failure>, Option<Transaction>, Effects), Fault> {
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
            Ok(invocation) => {
                version.warm.put_back(instance);
                Ok((invocation, transaction, effects))
            }
            Err(error) => Err(Fault::from_wasm(&error, Some(&context.limits), last_words)),
        }
    }

    /// The driver said no. If that tells us that a volume is gone, the catalogue hears of it.
    async fn refused(
        &self,
        method: Option<Method>,
        call: &Call,
        error: types::Error,
    ) -> Result<Attempt, Fault> {
        if error.code == types::ErrorCode::NotFound {
            note_gone(self.store, self.state, method, call).await?;
        }
        Ok(Attempt::Done(Outcome::Refused(error), Vec::new()))
    }
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
