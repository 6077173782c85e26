//! What most of the section's checks do.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Bench;
use crate::check::{Outcome, Stop};
use crate::client::Answer;
use crate::engine::Engine;
use crate::profile::{VolumeOptions, filled};

/// What the volume driver is asked, by whom.
#[derive(Clone, Copy)]
pub(super) struct Volumes<'a> {
    pub(super) bench: &'a Bench<'a>,
    engine: Option<&'a Engine>,
}

impl<'a> Volumes<'a> {
    pub(super) fn of(bench: &'a Bench<'a>) -> Self {
        Self {
            bench,
            engine: None,
        }
    }

    /// The same from another engine's process.
    pub(super) fn from(bench: &'a Bench<'a>, engine: &'a Engine) -> Self {
        Self {
            bench,
            engine: Some(engine),
        }
    }

    pub(super) fn call(&self, method: &str, body: &Value) -> Answer {
        let method = format!("VolumeDriver.{method}");
        match self.engine {
            Some(engine) => self.bench.call_from(engine, &method, body),
            None => self.bench.call(&method, body),
        }
    }

    /// `Create` with the options that every volume gets.
    pub(super) fn create(&self, name: &str) -> Answer {
        let options = &self.bench.profile().volume.options;
        self.create_with(name, options)
    }

    /// `Create` with exactly these options; names and digests in them are filled in.
    pub(super) fn create_with(&self, name: &str, options: &VolumeOptions) -> Answer {
        let body = json!({"Name": name, "Opts": filled(options, name)});
        self.call("Create", &body)
    }

    pub(super) fn remove(&self, name: &str) -> Answer {
        self.call("Remove", &json!({"Name": name}))
    }

    pub(super) fn get(&self, name: &str) -> Answer {
        self.call("Get", &json!({"Name": name}))
    }

    pub(super) fn path(&self, name: &str) -> Answer {
        self.call("Path", &json!({"Name": name}))
    }

    pub(super) fn mount(&self, name: &str, id: &str) -> Answer {
        self.call("Mount", &json!({"Name": name, "ID": id}))
    }

    pub(super) fn unmount(&self, name: &str, id: &str) -> Answer {
        self.call("Unmount", &json!({"Name": name, "ID": id}))
    }

    /// A new volume.
    pub(super) fn made(&self, hint: &str) -> Outcome<String> {
        let name = self.bench.name(hint);
        self.create(&name).succeeds()?;
        Ok(name)
    }

    /// Mounts it, and gives the place.
    pub(super) fn mounted(&self, name: &str, id: &str) -> Outcome<Place> {
        let answer = self.mount(name, id);
        answer.succeeds()?;
        Place::of(&answer)
    }

    /// Whether the volume is there in the engine's eyes: `Get` gives it.
    pub(super) fn is_there(&self, name: &str) -> bool {
        has_volume(&self.get(name))
    }

    /// How often `List` names it.
    pub(super) fn listed(&self, name: &str) -> Outcome<usize> {
        let answer = self.call("List", &json!({}));
        Ok(names_in(&answer)?
            .iter()
            .filter(|listed| *listed == name)
            .count())
    }
}

/// Whether an answer to `Get` gives a volume.
pub(super) fn has_volume(answer: &Answer) -> bool {
    answer.is_success()
        && answer
            .json()
            .and_then(|json| json.get("Volume"))
            .is_some_and(Value::is_object)
}

/// The names in an answer to `List`.
pub(super) fn names_in(answer: &Answer) -> Outcome<Vec<String>> {
    match answer.succeeds()?.get("Volumes") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(volumes)) => Ok(volumes
            .iter()
            .filter_map(|volume| volume.get("Name")?.as_str().map(str::to_owned))
            .collect()),
        Some(_) => Err(answer.fail("`Volumes` is no list")),
    }
}

/// Where a volume is mounted.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
}

/// What a check writes into a volume.
const MARK: &str = "dockside-check";

impl Place {
    /// What `Mount` answered.
    pub(super) fn of(answer: &Answer) -> Outcome<Self> {
        let path = answer.text("/Mountpoint");
        answer.ensure(path.starts_with('/'), || {
            format!("`Mountpoint` is {path:?} and no absolute path")
        })?;
        Ok(Self { path: path.into() })
    }

    /// How many kernel mounts there are.
    pub(super) fn mounts(&self) -> usize {
        mounts_at(&self.path).len()
    }

    /// Leaves a mark in the volume.
    pub(super) fn mark(&self, text: &str) -> Outcome {
        std::fs::write(self.path.join(MARK), text).map_err(|error| {
            Stop::fail(format!(
                "the mounted volume cannot be written to at {}: {error}",
                self.path.display()
            ))
        })
    }

    /// The mark that is to be seen there.
    pub(super) fn marked(&self) -> Option<String> {
        std::fs::read_to_string(self.path.join(MARK)).ok()
    }

    /// Fails unless the volume with that mark is to be seen, and for as long as a plugin may need that unmounts behind its answer.
    pub(super) fn stays(&self, bench: &Bench, mark: &str, after: &str) -> Outcome {
        let end = Instant::now() + bench.patience().seconds(0.5);
        loop {
            let seen = self.marked();
            if seen.as_deref() != Some(mark) {
                return Err(Stop::fail(format!(
                    "{after} the volume is no longer mounted at {}, and it is still in use",
                    self.path.display()
                )));
            }
            if Instant::now() > end {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Fails unless no kernel mount is left, within some time for a plugin that unmounts behind its answer.
    pub(super) fn goes(&self, bench: &Bench, after: &str) -> Outcome {
        let end = Instant::now() + bench.patience().seconds(10.0);
        while self.mounts() > 0 {
            if Instant::now() > end {
                return Err(Stop::fail(format!(
                    "{after} it is still mounted at {}",
                    self.path.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// A line of the kernel's mount table.
#[derive(Debug, Clone)]
pub(super) struct Mounted {
    pub(super) point: PathBuf,
    pub(super) options: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) filesystem: String,
}

/// The mounts with exactly this mount point, lowest first.
pub(super) fn mounts_at(path: &Path) -> Vec<Mounted> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    mounts()
        .into_iter()
        .filter(|mount| mount.point == path)
        .collect()
}

/// The kernel's mount table, as far as this process sees it.
pub(super) fn mounts() -> Vec<Mounted> {
    std::fs::read("/proc/self/mountinfo")
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let (own, rest) = line.split_once(" - ")?;
            let mut fields = own.split(' ').skip(4);
            Some(Mounted {
                point: unescaped(fields.next()?).into(),
                options: fields.next()?.split(',').map(str::to_owned).collect(),
                tags: fields.map(str::to_owned).collect(),
                filesystem: rest.split(' ').next()?.to_owned(),
            })
        })
        .collect()
}

/// The kernel writes space, tab, line break and backslash of a mount point in octal.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
