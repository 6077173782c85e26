//! The volume catalogue: what drivers acknowledged, so that Docker can be answered while a driver is broken.
//!
//! Docker asks for a volume before almost everything and forgets the volume's labels and options on any answer without one. So a failure
//! of the driver must not become that answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::{directory_root, plugin_root};
use crate::ledger::Kind;
use crate::protocol::{Answer, Call, volume};
use crate::store::{PluginState, Quota, Store, StoreError, Transaction, VolumeRecord};

/// Enters what a successful call says about volumes, in the call's own transaction.
pub(super) fn record(transaction: &mut Transaction, call: &Call, answer: &Answer) {
    let Call::Volume(call) = call else {
        return;
    };
    match (call, answer) {
        (volume::Call::Create { name, .. }, _) if transaction.volume(name).is_none() => {
            transaction.put_volume(new(name));
        }
        (volume::Call::Remove { name }, _) => {
            transaction.remove_volume(name);
        }
        (volume::Call::Get { name }, Answer::Volume(found)) => {
            let known = transaction
                .volume(name)
                .map(|known| VolumeRecord::clone(&known));
            let directory = found.mountpoint.as_deref().map(id_of);
            let stale = known
                .as_ref()
                .is_none_or(|known| directory.is_some() && known.directory != directory);
            if stale {
                let mut known = known.unwrap_or_else(|| new(name));
                known.directory = directory.or(known.directory);
                transaction.put_volume(known);
            }
        }
        (volume::Call::Mount { name, .. }, Answer::Mountpoint(Some(path))) => {
            let directory = Some(id_of(path));
            let known = transaction
                .volume(name)
                .map(|known| VolumeRecord::clone(&known));
            if known
                .as_ref()
                .is_none_or(|known| known.directory != directory)
            {
                let mut known = known.unwrap_or_else(|| new(name));
                known.directory = directory;
                transaction.put_volume(known);
            }
        }
        _ => {}
    }
}

fn new(name: &str) -> VolumeRecord {
    VolumeRecord {
        name: name.to_owned(),
        created_at: jiff::Timestamp::now().as_second(),
        options: Vec::new(),
        directory: None,
        uses: Vec::new(),
    }
}

/// What the catalogue keeps of a mountpoint: the host's ID of a directory, or `mounts/` and the ID of a mount.
fn id_of(path: &Path) -> String {
    let id = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let room = path.parent().and_then(Path::parent);
    if room.is_some_and(|room| room.ends_with("mounts")) {
        format!("{MOUNT}{id}")
    } else {
        id
    }
}

/// Before the ID of a mount.
const MOUNT: &str = "mounts/";

/// Where a volume's files are, as far as its driver has said.
pub(super) fn place(data: &Path, plugin: &str, record: &VolumeRecord) -> Option<PathBuf> {
    let id = record.directory.as_deref()?;
    Some(match id.strip_prefix(MOUNT) {
        Some(id) => plugin_root(data, "mounts", plugin).join(id),
        None => directory_root(data, plugin).join(id),
    })
}

/// Whether what the catalogue has as the mountpoint of a volume is still held.
pub(super) fn is_there(transaction: &mut Transaction, record: &VolumeRecord) -> bool {
    let Some(id) = record.directory.as_deref() else {
        return false;
    };
    match id.strip_prefix(MOUNT) {
        Some(id) => transaction.objects().iter().any(|object| object.id == id),
        None => transaction
            .directories()
            .iter()
            .any(|directory| directory.id == id),
    }
}

/// The driver's key for the mount that a volume's files are in, if they are in one.
pub fn mount_of(state: &PluginState, volume: &str) -> Option<String> {
    let snapshot = state.snapshot();
    let id = snapshot.volume(volume)?.directory.as_deref()?;
    let id = id.strip_prefix(MOUNT)?;
    let object = snapshot.objects().find(|object| object.id == id)?;
    Kind::parse(&object.name).map(|(_, key)| key.to_owned())
}

/// The record of the volume that a call asks for, as it was before the driver was asked.
pub(super) fn looked_up(state: &PluginState, call: &Call) -> Option<Arc<VolumeRecord>> {
    match call {
        Call::Volume(volume::Call::Get { name }) => state.snapshot().volume(name).cloned(),
        _ => None,
    }
}

/// Drops a volume that its driver knows to be gone, unless it was made again since it was `looked_up`.
pub(super) async fn note_gone(
    store: &Store,
    state: &Arc<PluginState>,
    call: &Call,
    looked_up: Option<Arc<VolumeRecord>>,
) -> Result<(), StoreError> {
    let (Call::Volume(volume::Call::Get { name }), Some(before)) = (call, looked_up) else {
        return Ok(());
    };
    let mut transaction = Transaction::new(Arc::clone(state), Quota::default());
    let same = transaction
        .volume(name)
        .is_some_and(|now| Arc::ptr_eq(&now, &before));
    if !same {
        return Ok(());
    }
    transaction.remove_volume(name);
    // A conflict means that somebody else just changed it: theirs is the newer truth.
    store.commit(transaction).await.map(|_| ())
}

/// Answers a call without the driver, as far as the catalogue can. `data` is the data directory.
pub fn from_catalogue(
    state: &PluginState,
    data: &Path,
    call: &Call,
    reason: &str,
) -> Option<Answer> {
    let Call::Volume(call) = call else {
        return None;
    };
    let snapshot = state.snapshot();
    let show = |record: &VolumeRecord| volume::Volume {
        name: record.name.clone(),
        mountpoint: place(data, state.name(), record),
        created_at: Some(record.created_at),
        status: vec![(
            "dockside".to_owned(),
            format!("answered from the catalogue: {reason}"),
        )],
    };
    match call {
        volume::Call::Get { name } => snapshot
            .volume(name)
            .map(|record| Answer::Volume(show(record))),
        volume::Call::List => Some(Answer::Volumes(
            snapshot.volumes().map(|record| show(record)).collect(),
        )),
        volume::Call::Path { name } => snapshot
            .volume(name)
            .map(|record| Answer::Mountpoint(show(record).mountpoint)),
        _ => None,
    }
}
