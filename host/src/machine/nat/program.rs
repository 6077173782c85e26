//! `nft` and `iptables`, run without a shell, in a clean environment and up to a deadline.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::lock::Lock;
use crate::machine::{ErrorKind, MachineError};

/// Where programs are looked for, whatever the daemon's own environment says.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// How long a program may take. They take milliseconds, on a machine that is short of everything a second; more than that is waiting for
/// another one's lock. A call of Docker's for a network ends after 60 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most that is read of what a program prints.
const MOST_OUTPUT: u64 = 64 << 20;

/// What a program left.
pub(super) struct Finished {
    pub(super) success: bool,
    pub(super) output: String,
    /// What it complained about.
    pub(super) errors: String,
}

/// The program's file, if it is installed.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
}

/// Runs a program to its end, with a script as its last argument if there is one. A lock is held as long as the program lives, whatever
/// becomes of the daemon.
pub(super) fn run(
    program: &str,
    package: &str,
    arguments: &[&str],
    script: Option<&str>,
    lock: Option<&Lock>,
) -> Result<Finished, MachineError> {
    let path = find(program).ok_or_else(|| {
        MachineError::new(
            ErrorKind::Missing,
            format!("{program} is not installed: install the package {package}"),
        )
    })?;
    // Files in memory take whatever is said: a pipe that nobody reads would stop the program.
    let script = script.map(memory).transpose()?;
    let stdout = memory("")?;
    let stderr = memory("")?;
    // None of the programs reads its standard input, and nothing else is handed down.
    let stdin = match lock {
        Some(lock) => Stdio::from(lock.share()?),
        None => Stdio::null(),
    };
    let mut command = Command::new(path);
    command.args(arguments);
    if let Some(script) = &script {
        let daemon = std::process::id();
        command.arg(format!("/proc/{daemon}/fd/{}", script.as_raw_fd()));
    }
    let mut child = command
        .env_clear()
        .env("PATH", DIRECTORIES.join(":"))
        .env("LC_ALL", "C")
        .current_dir("/")
        // A signal that a terminal sends to the daemon's group is not meant for a program in the middle of its work.
        .process_group(0)
        .stdin(stdin)
        .stdout(duplicate(&stdout)?)
        .stderr(duplicate(&stderr)?)
        .spawn()
        .map_err(|error| MachineError::io(&format!("run {program}"), &error))?;
    match wait(&mut child, Instant::now() + PATIENCE) {
        Ok(Some(status)) => Ok(Finished {
            success: status.success(),
            output: read(&stdout)?,
            errors: read(&stderr)?,
        }),
        Ok(None) => {
            end(child);
            Err(MachineError::new(
                ErrorKind::Busy,
                format!(
                    "{program} did not finish within {} s and was killed: look for another program that holds the machine's firewall",
                    PATIENCE.as_secs()
                ),
            ))
        }
        Err(error) => {
            end(child);
            Err(MachineError::io(&format!("wait for {program}"), &error))
        }
    }
}

/// Waits for a child up to a deadline. `None` says that it still runs.
pub(super) fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(None),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return child.wait().map(Some),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills a child and waits for it. One that hangs in the kernel dies when the kernel lets it: only a thread can wait for that.
pub(super) fn end(mut child: Child) {
    let _ = child.kill();
    if !matches!(
        wait(&mut child, Instant::now() + Duration::from_secs(1)),
        Ok(Some(_))
    ) {
        let _ = std::thread::Builder::new()
            .name("reap".to_owned())
            .spawn(move || child.wait());
    }
}

fn memory(text: &str) -> Result<File, MachineError> {
    let make = || -> std::io::Result<File> {
        let descriptor = rustix::fs::memfd_create("firewall", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(descriptor);
        file.write_all(text.as_bytes())?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    };
    make().map_err(|error| MachineError::io("make a file in memory", &error))
}

fn duplicate(file: &File) -> Result<File, MachineError> {
    file.try_clone()
        .map_err(|error| MachineError::io("duplicate a descriptor", &error))
}

fn read(file: &File) -> Result<String, MachineError> {
    let read = || -> std::io::Result<String> {
        let length = file.metadata()?.len();
        if length > MOST_OUTPUT {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut buffer, 0)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    };
    read().map_err(|error| MachineError::io("read what the firewall's program printed", &error))
}
