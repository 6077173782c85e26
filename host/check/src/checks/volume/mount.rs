//! Where a volume is mounted, and how.

use std::path::{Component, Path};
use std::time::{Duration, Instant};

use super::common::{Place, Volumes, mounts_at};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};

const ROOT: &[Need] = &[Need::Root];

const fn check(
    id: &'static str,
    level: Level,
    title: &'static str,
    rule: &'static str,
    run: fn(&Bench) -> Outcome,
) -> Check {
    Check {
        id,
        level,
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
        "V20",
        Level::Engine,
        "the answer to Mount",
        "`Mountpoint` is an absolute, clean path of a directory that the engine can see, with the volume in it. An empty one makes the engine mount the container's own bundle into the container, writable.",
        place,
    ),
    check(
        "V21",
        Level::Engine,
        "Mount, Path and Get agree",
        "While the volume is mounted all three give the same mount point; afterwards Path and Get give none or the same.",
        agreement,
    ),
    check(
        "V23",
        Level::Engine,
        "Mount of a volume that was never made",
        "An error and nothing mounted: the engine sends no Unmount after a failed Mount, so what is left then stays.",
        unknown,
    ),
    check(
        "V32",
        Level::Engine,
        "what is written is there at the next Mount",
        "The same bytes: a volume outlives its containers.",
        bytes,
    ),
    check(
        "V37",
        Level::Security,
        "mount flags",
        "A mount that the plugin makes is `nosuid` and `nodev`, and is no shared mount: a container must not bring device nodes or setuid programs to the machine by way of a volume, nor mounts of its own.",
        flags,
    ),
    Check {
        needs: &[],
        ..check(
            "V19",
            Level::Robustness,
            "Path before Mount, and of a volume that was never made",
            "None or the future mount point; an error. Path is a question and changes nothing.",
            path,
        )
    },
    Check {
        needs: &[],
        ..check(
            "V31",
            Level::Robustness,
            "Unmount of a volume that was never made",
            "A success or an error, within a second: the engine logs it and goes on.",
            unmount_unknown,
        )
    },
];

fn path(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("path")?;
    let answer = volumes.path(&name);
    answer.succeeds()?;
    let path = answer.text("/Mountpoint");
    answer.ensure(
        path.is_empty() || path.starts_with('/'),
        || "the path is not absolute",
    )?;
    volumes.path(&bench.name("never-made")).errs().map(drop)
}

fn unmount_unknown(bench: &Bench) -> Outcome {
    let mut slow = Ok(());
    // A machine that is busy for a moment is no fault of the plugin's.
    for _ in 0..bench.repeat().max(3) {
        let began = Instant::now();
        let answer = Volumes::of(bench).unmount(&bench.name("never-made"), &bench.id());
        let took = began.elapsed();
        answer.ensure(
            answer.is_success() || answer.is_error(),
            || "this is neither a success nor an error",
        )?;
        slow = answer.ensure(took < Duration::from_secs(1), || {
            format!("it took {:.1} s", took.as_secs_f64())
        });
        if slow.is_ok() {
            break;
        }
    }
    slow
}

fn place(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("place")?;
    let id = bench.id();
    let answer = volumes.mount(&name, &id);
    answer.succeeds()?;
    let place = Place::of(&answer)?;
    let text = place.path.display().to_string();
    let clean = place
        .path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && !text.contains("//")
        && !text.contains("/./")
        && !text.ends_with("/.");
    answer.ensure(clean, || "the path is not clean")?;
    answer.ensure(
        place.path.is_dir(),
        || "there is no such directory in the runner's mount namespace",
    )?;
    place.mark("written")?;
    if let Some(wanted) = &bench.profile().volume.filesystem {
        let mounts = mounts_at(&place.path);
        let found = mounts.last().map(|mount| mount.filesystem.as_str());
        answer.ensure(found == Some(wanted), || match found {
            Some(found) => format!("the file system there is {found}, and {wanted} is expected"),
            None => format!("nothing is mounted there, and {wanted} is expected"),
        })?;
    }
    volumes.unmount(&name, &id).succeeds().map(drop)
}

fn agreement(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("agreed")?;
    let id = bench.id();
    let place = volumes.mounted(&name, &id)?;
    let same = |given: &str| Path::new(given) == place.path;
    let told = || {
        [
            (volumes.path(&name), "/Mountpoint"),
            (volumes.get(&name), "/Volume/Mountpoint"),
        ]
    };
    for (answer, field) in told() {
        answer.succeeds()?;
        answer.ensure(same(&answer.text(field)), || {
            format!("it is mounted at {}", place.path.display())
        })?;
    }
    volumes.unmount(&name, &id).succeeds()?;
    for (answer, field) in told() {
        answer.succeeds()?;
        let given = answer.text(field);
        answer.ensure(given.is_empty() || same(&given), || {
            format!("it was mounted at {}", place.path.display())
        })?;
    }
    Ok(())
}

fn unknown(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    // Where mount points are, if the plugin makes them side by side.
    let near = {
        let name = volumes.made("near")?;
        let id = bench.id();
        let place = volumes.mounted(&name, &id)?;
        volumes.unmount(&name, &id).succeeds()?;
        volumes.remove(&name).succeeds()?;
        place.goes(bench, "after Unmount and Remove")?;
        place.path.parent().map(Path::to_owned)
    };
    let list = || {
        near.as_deref()
            .and_then(|near| std::fs::read_dir(near).ok())
            .map(|entries| entries.flatten().count())
    };
    let before = list();
    let mounts = super::common::mounts().len();
    let answer = volumes.mount(&bench.name("never-made"), &bench.id());
    answer.errs()?;
    answer.ensure(
        super::common::mounts().len() == mounts,
        || "there is a mount that was not there before",
    )?;
    answer.ensure(list() <= before, || {
        format!(
            "there is a new entry in {}",
            near.as_deref().unwrap_or(Path::new("/")).display()
        )
    })
}

fn bytes(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("bytes")?;
    for round in 0..bench.repeat() {
        let id = bench.id();
        let place = volumes.mounted(&name, &id)?;
        if round > 0 {
            let seen = place.marked();
            ensure(seen == Some(format!("round {}", round - 1)), || {
                format!("what was written before the last Unmount is not there: {seen:?}")
            })?;
        }
        place.mark(&format!("round {round}"))?;
        volumes.unmount(&name, &id).succeeds()?;
        place.goes(bench, "after Unmount")?;
    }
    Ok(())
}

fn flags(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("flags")?;
    let answer = volumes.mount(&name, &bench.id());
    answer.succeeds()?;
    let place = Place::of(&answer)?;
    let mounts = mounts_at(&place.path);
    let Some(mount) = mounts.last() else {
        return Err(Stop::skip(
            "the volume is a plain directory: it has the flags of the machine's own file system",
        ));
    };
    for flag in ["nosuid", "nodev"] {
        answer.ensure(mount.options.iter().any(|option| option == flag), || {
            format!("the mount has no `{flag}`: {}", mount.options.join(","))
        })?;
    }
    // Below a shared parent a mount is shared by itself; then it is the machine's choice.
    let parent_is_shared = place
        .path
        .ancestors()
        .skip(1)
        .find_map(|parent| mounts_at(parent).pop())
        .is_some_and(|parent| is_shared(&parent.tags));
    answer.ensure(
        !is_shared(&mount.tags) || parent_is_shared,
        || "the mount is shared although its parent is not",
    )
}

fn is_shared(tags: &[String]) -> bool {
    tags.iter().any(|tag| tag.starts_with("shared:"))
}
