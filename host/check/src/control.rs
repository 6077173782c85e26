//! Hands on the plugin's process and backend, for the checks that need more than its socket.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Connection;
use crate::profile::Hooks;

/// What can be wrong with a plugin's backend (or, for a driver of dockside's, with the driver).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every operation waits for ever.
    Hang,
    /// Every operation fails.
    Fail,
    /// The disk that the plugin keeps its state and data on is full.
    Full,
    /// That disk can only be read.
    ReadOnly,
}

/// Hands on a plugin. Errors are sentences for the user of the checks.
pub trait Control: Send + Sync {
    /// The process that answers, while it runs.
    fn pid(&self) -> Option<u32>;

    /// Starts it, and waits until its socket accepts connections.
    ///
    /// # Errors
    ///
    /// It does not come up.
    fn start(&self) -> Result<(), String>;

    /// Asks it to end (SIGTERM) without waiting.
    ///
    /// # Errors
    ///
    /// It cannot be asked.
    fn ask_to_end(&self) -> Result<(), String>;

    /// Waits until it has ended. Gives its exit status, or the negative number of the signal that ended it.
    ///
    /// # Errors
    ///
    /// It did not end within `limit`.
    fn ended(&self, limit: Duration) -> Result<i32, String>;

    /// Ends it at once (SIGKILL) and waits for that.
    ///
    /// # Errors
    ///
    /// It cannot be killed.
    fn kill(&self) -> Result<(), String>;

    /// Starts a second one at the same socket, and gives its exit status and what it said.
    ///
    /// # Errors
    ///
    /// It does not end within `limit` (it is killed then).
    fn start_again(&self, limit: Duration) -> Result<(i32, String), String>;

    /// Breaks what is behind the plugin, until [`Control::mend`].
    ///
    /// # Errors
    ///
    /// It cannot be broken in that way here; the text is a reason to skip.
    fn inject(&self, fault: Fault) -> Result<(), String>;

    /// Ends the fault.
    ///
    /// # Errors
    ///
    /// The fault cannot be ended.
    fn mend(&self) -> Result<(), String>;

    /// Deletes the plugin's state while it does not run.
    ///
    /// # Errors
    ///
    /// That cannot be done here; the text is a reason to skip.
    fn forget(&self) -> Result<(), String> {
        Err("it is not known where the plugin keeps its state".into())
    }

    /// Everything that the plugin has logged so far.
    fn log(&self) -> String;

    /// The driver behind it, if dockside serves it.
    fn driver(&self) -> Option<&dyn Driver> {
        None
    }
}

impl<T: Control + ?Sized> Control for std::sync::Arc<T> {
    fn pid(&self) -> Option<u32> {
        (**self).pid()
    }
    fn start(&self) -> Result<(), String> {
        (**self).start()
    }
    fn ask_to_end(&self) -> Result<(), String> {
        (**self).ask_to_end()
    }
    fn ended(&self, limit: Duration) -> Result<i32, String> {
        (**self).ended(limit)
    }
    fn kill(&self) -> Result<(), String> {
        (**self).kill()
    }
    fn start_again(&self, limit: Duration) -> Result<(i32, String), String> {
        (**self).start_again(limit)
    }
    fn inject(&self, fault: Fault) -> Result<(), String> {
        (**self).inject(fault)
    }
    fn mend(&self) -> Result<(), String> {
        (**self).mend()
    }
    fn forget(&self) -> Result<(), String> {
        (**self).forget()
    }
    fn log(&self) -> String {
        (**self).log()
    }
    fn driver(&self) -> Option<&dyn Driver> {
        (**self).driver()
    }
}

/// A driver that dockside serves, for the checks about swaps.
pub trait Driver: Send + Sync {
    /// The directory that dockside takes drivers from.
    fn directory(&self) -> &Path;
    /// The file of the driver in it.
    fn file(&self) -> &Path;
    /// The plugin's name.
    fn plugin(&self) -> &str;
    /// Waits until dockside has looked at the directory, and gives what it says about the plugin and the files (JSON of `dockside ls`).
    ///
    /// # Errors
    ///
    /// The daemon does not answer.
    fn look(&self) -> Result<serde_json::Value, String>;
}

/// A plugin that is started by a command line.
pub struct Started {
    command: String,
    socket: PathBuf,
    hooks: Hooks,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    limit: Duration,
}

impl Started {
    /// A plugin that `command` (for the shell) starts; `{socket}` in it stands for the socket's path. Nothing is started yet.
    /// What it says is written to the file `log`.
    #[must_use]
    pub fn new(command: &str, socket: &Path, hooks: Hooks, log: &Path) -> Self {
        Self {
            command: command.replace("{socket}", &quoted(socket)),
            socket: socket.to_owned(),
            hooks,
            log: log.to_owned(),
            child: Mutex::new(None),
            // Go plugins with a slow backend take some seconds; nothing useful takes longer.
            limit: Duration::from_secs(30),
        }
    }

    fn spawn(&self) -> Result<Child, String> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|error| format!("{}: {error}", self.log.display()))?;
        let copy = log.try_clone().map_err(|error| error.to_string())?;
        // `exec` makes the plugin itself the child, so that a signal reaches it and not a shell.
        Command::new("/bin/sh")
            .args(["-c", &format!("exec {}", self.command)])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.command))
    }

    fn child<T>(&self, f: impl FnOnce(&mut Option<Child>) -> T) -> T {
        f(&mut self.child.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = self
            .pid()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .ok_or("the plugin does not run")?;
        kill_process(pid, signal)
            .map_err(|error| format!("the plugin cannot be signalled: {error}"))
    }

    fn hook(what: &str, command: Option<&String>) -> Result<(), String> {
        let command =
            command.ok_or_else(|| format!("the profile has no command `{what}` under [hooks]"))?;
        let status = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the hook `{what}` ended with {status}")),
            Err(error) => Err(format!("the hook `{what}`: {error}")),
        }
    }
}

impl Control for Started {
    fn pid(&self) -> Option<u32> {
        self.child(|child| child.as_ref().map(Child::id))
    }

    fn start(&self) -> Result<(), String> {
        let mut spawned = self.spawn()?;
        let end = Instant::now() + self.limit;
        loop {
            if Connection::open(&self.socket).is_ok() {
                self.child(|child| *child = Some(spawned));
                return Ok(());
            }
            if let Ok(Some(status)) = spawned.try_wait() {
                return Err(format!(
                    "`{}` ended with {status} before it served {}:\n{}",
                    self.command,
                    self.socket.display(),
                    self.log()
                ));
            }
            if Instant::now() > end {
                let _ = spawned.kill();
                let _ = spawned.wait();
                return Err(format!(
                    "`{}` does not serve {} after {} s",
                    self.command,
                    self.socket.display(),
                    self.limit.as_secs()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ask_to_end(&self) -> Result<(), String> {
        self.signal(Signal::TERM)
    }

    fn ended(&self, limit: Duration) -> Result<i32, String> {
        ended(&self.child, "the plugin", limit)
    }

    fn kill(&self) -> Result<(), String> {
        self.signal(Signal::KILL)?;
        self.ended(self.limit).map(drop)
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
        match fault {
            Fault::Hang => Self::hook("hang", self.hooks.hang.as_ref()),
            Fault::Fail => Self::hook("fail", self.hooks.fail.as_ref()),
            Fault::Full => Self::hook("full", self.hooks.full.as_ref()),
            Fault::ReadOnly => Self::hook("read-only", self.hooks.read_only.as_ref()),
        }
    }

    fn mend(&self) -> Result<(), String> {
        Self::hook("mend", self.hooks.mend.as_ref())
    }

    fn forget(&self) -> Result<(), String> {
        Self::hook("forget", self.hooks.forget.as_ref())
    }

    fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.pid().is_some()
            && (self.ask_to_end().is_err() || self.ended(Duration::from_secs(10)).is_err())
        {
            let _ = self.kill();
        }
    }
}

/// Waits until a process has ended that this one started, and forgets it. Gives its exit status, or the negative number of the signal that ended it; 0 if there is none.
/// `who` is what an error calls it.
///
/// # Errors
///
/// It still runs after `limit`.
pub fn ended(child: &Mutex<Option<Child>>, who: &str, limit: Duration) -> Result<i32, String> {
    let end = Instant::now() + limit;
    loop {
        {
            let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
            match child.as_mut().map(Child::try_wait) {
                None => return Ok(0),
                Some(Ok(Some(status))) => {
                    *child = None;
                    return Ok(status_number(status));
                }
                Some(_) => {}
            }
        }
        if Instant::now() > end {
            return Err(format!(
                "{who} still runs after {:.1} s",
                limit.as_secs_f64()
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a second process has ended, as [`Control::start_again`] starts one.
///
/// # Errors
///
/// It did not end within `limit`; it is killed then.
pub fn run_to_end(mut second: Child, limit: Duration) -> Result<i32, String> {
    let end = Instant::now() + limit;
    loop {
        if let Ok(Some(status)) = second.try_wait() {
            return Ok(status_number(status));
        }
        if Instant::now() > end {
            let _ = second.kill();
            let _ = second.wait();
            return Err(format!(
                "a second one still runs after {:.1} s",
                limit.as_secs_f64()
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The exit status, or the negative number of the signal that ended it.
#[must_use]
fn status_number(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or(0))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
