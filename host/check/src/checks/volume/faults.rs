//! A backend that fails or hangs, and a disk that is full.

use std::time::Instant;

use serde_json::json;

use super::common::{Place, Volumes};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};
use crate::client::{Answer, Broken, Connection, as_engine};
use crate::control::Fault;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "V34",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[Need::Root, Need::Fault],
        title: "Mount while the backend fails",
        rule: "An error; no mount, no directory and no reference is left: the engine sends no Unmount after a failed Mount.",
        slow: false,
        run: failed_mount,
    },
    Check {
        id: "V35",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[Need::Root, Need::Fault],
        title: "Mount while the backend hangs",
        rule: "The plugin gives up before the engine does (120 s), says so, and has undone its work: what finishes after the engine has gone away is never unmounted.",
        slow: true,
        run: hanging_mount,
    },
    Check {
        id: "V36",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[Need::Fault],
        title: "the other calls while the backend hangs",
        rule: "An answer before the engine gives up (60 s), an error if need be: until then the engine holds the volume's lock, and `docker ps` may wait for it.",
        slow: true,
        run: hanging_calls,
    },
    Check {
        id: "V46",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[Need::Root, Need::Fault],
        title: "Create, Mount, Unmount and Remove on a disk that is full, and one that is read-only",
        rule: "Done or an error; what was refused is not half made, and works again without a restart as soon as there is room.",
        slow: true,
        run: bad_disk,
    },
    Check {
        id: "V49",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[Need::Fault],
        title: "another driver while this one hangs",
        rule: "Calls at the other driver's socket are answered as ever.",
        slow: true,
        run: neighbour,
    },
];

/// Breaks the backend for as long as `f` runs.
fn during<T>(bench: &Bench, fault: Fault, f: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let control = bench.control()?;
    control.inject(fault).map_err(Stop::skip)?;
    let outcome = f();
    control.mend().map_err(Stop::fail)?;
    outcome
}

/// A volume that was mounted and unmounted once, and the place.
fn known(bench: &Bench) -> Outcome<(String, Place)> {
    let volumes = Volumes::of(bench);
    let name = volumes.made("known")?;
    let id = bench.id();
    let place = volumes.mounted(&name, &id)?;
    volumes.unmount(&name, &id).succeeds()?;
    place.goes(bench, "after Unmount")?;
    Ok((name, place))
}

/// Fails unless a failed Mount left nothing: no kernel mount, no reference that keeps the volume, and the next Mount works.
fn nothing_left(bench: &Bench, name: &str, place: &Place, entry: bool) -> Outcome {
    let volumes = Volumes::of(bench);
    place.goes(bench, "after the failed Mount")?;
    ensure(place.path.exists() == entry, || {
        format!(
            "after the failed Mount there is an entry at {}",
            place.path.display()
        )
    })?;
    let id = bench.id();
    let again = volumes.mounted(name, &id)?;
    again.mark("mended")?;
    volumes.unmount(name, &id).succeeds()?;
    again.goes(bench, "after the failed Mount, a Mount and its Unmount")?;
    volumes
        .remove(name)
        .succeeds()
        .map(drop)
        .map_err(|stop| stop.during("a reference of the failed Mount is left"))
}

fn failed_mount(bench: &Bench) -> Outcome {
    let (name, place) = known(bench)?;
    let entry = place.path.exists();
    let answer = during(bench, Fault::Fail, || {
        Ok(Volumes::of(bench).mount(&name, &bench.id()))
    })?;
    answer.errs()?;
    nothing_left(bench, &name, &place, entry)
}

fn hanging_mount(bench: &Bench) -> Outcome {
    let (name, place) = known(bench)?;
    let entry = place.path.exists();
    let answer = during(bench, Fault::Hang, || {
        Ok(Volumes::of(bench).mount(&name, &bench.id()))
    })?;
    answer.errs()?;
    nothing_left(bench, &name, &place, entry)
}

fn hanging_calls(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let mut names = Vec::new();
    for _ in 0..2 {
        names.push(volumes.made("slow")?);
    }
    let (asked, removed) = match names.as_slice() {
        [asked, removed] => (asked.as_str(), removed.as_str()),
        _ => return Ok(()),
    };
    let id = bench.id();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        volumes.mount(asked, &id).succeeds()?;
    }
    let calls = [
        ("Capabilities", json!({})),
        ("List", json!({})),
        ("Get", json!({"Name": asked})),
        ("Path", json!({"Name": asked})),
        ("Unmount", json!({"Name": asked, "ID": id})),
        ("Remove", json!({"Name": removed})),
    ];
    let answers = during(bench, Fault::Hang, || {
        Ok(bench.at_once(calls.len(), |number| {
            calls
                .get(number)
                .map(|(method, body)| volumes.call(method, body))
        }))
    })?;
    for answer in answers.iter().flatten() {
        let closes = answer.exchange().request.contains(".Get ")
            && matches!(answer.broken(), Some(Broken::Closed));
        answer.ensure(
            answer.status() != 0 || closes,
            || "there is no answer in time",
        )?;
    }
    Ok(())
}

fn bad_disk(bench: &Bench) -> Outcome {
    let mut skipped = Vec::new();
    for (fault, what) in [(Fault::Full, "full"), (Fault::ReadOnly, "read-only")] {
        match on_bad_disk(bench, fault) {
            Err(Stop::Skip(reason)) => skipped.push(reason),
            other => other.map_err(|stop| stop.during(format!("on a disk that is {what}")))?,
        }
    }
    if skipped.len() == 2 {
        return Err(Stop::skip(skipped.join("; ")));
    }
    Ok(())
}

fn on_bad_disk(bench: &Bench, fault: Fault) -> Outcome {
    let volumes = Volumes::of(bench);
    let fresh = bench.name("fresh");
    let (idle, place) = known(bench)?;
    let used = volumes.made("used")?;
    let gone = volumes.made("gone")?;
    let (first, second) = (bench.id(), bench.id());
    let in_use = volumes.mounted(&used, &first)?;
    in_use.mark("kept")?;
    let tried = during(bench, fault, || {
        Ok([
            volumes.create(&fresh),
            volumes.mount(&idle, &second),
            volumes.unmount(&used, &first),
            volumes.remove(&gone),
        ])
    })?;
    for answer in &tried {
        if !answer.is_success() {
            answer.errs()?;
        }
    }
    let [created, mounted, unmounted, removed] = &tried;
    // What was done is done, what was refused is not.
    created.ensure(
        volumes.is_there(&fresh) == created.is_success(),
        || "Get says the contrary when the disk is well again",
    )?;
    removed.ensure(
        volumes.is_there(&gone) == removed.is_error(),
        || "Get says the contrary when the disk is well again",
    )?;
    if mounted.is_success() {
        volumes.unmount(&idle, &second).succeeds()?;
    }
    place.goes(bench, "after the Mount that was refused")?;
    if unmounted.is_error() {
        in_use.stays(bench, "kept", "after an Unmount that was refused,")?;
        volumes.unmount(&used, &first).succeeds()?;
    }
    in_use.goes(bench, "after Unmount")?;
    // And without a restart everything works.
    for name in [&fresh, &idle, &used, &gone] {
        volumes.create(name).succeeds()?;
        let id = bench.id();
        let place = volumes.mounted(name, &id)?;
        place.mark("mended")?;
        volumes.unmount(name, &id).succeeds()?;
        place.goes(bench, "after Unmount")?;
        volumes.remove(name).succeeds()?;
    }
    Ok(())
}

fn neighbour(bench: &Bench) -> Outcome {
    let Some(socket) = &bench.profile().volume.neighbour else {
        return Err(Stop::skip(
            "no other driver is known: neighbour under [volume] in the profile",
        ));
    };
    let limit = bench.patience().seconds(5.0);
    let named = |method: &str, name: &str| {
        let body = json!({"Name": name, "Opts": bench.profile().volume.filled(name)}).to_string();
        let method = format!("VolumeDriver.{method}");
        let got = Connection::open(socket).and_then(|mut connection| {
            connection.write(&as_engine(&method, body.as_bytes()))?;
            connection.read(limit)
        });
        Answer::new(&method, body.as_bytes(), got)
    };
    let volumes = Volumes::of(bench);
    let name = volumes.made("hangs")?;
    let beside = bench.name("beside");
    during(bench, Fault::Hang, || {
        std::thread::scope(|scope| {
            let hanging = scope.spawn(|| volumes.create(&bench.name("hanging")));
            let began = Instant::now();
            named("List", &beside).succeeds()?;
            let made = named("Create", &beside);
            let found = named("Get", &beside);
            let removed = named("Remove", &beside);
            made.succeeds()?;
            found.succeeds()?;
            removed.succeeds()?;
            ensure(began.elapsed() < limit, || {
                format!(
                    "four calls of the other driver took {:.1} s",
                    began.elapsed().as_secs_f64()
                )
            })?;
            let _ = bench.control().map(|control| control.mend());
            drop(hanging.join());
            Ok(())
        })
    })?;
    volumes.get(&name).succeeds().map(drop)
}
