//! The daemon as a child process in directories of its own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Caller, Connection};
use crate::files;

/// How long a condition may take to come true. Compiling a driver on a busy machine takes seconds.
pub const SOON: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
///
/// # Errors
/// It did not within [`SOON`]; the text says what was waited for.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !condition() {
        ensure!(started.elapsed() < SOON, "waited {SOON:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The directories that one daemon works in. They outlive it, so that another can be started on them.
#[derive(Debug)]
pub struct Site {
    /// Where drivers are dropped.
    pub drivers: PathBuf,
    /// Where the plugins' sockets appear.
    pub plugins: PathBuf,
    /// The daemon's own data.
    pub data: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// The configuration file. It exists only if a test writes it.
    pub config: PathBuf,
    /// The daemon's output, of all runs.
    pub log: PathBuf,
    _scratch: Option<TempDir>,
}

impl Site {
    /// Fresh directories that vanish with this value.
    ///
    /// # Errors
    /// The file system says no.
    pub fn new() -> Result<Self> {
        // A socket's path has 107 bytes at most, so not below a deep TMPDIR.
        let scratch = tempfile::Builder::new()
            .prefix("dockside-")
            .tempdir_in("/tmp")?;
        let plugins = scratch.path().join("plugins");
        let mut site = Self::at(scratch.path(), &plugins)?;
        site._scratch = Some(scratch);
        Ok(site)
    }

    /// Directories below `base`, with the sockets in `plugins`. The caller removes them.
    ///
    /// # Errors
    /// The file system says no.
    pub fn at(base: &Path, plugins: &Path) -> Result<Self> {
        let site = Self {
            drivers: base.join("drivers"),
            plugins: plugins.to_path_buf(),
            data: base.join("data"),
            control: base.join("control.sock"),
            config: base.join("dockside.toml"),
            log: base.join("daemon.log"),
            _scratch: None,
        };
        for directory in [&site.drivers, &site.plugins, &site.data] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        Ok(site)
    }

    /// Drops a component into the directory as `NAME.wasm`, the way the manual says: written beside it, then renamed.
    ///
    /// # Errors
    /// The file system says no.
    pub fn drop_in(&self, component: &Path, name: &str) -> Result<()> {
        let target = self.drivers.join(format!("{name}.wasm"));
        let partial = self.drivers.join(format!(".{name}.partial"));
        fs::copy(component, &partial)
            .with_context(|| format!("cannot copy {}", component.display()))?;
        fs::rename(&partial, &target).with_context(|| format!("cannot make {}", target.display()))
    }

    /// Writes `NAME.toml`.
    ///
    /// # Errors
    /// The file system says no.
    pub fn configure(&self, name: &str, toml: &str) -> Result<()> {
        let partial = self.drivers.join(format!(".{name}.toml.partial"));
        fs::write(&partial, toml)?;
        Ok(fs::rename(
            &partial,
            self.drivers.join(format!("{name}.toml")),
        )?)
    }

    /// Removes `NAME.wasm` or, with its ending, any other file of the drop-in directory.
    ///
    /// # Errors
    /// It is not there.
    pub fn remove(&self, file: &str) -> Result<()> {
        let path = self.drivers.join(file);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// The socket of a plugin.
    pub fn socket(&self, plugin: &str) -> PathBuf {
        self.plugins.join(format!("{plugin}.sock"))
    }

    /// A caller of a plugin.
    pub fn caller(&self, plugin: &str) -> Caller {
        Caller::new(self.socket(plugin))
    }

    /// The command line of the program with a verb other than `serve`, talking to the daemon of this site.
    ///
    /// # Errors
    /// The program has not been built.
    pub fn command(&self, verb: &str) -> Result<Command> {
        let mut command = Command::new(files::daemon()?);
        command
            .arg(verb)
            .arg("--control")
            .arg(&self.control)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Asks the control socket, for example `/v1/status` or `/v1/plugin?name=X`.
    ///
    /// # Errors
    /// No daemon answers there, or with another status than 200.
    pub fn ask(&self, path: &str) -> Result<Value> {
        let mut connection = Connection::open(&self.control).context("the control socket")?;
        connection.send(
            format!("GET {path} HTTP/1.1\r\nHost: dockside\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )?;
        let answer = connection.receive()?;
        ensure!(
            answer.status == 200,
            "{path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer.json())
    }

    /// A number that the daemon counts for a plugin: `swaps`, `reverted`, `rescued`, `conflicts`.
    ///
    /// # Errors
    /// As [`Site::ask`], or there is no such number.
    pub fn counter(&self, plugin: &str, counter: &str) -> Result<u64> {
        let detail = self.ask(&format!("/v1/plugin?name={plugin}"))?;
        detail
            .pointer(&format!("/counters/{counter}"))
            .and_then(Value::as_u64)
            .with_context(|| format!("no counter {counter} in {detail}"))
    }

    /// The last lines of the daemon's output.
    pub fn log_end(&self) -> String {
        end_of(&self.log)
    }

    /// Starts a daemon here and waits until it says that it is ready.
    ///
    /// # Errors
    /// It ended instead, or did not become ready; with the end of its log.
    pub fn serve(&self) -> Result<Daemon> {
        let mut daemon = self.spawn(&[])?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Starts a daemon here with further arguments and does not wait.
    ///
    /// # Errors
    /// The program is not there.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Daemon> {
        // The daemon must not outlive a test that is killed. The signal comes when the thread ends that has started it.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(files::daemon()?);
        self.spawn_as(command, arguments)
    }

    /// Starts a daemon here by a command line that lacks only the verb and its arguments, and does not wait.
    ///
    /// # Errors
    /// The program is not there.
    pub fn spawn_as(&self, mut command: Command, arguments: &[&str]) -> Result<Daemon> {
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let notify = self.data.with_file_name("notify.sock");
        // Left by the daemon before this one.
        let _ = fs::remove_file(&notify);
        let readiness = UnixDatagram::bind(&notify)
            .with_context(|| format!("cannot bind {}", notify.display()))?;
        readiness.set_nonblocking(true)?;
        command.arg("serve");
        if self.config.exists() {
            command.arg("--config").arg(&self.config);
        }
        command
            .arg("--drivers")
            .arg(&self.drivers)
            .arg("--plugins")
            .arg(&self.plugins);
        command
            .arg("--data")
            .arg(&self.data)
            .arg("--control")
            .arg(&self.control)
            .args(arguments);
        command
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .context("cannot start the daemon through setpriv (util-linux)")?;
        Ok(Daemon {
            child,
            readiness,
            plugins: self.plugins.clone(),
            log: self.log.clone(),
        })
    }
}

/// A running daemon. It is killed when this value goes.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    readiness: UnixDatagram,
    plugins: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The kernel does not know the child.
    pub fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until it tells its service manager that it is ready: by then every plugin that was installed before listens.
    ///
    /// # Errors
    /// The daemon ended, or took longer than [`SOON`].
    pub fn wait_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut message = [0; 256];
        loop {
            // A daemon may say more than one thing.
            while let Ok(length) = self.readiness.recv(&mut message) {
                if String::from_utf8_lossy(message.get(..length).unwrap_or_default())
                    .lines()
                    .any(|line| line == "READY=1")
                {
                    return Ok(());
                }
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the daemon ended with {status}; its log ends\n{}",
                    self.log_end()
                );
            }
            ensure!(
                started.elapsed() < SOON,
                "the daemon was not ready in {SOON:?}; its log ends\n{}",
                self.log_end()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a plugin answers its handshake with success.
    ///
    /// # Errors
    /// It did not within [`SOON`]; with the end of the log.
    pub fn wait_plugin(&self, plugin: &str) -> Result<()> {
        let mut caller = Caller::new(self.plugins.join(format!("{plugin}.sock")));
        until(&format!("plugin {plugin} to answer"), || {
            caller
                .call_once("Plugin.Activate", &json!({}))
                .is_ok_and(|answer| answer.at("/Implements").is_array())
        })
        .with_context(|| format!("the daemon's log ends\n{}", self.log_end()))
    }

    /// Asks it to end, as a service manager does, and waits for that.
    ///
    /// # Errors
    /// It did not end within [`SOON`].
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let mut status = None;
        until("the daemon to end after SIGTERM", || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        status.context("no exit status")
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// The kernel does not know the child.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// The last lines of its output.
    pub fn log_end(&self) -> String {
        end_of(&self.log)
    }
}

fn end_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(20))
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}
