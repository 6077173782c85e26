//! Tools of the distribution, run without a shell, in a clean environment and up to a deadline.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::{ErrorKind, MachineError};

/// Where tools are looked for, whatever the daemon's own environment says.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The path by which a tool reaches the file that it got as its standard input: the same file, also when its name is gone.
pub(super) const INPUT: &str = "/proc/self/fd/0";

/// The same for its standard output.
pub(super) const OUTPUT: &str = "/proc/self/fd/1";

/// How much of what a tool said is kept for the error.
const SAID: usize = 4096;

/// How long a killed tool may take to die before a thread of its own waits for it: one that hangs in the kernel, on a dead disk,
/// dies only when the kernel lets it.
const DYING: Duration = Duration::from_secs(2);

/// A tool with its arguments.
pub(super) struct Tool<'a> {
    program: &'static str,
    package: &'static str,
    subject: &'a Path,
    arguments: Vec<OsString>,
    input: Stdio,
    output: Stdio,
    good: i32,
}

/// Why a tool did not do its work.
pub(super) struct Failure {
    pub(super) error: MachineError,
    /// It was killed at the deadline. What it had asked the kernel for may yet happen.
    pub(super) late: bool,
}

impl From<Failure> for MachineError {
    fn from(failure: Failure) -> MachineError {
        failure.error
    }
}

impl<'a> Tool<'a> {
    /// A tool of a Debian package, and the file that errors are about.
    pub(super) fn new(program: &'static str, package: &'static str, subject: &'a Path) -> Self {
        Tool {
            program,
            package,
            subject,
            arguments: Vec::new(),
            input: Stdio::null(),
            output: Stdio::null(),
            good: 0,
        }
    }

    pub(super) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    pub(super) fn input(mut self, input: impl Into<Stdio>) -> Self {
        self.input = input.into();
        self
    }

    pub(super) fn output(mut self, output: impl Into<Stdio>) -> Self {
        self.output = output.into();
        self
    }

    /// The highest status that is no failure, for tools that have several.
    pub(super) fn good(mut self, status: i32) -> Self {
        self.good = status;
        self
    }

    /// Starts it, with its own standard error.
    pub(super) fn start(self, errors: impl Into<Stdio>) -> Result<Child, MachineError> {
        let program = require(self.program, self.package)?;
        Command::new(program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", DIRECTORIES.join(":"))
            .env("LC_ALL", "C")
            .current_dir("/")
            // A signal that a terminal sends to the daemon's group is not meant for a tool in the middle of its work.
            .process_group(0)
            .stdin(self.input)
            .stdout(self.output)
            .stderr(errors)
            .spawn()
            .map_err(|error| MachineError::io(&format!("run {}", self.program), &error))
    }

    /// Runs it to its end.
    pub(super) fn run(self, deadline: Instant) -> Result<(), Failure> {
        let (program, subject, good) = (self.program, self.subject, self.good);
        let failure = |error| Failure { error, late: false };
        // A file in memory takes whatever is said: a pipe that nobody reads would stop the tool.
        let said = rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(|error| failure(MachineError::io("make a file in memory", &error.into())))?;
        let errors = said
            .try_clone()
            .map_err(|error| failure(MachineError::io("duplicate a descriptor", &error)))?;
        if Instant::now() >= deadline {
            return Err(late(program, subject));
        }
        let mut child = self.start(errors).map_err(failure)?;
        match wait(&mut child, deadline) {
            Ok(Some(status)) if status.code().is_some_and(|code| code <= good) => Ok(()),
            Ok(Some(status)) => Err(failure(refusal(
                program,
                subject,
                &last_line(&said, subject),
                status,
            ))),
            Ok(None) => {
                end(child);
                Err(late(program, subject))
            }
            Err(error) => {
                end(child);
                Err(failure(MachineError::io(
                    &format!("wait for {program}"),
                    &error,
                )))
            }
        }
    }
}

/// The path of a tool.
pub(super) fn require(program: &str, package: &str) -> Result<PathBuf, MachineError> {
    DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            MachineError::new(
                ErrorKind::Missing,
                format!("{program} is not installed: install the package {package}"),
            )
        })
}

/// Waits for a process up to a deadline. `None` says that it still runs.
pub(super) fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Kills a process and waits for it.
pub(super) fn end(mut child: Child) {
    let _ = child.kill();
    leave(child, Instant::now() + DYING);
}

/// Waits for a process up to a deadline, and lets a thread wait for it then.
pub(super) fn leave(mut child: Child, deadline: Instant) {
    if matches!(wait(&mut child, deadline), Ok(None)) {
        // If there is no thread to be had, the process stays a zombie until the daemon ends.
        let _ = thread::Builder::new()
            .name("reap".to_owned())
            .spawn(move || child.wait());
    }
}

fn late(program: &str, subject: &Path) -> Failure {
    Failure {
        error: MachineError::new(
            ErrorKind::Other,
            format!(
                "{program} did not finish with {} in the time that the call has",
                subject.display()
            ),
        ),
        late: true,
    }
}

fn refusal(program: &str, subject: &Path, said: &str, status: ExitStatus) -> MachineError {
    let kind = if said.contains("No space left on device") {
        ErrorKind::Exhausted
    } else if said.contains("Device or resource busy") {
        ErrorKind::Busy
    } else {
        ErrorKind::Other
    };
    let said = match said {
        "" => status.to_string(),
        said => said.to_owned(),
    };
    MachineError::new(
        kind,
        format!("{program} failed for {}: {said}", subject.display()),
    )
}

fn last_line(said: &File, subject: &Path) -> String {
    let length = said.metadata().map_or(0, |metadata| metadata.len());
    let mut buffer = vec![0; SAID];
    let read = said
        .read_at(&mut buffer, length.saturating_sub(SAID as u64))
        .unwrap_or(0);
    buffer.truncate(read);
    String::from_utf8_lossy(&buffer)
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or_default()
        .replace(INPUT, &subject.display().to_string())
}
