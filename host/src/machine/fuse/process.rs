//! Helper processes: started apart from the daemon, found again by their arguments, ended by process descriptors.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::machine::{ErrorKind, MachineError};

/// Where programs are looked for, whatever the daemon's own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names of programs that may have one of our mount points among their arguments: the helpers, what they start, and what starts them.
const PROGRAMS: [&str; 7] = [
    "sshfs",
    "s3fs",
    "rclone",
    "ssh",
    "fusermount",
    "fusermount3",
    "setsid",
];

/// How long a helper whose mount is gone may take to end by itself, then after SIGTERM, then after SIGKILL.
const STAGES: [(Option<Signal>, Duration); 3] = [
    (None, Duration::from_secs(1)),
    (Some(Signal::TERM), Duration::from_secs(3)),
    (Some(Signal::KILL), Duration::from_secs(5)),
];

/// How long a process may take from giving up its arguments to its end.
const GOING: Duration = Duration::from_secs(2);

/// Helpers that this process started. They outlive it, so nobody waits for them; each one that ended while this process lives has to be
/// fetched once, or it stays in the process table.
static STARTED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Fetches those that have ended.
pub(super) fn reap() {
    STARTED
        .lock()
        .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// Leaves a process to [`reap`].
pub(super) fn leave(child: Child) {
    STARTED.lock().push(child);
    reap();
}

/// The full path of a program.
pub(super) fn executable(program: &str, package: &str) -> Result<PathBuf, MachineError> {
    std::env::split_paths(PATH)
        .map(|directory| directory.join(program))
        .find(|path| {
            path.metadata()
                .is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
        })
        .ok_or_else(|| {
            MachineError::new(
                ErrorKind::Missing,
                format!(
                    "{program} is not installed on this machine; install the package {package} (apt-get install {package})"
                ),
            )
        })
}

/// A command that gets nothing of the daemon's: no environment, no directory, no descriptors.
pub(super) fn command(program: &Path, home: &Path) -> Command {
    // What the daemon opened itself closes on exec; what it was born with may not.
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .env("HOME", home)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Starts a helper in a session of its own, with a log for all that it says, and feeds it.
pub(super) fn start(
    program: &Path,
    arguments: &[OsString],
    home: &Path,
    log: &File,
    input: Option<&[u8]>,
) -> Result<Child, MachineError> {
    let tried = || format!("start {}", program.display());
    let failed = |error| MachineError::io(&tried(), &error);
    let setsid = executable("setsid", "util-linux")?;
    let mut child = command(&setsid, home)
        .arg(program)
        .args(arguments)
        .stdin(match input {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // One that ended without reading says why in its log.
        let _ = pipe.write_all(input);
    }
    Ok(child)
}

/// What a short run of a program came to.
pub(super) struct Outcome {
    /// Whether it ended well.
    pub(super) success: bool,
    /// Whether it was killed at the deadline.
    pub(super) late: bool,
}

/// Runs a program to its end or to the deadline.
pub(super) fn run(
    mut command: Command,
    input: Option<&[u8]>,
    deadline: Instant,
) -> Result<Outcome, MachineError> {
    let tried = format!("run {}", command.get_program().to_string_lossy());
    let failed = |error| MachineError::io(&tried, &error);
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().map_err(failed)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        let _ = pipe.write_all(input);
    }
    let late = match descriptor(&child) {
        Some(process) => !wait(&[&process], deadline),
        None => false,
    };
    if late {
        child.kill().map_err(failed)?;
    }
    let success = child.wait().map_err(failed)?.success();
    Ok(Outcome { success, late })
}

/// A descriptor of a process that was started here and not waited for.
pub(super) fn descriptor(child: &Child) -> Option<OwnedFd> {
    rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()
}

/// Time left, as the kernel wants it.
pub(super) fn left(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}

/// Waits until one of the processes has ended. `false` when the deadline came first.
fn wait(processes: &[&OwnedFd], deadline: Instant) -> bool {
    let mut descriptors: Vec<_> = processes
        .iter()
        .map(|process| PollFd::new(*process, PollFlags::IN))
        .collect();
    loop {
        match rustix::event::poll(&mut descriptors, Some(&left(deadline))) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Ends a process that was started here: asks, then kills.
pub(super) fn end(process: &OwnedFd) {
    for (signal, patience) in STAGES {
        let Some(signal) = signal else { continue };
        // One that is gone needs no signal.
        let _ = rustix::process::pidfd_send_signal(process, signal);
        if wait(&[process], Instant::now() + patience) {
            return;
        }
    }
}

/// How processes of one mount are known: by the minted path of its point or of its files, which no other process has any reason to be given.
pub(super) struct Mark {
    point: PathBuf,
    files: Vec<u8>,
}

impl Mark {
    /// The mark of the mount at `point` with its files in `directory`.
    pub(super) fn new(point: &Path, directory: &Path) -> Mark {
        let mut files = directory.as_os_str().as_bytes().to_vec();
        files.push(b'/');
        Mark {
            point: point.to_owned(),
            files,
        }
    }

    fn fits(&self, pid: i32, programs: &[&str]) -> bool {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        // Anybody can write any path into the arguments of a process of his own.
        let ours = directory
            .metadata()
            .is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw());
        if !ours {
            return false;
        }
        let Ok(line) = std::fs::read(directory.join("cmdline")) else {
            return false;
        };
        let mut arguments = line.split(|byte| *byte == 0);
        let program = arguments.next().unwrap_or_default();
        let name = Path::new(OsStr::from_bytes(program)).file_name();
        if !programs.iter().any(|known| name == Some(OsStr::new(known))) {
            return false;
        }
        arguments.any(|argument| {
            argument == self.point.as_os_str().as_bytes()
                || argument
                    .windows(self.files.len())
                    .any(|part| part == self.files)
        })
    }

    /// The processes that bear it.
    fn bearers(&self, programs: &[&str]) -> Result<Vec<(i32, OwnedFd)>, MachineError> {
        let failed = |error| MachineError::io("list the processes", &error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if !self.fits(number, programs) {
                continue;
            }
            let Some(pid) = Pid::from_raw(number) else {
                continue;
            };
            let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            // The number may have gone to another process before the descriptor was there; from now on it cannot.
            if self.fits(number, programs) {
                found.push((number, process));
            }
        }
        Ok(found)
    }

    /// Whether a process of this program bears it. `likely` is looked at first.
    pub(super) fn is_borne_by(
        &self,
        program: &str,
        likely: Option<i32>,
    ) -> Result<bool, MachineError> {
        // Not by what the helper started itself: that may take longer to die.
        let programs = [program, "setsid"];
        Ok(likely.is_some_and(|pid| self.fits(pid, &programs))
            || !self.bearers(&programs)?.is_empty())
    }

    /// Whether a process of this program bears it and is not stopped.
    pub(super) fn is_at_work(&self, program: &str) -> Result<bool, MachineError> {
        let bearers = self.bearers(&[program])?;
        Ok(bearers.iter().any(|(pid, _)| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Behind the name, which can have anything in it but ends with the last parenthesis (proc_pid_stat(5)).
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            !matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
        }))
    }

    /// Ends all processes that bear it: waits, asks, kills. With `hurry` it does not wait.
    pub(super) fn end(&self, hurry: bool) -> Result<(), MachineError> {
        let mut seen: Vec<(i32, OwnedFd)> = Vec::new();
        for (signal, patience) in STAGES {
            if signal.is_none() && hurry {
                continue;
            }
            let deadline = Instant::now() + patience;
            let mut told = Vec::new();
            loop {
                let bearers = self.bearers(&PROGRAMS)?;
                if bearers.is_empty() {
                    // A process gives up its arguments a moment before it has ended.
                    let soon = Instant::now() + GOING;
                    for (_, process) in &seen {
                        wait(&[process], soon);
                    }
                    reap();
                    return Ok(());
                }
                if let Some(signal) = signal {
                    for (pid, process) in &bearers {
                        if !told.contains(pid) {
                            // One that is gone needs no signal.
                            let _ = rustix::process::pidfd_send_signal(process, signal);
                            told.push(*pid);
                        }
                    }
                }
                let descriptors: Vec<_> = bearers.iter().map(|(_, process)| process).collect();
                let one_ended = wait(&descriptors, deadline);
                seen.extend(bearers);
                if !one_ended {
                    break;
                }
            }
        }
        let numbers: Vec<_> = self
            .bearers(&PROGRAMS)?
            .iter()
            .map(|(pid, _)| pid.to_string())
            .collect();
        if numbers.is_empty() {
            return Ok(());
        }
        Err(MachineError::new(
            ErrorKind::Busy,
            format!(
                "the helper of {} does not end although it was killed (process {}); it hangs in the kernel",
                self.point.display(),
                numbers.join(", ")
            ),
        ))
    }
}
