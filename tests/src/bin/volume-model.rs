//! Random volume operations over the socket of a running daemon, each compared with a model in plain Rust: the answer, what is listed, what
//! is in the volumes, the directories on the disk and the mounts of the machine.
//!
//! Bar, for 10,000 operations with each driver: no divergence.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::{Answer, Caller};
use dockside_tests::daemon::{Daemon, Site};
use dockside_tests::volume_model::{Attributes, Call, Driver, Model, Options};
use dockside_tests::{files, skip};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const USAGE: &str = "\
volume-model: random volume operations, compared with a model
  --operations N  operations with each driver (10000)
  --drivers LIST  local and mobyfs, or one of them (local,mobyfs)
  --seed N        where chance begins; the same number makes the same operations (chosen by chance)";

/// The daemon looks at mounts and directories of its own; every so many operations they are looked at as well.
const LOOK_EVERY: u64 = 200;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let operations = arguments.number("--operations", 10_000)?;
    let seed = arguments.number("--seed", rand::rng().random_range(0..1_000_000))?;
    let drivers = arguments.text("--drivers", "local,mobyfs");
    let started = Instant::now();
    let mut wrong = Vec::new();
    let mut done = 0;
    let mut failed = 0;
    for name in drivers.split(',') {
        let driver = match name {
            "local" => Driver::Local,
            "mobyfs" => Driver::Mobyfs,
            other => bail!("{other} is neither local nor mobyfs"),
        };
        // Owners can be given by root alone, and so can mounts.
        if !rustix::process::geteuid().is_root() {
            skip::skipped(&format!("volume-model {name}"), "it needs root");
            continue;
        }
        let mut run = Run::new(driver, name, seed)?;
        for operation in 0..operations {
            run.step(operation)?;
        }
        run.look(operations)?;
        done += operations;
        failed += run.refused;
        wrong.append(&mut run.wrong);
    }
    for line in wrong.iter().take(20) {
        eprintln!("{line}");
    }
    let figures = format!(
        "{done} operations ({drivers}, seed {seed}) in {:.1?}, {failed} of them refused as they should be: {} divergences",
        started.elapsed(),
        wrong.len()
    );
    Ok(verdict(
        "volume-model",
        wrong.is_empty() && done > 0,
        &figures,
    ))
}

/// One driver with its model.
struct Run {
    name: &'static str,
    site: Site,
    daemon: Daemon,
    caller: Caller,
    model: Model,
    random: StdRng,
    /// The path that is granted.
    root: PathBuf,
    /// Where each volume was said to be, as long as that must not change.
    places: BTreeMap<String, String>,
    refused: u64,
    wrong: Vec<String>,
}

impl Run {
    fn new(driver: Driver, name: &str, seed: u64) -> Result<Run> {
        let site = Site::new()?;
        let root = site.data.canonicalize()?.with_file_name("srv");
        fs::create_dir(&root)?;
        symlink("/etc", root.join("link"))?;
        let mut toml = "names = [\"volumes\"]\n[grants]\ndirectories = {}\n".to_owned();
        if driver == Driver::Mobyfs {
            toml.push_str(&format!(
                "[grants.mounts]\nhost-paths = [{root:?}]\nmake-paths = true\n"
            ));
        }
        site.configure(name, &toml)?;
        site.drop_in(&files::driver(name)?, name)?;
        // Its mounts are nobody else's, and go with it.
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "--"])
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(files::daemon()?);
        let mut daemon = site.spawn_as(command, &[])?;
        daemon.wait_ready()?;
        daemon.wait_plugin("volumes")?;
        Ok(Run {
            name: if driver == Driver::Local {
                "local"
            } else {
                "mobyfs"
            },
            caller: site.caller("volumes"),
            model: Model::new(driver, &root),
            random: StdRng::seed_from_u64(seed),
            site,
            daemon,
            root,
            places: BTreeMap::new(),
            refused: 0,
            wrong: Vec::new(),
        })
    }

    /// Makes one call of both, and compares.
    fn step(&mut self, operation: u64) -> Result<()> {
        let call = self.choose();
        let expected = self.model.call(&call);
        let answer = self.send(&call)?;
        let about = format!("{} {operation}: {call:?}", self.name);
        match (answer.is_success(), expected) {
            (true, Ok(())) => self.compare(&about, &call, &answer)?,
            (false, Err(text)) if answer.err().contains(text) => self.refused += 1,
            (_, expected) => self.wrong.push(format!(
                "{about}: {} {:?}, and the model says {expected:?}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )),
        }
        if operation.is_multiple_of(LOOK_EVERY) {
            self.look(operation)?;
        }
        Ok(())
    }

    fn choose(&mut self) -> Call {
        let name = self.volume();
        match self.random.random_range(0..100) {
            0..28 => {
                let options = self.options();
                Call::Create(name, options)
            }
            28..42 => Call::Remove(name),
            42..60 => Call::Mount(name, self.id()),
            60..82 => Call::Unmount(name, self.id()),
            82..91 => Call::Get(name),
            91..96 => Call::Path(name),
            _ => Call::List,
        }
    }

    fn volume(&mut self) -> String {
        let odd = [
            "../../etc",
            "a/b",
            "ü€",
            " ",
            "new\nline",
            ".",
            "Images",
            "images",
        ];
        if self.random.random_ratio(1, 8) {
            return odd
                .choose(&mut self.random)
                .map_or_else(String::new, ToString::to_string);
        }
        match self.random.random_range(0..24) {
            0 => "x".repeat(300),
            number => format!("volume-{number}"),
        }
    }

    fn id(&mut self) -> String {
        format!("{:064x}", self.random.random_range(0..4))
    }

    fn options(&mut self) -> Options {
        let mut options = Options::new();
        let mut give = |name: &str, value: String| options.push((name.to_owned(), value));
        let random = &mut self.random;
        if self.name == "mobyfs" && random.random_ratio(2, 3) {
            let base = self.root.display();
            let number = random.random_range(0..6);
            give(
                "mountpoint",
                match random.random_range(0..20) {
                    0 => format!("{base}//p{number}/"),
                    1 => format!("{base}/./p{number}"),
                    2 => format!("{base}/p{number}/../p1"),
                    3 => format!("{base}/link/p{number}"),
                    4 => format!("/etc/p{number}"),
                    5 => ["/", "", "relative", "/a\nb", ".."]
                        .choose(random)
                        .map_or_else(String::new, ToString::to_string),
                    6..9 => format!("{base}/deep/{number}/x"),
                    9..12 => format!("{base}/deep/{number}"),
                    _ => format!("{base}/p{number}"),
                },
            );
        }
        let words = ["true", "false", "1", "0", "yes", "no", "on", "off", "maybe"];
        for (name, chance) in [("share", 4), ("delete-on-remove", 4)] {
            // Without a path they are refused, which is worth a try now and then.
            if self.name == "mobyfs" && random.random_ratio(1, chance) {
                give(
                    name,
                    words
                        .choose(random)
                        .map_or_else(String::new, ToString::to_string),
                );
            }
        }
        for name in ["uid", "gid"] {
            if random.random_ratio(1, 5) {
                let ids = ["0", "33", "1000", "4294967294", "4294967295", "-1", "root"];
                give(
                    name,
                    ids.choose(random)
                        .map_or_else(String::new, ToString::to_string),
                );
            }
        }
        if random.random_ratio(1, 5) {
            let modes = [
                "0755", "755", "0700", "2750", "1777", "7777", "10000", "rwx",
            ];
            give(
                "mode",
                modes
                    .choose(random)
                    .map_or_else(String::new, ToString::to_string),
            );
        }
        if random.random_ratio(1, 40) {
            give("size", "1g".to_owned());
        }
        options
    }

    fn send(&mut self, call: &Call) -> Result<Answer> {
        let (method, body) = match call {
            Call::Create(name, options) => {
                let options: BTreeMap<_, _> = options.iter().cloned().collect();
                ("Create", json!({ "Name": name, "Opts": options }))
            }
            Call::Remove(name) => ("Remove", json!({ "Name": name })),
            Call::Mount(name, id) => ("Mount", json!({ "Name": name, "ID": id })),
            Call::Unmount(name, id) => ("Unmount", json!({ "Name": name, "ID": id })),
            Call::Get(name) => ("Get", json!({ "Name": name })),
            Call::Path(name) => ("Path", json!({ "Name": name })),
            Call::List => ("List", json!({})),
        };
        self.caller.call(&format!("VolumeDriver.{method}"), &body)
    }

    /// What a call that succeeded has said.
    fn compare(&mut self, about: &str, call: &Call, answer: &Answer) -> Result<()> {
        match call {
            Call::List => self.compare_list(about, &answer.at("/Volumes")),
            Call::Get(name) => {
                let status: BTreeMap<String, String> =
                    serde_json::from_value(answer.at("/Volume/Status")).unwrap_or_default();
                let expected = self.model.status(name);
                if answer.at("/Volume/Name") != **name || status != expected {
                    self.wrong.push(format!(
                        "{about}: {}, and the model says {expected:?}",
                        answer.at("/Volume")
                    ));
                }
                self.compare_place(about, name, &answer.at("/Volume/Mountpoint"));
            }
            Call::Path(name) => self.compare_place(about, name, &answer.at("/Mountpoint")),
            Call::Mount(name, _) => {
                self.compare_place(about, name, &answer.at("/Mountpoint"));
                self.use_it(about, name, &answer.at("/Mountpoint"))?;
            }
            Call::Unmount(name, _) | Call::Remove(name) => {
                let own_stays = matches!(call, Call::Unmount(..)) && self.model.is_shown(name);
                if !own_stays {
                    self.places.remove(name);
                }
            }
            Call::Create(..) => {}
        }
        Ok(())
    }

    fn compare_list(&mut self, about: &str, listed: &Value) {
        let listed: BTreeSet<String> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|volume| volume["Name"].as_str().map(str::to_owned))
            .collect();
        let expected = self.model.names();
        if listed != expected {
            self.wrong.push(format!(
                "{about}: {listed:?}, and the model says {expected:?}"
            ));
        }
    }

    /// A place is where it was, as long as the volume has one.
    fn compare_place(&mut self, about: &str, name: &str, place: &Value) {
        let place = place.as_str().unwrap_or_default();
        let is_shown = self.model.is_shown(name);
        let before = self.places.get(name);
        if place.is_empty() == is_shown || before.is_some_and(|before| before != place) {
            self.wrong.push(format!(
                "{about}: it is at {place:?}, was at {before:?}, and the model says that it has a place: {is_shown}"
            ));
        }
        if is_shown {
            self.places.insert(name.to_owned(), place.to_owned());
        }
    }

    /// What a container would do: reads what is there, and writes something new.
    fn use_it(&mut self, about: &str, name: &str, place: &Value) -> Result<()> {
        let place = place.as_str().unwrap_or_default();
        let file = PathBuf::from(format!("/proc/{}/root{place}/file", self.daemon.pid()));
        let found = match fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).context(about.to_owned()),
        };
        let text = format!("{:016x}", self.random.random::<u64>());
        let content = self
            .model
            .content(name)
            .with_context(|| format!("{about}: the model has no such directory"))?;
        if *content != found {
            self.wrong.push(format!(
                "{about}: it holds {found:?}, and the model says {content:?}"
            ));
        }
        *content = Some(text.clone());
        fs::write(&file, text).with_context(|| format!("{about}: {}", file.display()))
    }

    /// Compares the machine with the model: the directories at paths, those of the driver's own, and the mounts.
    fn look(&mut self, operation: u64) -> Result<()> {
        let about = format!("{} after {operation}", self.name);
        let mut found = BTreeMap::new();
        walk(&self.root, &mut found)?;
        let expected: BTreeMap<PathBuf, Attributes> = self
            .model
            .paths
            .iter()
            .map(|(path, directory)| (path.clone(), directory.attributes))
            .collect();
        if found != expected {
            self.wrong.push(format!(
                "{about}: the directories are {found:?}, and the model says {expected:?}"
            ));
        }
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", self.daemon.pid()))?;
        let below = self.site.data.canonicalize()?.join("mounts");
        let mounts = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|point| Path::new(point).starts_with(&below))
            .count();
        if mounts != self.model.mounted() {
            self.wrong.push(format!(
                "{about}: {mounts} mounts, and the model says {}",
                self.model.mounted()
            ));
        }
        Ok(())
    }
}

/// The directories below one, without links.
fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, Attributes>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let metadata = entry.metadata()?;
        let attributes = Attributes {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.permissions().mode() & 0o7777,
        };
        found.insert(entry.path(), attributes);
        walk(&entry.path(), found)?;
    }
    Ok(())
}
