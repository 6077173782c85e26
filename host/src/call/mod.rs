//! One call: begin a transaction, run the driver, commit or undo, answer.

mod catalogue;
mod client;
mod fault;
mod shown;
mod uses;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::timeout_at;
use wasmtime::Store as WasmStore;
use wasmtime::component::Resource;

use catalogue::note_gone;
pub use catalogue::{from_catalogue, mount_of};
pub use client::Client;
pub use fault::{Fault, Trap};
pub use shown::translate;

use crate::capability::directories::{DirectoryHandle, sweep};
use crate::capability::links::LinkHandle;
use crate::capability::nat;
use crate::config::OnDead;
use crate::ledger::{Effects, Ledger};
use crate::plugin::Version;
use crate::plugin::log::CallLog;
use crate::protocol::{
    Answer, Call, Kind, encode, encode_error, encode_plain_error, one_line, status_of, volume,
};
use crate::relay::Relays;
use crate::sandbox::bindings::types;
use crate::sandbox::invoke::{Failure, Invocation, Names, invoke};
use crate::sandbox::{CallContext, Instance};
use crate::store::{Outcome as Committed, PluginState, Store, Transaction, UndoKey};
use crate::trace::Reply;

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
    /// It is over, and the driver was not asked: it says nothing about the version.
    Spared(Outcome),
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
    /// What is on the machine.
    pub ledger: &'a Arc<Ledger>,
    /// The call's key, the same for each attempt.
    pub key: &'a str,
    /// Who calls.
    pub client: &'a Client,
    /// The relays that are there.
    pub relays: &'a Relays,
    /// When it has to be over.
    pub deadline: Instant,
    /// A note to be committed with it by a call that changes what all state means. Commits of calls that began earlier are refused then.
    pub note: Option<(&'a str, &'a str)>,
    /// What ends it before its deadline; none if nothing does.
    pub leash: Option<&'a Leash>,
}

/// Ends a call once the other end of the leash is dropped. Nothing of the call remains then, unless it is being committed.
#[derive(Debug, Clone)]
pub struct Leash(watch::Receiver<()>);

impl Leash {
    /// A leash and its other end.
    pub fn new() -> (watch::Sender<()>, Leash) {
        let (hand, leash) = watch::channel(());
        (hand, Leash(leash))
    }

    async fn dropped(&self) {
        let mut leash = self.0.clone();
        while leash.changed().await.is_ok() {}
    }
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
        let plugin = &self.version.environment.plugin;
        let data = self.store.directory();
        let recorder = self.log.probe().map(|probe| probe.recorder);
        transaction.watched_by(recorder.clone());
        let shown = shown::before(&mut transaction, call);
        let plan = uses::plan(
            &mut transaction,
            call,
            self.client,
            |relay| self.relays.is_gone(relay),
            catalogue::is_there,
        );
        let effects = Effects::of_call(Some(Arc::clone(self.ledger)), plugin, self.key);
        let _undo = effects.guard();
        let first = match plan {
            uses::Plan::Ask => None,
            uses::Plan::UnmountFirst(call) => Some(call),
            uses::Plan::Refuse(error) => {
                return Ok(Attempt::Spared(Outcome::Refused(error)));
            }
            uses::Plan::Nothing => {
                shown::hide(&mut transaction, &effects, call, &shown);
                return self
                    .without_driver(transaction, &effects, Answer::Done)
                    .await;
            }
            uses::Plan::Mounted(record) => {
                if let Err(error) = self.revive(&record.name).await {
                    return Ok(Attempt::Spared(Outcome::Refused(error)));
                }
                let answer = Answer::Mountpoint(catalogue::place(data, plugin, &record));
                let shown = shown::show(self, &mut transaction, &effects, call, &answer).await;
                return match shown {
                    Ok(()) => self.without_driver(transaction, &effects, answer).await,
                    Err(error) => {
                        effects.undo().await;
                        Ok(Attempt::Spared(Outcome::Refused(error)))
                    }
                };
            }
        };
        // Before what the driver unmounts, for that is what they show.
        shown::hide(&mut transaction, &effects, call, &shown);
        let started = Instant::now();
        if let Some(recorder) = &recorder {
            let engine = self.client.engine.name();
            recorder.asked(&engine, first.as_deref().and_then(request_of));
        }
        let run = self.run(transaction, first.as_deref(), call, effects.clone());
        let abandoned = async {
            match self.leash {
                Some(leash) => leash.dropped().await,
                None => std::future::pending().await,
            }
        };
        let ran = tokio::select! {
            ran = timeout_at(self.deadline.into(), run) => match ran {
                Ok(ran) => ran,
                Err(_) => Err(Fault::Timeout(started.elapsed())),
            },
            () = abandoned => Err(Fault::Abandoned),
        };
        if let Some(recorder) = &recorder {
            recorder.ran();
        }
        let ran = match ran {
            Ok(ran) => ran,
            Err(fault) => {
                // The next call must find the machine as this one found it.
                effects.undo().await;
                return Err(match fault {
                    Fault::Timeout(_) => Fault::Timeout(started.elapsed()),
                    fault => fault,
                });
            }
        };
        let Some(mut transaction) = ran.transaction else {
            effects.undo().await;
            return Err(Fault::Internal("the call's transaction is gone".into()));
        };
        let warm = &self.version.warm;
        if let Some(recorder) = &recorder {
            recorder.answered(reply_of(call, &ran.invocation));
        }
        let answer = match ran.invocation {
            Ok(answer) => answer,
            Err(Failure::Driver(error)) => {
                let untouched = transaction.is_read_only();
                drop(transaction);
                effects.undo().await;
                // What it wrote did not happen, so an instance that may remember it must not serve again.
                if untouched {
                    warm.put_back(ran.instance);
                }
                if error.code == types::ErrorCode::NotFound {
                    note_gone(self.store, self.state, call, looked_up).await?;
                }
                return Ok(Attempt::Done(Outcome::Refused(error), Vec::new()));
            }
            Err(Failure::Malformed(reason)) => {
                effects.undo().await;
                return Err(Fault::Malformed(reason));
            }
        };
        catalogue::record(&mut transaction, call, &answer);
        uses::begun(&mut transaction, call, self.client);
        if let Err(error) = shown::show(self, &mut transaction, &effects, call, &answer).await {
            effects.undo().await;
            return Ok(Attempt::Done(Outcome::Refused(error), Vec::new()));
        }
        effects.close();
        if let Some(recorder) = &recorder {
            recorder.changed(effects.shown());
        }
        match self.store.commit(transaction).await {
            Ok(Committed::Conflict) => {
                effects.undo().await;
                Ok(Attempt::Conflict)
            }
            Ok(Committed::Committed { undo }) => {
                warm.put_back(ran.instance);
                if effects.finish().await {
                    tokio::spawn(sweep(self.store.clone(), data.to_owned()));
                }
                Ok(Attempt::Done(Outcome::Answer(answer), undo))
            }
            Err(error) => {
                // The commit may have got through all the same: what is on record stays.
                effects.undo_lost(self.state.snapshot()).await;
                Err(error.into())
            }
        }
    }

    /// Makes the mount of a volume again that others use already: if somebody has unmounted it, and where the operator wants it also if it
    /// died. A container must not wait for the next look at it.
    async fn revive(&self, volume: &str) -> Result<(), types::Error> {
        let settings = &self.version.settings;
        let remounts = settings
            .grants
            .mounts
            .as_ref()
            .is_some_and(|mounts| mounts.on_dead == OnDead::Remount);
        let Some(key) = catalogue::mount_of(self.state, volume) else {
            return Ok(());
        };
        let plugin = &self.version.environment.plugin;
        let revived = self.ledger.revive(plugin, &key, settings, remounts).await;
        revived.map_err(|error| types::Error {
            code: types::ErrorCode::Unavailable,
            message: format!("volume {}: {error}", one_line(volume, 200)),
        })
    }

    /// Commits what the host knows without the driver.
    async fn without_driver(
        &self,
        transaction: Transaction,
        effects: &Effects,
        answer: Answer,
    ) -> Result<Attempt, Fault> {
        effects.close();
        match self.store.commit(transaction).await {
            Ok(Committed::Conflict) => {
                effects.undo().await;
                Ok(Attempt::Conflict)
            }
            Ok(Committed::Committed { .. }) => {
                effects.finish().await;
                Ok(Attempt::Spared(Outcome::Answer(answer)))
            }
            Err(error) => {
                effects.undo_lost(self.state.snapshot()).await;
                Err(error.into())
            }
        }
    }

    async fn run(
        &self,
        transaction: Transaction,
        first: Option<&Call>,
        call: &Call,
        effects: Effects,
    ) -> Result<Ran, Fault> {
        if call.kind() == Some(Kind::Network) {
            nat::catch_up().await;
        }
        let version = self.version;
        let mut instance = version
            .warm
            .take(
                &version.driver,
                &version.environment,
                &self.client.settings,
                self.log,
                self.deadline,
            )
            .await
            .map_err(|error| Fault::from_wasm(&error, None, self.log.finish()))?;
        let context = instance.store.data_mut();
        context.transaction = Some(transaction);
        context.of_engine = call.method().is_some();
        context.effects = effects;
        let invocation = invoke_all(&mut instance, first, call).await;
        let context = instance.store.data_mut();
        let transaction = context.transaction.take();
        context.effects = Effects::none();
        let last_words = context.log.finish();
        match invocation {
            Ok(invocation) => Ok(Ran {
                invocation,
                transaction,
                instance,
            }),
            Err(error) => Err(Fault::from_wasm(&error, Some(&context.limits), last_words)),
        }
    }
}

/// Makes one call after another in one instance and one transaction.
pub(crate) async fn invoke_all(
    instance: &mut Instance,
    first: Option<&Call>,
    call: &Call,
) -> wasmtime::Result<Invocation> {
    let calls: Vec<&Call> = first.into_iter().chain([call]).collect();
    for (index, call) in calls.iter().enumerate() {
        let names = Names {
            directory: &mut path_of,
            link: &mut name_of,
        };
        let invocation = invoke(&mut instance.store, &instance.exports, call, names).await?;
        if invocation.is_err() || index + 1 == calls.len() {
            return Ok(invocation);
        }
    }
    Ok(Err(Failure::Malformed("there was no call".to_owned())))
}

/// What a driver's own answer is to Docker.
pub(crate) fn reply_of(call: &Call, invocation: &Invocation) -> Reply {
    let (status, body) = match invocation {
        Ok(answer) => (200, encode(answer)),
        Err(Failure::Driver(error)) => (
            status_of(error.code).as_u16(),
            match call.kind() {
                Some(kind) => encode_error(kind, &error.message),
                None => encode_plain_error(&error.message),
            },
        ),
        Err(Failure::Malformed(_)) => return Reply::Lost,
    };
    Reply::Answered {
        status,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

/// The request that leads to a call of the host's own: it asks nothing but unmounts in Docker's place.
fn request_of(call: &Call) -> Option<serde_json::Value> {
    match call {
        Call::Volume(volume::Call::Unmount { name, id }) => {
            Some(serde_json::json!({ "Name": name, "ID": id }))
        }
        _ => None,
    }
}

/// A call that the driver has answered and that is not committed yet.
struct Ran {
    invocation: Invocation,
    transaction: Option<Transaction>,
    instance: Instance,
}

/// Turns the handle in an answer into the name of a link that Docker gets.
fn name_of(
    store: &mut WasmStore<CallContext>,
    handle: Resource<LinkHandle>,
) -> Result<String, String> {
    let context = store.data_mut();
    let link = context
        .table
        .delete(handle)
        .map_err(|error| format!("the link's handle is not valid: {error}"))?;
    if context.is_replayed() {
        return Ok(link.into_name());
    }
    match context.transaction.as_mut() {
        Some(transaction) => link.render(transaction),
        None => Err("there is no link outside a call".to_owned()),
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
    if context.is_replayed() {
        return Ok(directory.path);
    }
    let still_there = context
        .transaction
        .as_mut()
        .is_some_and(|transaction| directory.is_held(transaction));
    if !still_there {
        return Err(format!(
            "the directory {:?} was removed in the same call",
            directory.key
        ));
    }
    Ok(directory.path)
}
