//! Making and removing volumes.

use serde_json::json;

use super::common::{Volumes, names_in};
use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome, ensure};

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
