//! `kill -9` of the daemon at random moments of a load of creates and removes, with the record of what was acknowledged kept outside.
//!
//! Bar: every acknowledged write is present, and nothing is there by halves: a volume that is listed can be looked up and mounted, its
//! directory exists, and there are no other directories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::Caller;
use dockside_tests::daemon::Site;
use dockside_tests::files;
use rand::Rng;
use serde_json::{Value, json};

const USAGE: &str = "\
kill-storm: kill -9 of the daemon in the middle of a load
  --kills N     kills (200)
  --writers N   connections that create and remove (8)
  --longest N   most milliseconds from readiness to the kill (300)";

/// What must be true of a volume, by the answers that were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The create was acknowledged.
    Present,
    /// The remove was acknowledged.
    Absent,
    /// The daemon was killed before it answered.
    Open,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let kills = arguments.number("--kills", 200)?;
    let writers = arguments.number("--writers", 8)?;
    let longest = Duration::from_millis(arguments.number("--longest", 300)?);

    let site = Site::new()?;
    site.configure(
        "local",
        "names = [\"files\"]\n\n[grants]\ndirectories = {}\n",
    )?;
    site.drop_in(&files::driver("local")?, "local")?;
    let mut oracle: BTreeMap<String, Known> = BTreeMap::new();
    let mut acknowledged = 0_usize;
    let mut wrong = Vec::new();
    let started = Instant::now();
    for round in 0..kills {
        let mut daemon = site.serve()?;
        daemon.wait_plugin("files")?;
        wrong.extend(compare(&site, &oracle).with_context(|| format!("after kill {round}"))?);
        settle(&site, &mut oracle)?;

        let (report, reports) = mpsc::channel();
        let load: Vec<_> = (0..writers)
            .map(|writer| {
                let socket = site.socket("files");
                let mine: Vec<String> = oracle
                    .iter()
                    .filter(|(name, known)| {
                        **known == Known::Present && name.ends_with(&format!("-{writer}"))
                    })
                    .map(|(name, _)| name.clone())
                    .collect();
                let report = report.clone();
                thread::spawn(move || {
                    write(
                        Caller::new(socket),
                        &format!("{round}"),
                        writer,
                        mine,
                        &report,
                    )
                })
            })
            .collect();
        drop(report);
        thread::sleep(rand::rng().random_range(Duration::ZERO..longest));
        daemon.kill()?;
        for writer in load {
            writer.join().map_err(|_| anyhow!("a writer panicked"))?;
        }
        for (name, known) in reports {
            acknowledged += usize::from(known != Known::Open);
            oracle.insert(name, known);
        }
    }
    let daemon = site.serve()?;
    daemon.wait_plugin("files")?;
    wrong.extend(compare(&site, &oracle)?);
    for line in wrong.iter().take(20) {
        eprintln!("{line}");
    }
    let figures = format!(
        "{kills} kills in {:.1?}, {acknowledged} acknowledged writes, {} volumes at the end: {} lost, resurrected or half",
        started.elapsed(),
        oracle
            .values()
            .filter(|known| **known == Known::Present)
            .count(),
        wrong.len()
    );
    Ok(verdict(
        "kill-storm",
        wrong.is_empty() && acknowledged > 0,
        &figures,
    ))
}

/// Creates and removes volumes of its own until the daemon is gone. Reports before each call that its outcome is open, and behind it what it is.
fn write(
    mut caller: Caller,
    round: &str,
    writer: u64,
    mut mine: Vec<String>,
    report: &mpsc::Sender<(String, Known)>,
) {
    let mut random = rand::rng();
    for number in 0_u64.. {
        let (method, name, outcome) =
            if mine.len() > 5 || (!mine.is_empty() && random.random_bool(0.4)) {
                (
                    "VolumeDriver.Remove",
                    mine.swap_remove(random.random_range(0..mine.len())),
                    Known::Absent,
                )
            } else {
                (
                    "VolumeDriver.Create",
                    format!("v-{round}-{number}-{writer}"),
                    Known::Present,
                )
            };
        let _ = report.send((name.clone(), Known::Open));
        // Without retries: a second try comes without its body and says nothing about the first.
        match caller.call_once(method, &json!({ "Name": name })) {
            Ok(answer) if answer.is_success() => {
                if outcome == Known::Present {
                    mine.push(name.clone());
                }
                let _ = report.send((name, outcome));
            }
            Ok(answer) => {
                eprintln!("{method} {name}: {answer:?}");
                return;
            }
            Err(_) => return,
        }
    }
}

/// The names that the plugin lists.
fn listed(site: &Site) -> Result<BTreeMap<String, Value>> {
    let answer = site
        .caller("files")
        .call_once("VolumeDriver.List", &json!({}))?;
    ensure!(answer.is_success(), "VolumeDriver.List: {answer:?}");
    let volumes = answer.at("/Volumes");
    let volumes = volumes.as_array().cloned().unwrap_or_default();
    Ok(volumes
        .into_iter()
        .filter_map(|volume| Some((volume.get("Name")?.as_str()?.to_owned(), volume)))
        .collect())
}

/// What the daemon holds against what was acknowledged; one line for each difference.
fn compare(site: &Site, oracle: &BTreeMap<String, Known>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let listed = listed(site)?;
    for (name, known) in oracle {
        match (known, listed.contains_key(name)) {
            (Known::Present, false) => wrong.push(format!("{name}: acknowledged and lost")),
            (Known::Absent, true) => wrong.push(format!("{name}: removed and back")),
            _ => {}
        }
    }
    let mut caller = site.caller("files");
    let mut directories = BTreeSet::new();
    let mut parent = None;
    for name in listed.keys() {
        if !oracle.contains_key(name) {
            wrong.push(format!("{name}: never asked for"));
        }
        let got = caller.call_once("VolumeDriver.Get", &json!({ "Name": name }))?;
        if !got.is_success() || got.at("/Volume/Name") != name.as_str() {
            wrong.push(format!("{name}: listed, and Get answers {got:?}"));
        }
        let mounted = caller.call_once(
            "VolumeDriver.Mount",
            &json!({ "Name": name, "ID": "kill-storm" }),
        )?;
        let mountpoint = mounted.at("/Mountpoint");
        let mountpoint = Path::new(mountpoint.as_str().unwrap_or_default()).to_path_buf();
        if !mounted.is_success() || !mountpoint.is_dir() {
            wrong.push(format!("{name}: listed, and Mount answers {mounted:?}"));
        }
        caller.call_once(
            "VolumeDriver.Unmount",
            &json!({ "Name": name, "ID": "kill-storm" }),
        )?;
        parent = mountpoint.parent().map(Path::to_path_buf).or(parent);
        directories.insert(mountpoint);
    }
    if let Some(parent) = parent {
        for entry in fs::read_dir(&parent)? {
            let path = entry?.path();
            if !directories.contains(&path) {
                wrong.push(format!("{}: a directory of no volume", path.display()));
            }
        }
    }
    Ok(wrong)
}

/// Turns what was open into what it turned out to be: from now on it must stay so.
fn settle(site: &Site, oracle: &mut BTreeMap<String, Known>) -> Result<()> {
    let listed = listed(site)?;
    for (name, known) in oracle {
        *known = if listed.contains_key(name) {
            Known::Present
        } else {
            Known::Absent
        };
    }
    Ok(())
}
