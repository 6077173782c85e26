//! `dockside replay`: a recording against a version of a driver, without a daemon.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{ATTENTION, OK, print_json};
use crate::sandbox::{CompileLimits, Sandbox, Settings};
use crate::trace::file::{Header, Recording};
use crate::trace::replay::{Replay, Replayed, environment};
use crate::trace::{Compared, Difference, Ignore};

/// What a compilation may use, as in a daemon that sets nothing.
const COMPILE: CompileLimits = CompileLimits {
    memory: 4 << 30,
    time: Duration::from_secs(120),
};

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    calls: usize,
    same: usize,
    differ: usize,
    answers: usize,
    effects: usize,
    writes: usize,
    fails: usize,
    traps: usize,
    slow: usize,
    unrecorded: usize,
    skipped: usize,
}

#[derive(Serialize)]
struct Report<'a> {
    recording: &'a Header,
    driver: String,
    damage: &'a [String],
    summary: &'a Summary,
    calls: &'a [Replayed],
}

/// A directory for compiled code, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Scratch> {
        let name = format!("dockside-replay-{}", hex::encode(rand::random::<[u8; 8]>()));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn run(
    file: &Path,
    driver: &Path,
    ignore: Vec<String>,
    json: bool,
) -> anyhow::Result<u8> {
    let recording = Recording::read(file)?;
    let bytes = std::fs::read(driver)
        .with_context(|| format!("cannot read the driver {}", driver.display()))?;
    let digest = hex::encode(Sha256::digest(&bytes));
    let scratch = Scratch::new()?;
    let sandbox = Sandbox::new(&Settings {
        instances: 8,
        cache: scratch.0.join("compiled"),
        compile: COMPILE,
    })?;
    let loaded = sandbox
        .load(&bytes, &digest)
        .await
        .with_context(|| format!("the driver {} cannot be used", driver.display()))?;
    let header = &recording.header;
    let environment = environment(&header.plugin, header.memory.max(1 << 20));
    let mut replay = Replay::new(
        loaded,
        environment,
        header.config.clone(),
        Ignore::new(ignore),
    );
    let mut calls = Vec::new();
    for call in &recording.calls {
        calls.push(replay.play(call, None).await);
    }
    let summary = summary(&calls);
    if json {
        print_json(&Report {
            recording: header,
            driver: digest,
            damage: &recording.damage,
            summary: &summary,
            calls: &calls,
        })?;
    } else {
        show(&recording, driver, &calls, &summary);
    }
    Ok(match summary.differ == 0 && recording.damage.is_empty() {
        true => OK,
        false => ATTENTION,
    })
}

fn summary(calls: &[Replayed]) -> Summary {
    let mut summary = Summary {
        calls: calls.len(),
        ..Summary::default()
    };
    for call in calls {
        match &call.result {
            Compared::Same => summary.same += 1,
            Compared::Skipped(_) => summary.skipped += 1,
            Compared::Differs(differences) => {
                summary.differ += 1;
                for difference in differences {
                    *match difference {
                        Difference::Answer(_) => &mut summary.answers,
                        Difference::Effects(_) => &mut summary.effects,
                        Difference::Writes(_) => &mut summary.writes,
                        Difference::Fails(_) => &mut summary.fails,
                        Difference::Traps(_) => &mut summary.traps,
                        Difference::Slow(_) => &mut summary.slow,
                        Difference::Unrecorded(_) => &mut summary.unrecorded,
                    } += 1;
                }
            }
        }
    }
    summary
}

fn show(recording: &Recording, driver: &Path, calls: &[Replayed], summary: &Summary) {
    let header = &recording.header;
    say!(
        "{} calls of plugin {} on version {}, replayed to {}",
        calls.len(),
        header.plugin,
        header.driver.label,
        driver.display()
    );
    for damage in &recording.damage {
        say!("the recording: {damage}");
    }
    for call in calls {
        let name = format!("{} {}", call.method, call.about);
        let name = name.trim_end();
        match &call.result {
            Compared::Same => say!("same      {name}"),
            Compared::Skipped(reason) => say!("skipped   {name}: {reason}"),
            Compared::Differs(differences) => {
                let words: Vec<&str> = differences.iter().map(Difference::word).collect();
                say!("DIFFERS   {name}: {}", words.join(", "));
                for line in differences.iter().flat_map(Difference::lines) {
                    say!("            {line}");
                }
            }
        }
    }
    let mut parts = vec![format!("{} same", summary.same)];
    for (count, word) in [
        (summary.traps, "trap"),
        (summary.slow, "too slow"),
        (summary.fails, "fail"),
        (summary.answers, "answer otherwise"),
        (summary.effects, "have other effects"),
        (summary.writes, "write another state"),
        (summary.unrecorded, "read what was not recorded"),
        (summary.skipped, "skipped"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    say!("{}", parts.join(", "));
}
