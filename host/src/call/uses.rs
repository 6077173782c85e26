//! Who uses a volume. The host counts, so that a driver is asked to mount for the first use and to unmount after the last.
//!
//! Docker's IDs are neither a set nor a count. `docker cp` mounts twice under one ID; an engine that is killed ends no use; after a live
//! restore an engine unmounts what another process had mounted. So a use belongs to an ID and to the engine process that announced it: a
//! second `Mount` of that process counts up, one of another process takes the use over, and `Unmount` counts down whoever sends it.

use std::sync::Arc;

use super::Client;
use crate::protocol::{Call, volume};
use crate::sandbox::bindings::types::{Error, ErrorCode};
use crate::store::{Transaction, VolumeRecord, VolumeUse};

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

/// Decides, and changes the uses in the call's transaction as they are when the call succeeds. Uses through a relay that is gone count as
/// never ended: Docker has removed its plugin.
pub(super) fn plan(
    transaction: &mut Transaction,
    call: &Call,
    client: &Client,
    is_gone: impl Fn(&str) -> bool,
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
    let boot = &client.engine.boot;
    record.uses.retain(|one| one.engine.boot == *boot);
    match call {
        volume::Call::Mount { id, .. } => {
            if record.uses.is_empty() || !is_there(transaction, &record) {
                return Plan::Ask;
            }
            add(&mut record.uses, id, client);
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
            let is_used = |one: &VolumeUse| {
                one.engine == client.engine && !one.relay.as_deref().is_some_and(&is_gone)
            };
            if record.uses.iter().any(is_used) {
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
                Some(stale) => Plan::UnmountFirst(Box::new(Call::Volume(volume::Call::Unmount {
                    name: name.clone(),
                    id: stale.id.clone(),
                }))),
            }
        }
        _ => Plan::Ask,
    }
}

/// Notes the use that a successful `Mount` begins.
pub(super) fn begun(transaction: &mut Transaction, call: &Call, client: &Client) {
    let Call::Volume(volume::Call::Mount { name, id }) = call else {
        return;
    };
    if let Some(known) = transaction.volume(name) {
        let mut record = VolumeRecord::clone(&known);
        let boot = &client.engine.boot;
        record.uses.retain(|one| one.engine.boot == *boot);
        add(&mut record.uses, id, client);
        transaction.put_volume(record);
    }
}

fn add(uses: &mut Vec<VolumeUse>, id: &str, client: &Client) {
    let relay = client.relay.as_ref().map(|relay| relay.id.clone());
    match uses.iter_mut().find(|one| one.id == id) {
        Some(known) if known.engine == client.engine => {
            known.count = known.count.saturating_add(1);
            known.relay = relay;
        }
        Some(known) => {
            known.count = 1;
            known.engine = client.engine.clone();
            known.relay = relay;
        }
        None => uses.push(VolumeUse {
            id: id.to_owned(),
            count: 1,
            engine: client.engine.clone(),
            relay,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;
    use crate::relay;
    use crate::store::{EngineProcess, Outcome, Quota, Store};

    fn client(name: &str) -> Client {
        // A name is a process, behind a dot the start of the machine, and behind @ a relay: `a`, `b`, `a.2`, `a@x`.
        let (name, relay) = name.split_once('@').unwrap_or((name, ""));
        let (process, boot) = name.split_once('.').unwrap_or((name, "1"));
        let engine = EngineProcess {
            pid: u32::from(process.as_bytes()[0]),
            started: 7,
            boot: boot.to_owned(),
        };
        if relay.is_empty() {
            return Client::from(engine);
        }
        Client::through(
            engine,
            Arc::new(relay::Context {
                id: relay.to_owned(),
                shows: Err(String::new()),
                engine: None,
                settings: Arc::default(),
            }),
        )
    }

    fn call(what: &str, id: &str) -> Call {
        let (name, id) = ("v".to_owned(), id.to_owned());
        Call::Volume(match what {
            "mount" => volume::Call::Mount { name, id },
            "unmount" => volume::Call::Unmount { name, id },
            _ => volume::Call::Remove { name },
        })
    }

    /// Plays calls, and says for each what the host does: `ask`, `mounted`, `nothing`, `refuse`, or `unmount ID` before it asks.
    async fn play(calls: &[(&str, &str, &str)]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let state = store.plugin("p").unwrap();
        let mut transaction = Transaction::new(Arc::clone(&state), Quota::default());
        transaction.put_volume(VolumeRecord {
            name: "v".to_owned(),
            created_at: 0,
            options: Vec::new(),
            directory: Some("d".to_owned()),
            uses: Vec::new(),
        });
        assert!(matches!(
            store.commit(transaction).await.unwrap(),
            Outcome::Committed { .. }
        ));
        let mut said = Vec::new();
        for (what, id, from) in calls {
            let (call, client) = (call(what, id), client(from));
            let mut transaction = Transaction::new(Arc::clone(&state), Quota::default());
            let is_gone = |relay: &str| relay == "gone";
            let plan = plan(&mut transaction, &call, &client, is_gone, |_, _| true);
            if matches!(plan, Plan::Ask) {
                begun(&mut transaction, &call, &client);
            }
            said.push(match plan {
                Plan::Ask => "ask".to_owned(),
                Plan::Mounted(_) => "mounted".to_owned(),
                Plan::Nothing => "nothing".to_owned(),
                Plan::Refuse(error) => {
                    assert_eq!(error.code, ErrorCode::InUse);
                    "refuse".to_owned()
                }
                Plan::UnmountFirst(first) => match *first {
                    Call::Volume(volume::Call::Unmount { id, .. }) => format!("unmount {id}"),
                    _ => panic!("{first:?}"),
                },
            });
            assert!(matches!(
                store.commit(transaction).await.unwrap(),
                Outcome::Committed { .. }
            ));
        }
        said
    }

    #[tokio::test]
    async fn the_driver_mounts_for_the_first_use_and_unmounts_after_the_last() {
        let (mount, unmount, remove) = ("mount", "unmount", "remove");
        type Play<'a> = &'a [(&'a str, &'a str, &'a str, &'a str)];
        let table: &[(&str, Play<'_>)] = &[
            (
                "two containers",
                &[
                    (mount, "1", "a", "ask"),
                    (mount, "2", "a", "mounted"),
                    (unmount, "1", "a", "nothing"),
                    (unmount, "2", "a", "ask"),
                    (remove, "", "a", "ask"),
                ],
            ),
            (
                "docker cp mounts twice under one ID",
                &[
                    (mount, "1", "a", "ask"),
                    (mount, "1", "a", "mounted"),
                    (unmount, "1", "a", "nothing"),
                    (unmount, "1", "a", "ask"),
                ],
            ),
            (
                "an engine that was killed ends nothing, and its successor takes over",
                &[
                    (mount, "1", "a", "ask"),
                    (mount, "1", "a", "mounted"),
                    (mount, "1", "b", "mounted"),
                    (unmount, "1", "b", "ask"),
                ],
            ),
            (
                "after a live restore the successor unmounts what it never mounted",
                &[(mount, "1", "a", "ask"), (unmount, "1", "b", "ask")],
            ),
            (
                "an unmount too many is nothing",
                &[
                    (mount, "1", "a", "ask"),
                    (unmount, "2", "a", "nothing"),
                    (unmount, "1", "a", "ask"),
                ],
            ),
            (
                "no removal while the same engine uses it",
                &[
                    (mount, "1", "a", "ask"),
                    (remove, "", "a", "refuse"),
                    (unmount, "1", "a", "ask"),
                    (remove, "", "a", "ask"),
                ],
            ),
            (
                "what a dead engine left is unmounted by the removal",
                &[(mount, "1", "a", "ask"), (remove, "", "b", "unmount 1")],
            ),
            (
                "what Docker's own plugin used is used whoever asks, until the plugin is gone",
                &[
                    (mount, "1", "a@x", "ask"),
                    (remove, "", "a@x", "refuse"),
                    (remove, "", "a@y", "refuse"),
                    (remove, "", "a", "refuse"),
                    (unmount, "1", "a@x", "ask"),
                    (mount, "2", "a@gone", "ask"),
                    (remove, "", "a@y", "unmount 2"),
                ],
            ),
            (
                "no use survives a restart of the machine",
                &[
                    (mount, "1", "a", "ask"),
                    (mount, "1", "a.2", "ask"),
                    (unmount, "1", "a.2", "ask"),
                    (remove, "", "a.2", "ask"),
                ],
            ),
        ];
        for (title, calls) in table {
            let given: Vec<_> = calls
                .iter()
                .map(|(what, id, from, _)| (*what, *id, *from))
                .collect();
            let wanted: Vec<&str> = calls.iter().map(|(.., wanted)| *wanted).collect();
            assert_eq!(play(&given).await, wanted, "{title}");
        }
    }
}
