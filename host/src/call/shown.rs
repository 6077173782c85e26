//! Volumes where Docker shows them to containers on behalf of a relay.
//!
//! A plugin that Docker runs mounts below a directory of Docker's, and what it answers is a path in that directory. A relay mounts nothing, so
//! the host puts each volume there as long as it is used through the relay: once for each volume and relay.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Client, Run};
use crate::ledger::{self, Effect, Effects, Kind};
use crate::machine::{MachineError, Presence, mounts};
use crate::protocol::{Answer, Call, volume};
use crate::relay;
use crate::sandbox::bindings::types::{Error, ErrorCode};
use crate::store::{Intent, PluginState, Transaction};

/// The name of the record of a volume that is shown on behalf of a relay.
fn record_of(relay: &str, volume: &str) -> String {
    Kind::Relay.name(&key_of(relay, volume))
}

fn key_of(relay: &str, volume: &str) -> String {
    format!("{relay}/{volume}")
}

/// The relays that a volume is used through before a call that may end uses.
pub(super) fn before(transaction: &mut Transaction, call: &Call) -> BTreeSet<String> {
    let Call::Volume(volume::Call::Unmount { name, .. } | volume::Call::Remove { name }) = call
    else {
        return BTreeSet::new();
    };
    used(transaction, name)
}

fn used(transaction: &mut Transaction, volume: &str) -> BTreeSet<String> {
    let known = transaction.volume(volume);
    let uses = known.iter().flat_map(|known| &known.uses);
    uses.filter_map(|one| one.relay.clone()).collect()
}

/// Ends what no use is left of, behind the commit. `before` is what [`before`] said.
pub(super) fn hide(
    transaction: &mut Transaction,
    effects: &Effects,
    call: &Call,
    before: &BTreeSet<String>,
) {
    let (name, after) = match call {
        Call::Volume(volume::Call::Unmount { name, .. }) => (name, used(transaction, name)),
        Call::Volume(volume::Call::Remove { name }) => (name, BTreeSet::new()),
        _ => return,
    };
    for relay in before.difference(&after) {
        end(transaction, effects, &record_of(relay, name));
    }
}

fn end(transaction: &mut Transaction, effects: &Effects, record: &str) {
    if let Some(object) = transaction.remove_object(record) {
        let intent = Intent {
            id: ledger::mint(),
            record: object.record.clone(),
            redo: false,
        };
        transaction.intend(intent.clone());
        effects.then(intent);
    }
}

/// Shows a volume that is mounted for a call through a relay, unless it is shown already.
pub(super) async fn show(
    run: &Run<'_>,
    transaction: &mut Transaction,
    effects: &Effects,
    call: &Call,
    answer: &Answer,
) -> Result<(), Error> {
    let (
        Some(context),
        Call::Volume(volume::Call::Mount { name, .. }),
        Answer::Mountpoint(Some(path)),
    ) = (&run.client.relay, call, answer)
    else {
        return Ok(());
    };
    let directory = context.shows.as_deref().map_err(|reason| Error {
        code: ErrorCode::Other,
        message: format!("volume {name:?} cannot be shown to containers: {reason}"),
    })?;
    let key = key_of(&context.id, name);
    let done = show_at(run, transaction, effects, &key, directory, path).await;
    done.map_err(|error| Error {
        code: ErrorCode::Other,
        message: format!(
            "volume {name:?} cannot be shown to containers: {}",
            error.message
        ),
    })
}

async fn show_at(
    run: &Run<'_>,
    transaction: &mut Transaction,
    effects: &Effects,
    key: &str,
    directory: &Path,
    path: &Path,
) -> Result<(), MachineError> {
    let record = Kind::Relay.name(key);
    if let Some(known) = transaction.object(&record) {
        if is_shown(ledger::decode(&known.record)?, path).await? {
            return Ok(());
        }
        // Docker unmounts all of it when it ends the relay.
        end(transaction, effects, &record);
    }
    let id = ledger::mint();
    let effect = Effect::Relay(mounts::Mount {
        point: directory.join(&id),
        source: mounts::Source::Bind {
            root: path.to_owned(),
            beneath: PathBuf::new(),
        },
        // What the volume itself forbids stays forbidden.
        flags: mounts::Flags {
            allow_suid: true,
            allow_dev: true,
            ..mounts::Flags::default()
        },
        id: id.clone(),
    });
    let object = run.ledger.record(Kind::Relay, key, &id, &effect)?;
    let settings = Arc::clone(&run.version.settings);
    let intent = effects.make(effect, settings, None, run.deadline).await?;
    transaction.settle(&intent);
    transaction.put_object(object);
    Ok(())
}

/// Whether a record shows this directory, and is there.
async fn is_shown(effect: Effect, path: &Path) -> Result<bool, MachineError> {
    let Effect::Relay(mount) = effect else {
        return Ok(false);
    };
    match &mount.source {
        mounts::Source::Bind { root, .. } if root == path => {}
        _ => return Ok(false),
    }
    let look = ledger::blocking(move || mounts::look(&mount));
    Ok(look.await? == Presence::Present)
}

/// Turns the places of volumes in an answer into what Docker expects of a plugin that it runs itself: paths below the directory that it shows.
/// A volume that is not shown is nowhere.
pub fn translate(state: &PluginState, client: &Client, call: &Call, answer: &mut Answer) {
    let Some(context) = &client.relay else {
        return;
    };
    let snapshot = state.snapshot();
    let shown = |volume: &str| -> Option<PathBuf> {
        let object = snapshot.object(&record_of(&context.id, volume))?;
        Some(Path::new(relay::VOLUMES).join(&object.id))
    };
    match (call, answer) {
        (
            Call::Volume(volume::Call::Mount { name, .. } | volume::Call::Path { name }),
            Answer::Mountpoint(path),
        ) => *path = shown(name),
        (_, Answer::Volume(volume)) => volume.mountpoint = shown(&volume.name),
        (_, Answer::Volumes(volumes)) => {
            for volume in volumes {
                volume.mountpoint = shown(&volume.name);
            }
        }
        _ => {}
    }
}
