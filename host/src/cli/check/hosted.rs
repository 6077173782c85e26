//! A driver file, served by a daemon of the run's own: this very program in a temporary directory.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use dockside_check::client::{Connection, Patience};
use dockside_check::control::{Driver, Fault, ended, run_to_end};
use dockside_check::{Control, Profile};
use rustix::process::{Pid, Signal, kill_process};
use toml::Table;

use super::broken::broken;
use super::settings;
use crate::cli::inspect::interfaces;
use crate::cli::scratch::Scratch;
use crate::sandbox::grant_of;

/// Compiling a large driver takes some seconds, on a busy machine a minute.
const COMING_UP: Duration = Duration::from_secs(120);
/// The daemon's own grace for calls in flight, and some more.
const ENDING: Duration = Duration::from_secs(125);

/// A daemon that serves one driver.
pub(in crate::cli) struct Hosted {
    scratch: Scratch,
    name: String,
    socket: PathBuf,
    file: PathBuf,
    /// The driver as its author made it.
    bytes: Vec<u8>,
    is_broken: AtomicBool,
    child: Mutex<Option<Child>>,
}

impl Hosted {
    /// Lays out the directories. Nothing is started yet. `told` hears what the driver was granted.
    ///
    /// # Errors
    ///
    /// The file is no driver, or its settings cannot be used.
    pub(in crate::cli) fn new(
        file: &Path,
        profile: &Profile,
        profile_file: Option<&Path>,
        config: Option<&Path>,
        patience: Patience,
        told: impl FnOnce(&str),
    ) -> anyhow::Result<Self> {
        let Read {
            bytes,
            name,
            mut table,
        } = Read::of(file, profile, profile_file, config, told)?;
        shorten(&mut table, patience);
        let scratch = Scratch::new("dockside-check-")?;
        let hosted = Self {
            socket: scratch.path().join(format!("plugins/{name}.sock")),
            file: scratch.path().join(format!("drivers/{name}.wasm")),
            scratch,
            name,
            bytes,
            is_broken: AtomicBool::new(false),
            child: Mutex::new(None),
        };
        hosted.lay_out(&table, patience)?;
        Ok(hosted)
    }

    /// Serves the file as it is now, with its settings as they are now. `false`: both are the same as before.
    ///
    /// # Errors
    ///
    /// As [`Hosted::new`]; what was served before is served on.
    pub(in crate::cli) fn renew(&self, file: &Path, config: Option<&Path>) -> anyhow::Result<bool> {
        let read = Read::of(file, &Profile::default(), None, config, |_| {})?;
        let settings = toml::to_string(&read.table)?;
        let mut changed = false;
        // The settings first: a version that asks for more is served when it comes.
        for (path, content) in [
            (self.file.with_extension("toml"), settings.as_bytes()),
            (self.file.clone(), read.bytes.as_slice()),
        ] {
            if std::fs::read(&path).is_ok_and(|before| before == content) {
                continue;
            }
            // Renamed into place, so that no half of it is ever looked at.
            let next = path.with_extension("next");
            std::fs::write(&next, content)?;
            std::fs::rename(&next, &path)?;
            changed = true;
        }
        Ok(changed)
    }

    /// Has the plugin's socket in another directory. To be said before the start.
    ///
    /// # Errors
    ///
    /// The daemon's configuration cannot be written.
    pub(in crate::cli) fn serve_in(&mut self, directory: &Path) -> anyhow::Result<()> {
        let file = self.scratch.path().join("dockside.toml");
        let mut daemon: Table = toml::from_str(&std::fs::read_to_string(&file)?)?;
        daemon.insert("plugins".to_owned(), directory.display().to_string().into());
        std::fs::write(&file, toml::to_string(&daemon)?)?;
        self.socket = directory.join(format!("{}.sock", self.name));
        Ok(())
    }

    /// The plugin's name.
    pub(in crate::cli) fn name(&self) -> &str {
        &self.name
    }

    /// The driver's file, where the daemon takes it from.
    pub(in crate::cli) fn served_file(&self) -> &Path {
        &self.file
    }

    /// The daemon's control socket.
    pub(in crate::cli) fn control(&self) -> PathBuf {
        self.scratch.path().join("control.sock")
    }

    pub(in crate::cli) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub(in crate::cli) fn socket(&self) -> &Path {
        &self.socket
    }

    fn lay_out(&self, table: &Table, patience: Patience) -> anyhow::Result<()> {
        let at = |name: &str| self.scratch.path().join(name);
        for directory in ["drivers", "plugins", "specs", "data"] {
            std::fs::create_dir(at(directory))?;
        }
        std::fs::write(&self.file, &self.bytes)?;
        std::fs::write(
            at("drivers").join(format!("{}.toml", self.name)),
            toml::to_string(table)?,
        )?;
        let mut daemon = String::new();
        for (key, place) in [
            ("drivers", "drivers"),
            ("plugins", "plugins"),
            ("spec-directory", "specs"),
            ("data", "data"),
            ("control", "control.sock"),
        ] {
            writeln!(daemon, "{key} = {:?}", at(place).display().to_string())?;
        }
        let milliseconds = |seconds: f64| patience.seconds(seconds).as_millis().max(100);
        write!(
            daemon,
            "[limits]\nheader-deadline = \"{}ms\"\nbody-deadline = \"{}ms\"\n",
            milliseconds(10.0),
            milliseconds(30.0)
        )?;
        Ok(std::fs::write(at("dockside.toml"), daemon)?)
    }

    fn spawn(&self) -> Result<Child, String> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .map_err(|error| format!("{}: {error}", self.log_file().display()))?;
        let me = std::env::current_exe()
            .map_err(|error| format!("cannot find this program's own file: {error}"))?;
        let mut command = Command::new(me);
        // They go over the file, and are about this machine's own daemon.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"DOCKSIDE_") {
                command.env_remove(name);
            }
        }
        command
            .env_remove("NOTIFY_SOCKET")
            .args(["serve", "--config"])
            .arg(self.scratch.path().join("dockside.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("dockside cannot be started: {error}"))
    }

    /// A start with another file. While the daemon runs it would take a version back that fails in its first calls.
    fn restart_with(&self, bytes: &[u8]) -> Result<(), String> {
        if self.pid().is_some() {
            self.ask_to_end()?;
            self.ended(ENDING)?;
        }
        std::fs::write(&self.file, bytes)
            .map_err(|error| format!("{}: {error}", self.file.display()))?;
        self.start()
    }

    fn log_file(&self) -> PathBuf {
        self.scratch.path().join("daemon.log")
    }

    fn child<T>(&self, f: impl FnOnce(&mut Option<Child>) -> T) -> T {
        f(&mut self.child.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = self
            .pid()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .ok_or("the daemon does not run")?;
        kill_process(pid, signal).map_err(|error| format!("the daemon: {error}"))
    }

    /// Asks the daemon's control socket.
    fn ask(&self, path: &str) -> Result<String, String> {
        let answer = Connection::open(&self.control())
            .and_then(|mut connection| {
                connection.write(
                    format!("GET {path} HTTP/1.1\r\nHost: dockside\r\nConnection: close\r\n\r\n")
                        .as_bytes(),
                )?;
                connection.read(Duration::from_secs(10))
            })
            .map_err(|broken| broken.to_string())?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    fn json(&self, path: &str) -> Result<serde_json::Value, String> {
        serde_json::from_str(&self.ask(path)?).map_err(|error| error.to_string())
    }

    /// The state of the plugin, and why it is so.
    fn standing(&self) -> Option<(String, String)> {
        let status = self.json("/v1/status").ok()?;
        let plugin =
            status.get("plugins")?.as_array()?.iter().find(|plugin| {
                plugin.get("name").and_then(|name| name.as_str()) == Some(&self.name)
            })?;
        let text = |key: &str| {
            plugin
                .get(key)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        Some((text("state"), text("note")))
    }

    /// Waits until the daemon is ready, and gives what became of the plugin.
    fn ready(&self) -> Result<(), String> {
        let end = Instant::now() + COMING_UP;
        loop {
            if let Some((state, note)) = self.standing() {
                if !matches!(state.as_str(), "serving" | "trial") {
                    return Err(format!("dockside does not serve it: {note}"));
                }
                if Connection::open(&self.socket).is_ok() {
                    return Ok(());
                }
            }
            if let Some(status) = self.child(|child| {
                child
                    .as_mut()
                    .and_then(|child| child.try_wait().ok().flatten())
            }) {
                self.child(|child| *child = None);
                return Err(format!(
                    "the daemon ended with {status}:\n{}",
                    self.log().trim_end()
                ));
            }
            if Instant::now() > end {
                return Err(format!(
                    "the driver is not served after {} s:\n{}",
                    COMING_UP.as_secs(),
                    self.log().trim_end()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Control for Hosted {
    fn pid(&self) -> Option<u32> {
        self.child(|child| child.as_ref().map(Child::id))
    }

    fn start(&self) -> Result<(), String> {
        let spawned = self.spawn()?;
        self.child(|child| *child = Some(spawned));
        self.ready()
    }

    fn ask_to_end(&self) -> Result<(), String> {
        self.signal(Signal::TERM)
    }

    fn ended(&self, limit: Duration) -> Result<i32, String> {
        ended(&self.child, "the daemon", limit)
    }

    fn kill(&self) -> Result<(), String> {
        self.signal(Signal::KILL)?;
        self.ended(ENDING).map(drop)
    }

    fn start_again(&self, limit: Duration) -> Result<(i32, String), String> {
        let before = self.log().len();
        let status = run_to_end(self.spawn()?, limit)?;
        Ok((
            status,
            self.log().get(before..).unwrap_or_default().to_owned(),
        ))
    }

    fn inject(&self, fault: Fault) -> Result<(), String> {
        if matches!(fault, Fault::Full | Fault::ReadOnly) {
            return Err("the disk below a .wasm file's daemon is the machine's own".into());
        }
        let bytes = broken(&self.bytes, fault).map_err(|error| format!("{error:#}"))?;
        self.is_broken.store(true, Ordering::Relaxed);
        self.restart_with(&bytes)
    }

    fn mend(&self) -> Result<(), String> {
        if self.is_broken.swap(false, Ordering::Relaxed) {
            self.restart_with(&self.bytes)?;
        }
        Ok(())
    }

    fn forget(&self) -> Result<(), String> {
        // The database, with the files that SQLite keeps beside it.
        for name in ["dockside.db", "dockside.db-wal", "dockside.db-shm"] {
            let file = self.scratch.path().join("data").join(name);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("{}: {error}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn driver(&self) -> Option<&dyn Driver> {
        Some(self)
    }
}

impl Driver for Hosted {
    fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    fn file(&self) -> &Path {
        &self.file
    }

    fn plugin(&self) -> &str {
        &self.name
    }

    fn look(&self) -> Result<serde_json::Value, String> {
        self.json("/v1/status")
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        if self.pid().is_some()
            && (self.ask_to_end().is_err() || self.ended(Duration::from_secs(10)).is_err())
        {
            let _ = self.kill();
        }
    }
}

/// A driver file and its settings.
struct Read {
    bytes: Vec<u8>,
    name: String,
    table: Table,
}

impl Read {
    /// Reads both, and grants what is asked for and not granted; `told` hears what that is.
    fn of(
        file: &Path,
        profile: &Profile,
        profile_file: Option<&Path>,
        config: Option<&Path>,
        told: impl FnOnce(&str),
    ) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let (imports, exports) = interfaces(&bytes)
            .with_context(|| format!("{} is no WebAssembly component", file.display()))?;
        if !exports
            .iter()
            .any(|name| name.starts_with("dockside:driver/"))
        {
            bail!(
                "{} is no driver: it exports nothing of dockside:driver",
                file.display()
            );
        }
        let name = name_of(file)?;
        let mut table = table_of(file, &name, profile, profile_file, config)?;
        let missing = missing(&imports, &table);
        let added = settings::grant(&mut table, &missing);
        if !added.is_empty() {
            told(&format!(
                "granted what {} asks for, with nothing in it: {}. Settings of its own: {name}.toml beside it, or --config.",
                file.display(),
                added.join(" ")
            ));
        }
        Ok(Self { bytes, name, table })
    }
}

/// The plugin's name: the file's, without version.
fn name_of(file: &Path) -> anyhow::Result<String> {
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let name = stem.split('@').next().unwrap_or_default();
    let parsed: Result<crate::config::PluginName, _> = name.parse();
    if let Err(error) = parsed {
        bail!(
            "{} cannot be served: {error}. Rename the file.",
            file.display()
        );
    }
    Ok(name.to_owned())
}

/// The settings: those of the command line, of the profile, or beside the file.
fn table_of(
    file: &Path,
    name: &str,
    profile: &Profile,
    profile_file: Option<&Path>,
    config: Option<&Path>,
) -> anyhow::Result<Table> {
    if let Some(config) = config {
        return settings::read(config);
    }
    if let (Some(table), Some(at)) = (&profile.plugin, profile_file) {
        return settings::rooted(table.clone(), at);
    }
    let beside = file.with_file_name(format!("{name}.toml"));
    if beside.exists() {
        return settings::read(&beside);
    }
    Ok(Table::new())
}

/// The grants that the driver's imports ask for and the settings do not have.
fn missing(imports: &[String], table: &Table) -> Vec<String> {
    let granted = table.get("grants").and_then(|grants| grants.as_table());
    let mut missing: Vec<String> = imports
        .iter()
        .filter_map(|import| grant_of(import))
        // What every driver has.
        .filter(|name| *name != "state")
        .filter(|name| granted.is_none_or(|granted| !granted.contains_key(*name)))
        .map(str::to_owned)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// With less patience the driver's own deadlines are shorter, too.
fn shorten(table: &mut Table, patience: Patience) {
    if patience == Patience::default() {
        return;
    }
    // Never so short that a busy machine takes longer for its links and mounts, nor longer than a check waits for a call.
    let kinds = [
        ("VolumeDriver.Create", 100.0, 4000),
        ("VolumeDriver.Mount", 100.0, 4000),
        ("VolumeDriver", 50.0, 4000),
        ("NetworkDriver", 25.0, 4000),
        ("IpamDriver", 10.0, 4000),
        ("AuthZPlugin", 5.0, 500),
    ];
    let mut deadlines = Table::new();
    for (method, seconds, least) in kinds {
        let time = patience.seconds(seconds).as_millis().max(least);
        deadlines.insert(method.to_owned(), format!("{time}ms").into());
    }
    let limits = table
        .entry("limits")
        .or_insert_with(|| toml::Value::Table(Table::new()));
    if let Some(limits) = limits.as_table_mut() {
        limits.insert("deadlines".to_owned(), toml::Value::Table(deadlines));
    }
}
