//! Who uses a volume: mount IDs, engines that come and go.

use super::common::{Place, Volumes};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, ensure};

const ROOT: &[Need] = &[Need::Root];

const fn check(
    id: &'static str,
    title: &'static str,
    rule: &'static str,
    run: fn(&Bench) -> Outcome,
) -> Check {
    Check {
        id,
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: ROOT,
        title,
        rule,
        slow: false,
        run,
    }
}

pub(super) const CHECKS: &[Check] = &[
    check(
        "V17",
        "Remove while the engine that runs has it mounted",
        "An error; the data and the mount stay: somebody is about to lose what a running container writes.",
        removed_in_use,
    ),
    check(
        "V24",
        "Mount under two IDs",
        "The same path and one kernel mount. After the first Unmount it is still mounted for the other container, and gone after the second.",
        two_ids,
    ),
    check(
        "V25",
        "Mount, Mount, Unmount, Unmount under one ID",
        "Still mounted after the first Unmount, gone after the second. `docker cp` with a running container mounts and unmounts under that container's own ID: a plugin that keeps a set of IDs takes the volume away from under the container.",
        one_id_twice,
    ),
    check(
        "V26",
        "Mount; the engine is replaced; Mount and Unmount under the same ID",
        "Nothing is left. An engine that is killed sends no Unmount, and its successor mounts again under the old ID: a plugin that only counts keeps the volume mounted for ever.",
        replaced_and_mounted,
    ),
    check(
        "V27",
        "Mount; the engine is replaced; Unmount",
        "A success, and nothing is left: containers live through a restart of the engine, and the new one ends their mounts.",
        replaced_and_unmounted,
    ),
    check(
        "V28",
        "Mount; the engine is replaced; Remove",
        "A success: what an engine that is gone had mounted does not keep a volume from being removed. The new engine has asked its own containers already.",
        replaced_and_removed,
    ),
    check(
        "V29",
        "Unmount under an ID that was never mounted",
        "A success, and other IDs keep their mount: after a crash the engine ends mounts that the plugin may not know.",
        foreign_id,
    ),
    check(
        "V30",
        "three Unmounts after one Mount, then Mount and Unmount",
        "A success each: the count of uses does not go below zero, or the next container would find its volume not mounted.",
        surplus,
    ),
];

/// A new volume, and an ID for it.
fn volume<'a>(bench: &'a Bench<'a>) -> Outcome<(Volumes<'a>, String, String)> {
    let volumes = Volumes::of(bench);
    Ok((volumes, volumes.made("used")?, bench.id()))
}

fn removed_in_use(bench: &Bench) -> Outcome {
    let (volumes, name, id) = volume(bench)?;
    let place = volumes.mounted(&name, &id)?;
    place.mark("in use")?;
    let before = place.mounts();
    let answer = volumes.remove(&name);
    answer.errs()?;
    place.stays(bench, "in use", "after the refused Remove")?;
    answer.ensure(
        place.mounts() == before,
        || "the number of its kernel mounts has changed",
    )?;
    answer.ensure(volumes.is_there(&name), || "Get does not give the volume")?;
    volumes.unmount(&name, &id).succeeds()?;
    volumes.remove(&name).succeeds().map(drop)
}

fn two_ids(bench: &Bench) -> Outcome {
    let (volumes, name, first) = volume(bench)?;
    let second = bench.id();
    let place = volumes.mounted(&name, &first)?;
    place.mark("shared")?;
    let mounts = place.mounts();
    let again = volumes.mounted(&name, &second)?;
    ensure(again.path == place.path, || {
        format!(
            "under the second ID it is at {}, under the first at {}",
            again.path.display(),
            place.path.display()
        )
    })?;
    ensure(place.mounts() == mounts, || {
        format!("there are {} kernel mounts at it", place.mounts())
    })?;
    volumes.unmount(&name, &first).succeeds()?;
    place.stays(bench, "shared", "after the Unmount of one of two IDs")?;
    volumes.unmount(&name, &second).succeeds()?;
    place.goes(bench, "after the Unmount of both IDs")
}

fn one_id_twice(bench: &Bench) -> Outcome {
    let (volumes, name, id) = volume(bench)?;
    let place = volumes.mounted(&name, &id)?;
    place.mark("running")?;
    volumes.mounted(&name, &id)?;
    volumes.unmount(&name, &id).succeeds()?;
    place.stays(bench, "running", "after the first of two Unmounts")?;
    volumes.unmount(&name, &id).succeeds()?;
    place.goes(bench, "after the second Unmount")
}

/// Mounted by an engine that is gone by now.
fn left_behind<'a>(bench: &'a Bench<'a>) -> Outcome<(Volumes<'a>, String, String, Place)> {
    let (volumes, name, id) = volume(bench)?;
    let engine = bench.engine()?;
    let place = Volumes::from(bench, &engine).mounted(&name, &id)?;
    place.mark("left")?;
    drop(engine);
    Ok((volumes, name, id, place))
}

fn replaced_and_mounted(bench: &Bench) -> Outcome {
    let (_, name, id, place) = left_behind(bench)?;
    let engine = bench.engine()?;
    let volumes = Volumes::from(bench, &engine);
    let again = volumes.mounted(&name, &id)?;
    again.stays(bench, "left", "after the Mount by the new engine")?;
    volumes.unmount(&name, &id).succeeds()?;
    place.goes(bench, "after the new engine's Unmount")?;
    volumes.remove(&name).succeeds().map(drop)
}

fn replaced_and_unmounted(bench: &Bench) -> Outcome {
    let (_, name, id, place) = left_behind(bench)?;
    let engine = bench.engine()?;
    let volumes = Volumes::from(bench, &engine);
    volumes.unmount(&name, &id).succeeds()?;
    place.goes(bench, "after the new engine's Unmount")
}

fn replaced_and_removed(bench: &Bench) -> Outcome {
    let (_, name, _, place) = left_behind(bench)?;
    let engine = bench.engine()?;
    let volumes = Volumes::from(bench, &engine);
    volumes.remove(&name).succeeds()?;
    place.goes(bench, "after Remove")?;
    ensure(
        !volumes.is_there(&name),
        || "Get still gives the volume that was removed",
    )
}

fn foreign_id(bench: &Bench) -> Outcome {
    let (volumes, name, id) = volume(bench)?;
    let place = volumes.mounted(&name, &id)?;
    place.mark("mine")?;
    for _ in 0..bench.repeat() {
        volumes.unmount(&name, &bench.id()).succeeds()?;
        place.stays(bench, "mine", "after the Unmount of another ID")?;
    }
    volumes.unmount(&name, &id).succeeds()?;
    place.goes(bench, "after the Unmount of the one ID")?;
    volumes.unmount(&name, &bench.id()).succeeds().map(drop)
}

fn surplus(bench: &Bench) -> Outcome {
    let (volumes, name, id) = volume(bench)?;
    let place = volumes.mounted(&name, &id)?;
    let mounts = place.mounts();
    for _ in 0..3 {
        volumes.unmount(&name, &id).succeeds()?;
    }
    place.goes(bench, "after three Unmounts")?;
    let place = volumes.mounted(&name, &id)?;
    ensure(place.mounts() == mounts, || {
        format!(
            "after a Mount that followed surplus Unmounts nothing is mounted at {}",
            place.path.display()
        )
    })?;
    place.mark("counted")?;
    volumes.unmount(&name, &id).succeeds()?;
    place.goes(bench, "after the last Unmount")
}
