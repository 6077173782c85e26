//! A machine of a test's own: a mount and a network namespace in which daemons run one after the other, and a snapshot of everything in it.

mod snapshot;

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

pub use snapshot::{Difference, Snapshot};

use crate::daemon::{Daemon, Site, until};
use crate::files;
use crate::skip;

/// The link of the world that others can be built on.
pub const WIRE: &str = "wire0";

/// What the world is made with, and what looks at it.
const TOOLS: [(&str, &str); 9] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
    ("iptables-save", "iptables"),
    ("mkfs.ext4", "e2fsprogs"),
    ("sqlite3", "sqlite3"),
];

/// A machine of its own. It vanishes with this value, with everything in it.
#[derive(Debug)]
pub struct World {
    /// The directories of its daemons.
    pub site: Site,
    /// A directory outside of the data directory, with something in it.
    pub outside: PathBuf,
    /// The process that keeps the namespaces.
    holder: Holder,
    failpoints: PathBuf,
    odd: Cell<bool>,
}

/// A daemon in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The one that is shipped.
    Plain,
    /// The one with failpoints, which [`World::arm`] arms.
    Failpoints,
}

impl World {
    /// A fresh world, or none if this machine cannot have one, with a printed line.
    ///
    /// # Errors
    /// It could have one, and something failed.
    pub fn new(test: &str) -> Result<Option<World>> {
        if let Some(reason) = missing() {
            skip::skipped(test, &reason);
            return Ok(None);
        }
        files::daemon()?;
        files::daemon_with_failpoints()?;
        let site = Site::new()?;
        // What the kernel's tables show, should there be a link on the way.
        let base = site
            .data
            .parent()
            .context("the data directory has no parent")?
            .canonicalize()?;
        let outside = base.join("outside");
        fs::create_dir(&outside)?;
        fs::write(outside.join("file"), "outside\n")?;
        Ok(Some(World {
            holder: Holder::start()?,
            failpoints: base.join("failpoints"),
            site,
            outside,
            odd: Cell::new(false),
        }))
    }

    /// The process that keeps the namespaces.
    pub fn holder(&self) -> u32 {
        self.holder.child.id()
    }

    /// A command in the namespaces. It dies with the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let namespaces = format!("/proc/{}/ns", self.holder());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount={namespaces}/mnt"))
            .arg(format!("--net={namespaces}/net"))
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script in the namespaces and returns what it printed.
    ///
    /// # Errors
    /// It failed; with what it said.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = self.command("sh").args(["-ec", script]).output()?;
        ensure!(
            output.status.success(),
            "{script}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a daemon in the namespaces and does not wait.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, program: Program, variables: &[(&str, &str)]) -> Result<Daemon> {
        let mut command = self.command(match program {
            Program::Plain => files::daemon()?,
            Program::Failpoints => files::daemon_with_failpoints()?,
        });
        if program == Program::Failpoints {
            command.env("DOCKSIDE_FAILPOINT_FILE", &self.failpoints);
        }
        command.envs(variables.iter().copied());
        self.site.spawn_as(command, &[])
    }

    /// Starts a daemon in the namespaces and waits until it is ready.
    ///
    /// # Errors
    /// It ended instead; with the end of its log.
    pub fn serve(&self, program: Program) -> Result<Daemon> {
        let mut daemon = self.spawn(program, &[])?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Says what happens at which visit of which failpoint: `commit.before:2:kill`. Counting begins anew.
    ///
    /// # Errors
    /// The file system says no.
    pub fn arm(&self, points: &str) -> Result<()> {
        // The daemon counts anew when the text is another.
        self.odd.set(!self.odd.get());
        let tail = if self.odd.get() { "," } else { "" };
        fs::write(self.visits_file(), "")?;
        let partial = self.failpoints.with_extension("partial");
        fs::write(&partial, format!("{points}{tail}"))?;
        Ok(fs::rename(partial, &self.failpoints)?)
    }

    /// The places that were visited since the last [`arm`](World::arm), each with the number of its visit.
    ///
    /// # Errors
    /// The file system says no.
    pub fn visits(&self) -> Result<Vec<(String, usize)>> {
        let text = fs::read_to_string(self.visits_file())?;
        let places: Vec<&str> = text.lines().collect();
        Ok(places
            .iter()
            .enumerate()
            .map(|(at, place)| {
                let number = places.iter().take(at + 1).filter(|one| one == &place);
                ((*place).to_owned(), number.count())
            })
            .collect())
    }

    fn visits_file(&self) -> PathBuf {
        self.failpoints.with_extension("visits")
    }

    /// What happens to everything that is not on a disk when a machine restarts. No daemon may run.
    ///
    /// # Errors
    /// There are no new namespaces.
    pub fn reboot(&mut self) -> Result<()> {
        self.end_helpers()?;
        self.holder = Holder::start()?;
        until("the loop devices to go with their mounts", || {
            snapshot::loops(self).is_ok_and(|loops| loops.is_empty())
        })
    }

    /// Everything that is in the world now.
    ///
    /// # Errors
    /// Something cannot be looked at.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(self)
    }

    /// As [`snapshot`](World::snapshot), after the daemon has done what it does behind an answer.
    ///
    /// # Errors
    /// Something cannot be looked at, or it never gets done.
    pub fn settled(&self) -> Result<Snapshot> {
        let mut last = None;
        let done = until("the daemon to do what it does behind an answer", || {
            last = self.snapshot().ok();
            last.as_ref().is_some_and(Snapshot::is_settled)
        });
        match (done, last) {
            (Ok(()), Some(snapshot)) => Ok(snapshot),
            (Ok(()), None) => self.snapshot(),
            (Err(error), last) => Err(error.context(format!("{last:?}"))),
        }
    }

    /// The program with a verb other than `serve`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn dockside(&self, arguments: &[&str]) -> Result<Output> {
        let (verb, rest) = arguments.split_first().context("no verb")?;
        Ok(self.site.command(verb)?.args(rest).output()?)
    }

    /// What SQLite says of the database's own structure: `ok`.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn integrity(&self) -> Result<String> {
        snapshot::query(self, "PRAGMA integrity_check;").map(|text| text.trim().to_owned())
    }

    /// Processes that have a path of this world in their command line, other than the daemon: helper programs.
    fn helpers(&self) -> Result<Vec<(i32, String)>> {
        // Their secrets are in the daemon's runtime directory.
        let runtime = fs::read_dir(self.seen("/run/dockside"));
        let own: Vec<String> = runtime
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| format!("/run/dockside/{}", entry.file_name().display()))
            .chain([self.site.data.display().to_string()])
            .collect();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
                continue;
            };
            // Gone in between.
            let Ok(line) = fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let line = line.strip_suffix(&[0]).unwrap_or(&line).to_vec();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if own.iter().any(|path| line.contains(path))
                && !line.contains(" serve ")
                && !line.contains("sqlite3")
            {
                found.push((pid, line));
            }
        }
        Ok(found)
    }

    fn end_helpers(&self) -> Result<()> {
        for (pid, _) in self.helpers()? {
            if let Some(pid) = Pid::from_raw(pid) {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(())
    }

    /// The directory of everything.
    fn base(&self) -> String {
        let base = self.site.data.parent().unwrap_or(&self.site.data);
        base.display().to_string()
    }

    /// A path of the world as it is seen from outside.
    fn seen(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; `tests/run` compares the machine.
        let _ = self.end_helpers();
        self.holder.end();
        let _ = until("the world's loop devices to go", || {
            snapshot::loops(self).is_ok_and(|loops| loops.is_empty())
        });
    }
}

#[derive(Debug)]
struct Holder {
    child: Child,
}

impl Holder {
    fn start() -> Result<Holder> {
        // Locks and secrets in /run are the world's own, too.
        let script = format!(
            "mount -t tmpfs -o mode=755 none /run && ip link set lo up && \
             ip link add {WIRE} address 06:00:00:00:00:01 type veth peer name wire1 address 06:00:00:00:00:02 && \
             ip link set {WIRE} up && ip link set wire1 up && \
             echo ready && exec sleep infinity"
        );
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(["unshare", "--mount", "--net", "--propagation", "private"])
            .args(["--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start unshare (util-linux)")?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let holder = Holder { child };
        ensure!(
            line == "ready\n",
            "no namespaces of a test's own can be made"
        );
        Ok(holder)
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Why this machine cannot have a world.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".into());
    }
    TOOLS
        .iter()
        .find(|(tool, _)| !is_installed(tool))
        .map(|(tool, package)| format!("{tool} is not there: install {package}"))
}

/// Whether there is a program of this name.
pub fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [path.as_bytes(), b":/usr/sbin:/sbin"].concat();
    std::env::split_paths(OsStr::from_bytes(&path))
        .any(|directory| Path::new(&directory).join(tool).exists())
}
