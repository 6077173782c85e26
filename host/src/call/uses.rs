//! Who uses a volume. The host counts, so that a driver is asked to mount for the first use and to unmount after the last.
//!
//! Docker's IDs are neither a set nor a count. `docker cp` mounts twice under one ID; an engine that is killed ends no use; after a live
//! restore an engine unmounts what another process had mounted. So a use belongs to an ID and to the engine process that announced it: a
//! second `Mount` of that process counts up, one of another process takes the use over, and `Unmount` counts down whoever sends it.

use std::sync::Arc;

use crate::protocol::{Call, volume};
use crate::sandbox::bindings::types::{Error, ErrorCode};
use crate::store::{EngineProcess, Transaction, VolumeRecord, VolumeUse};

/// What a call means for the uses of a volume.
#[derive(Debug)]
pub(super) enum Plan {
    /// The driver is asked.
    Ask,
    /// The driver is asked to unmount first, for a use that its engine never ended.
    UnmountFirst(Box<Call>),
    /// The volume is mounted already: Docker gets its mountpoint again.
    Mounted(Arc<VolumeRecord>),
    /// Others still use it, or nobody does: there is nothing to do.
    Nothing,
    /// It may not be done.
    Refuse(Error),
}

/// Decides, and changes the uses in the call's transaction as they are when the call succeeds.
pub(super) fn plan(
    transaction: &mut Transaction,
    call: &Call,
    engine: &EngineProcess,
    is_there: impl FnOnce(&mut Transaction, &VolumeRecord) -> bool,
) -> Plan {
    let Call::Volume(call) = call else {
        return Plan::Ask;
    };
    let (volume::Call::Mount { name, .. }
    | volume::Call::Unmount { name, .. }
    | volume::Call::Remove { name }) = call
    else {
        return Plan::Ask;
    };
    let Some(known) = transaction.volume(name) else {
        return Plan::Ask;
    };
    let mut record = VolumeRecord::clone(&known);
    // No mount survives a restart of the machine.
    record.uses.retain(|one| one.engine.boot == engine.boot);
    match call {
        volume::Call::Mount { id, .. } => {
            if record.uses.is_empty() || !is_there(transaction, &record) {
                return Plan::Ask;
            }
            add(&mut record.uses, id, engine);
            transaction.put_volume(record);
            Plan::Mounted(known)
        }
        volume::Call::Unmount { id, .. } => {
            let before = record.uses.len();
            if let Some(found) = record.uses.iter_mut().find(|one| one.id == *id) {
                found.count = found.count.saturating_sub(1);
                record.uses.retain(|one| one.count > 0);
            } else if before > 0 || !known.uses.is_empty() {
                return Plan::Nothing;
            } else {
                // Nothing is known of any use: the driver may know better, and it takes an unknown ID for no error.
                return Plan::Ask;
            }
            let last = record.uses.is_empty();
            transaction.put_volume(record);
            if last { Plan::Ask } else { Plan::Nothing }
        }
        volume::Call::Remove { .. } => {
            if record.uses.iter().any(|one| one.engine == *engine) {
                return Plan::Refuse(Error {
                    code: ErrorCode::InUse,
                    message: format!(
                        "volume {} is in use by {} mount(s) of this engine",
                        crate::protocol::one_line(name, 200),
                        record.uses.len()
                    ),
                });
            }
            // The engine only asks to remove what no container of its own refers to, so what is left was never ended.
            match record.uses.first() {
                None => Plan::Ask,
                Some(stale) => {
                    Plan::UnmountFirst(Box::new(Call::Volume(volume::Call::Unmount {
                        name: name.clone(),
                        id: stale.id.clone(),
                    })))
                }
            }
        }
        _ => Plan::Ask,
    }
}

/// Notes the use that a successful `Mount` begins.
pub(super) fn begun(transaction: &mut Transaction, call: &Call, engine: &EngineProcess) {
    let Call::Volume(volume::Call::Mount { name, id }) = call else {
        return;
    };
    if let Some(known) = transaction.volume(name) {
        let mut record = VolumeRecord::clone(&known);
        record.uses.retain(|one| one.engine.boot == engine.boot);
        add(&mut record.uses, id, engine);
        transaction.put_volume(record);
    }
}

fn add(uses: &mut Vec<VolumeUse>, id: &str, engine: &EngineProcess) {
    match uses.iter_mut().find(|one| one.id == id) {
        Some(known) if known.engine == *engine => known.count = known.count.saturating_add(1),
        Some(known) => {
            known.count = 1;
            known.engine = engine.clone();
        }
        None => uses.push(VolumeUse {
            id: id.to_owned(),
            count: 1,
            engine: engine.clone(),
        }),
    }
}
