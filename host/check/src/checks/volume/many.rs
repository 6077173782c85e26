//! Many calls at once, and many volumes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use serde_json::json;

use super::common::{Volumes, names_in};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "V14",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "64 Creates of one name at once",
        rule: "All succeed, or those that come too early say so; there is one volume. Calls of one engine on a name come one after another, but not those of two.",
        slow: false,
        run: one_name,
    },
    Check {
        id: "V15",
        level: Level::Robustness,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "1,000 Creates of different names at once, then List",
        rule: "Each volume is listed once, and List takes less than a second.",
        slow: true,
        run: many_names,
    },
    Check {
        id: "V33",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[Need::Root],
        title: "100 IDs mounted at once and unmounted in random order",
        rule: "The volume stays mounted until the last Unmount, and then no mount is left: a hundred containers share it, and stop when they like.",
        slow: true,
        run: many_ids,
    },
    Check {
        id: "V48",
        level: Level::Robustness,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "List with 10,000 volumes (`many` in the profile)",
        rule: "Each once, in less than a second: `docker volume ls` and every lookup of an unknown name wait for it. The backend is not asked for each volume.",
        slow: true,
        run: long_list,
    },
];

fn one_name(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = bench.name("one");
    let answers = bench.at_once(64, |_| volumes.create(&name));
    let mut made = 0;
    for answer in &answers {
        if answer.is_success() {
            made += 1;
        } else {
            answer.errs()?;
        }
    }
    ensure(made > 0, || "not one of 64 Creates succeeded")?;
    ensure(volumes.is_there(&name), || {
        format!("{made} of 64 Creates succeeded, and Get does not give the volume")
    })?;
    let listed = volumes.listed(&name)?;
    ensure(listed == 1, || {
        format!("{made} of 64 Creates succeeded, and List names the volume {listed} times")
    })
}

/// Makes so many volumes, over some connections at once, until `limit` has passed.
fn crowd(bench: &Bench, count: usize, limit: Duration) -> Outcome<Vec<String>> {
    let volumes = Volumes::of(bench);
    let names: Vec<String> = (0..count).map(|_| bench.name("many")).collect();
    let next = AtomicUsize::new(0);
    let end = Instant::now() + limit;
    let made = bench.at_once(32, |_| -> Outcome<Vec<String>> {
        let mut made = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            if Instant::now() > end {
                break;
            }
            volumes.create(name).succeeds()?;
            made.push(name.clone());
        }
        Ok(made)
    });
    let mut all = Vec::new();
    for part in made {
        all.extend(part?);
    }
    Ok(all)
}

/// Fails unless `List` names each of them once, within a second.
fn listed(bench: &Bench, made: &[String]) -> Outcome {
    let began = Instant::now();
    let answer = Volumes::of(bench).call("List", &json!({}));
    let took = began.elapsed();
    let mut names = names_in(&answer)?;
    names.sort();
    for name in made {
        let from = names.partition_point(|other| other < name);
        let to = names.partition_point(|other| other <= name);
        answer.ensure(to - from == 1, || {
            format!(
                "of {} volumes, List names {name} {} times",
                made.len(),
                to - from
            )
        })?;
    }
    answer.ensure(took < Duration::from_secs(1), || {
        format!(
            "List took {:.1} s with {} volumes",
            took.as_secs_f64(),
            names.len()
        )
    })
}

/// Takes a crowd away, over some connections at once.
fn disperse(bench: &Bench, made: &[String]) -> Outcome {
    let volumes = Volumes::of(bench);
    let next = AtomicUsize::new(0);
    let removed = bench.at_once(32, |_| -> Outcome {
        while let Some(name) = made.get(next.fetch_add(1, Ordering::Relaxed)) {
            volumes.remove(name).succeeds()?;
        }
        Ok(())
    });
    removed.into_iter().collect()
}

fn many_names(bench: &Bench) -> Outcome {
    let made = crowd(bench, 1000, Duration::from_secs(60))?;
    let seen = listed(bench, &made);
    disperse(bench, &made)?;
    seen
}

fn long_list(bench: &Bench) -> Outcome {
    let many = bench.profile().volume.many as usize;
    // Half a minute is what a volume each 3 ms takes; a slower plugin is asked with what it has by then.
    let made = crowd(bench, many, Duration::from_secs(30))?;
    let seen = listed(bench, &made);
    disperse(bench, &made)?;
    seen
}

fn many_ids(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("crowded")?;
    let mut ids: Vec<String> = (0..100).map(|_| bench.id()).collect();
    let places = bench.at_once(ids.len(), |number| match ids.get(number) {
        Some(id) => volumes.mounted(&name, id),
        None => Err(Stop::skip("no ID")),
    });
    let places = places.into_iter().collect::<Outcome<Vec<_>>>()?;
    let Some(place) = places.first() else {
        return Err(Stop::skip("no place"));
    };
    for other in &places {
        ensure(other.path == place.path, || {
            format!(
                "under one ID it is at {}, under another at {}",
                place.path.display(),
                other.path.display()
            )
        })?;
    }
    place.mark("crowded")?;
    ids.shuffle(&mut bench.random());
    let last = ids.pop().unwrap_or_default();
    for (number, id) in ids.iter().enumerate() {
        volumes.unmount(&name, id).succeeds()?;
        ensure(place.marked().as_deref() == Some("crowded"), || {
            format!(
                "after {} of 100 Unmounts the volume is no longer mounted",
                number + 1
            )
        })?;
    }
    place.stays(bench, "crowded", "after 99 of 100 Unmounts")?;
    volumes.unmount(&name, &last).succeeds()?;
    place.goes(bench, "after 100 of 100 Unmounts")
}
