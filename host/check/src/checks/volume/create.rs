//! Making and removing volumes.

use serde_json::json;

use super::common::{Place, Volumes, names_in};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "V02",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Create, Get, List, Path, Remove, Get",
        rule: "Each does what it is called: a volume that was made is found and listed, and one that was removed is neither.",
        slow: false,
        run: life,
    },
    Check {
        id: "V09",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Create with an empty name and without one",
        rule: "An error, and no volume: such a request is a mistake or a retry that has lost its body.",
        slow: false,
        run: nameless,
    },
    Check {
        id: "V10",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Create again with the same name and options",
        rule: "A success, one volume, and what is in it stays: the engine sends Create again when it is not sure that the first one arrived.",
        slow: false,
        run: again,
    },
    Check {
        id: "V16",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Remove twice, and of a name that was never made",
        rule: "A success each time: a removal that is repeated, because its answer was lost, has done what it should.",
        slow: false,
        run: removed_again,
    },
    Check {
        id: "V18",
        level: Level::Security,
        kind: Some(Kind::Volume),
        needs: &[Need::Root],
        title: "Remove, then Create with the same name",
        rule: "A fresh and empty volume: nothing of what the last owner of the name wrote.",
        slow: false,
        run: made_anew,
    },
];

fn life(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("life")?;
    let answer = volumes.get(&name);
    answer.succeeds()?;
    answer.ensure(
        answer
            .json()
            .is_some_and(|json| json.pointer("/Volume").is_some_and(|v| v.is_object())),
        || "there is no `Volume` of one that was made",
    )?;
    let listed = volumes.listed(&name)?;
    ensure(listed == 1, || {
        format!("List names the volume {listed} times")
    })?;
    volumes.path(&name).succeeds()?;
    volumes.remove(&name).succeeds()?;
    ensure(
        !volumes.is_there(&name),
        || "Get still gives the volume that was removed",
    )?;
    let listed = volumes.listed(&name)?;
    ensure(
        listed == 0,
        || "List still names the volume that was removed",
    )
}

fn nameless(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let list = || {
        names_in(&volumes.call("List", &json!({}))).map(|mut names| {
            names.sort();
            names
        })
    };
    let before = list()?;
    for body in [json!({"Name": "", "Opts": {}}), json!({"Opts": {}})] {
        let answer = volumes.call("Create", &body);
        answer.errs()?;
        let after = list()?;
        answer.ensure(after == before, || {
            format!("List has changed from {before:?} to {after:?}")
        })?;
    }
    Ok(())
}

fn again(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("again")?;
    let id = bench.id();
    // Only root sees into a volume.
    let place = if rustix::process::geteuid().is_root() {
        let place = volumes.mounted(&name, &id)?;
        place.mark("kept")?;
        Some(place)
    } else {
        None
    };
    for _ in 0..bench.repeat() {
        volumes.create(&name).succeeds()?;
    }
    let listed = volumes.listed(&name)?;
    ensure(listed == 1, || {
        format!("List names the volume {listed} times")
    })?;
    if let Some(place) = place {
        ensure(
            place.marked().as_deref() == Some("kept"),
            || "what was written into the mounted volume is gone after Create",
        )?;
        volumes.unmount(&name, &id).succeeds()?;
        let remounted = || -> Outcome<Option<String>> {
            let place = volumes.mounted(&name, &id)?;
            let mark = place.marked();
            volumes.unmount(&name, &id).succeeds()?;
            Ok(mark)
        };
        let before = remounted()?;
        volumes.create(&name).succeeds()?;
        ensure(
            remounted()? == before,
            || "what was written into the volume is gone after Create while it was not mounted",
        )?;
    }
    Ok(())
}

fn removed_again(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("removed")?;
    for _ in 0..bench.repeat() {
        volumes.remove(&name).succeeds()?;
    }
    volumes
        .remove(&bench.name("never-made"))
        .succeeds()
        .map(drop)
}

fn made_anew(bench: &Bench) -> Outcome {
    if bench.profile().volume.shared_data {
        return Err(Stop::skip(
            "what is in its volumes belongs to others and outlives them (shared-data in the profile)",
        ));
    }
    let volumes = Volumes::of(bench);
    let name = volumes.made("anew")?;
    let id = bench.id();
    let contents = |place: &Place| -> Vec<String> {
        std::fs::read_dir(&place.path)
            .map(|entries| {
                entries
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default()
    };
    let place = volumes.mounted(&name, &id)?;
    let mut before = contents(&place);
    place.mark("old")?;
    volumes.unmount(&name, &id).succeeds()?;
    volumes.remove(&name).succeeds()?;
    volumes.create(&name).succeeds()?;
    let answer = volumes.mount(&name, &id);
    answer.succeeds()?;
    let mut after = contents(&Place::of(&answer)?);
    before.sort();
    after.sort();
    answer.ensure(after == before, || {
        format!("a new volume holds {after:?}, and at first it held {before:?}")
    })?;
    volumes.unmount(&name, &id).succeeds().map(drop)
}
