//! Names that mean something to somebody else, and where mount points lie.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::common::{Place, Volumes, has_volume};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};
use crate::client::{Answer, Connection, as_engine};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "V22",
        level: Level::Security,
        kind: Some(Kind::Volume),
        needs: &[Need::Root],
        title: "mount points lie in the plugin's own area",
        rule: "Never /, /etc or another directory of the machine, whatever the volume is called: the engine mounts what it is told into the container, writable.",
        slow: false,
        run: area,
    },
    Check {
        id: "V38",
        level: Level::Security,
        kind: Some(Kind::Volume),
        needs: &[Need::Root],
        title: "odd names through a whole life",
        rule: "Each is refused with an error, or is the name of a volume of its own, byte for byte. The engine checks no name: slashes, dots, line breaks and NUL reach the plugin.",
        slow: true,
        run: odd,
    },
    Check {
        id: "V39",
        level: Level::Security,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "the same name in two drivers on one machine",
        rule: "Two volumes, which have nothing in common.",
        slow: false,
        run: two_drivers,
    },
];

/// What belongs to the machine, with everything below it.
const TREES: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/root",
    "/sbin",
    "/sys",
    "/usr",
    "/var/run/docker",
    "/run/docker/containerd",
    "/run/docker/runtime-runc",
];

/// And what a plugin may have a directory in.
const PARENTS: &[&str] = &[
    "/",
    "/media",
    "/mnt",
    "/opt",
    "/run",
    "/srv",
    "/tmp",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/lib/docker",
    "/var/lib/docker-volumes",
    "/var/lib/docker/volumes",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// The directory that mount points lie in: as the profile says, or what is above the name of an ordinary volume.
fn area_of(bench: &Bench) -> Outcome<Option<PathBuf>> {
    if let Some(area) = &bench.profile().volume.area {
        return Ok(Some(area.clone()));
    }
    let volumes = Volumes::of(bench);
    let name = volumes.made("ordinary")?;
    let id = bench.id();
    let place = volumes.mounted(&name, &id)?;
    volumes.unmount(&name, &id).succeeds()?;
    volumes.remove(&name).succeeds()?;
    Ok(place
        .path
        .ancestors()
        .find(|path| path.file_name().is_some_and(|last| last == name.as_str()))
        .and_then(Path::parent)
        .map(Path::to_owned))
}

/// Why a volume must not be mounted there.
fn misplaced(area: Option<&Path>, path: &Path) -> Option<String> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(area) = area {
        let area = std::fs::canonicalize(area).unwrap_or_else(|_| area.to_owned());
        let inside = real.starts_with(&area) && real != area;
        return (!inside).then(|| format!("{} is not inside {}", real.display(), area.display()));
    }
    let own = TREES.iter().find(|tree| real.starts_with(tree));
    if let Some(tree) = own {
        return Some(format!("{} is the machine's own {tree}", real.display()));
    }
    let is_parent = PARENTS.iter().any(|parent| real == Path::new(parent));
    let is_below_root = real.parent() == Some(Path::new("/"));
    (is_parent || is_below_root).then(|| format!("{} is the machine's own", real.display()))
}

fn area(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let area = area_of(bench)?;
    // None that leads to a directory of the machine: a plugin that follows it mounts over that.
    for name in [
        bench.name("inside"),
        "/dockside-check".into(),
        "../../../../../../../../../dockside-check".into(),
        "x/../../../../../../../../dockside-check".into(),
        "/".into(),
        ".".into(),
    ] {
        // Never somebody else's.
        if volumes.is_there(&name) || volumes.create(&name).is_error() {
            continue;
        }
        let id = bench.id();
        let mounted = volumes.mount(&name, &id);
        let told = [
            (&mounted, "/Mountpoint"),
            (&volumes.path(&name), "/Mountpoint"),
            (&volumes.get(&name), "/Volume/Mountpoint"),
        ]
        .into_iter()
        .find_map(|(answer, field)| {
            let path = answer.text(field);
            if path.is_empty() {
                return None;
            }
            misplaced(area.as_deref(), Path::new(&path)).map(|why| answer.fail(why))
        });
        if mounted.is_success() {
            let _ = volumes.unmount(&name, &id);
        }
        if let Some(stop) = told {
            return Err(stop);
        }
        volumes.remove(&name).succeeds()?;
    }
    Ok(())
}

fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "../../dockside-check",
        ".",
        "..",
        "/",
        "dkc/b",
        "dkc//b",
        "dkc/b/",
        "dkc%2fb",
        "dkc_b",
        "%2e%2e",
        "-dkc",
        "--help",
        " ",
        "dkc b",
        " dkc",
        "dkc ",
        "\t",
        "dkc\nb",
        "dkc\"b",
        "dkc'b",
        "dkc\\b",
        "$(id)",
        "`id`",
        "${HOME}",
        "dkc;b",
        "dkc,b",
        "dkc:b",
        "dkc=b",
        "dkc#b",
        "~",
        "*",
        "\u{1f40b}",
        "dkc\u{200f}b",
        "dkc\0b",
        "dkc",
        "\0",
        "con",
        "Vol",
        "vol",
        "dkc-\u{e9}",
        "dkc-e\u{301}",
        ".json",
        "metadata.db",
        "null",
    ]
    .map(str::to_owned)
    .into();
    names.extend([255, 256, 5000].map(|length| "x".repeat(length)));
    names.push("\u{e9}".repeat(127) + "x");
    names
}

/// A name as it is told to people.
fn shown(name: &str) -> String {
    let mut text: String = name.escape_debug().take(40).collect();
    if name.len() > 40 {
        text += &format!("… ({} bytes)", name.len());
    }
    format!("\"{text}\"")
}

struct Odd {
    name: String,
    id: String,
    place: Place,
}

fn odd(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let area = area_of(bench)?;
    let mut lives: Vec<Odd> = Vec::new();
    for name in odd_names() {
        if volumes.is_there(&name) {
            continue;
        }
        let answer = volumes.create(&name);
        if answer.broken().is_some() {
            return Err(answer.fail(format!("there is no answer to the name {}", shown(&name))));
        }
        if answer.is_error() {
            // What is refused is not half made either.
            answer.ensure(
                !volumes.is_there(&name),
                || "Get gives the volume whose name was refused",
            )?;
            continue;
        }
        answer.succeeds()?;
        if let Some(life) = begun(&volumes, &name, &lives, area.as_deref())? {
            lives.push(life);
        }
    }
    for life in &lives {
        ensure(life.place.marked().as_deref() == Some(&life.name), || {
            format!(
                "the volume {} holds what was written into another one, {:?}",
                shown(&life.name),
                life.place.marked().map(|mark| shown(&mark))
            )
        })?;
    }
    while let Some(life) = lives.pop() {
        volumes.unmount(&life.name, &life.id).succeeds()?;
        volumes.remove(&life.name).succeeds()?;
        ensure(!volumes.is_there(&life.name), || {
            format!("{} is still there after Remove", shown(&life.name))
        })?;
        for other in &lives {
            ensure(other.place.marked().as_deref() == Some(&other.name), || {
                format!(
                    "the removal of {} has taken {} away",
                    shown(&life.name),
                    shown(&other.name)
                )
            })?;
        }
    }
    Ok(())
}

/// The first half of the life of a volume with an odd name. Nothing: the name is refused after all.
fn begun(
    volumes: &Volumes<'_>,
    name: &str,
    lives: &[Odd],
    area: Option<&Path>,
) -> Outcome<Option<Odd>> {
    let bench = volumes.bench;
    let answer = volumes.get(name);
    answer.succeeds()?;
    answer.ensure(answer.text("/Volume/Name") == name, || {
        format!(
            "the volume {} is told as {}",
            shown(name),
            shown(&answer.text("/Volume/Name"))
        )
    })?;
    let listed = volumes.listed(name)?;
    ensure(listed == 1, || {
        format!("List names {} {listed} times", shown(name))
    })?;
    let id = bench.id();
    let answer = volumes.mount(name, &id);
    if answer.is_error() {
        volumes.remove(name).succeeds()?;
        return Ok(None);
    }
    answer.succeeds()?;
    let place = Place::of(&answer)?;
    if let Some(why) = misplaced(area, &place.path) {
        return Err(answer.fail(why));
    }
    let real = |path: &Path| -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    };
    let own = real(&place.path);
    if let Some(other) = lives.iter().find(|other| {
        let other = real(&other.place.path);
        own.starts_with(&other) || other.starts_with(&own)
    }) {
        return Err(answer.fail(format!(
            "the volumes {} and {} meet at {}",
            shown(name),
            shown(&other.name),
            own.display()
        )));
    }
    place.mark(name)?;
    Ok(Some(Odd {
        name: name.to_owned(),
        id,
        place,
    }))
}

fn two_drivers(bench: &Bench) -> Outcome {
    let Some(socket) = &bench.profile().volume.neighbour else {
        return Err(Stop::skip(
            "no other driver is known: neighbour under [volume] in the profile",
        ));
    };
    let volumes = Volumes::of(bench);
    let name = bench.name("shared");
    let id = bench.id();
    let beside = |method: &str| {
        let options = bench.profile().volume.filled(&name);
        let method = format!("VolumeDriver.{method}");
        let body = json!({"Name": name, "ID": id, "Opts": options}).to_string();
        let got = Connection::open(socket).and_then(|mut connection| {
            connection.write(&as_engine(&method, body.as_bytes()))?;
            connection.read(bench.patience().for_call(&method))
        });
        Answer::new(&method, body.as_bytes(), got)
    };
    volumes.create(&name).succeeds()?;
    let found = beside("Get");
    found.ensure(
        !has_volume(&found),
        || "the other driver has the volume of the first",
    )?;
    let outcome = (|| {
        beside("Create").succeeds()?;
        if rustix::process::geteuid().is_root() {
            let own = volumes.mounted(&name, &id)?;
            own.mark("own")?;
            let answer = beside("Mount");
            answer.succeeds()?;
            let other = Place::of(&answer)?;
            let seen = other.marked();
            beside("Unmount").succeeds()?;
            answer.ensure(
                seen.is_none(),
                || "what was written into one driver's volume is in the other one's",
            )?;
            own.stays(bench, "own", "after the Unmount at the other driver")?;
            volumes.unmount(&name, &id).succeeds()?;
        }
        beside("Remove").succeeds()?;
        ensure(
            volumes.is_there(&name),
            || "the removal at the other driver has taken the volume away",
        )
    })();
    if outcome.is_err() {
        let _ = beside("Unmount");
        let _ = beside("Remove");
    }
    outcome
}
