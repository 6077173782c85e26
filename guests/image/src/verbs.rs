//! What operators can ask for beside Docker's commands.

use dockside_driver::{
    KeyValues, Result,
    admin::{self, Verb, answer, argument, verb},
};
use serde::Serialize;

use crate::{
    backup, collect,
    repository::{self, Reference},
    schedule::{self, What},
    snapshot::{self, Source},
    units::{parse_size, parse_span, show_size, show_span, show_time},
    volume::{self, Asked, VOLUMES},
};

pub(crate) fn all() -> Vec<Verb> {
    let volume = || argument("volume").required().help("The volume's name");
    let store = || {
        argument("store").help(
            "A store under [grants.blobs]; the setting store, or the only one, if none is said",
        )
    };
    let snapshot = || argument("snapshot").required().help("The snapshot's name");
    let backup = || argument("backup").required().help("BACKUP or STORE/BACKUP");
    vec![
        verb("volumes").help("List the volumes with what they take on the disk"),
        verb("grow")
            .help("Make a volume larger, also while it is in use")
            .argument(volume())
            .argument(argument("size").size().required().help("The new size")),
        verb("clone")
            .help("Make a volume that begins as a copy of another or of a snapshot")
            .argument(
                argument("from")
                    .required()
                    .help("VOLUME or VOLUME@SNAPSHOT"),
            )
            .argument(argument("to").required().help("The new volume's name"))
            .argument(
                argument("size")
                    .size()
                    .help("Its size, if it is to be larger"),
            ),
        verb("snapshot")
            .help("Make a snapshot of a volume, also while it is in use")
            .argument(volume())
            .argument(argument("name").help("The snapshot's name; the time if none is said")),
        verb("snapshots")
            .help("List the snapshots")
            .argument(argument("volume").help("Of this volume only")),
        verb("snapshot-delete")
            .help("Delete a snapshot")
            .argument(volume())
            .argument(snapshot()),
        verb("revert")
            .help("Give a volume that is not in use the content of one of its snapshots")
            .argument(volume())
            .argument(snapshot()),
        verb("backup")
            .help("Make a backup of a volume, also while it is in use, or of a snapshot")
            .argument(
                argument("volume")
                    .required()
                    .help("VOLUME or VOLUME@SNAPSHOT"),
            )
            .argument(store()),
        verb("backups")
            .help("List the backups in a store")
            .argument(store())
            .argument(argument("volume").help("Of this volume only")),
        verb("restore")
            .help("Make a volume of a backup")
            .argument(backup())
            .argument(argument("to").required().help("The new volume's name"))
            .argument(
                argument("size")
                    .size()
                    .help("Its size, if it is to be larger"),
            ),
        verb("backup-delete")
            .help("Delete a backup, and what no other backup needs of it")
            .argument(backup()),
        verb("backup-verify")
            .help("Read a backup to its end and compare it with its checksums")
            .argument(backup()),
        verb("schedule")
            .help("Make snapshots or backups of a volume again and again")
            .argument(volume())
            .argument(
                argument("what")
                    .choice(["snapshot", "backup"])
                    .default("snapshot")
                    .help("What to make"),
            )
            .argument(
                argument("every")
                    .required()
                    .help("How often: 30m, 1h, 1d, 1w"),
            )
            .argument(
                argument("keep")
                    .integer(1..=10_000)
                    .required()
                    .help("How many to keep: the oldest goes when there is one more"),
            )
            .argument(store()),
        verb("schedules").help("List the schedules"),
        verb("unschedule")
            .help("End a schedule; what it has made stays")
            .argument(volume())
            .argument(
                argument("name")
                    .required()
                    .help("The schedule's name, as schedules lists it"),
            ),
    ]
}

pub(crate) fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
    // The host lets nothing through that lacks what is required.
    let text = |name: &str| arguments.get(name).unwrap_or_default();
    let given = |name: &str| arguments.get(name).filter(|value| !value.is_empty());
    let size = given("size").map(parse_size).transpose()?;
    match verb {
        "volumes" => volumes(),
        "grow" => {
            let record = volume::grow(text("volume"), size.unwrap_or(0))?;
            say(format!("{} has {}", text("volume"), show_size(record.size)))
        }
        "clone" => {
            let record = volume::make(text("to"), Asked::from(text("from"), size))?;
            say(format!("{} has {}", text("to"), show_size(record.size)))
        }
        "snapshot" => say(snapshot::create(text("volume"), given("name"), None)?),
        "snapshots" => snapshots(given("volume")),
        "snapshot-delete" => done(snapshot::delete(text("volume"), text("snapshot"))),
        "revert" => done(snapshot::revert(text("volume"), text("snapshot"))),
        "backup" => {
            let store = repository::store(given("store"))?;
            let source = Source::find(text("volume"))?;
            let (at, summary) = backup::create(&store, &source, None)?;
            answer(&Backup::new(&at, &summary))
        }
        "backups" => backups(given("store"), given("volume")),
        "restore" => {
            let record = volume::make(text("to"), Asked::backup(text("backup"), size))?;
            say(format!("{} has {}", text("to"), show_size(record.size)))
        }
        "backup-delete" => {
            let freed = collect::delete(&Reference::parse(text("backup"))?)?;
            say(match freed {
                Some(freed) => format!("{} freed", show_size(freed.bytes)),
                None => "deleted; the store is in use, so that its space is freed later".to_owned(),
            })
        }
        "backup-verify" => {
            let at = Reference::parse(text("backup"))?;
            let bytes = backup::verify(&at)?;
            say(format!(
                "{} read, and all of it as it was written",
                show_size(bytes)
            ))
        }
        "schedule" => {
            let what = match text("what") {
                "backup" => What::Backup,
                _ => What::Snapshot,
            };
            let keep = arguments.parse("keep")?.unwrap_or(1);
            let every = parse_span(text("every"))?;
            say(schedule::add(
                text("volume"),
                what,
                every,
                keep,
                given("store"),
            )?)
        }
        "schedules" => schedules(),
        "unschedule" => done(schedule::remove(text("volume"), text("name"))),
        _ => Err(admin::unknown(verb)),
    }
}

fn say(text: String) -> Result<String> {
    answer(&text)
}

fn done(result: Result<()>) -> Result<String> {
    result?;
    answer(&())
}

fn volumes() -> Result<String> {
    #[derive(Serialize)]
    struct Row {
        volume: String,
        size: String,
        used: String,
        fs: String,
        snapshots: usize,
    }
    let used = volume::used()?;
    let snapshots = snapshot::by_volume()?;
    let row = |(name, record): (String, volume::Record)| Row {
        size: show_size(record.size),
        used: show_size(used.get(&volume::image_key(&name)).copied().unwrap_or(0)),
        fs: record.filesystem,
        snapshots: snapshots.get(&name).map_or(0, Vec::len),
        volume: name,
    };
    answer(&VOLUMES.iter()?.map(row).collect::<Vec<_>>())
}

fn snapshots(volume: Option<&str>) -> Result<String> {
    #[derive(Serialize)]
    struct Row {
        volume: String,
        snapshot: String,
        created: String,
        size: String,
        used: String,
        schedule: Option<String>,
    }
    if let Some(volume) = volume {
        volume::find(volume)?;
    }
    let used = volume::used()?;
    let mut rows = Vec::new();
    for (of, snapshots) in snapshot::by_volume()? {
        if volume.is_some_and(|volume| volume != of) {
            continue;
        }
        rows.extend(snapshots.into_iter().map(|snapshot| Row {
            created: show_time(snapshot.created_at),
            size: show_size(snapshot.size),
            used: show_size(snapshot::used(&of, &snapshot.name, &used).unwrap_or(0)),
            schedule: snapshot.schedule,
            volume: of.clone(),
            snapshot: snapshot.name,
        }));
    }
    answer(&rows)
}

#[derive(Serialize)]
struct Backup {
    backup: String,
    volume: String,
    snapshot: Option<String>,
    created: String,
    size: String,
    fs: String,
    sent: String,
    schedule: Option<String>,
}

impl Backup {
    fn new(at: &Reference, summary: &repository::Summary) -> Self {
        Self {
            backup: format!("{}/{}", at.store, at.id),
            volume: summary.volume.clone(),
            snapshot: summary.snapshot.clone(),
            created: show_time(summary.created_at),
            size: show_size(summary.size),
            fs: summary.filesystem.clone(),
            sent: show_size(summary.sent),
            schedule: summary.schedule.clone(),
        }
    }
}

fn backups(store: Option<&str>, volume: Option<&str>) -> Result<String> {
    let store = repository::store(store)?;
    let mut rows = Vec::new();
    for (at, summary) in collect::list(&store)? {
        match summary {
            Ok(summary) if volume.is_some_and(|volume| volume != summary.volume) => {}
            Ok(summary) => rows.push(Backup::new(&at, &summary)),
            // One that cannot be read must not hide the others.
            Err(error) => rows.push(Backup {
                backup: format!("{}/{}", at.store, at.id),
                volume: format!("? {error}"),
                snapshot: None,
                created: String::new(),
                size: String::new(),
                fs: String::new(),
                sent: String::new(),
                schedule: None,
            }),
        }
    }
    answer(&rows)
}

fn schedules() -> Result<String> {
    #[derive(Serialize)]
    struct Row {
        volume: String,
        name: String,
        what: &'static str,
        every: String,
        keep: u64,
        store: Option<String>,
        last: Option<String>,
        next: String,
        error: Option<String>,
    }
    let row = |(volume, name, schedule): (String, String, schedule::Schedule)| Row {
        volume,
        name,
        what: schedule.what.name(),
        every: show_span(schedule.every),
        keep: schedule.keep,
        store: schedule.store,
        last: schedule.last.map(show_time),
        next: show_time(schedule.next),
        error: schedule.error,
    };
    answer(&schedule::all()?.into_iter().map(row).collect::<Vec<_>>())
}
