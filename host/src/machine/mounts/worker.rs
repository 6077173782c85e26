//! A process for what may never return: mounting from another machine or from a disk, unmounting, asking a mounted file system for its
//! state.
//!
//! It is this program, started again with one argument; a request comes on its standard input and the answer leaves on its standard output,
//! both JSON. It is killed when the deadline is over, and by the kernel when the process that asked dies. A mount only becomes visible by the
//! worker's last step, so one that is killed before leaves nothing.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use super::point::Point;
use super::{Health, Mount, network, options, place};
use crate::machine::{ErrorKind, MachineError};

/// The argument by which the daemon's own program becomes a worker.
pub const ARGUMENT: &str = "mount-worker";

/// Where tools are, whatever the daemon's own environment says.
const PROGRAMS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a killed process may take to end. One that the kernel does not let go is left to a thread that waits for it.
const LAST_BREATH: Duration = Duration::from_millis(100);

/// The longest request and the longest answer, bytes. A record with two paths and all options is far below.
const LONGEST: u64 = 1 << 20;

/// Workers that were killed and that the kernel does not let go, with what they wait for.
static STUCK: Mutex<Vec<(PathBuf, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// Which program is started, and how.
#[derive(Debug, Clone)]
pub struct Worker {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Worker {
    /// The program that runs now, also when its file was replaced meanwhile.
    pub fn this_program() -> Worker {
        Worker::program("/proc/self/exe", [ARGUMENT])
    }

    /// Another program, which calls [`worker_main`] when it gets these arguments.
    pub fn program(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Worker {
        Worker {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// With a variable in its environment, which is empty otherwise.
    pub fn with_variable(mut self, name: &str, value: &str) -> Worker {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(super) fn ask(&self, request: &Request, deadline: Instant) -> Result<Answer, MachineError> {
        let failed = |tried: &str| {
            let tried = tried.to_owned();
            move |error: std::io::Error| MachineError::io(&tried, &error)
        };
        // One that never ends is enough: a file system is asked again and again whether it lives.
        if let Request::Health { point } = request
            && stuck(|waiting| waiting.iter().any(|(path, _)| path == point))
        {
            return Err(silent(request));
        }
        let request = Envelope {
            parent: std::process::id(),
            request,
        };
        let text = serde_json::to_vec(&request)
            .map_err(|error| failed("write a request to the mount worker")(error.into()))?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PROGRAMS)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed("start the mount worker"))?;
        if let Some(mut input) = child.stdin.take() {
            // A worker that died will be seen by its end.
            let _ = input.write_all(&text);
        }
        let (status, output) =
            match finish(child, deadline).map_err(failed("wait for the mount worker"))? {
                End::Ended(status, output, _) => (status, output),
                End::Stopped => return Err(silent(request.request)),
                End::Stuck(thread) => {
                    let path = request.request.point().to_path_buf();
                    stuck(|waiting| waiting.push((path, thread)));
                    return Err(silent(request.request));
                }
            };
        let answer = output
            .split(|byte| *byte == b'\n')
            .rfind(|line| !line.is_empty())
            .and_then(|line| serde_json::from_slice(line).ok());
        answer.ok_or_else(|| {
            MachineError::new(
                ErrorKind::Other,
                format!("the mount worker ended without an answer ({status})"),
            )
        })
    }
}

/// What a worker is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(super) enum Request {
    /// To mount onto a point that is there.
    Mount {
        mount: Box<Mount>,
        /// In hexadecimal digits, as it may be anything.
        secret: Option<String>,
        /// How long it may take.
        milliseconds: u64,
    },
    /// To unmount the topmost layer of a point.
    Unmount { point: PathBuf, detach: bool },
    /// To say whether a mount answers.
    Health { point: PathBuf },
}

impl Request {
    pub(super) fn mount(mount: &Mount, secret: Option<&[u8]>, left: Duration) -> Request {
        Request::Mount {
            mount: Box::new(mount.clone()),
            secret: secret.map(hex::encode),
            milliseconds: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn unmount(mount: &Mount, detach: bool) -> Request {
        Request::Unmount {
            point: mount.point.clone(),
            detach,
        }
    }

    /// From whom something is wanted, for an error.
    fn whom(&self) -> String {
        match self {
            Request::Mount { mount, .. } => network::whom(&mount.source),
            Request::Unmount { .. } | Request::Health { .. } => self.point().display().to_string(),
        }
    }

    fn point(&self) -> &Path {
        match self {
            Request::Mount { mount, .. } => &mount.point,
            Request::Unmount { point, .. } | Request::Health { point } => point,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope<R> {
    /// Who asks. A worker whose parent is somebody else has nobody left to answer to.
    parent: u32,
    request: R,
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It could not be done.
    Failed { class: String, message: String },
    /// What was asked for.
    Health(Health),
}

/// Every class of errors, for sending it by name.
const CLASSES: [(ErrorKind, &str); 8] = [
    (ErrorKind::NotFound, "not-found"),
    (ErrorKind::Exists, "exists"),
    (ErrorKind::Busy, "busy"),
    (ErrorKind::Unreachable, "unreachable"),
    (ErrorKind::Exhausted, "exhausted"),
    (ErrorKind::Invalid, "invalid"),
    (ErrorKind::Missing, "missing"),
    (ErrorKind::Other, "other"),
];

impl Answer {
    pub(super) fn done(self) -> Result<(), MachineError> {
        match self {
            Answer::Done | Answer::Health(_) => Ok(()),
            Answer::Failed { class, message } => {
                let kind = CLASSES
                    .iter()
                    .find(|(_, name)| *name == class)
                    .map_or(ErrorKind::Other, |(kind, _)| *kind);
                Err(MachineError::new(kind, message))
            }
        }
    }

    pub(super) fn health(self) -> Health {
        match self {
            Answer::Health(health) => health,
            Answer::Done => Health::Alive,
            Answer::Failed { message, .. } => Health::Dead(message),
        }
    }
}

impl From<Result<(), MachineError>> for Answer {
    fn from(result: Result<(), MachineError>) -> Answer {
        match result {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed {
                class: CLASSES
                    .iter()
                    .find(|(kind, _)| *kind == error.kind)
                    .map_or("other", |(_, name)| name)
                    .to_owned(),
                message: error.message,
            },
        }
    }
}

/// What the program does when it was started as a worker: one request, one answer.
pub fn worker_main() -> ExitCode {
    // The answer would reach nobody, and what was made would stay.
    if rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return ExitCode::FAILURE;
    }
    let mut text = Vec::new();
    let read = std::io::stdin().lock().take(LONGEST).read_to_end(&mut text);
    let envelope = serde_json::from_slice::<Envelope<Request>>(&text);
    let (Ok(_), Ok(envelope)) = (read, envelope) else {
        eprintln!(
            "dockside {ARGUMENT} is started by dockside itself, with a request on its standard input"
        );
        return ExitCode::FAILURE;
    };
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
    if parent.is_none_or(|parent| i64::from(parent.get()) != i64::from(envelope.parent)) {
        return ExitCode::FAILURE;
    }
    let answer = answer(envelope.request);
    let mut output = std::io::stdout().lock();
    let written = serde_json::to_vec(&answer)
        .map_err(std::io::Error::from)
        .and_then(|mut line| {
            line.push(b'\n');
            output.write_all(&line)?;
            output.flush()
        });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(request: Request) -> Answer {
    match request {
        Request::Mount {
            mount,
            secret,
            milliseconds,
        } => {
            let deadline = Instant::now() + Duration::from_millis(milliseconds);
            match secret.map(hex::decode).transpose() {
                Ok(secret) => place(&mount, secret.as_deref(), deadline).into(),
                Err(_) => Err(MachineError::new(
                    ErrorKind::Other,
                    "the mount worker got a secret that it cannot read",
                ))
                .into(),
            }
        }
        Request::Unmount { point, detach } => {
            let flags = if detach {
                UnmountFlags::DETACH
            } else {
                UnmountFlags::empty()
            };
            Point::find(&point)
                .and_then(|point| point.map_or(Ok(()), |point| point.unmount(flags)))
                .into()
        }
        Request::Health { point } => Answer::Health(state(&point)),
    }
}

/// Asks the file system for its size and for its root, which both have to come from the other side.
fn state(point: &Path) -> Health {
    let asked = rustix::fs::statfs(point)
        .map(|_| ())
        .and_then(|()| rustix::fs::stat(point).map(|_| ()));
    match asked {
        Ok(()) => Health::Alive,
        Err(error) => Health::Dead(std::io::Error::from(error).to_string()),
    }
}

/// A tool of util-linux, to be [`run`].
pub(super) fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir("/")
        .env("PATH", PROGRAMS)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

/// Runs a tool to its end, or to the deadline. Gives back what it printed; its first line of complaint goes into the error.
pub(super) fn run(
    command: &mut Command,
    tried: &str,
    deadline: Instant,
) -> Result<String, MachineError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                MachineError::new(
                    ErrorKind::Missing,
                    format!("cannot {tried}: there is no program `{program}`; install util-linux"),
                )
            } else {
                MachineError::io(&format!("{tried}: start {program}"), &error)
            }
        })?;
    let failed = |error| MachineError::io(&format!("wait for {program}"), &error);
    let End::Ended(status, printed, complaint) = finish(child, deadline).map_err(failed)? else {
        return Err(MachineError::new(
            ErrorKind::Unreachable,
            format!("cannot {tried}: {program} did not end in time and was stopped"),
        ));
    };
    if status.success() {
        return Ok(String::from_utf8_lossy(&printed).into_owned());
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let reason = complaint
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map_or_else(|| status.to_string(), options::quoted);
    if reason.contains("BusyBox") {
        return Err(MachineError::new(
            ErrorKind::Missing,
            format!("cannot {tried}: {program} is BusyBox's; install util-linux"),
        ));
    }
    let kind = if reason.contains("loop device") {
        ErrorKind::Exhausted
    } else {
        ErrorKind::Other
    };
    Err(MachineError::new(
        kind,
        format!("cannot {tried}: {program} says {reason}"),
    ))
}

/// How a process ended.
enum End {
    /// By itself, having written this to its output, and this to its errors.
    Ended(ExitStatus, Vec<u8>, Vec<u8>),
    /// Killed at the deadline; nothing of it is left.
    Stopped,
    /// Killed at the deadline, but the kernel waits for something on its behalf. The thread ends with it.
    Stuck(JoinHandle<()>),
}

/// Waits for a process until the deadline, then kills it. What it wrote is read when it has ended, so it must fit into a pipe.
fn finish(mut child: Child, deadline: Instant) -> std::io::Result<End> {
    if !ends(&child, deadline)? {
        // It may have ended this instant.
        let _ = child.kill();
        if ends(&child, Instant::now() + LAST_BREATH)? {
            child.wait()?;
            return Ok(End::Stopped);
        }
        let reaper = std::thread::Builder::new().name("reap".to_owned());
        return Ok(End::Stuck(reaper.spawn(move || {
            let _ = child.wait();
        })?));
    }
    let status = child.wait()?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    if let Some(pipe) = child.stdout.take() {
        pipe.take(LONGEST).read_to_end(&mut output)?;
    }
    if let Some(pipe) = child.stderr.take() {
        pipe.take(LONGEST).read_to_end(&mut errors)?;
    }
    Ok(End::Ended(status, output, errors))
}

/// Looks at the stuck workers that are still there.
fn stuck<T>(look: impl FnOnce(&mut Vec<(PathBuf, JoinHandle<()>)>) -> T) -> T {
    let mut waiting = STUCK.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.retain(|(_, thread)| !thread.is_finished());
    look(&mut waiting)
}

fn silent(request: &Request) -> MachineError {
    MachineError::new(
        ErrorKind::Unreachable,
        format!("{} did not answer in time", request.whom()),
    )
}

/// Whether a process ends before a deadline.
fn ends(child: &Child, deadline: Instant) -> std::io::Result<bool> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| std::io::Error::other("a process has no number"))?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut polled = [PollFd::new(&process, PollFlags::IN)];
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
