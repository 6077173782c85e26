//! Mounts by helper programs in user space: sshfs, s3fs and rclone.
//!
//! Helpers come from a table with fixed arguments; no shell is involved, and an option that the table does not have does not reach them.
//! Secrets reach them by their standard input or by files in a directory in memory that only root can enter.
//!
//! A helper is a process in a session of its own. It outlives the daemon, and no list says which helper belongs to which mount, because a list
//! can be wrong after a crash: a helper is found by the minted mount point among its arguments, and its mount by the minted name that it was
//! given as source.
//!
//! Whatever is still on its way when the daemon dies comes to nothing once the mount was undone: its mount point is gone.

mod backends;
mod helper;
mod options;
mod place;
mod process;
mod rclone;
mod returns;
mod s3fs;
mod sshfs;
mod table;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::mounts::Flags;
use super::{ErrorKind, MachineError, Presence};
use helper::{Helper, Plan, Request};
use place::Places;
use table::Layers;

pub use returns::{Return, returns};

/// A mount by a helper program: all that is needed to make it, to take it away, and to find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuseMount {
    /// Minted by the host: 16 to 64 lower-case hexadecimal digits. It is also the last part of `point`.
    pub id: String,
    /// Where it is. The directory is made and removed with the mount; its parent and the parent's parent are made when they are missing.
    /// Beside it, as long as the mount is there, a helper may keep data of files in `POINT.cache`.
    pub point: PathBuf,
    /// `sshfs`, `s3fs` or `rclone`.
    pub program: String,
    /// What is mounted. For sshfs `user@host:path`. For s3fs `bucket` or `bucket:/path`. For rclone `:type,name=value,...:path`, or
    /// `name:path` of a remote in the secret `config`.
    pub remote: String,
    /// Options from the helper's table, by name; the value of a switch is empty.
    #[serde(default)]
    pub options: Vec<(String, String)>,
    /// Names of secrets, by what they are for. sshfs: `password` or `identity`, and `known-hosts`. s3fs: `credentials`
    /// (`ACCESS-KEY:SECRET-KEY`). rclone: `password`, `identity`, `known-hosts`, `credentials`, `session-token`, `token`, depending on the type
    /// of the remote, or `config`, a file as `rclone config` writes it.
    #[serde(default)]
    pub secrets: Vec<(String, String)>,
    /// What a secret can be for and need not be one, by what it is for: `known-hosts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<(String, String)>,
    /// A file in which the keys of servers are kept that are taken for good when they are first seen. It outlives the mount, and is there for
    /// all mounts of a plugin. Its directory and the one above it are made when they are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<PathBuf>,
    /// How.
    #[serde(default)]
    pub flags: Flags,
}

impl FuseMount {
    /// Checks everything that can be checked without secrets and without touching anything.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn check(&self) -> Result<(), MachineError> {
        place::check_point(self)?;
        helper::find(&self.program)?.chosen(self).map(|_| ())
    }

    /// The server that the helper connects to: a host with or without a port, or a URL. `None` when only a secret says it.
    ///
    /// # Errors
    /// As [`FuseMount::check`].
    pub fn server(&self) -> Result<Option<String>, MachineError> {
        let helper = helper::find(&self.program)?;
        (helper.server)(self, &helper.chosen(self)?)
    }

    /// What the mount table calls its source.
    fn source(&self) -> String {
        format!("dockside-{}", self.id)
    }
}

/// Where helpers have their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A directory in memory that only the daemon's user can enter; made when it is missing. Secrets, logs and process ids of helpers are in
    /// there, in a directory for each mount.
    pub runtime: PathBuf,
}

/// Longest time that connecting may take, in seconds. Longer than two lost packets take to be sent again. A machine that runs tests may be so
/// busy that a server on it takes longer.
const CONNECT: u64 = if cfg!(test) { 60 } else { 10 };

/// A log longer than this is cut to nothing: it is in memory.
const LONGEST_LOG: u64 = 1 << 20;

/// How long a mount that nobody uses may take to go: its helper may have to write first.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a helper may take to write to the server what was closed before the mount was to go.
const WRITING: Duration = Duration::from_secs(20);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Makes a mount, and the directory of its point, and waits until it answers. One that is there already is left as it is. `secrets` gives the
/// value of a secret by its name.
///
/// # Errors
/// `Invalid` for a record that makes no sense or is not allowed, `Missing` for a helper that is not installed, `Exists` when something else is
/// at its point, `Unreachable` for a server that refuses or does not answer before the deadline, `NotFound` for a remote directory that is not
/// there. The text has the helper's own words. Nothing is left behind.
pub fn perform(
    mount: &FuseMount,
    place: &Place,
    secrets: &dyn Fn(&str) -> Result<Vec<u8>, MachineError>,
    deadline: Instant,
) -> Result<(), MachineError> {
    mount.check()?;
    match look(mount, place)? {
        Presence::Present => return Ok(()),
        Presence::Changed(difference) => {
            return Err(MachineError::new(
                ErrorKind::Exists,
                format!(
                    "{} is taken: {difference}; unmount it",
                    mount.point.display()
                ),
            ));
        }
        // An earlier try may have left a part.
        Presence::Absent => undo(mount, place)?,
    }
    let made = make(mount, place, secrets, deadline);
    if made.is_err()
        && let Err(error) = clear(mount, place, true)
    {
        tracing::warn!(point = %mount.point.display(), %error, "a mount that failed could not be cleared away");
    }
    made
}

/// Takes a mount away, with its helper, its files and its directory. One that is in use is detached: its users get errors from then on, as
/// its helper ends with it.
///
/// # Errors
/// `Busy` when something else is mounted at its point or below it, when the helper has not yet written to the server what was closed (nothing
/// was done then), or when it hangs in the kernel; `Exists` when the directory of the point holds files.
pub fn undo(mount: &FuseMount, place: &Place) -> Result<(), MachineError> {
    clear(mount, place, false)
}

/// Says whether a mount is there and has its helper. It never asks the mounted file system, which may never answer.
///
/// # Errors
/// When the mount table or the list of processes cannot be read.
pub fn look(mount: &FuseMount, place: &Place) -> Result<Presence, MachineError> {
    place::check_point(mount)?;
    process::reap();
    let places = Places::of(mount, place)?;
    places.trim_log(LONGEST_LOG);
    let layers = Layers::at(&places.point)?;
    let serves = places
        .mark()
        .is_borne_by(&mount.program, places.recorded_process())?;
    if layers.is_empty() {
        return Ok(match serves {
            true => Presence::Changed(format!(
                "its {} runs, but nothing is mounted",
                mount.program
            )),
            false => Presence::Absent,
        });
    }
    Ok(match layers.difference(mount) {
        Some(difference) => Presence::Changed(difference),
        None if serves => Presence::Present,
        None => Presence::Changed(format!(
            "its {} is gone: whoever uses it gets \"Transport endpoint is not connected\"",
            mount.program
        )),
    })
}

fn make(
    mount: &FuseMount,
    place: &Place,
    secrets: &dyn Fn(&str) -> Result<Vec<u8>, MachineError>,
    deadline: Instant,
) -> Result<(), MachineError> {
    let helper = helper::find(&mount.program)?;
    let program = process::executable(helper.program, helper.package)?;
    for (needed, package) in helper.needs {
        process::executable(needed, package)?;
    }
    if !Path::new("/dev/fuse").exists() {
        return Err(MachineError::new(
            ErrorKind::Missing,
            format!(
                "{} needs /dev/fuse, which this machine does not have; load the kernel module: modprobe fuse",
                helper.program
            ),
        ));
    }
    let chosen = helper.chosen(mount)?;
    let mut values = BTreeMap::new();
    for (role, name) in &mount.secrets {
        values.insert(role.as_str(), Zeroizing::new(secrets(name)?));
    }

    let places = Places::make(mount, place, helper.caches)?;
    let left = deadline.saturating_duration_since(Instant::now()).as_secs();
    let plan = (helper.plan)(&Request {
        mount,
        chosen,
        secrets: values,
        directory: &places.directory,
        cache: &places.cache,
        point: &places.point,
        connect: left.saturating_sub(1).clamp(1, CONNECT),
        obscure: &|password| obscure(&program, &places, password, deadline),
    })?;
    for (path, content) in &plan.files {
        place::write_secret(path, content)?;
    }
    if let Some(learned) = &plan.learns {
        place::make_room_for(learned)?;
    }
    rehearse(mount, &program, &places, &plan, deadline)?;
    start(mount, &program, &places, &plan, deadline)?;
    // Whoever trusted a server once must not be asked to trust another one after a power cut.
    plan.learns.as_deref().map_or(Ok(()), place::make_durable)
}

/// A password as rclone keeps it in its configuration.
fn obscure(
    program: &Path,
    places: &Places,
    password: &str,
    deadline: Instant,
) -> Result<Zeroizing<String>, MachineError> {
    let path = places.directory.join("obscured");
    let mut command = process::command(program, &places.directory);
    // It needs no configuration. By this path the process is known as one of this mount.
    command
        .args(["obscure", "-", "--config"])
        .arg(places.directory.join("none"))
        .stdout(place::create(&path)?);
    let input = Zeroizing::new(format!("{password}\n"));
    let outcome = process::run(command, Some(input.as_bytes()), deadline)?;
    let failed = |error| MachineError::io("read what rclone obscure wrote", &error);
    let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(failed)?);
    std::fs::remove_file(&path).map_err(failed)?;
    let line = text.trim();
    if !outcome.success || line.is_empty() {
        return Err(MachineError::new(
            ErrorKind::Other,
            "rclone does not take this password: \"rclone obscure\" failed",
        ));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Lets a helper that mounts first and asks later ask first.
fn rehearse(
    mount: &FuseMount,
    program: &Path,
    places: &Places,
    plan: &Plan,
    deadline: Instant,
) -> Result<(), MachineError> {
    let Some(arguments) = &plan.rehearsal else {
        return Ok(());
    };
    let log = place::create(&places.directory.join("rehearsal"))?;
    let failed = |error| MachineError::io("write the log of a helper", &error);
    let mut command = process::command(program, &places.directory);
    command
        .args(arguments)
        .stderr(log.try_clone().map_err(failed)?);
    let outcome = process::run(command, None, deadline)?;
    match (outcome.success, outcome.late) {
        (true, _) => Ok(()),
        (false, true) => Err(words::failure(
            mount,
            "the server did not answer in time",
            &log,
            &plan.hidden,
            ErrorKind::Unreachable,
        )),
        (false, false) => Err(words::failure(
            mount,
            "it cannot read the directory",
            &log,
            &plan.hidden,
            ErrorKind::Other,
        )),
    }
}

/// Starts the helper and waits until its mount is there and answers.
fn start(
    mount: &FuseMount,
    program: &Path,
    places: &Places,
    plan: &Plan,
    deadline: Instant,
) -> Result<(), MachineError> {
    let log = place::create(&places.directory.join("log"))?;
    let failure =
        |happened: &str, otherwise| words::failure(mount, happened, &log, &plan.hidden, otherwise);
    let watch = table::Watch::new()?;
    let child = process::start(
        program,
        &plan.arguments,
        &places.directory,
        &log,
        plan.input.as_deref().map(Vec::as_slice),
    )?;
    places.record_process(child.id());
    let process = process::descriptor(&child);
    process::leave(child);
    let Some(process) = process else {
        return Err(failure("it cannot be watched", ErrorKind::Other));
    };
    let attended = attend(mount, places, &failure, &process, &watch, deadline);
    if attended.is_err() {
        // A process has no arguments for a moment while it becomes another program (execve(2)), so whoever looks for the mount's mark may
        // miss one that was only just started.
        process::end(&process);
    }
    attended
}

/// Waits until a helper's mount is there and answers.
fn attend(
    mount: &FuseMount,
    places: &Places,
    failure: &dyn Fn(&str, ErrorKind) -> MachineError,
    process: &OwnedFd,
    watch: &table::Watch,
    deadline: Instant,
) -> Result<(), MachineError> {
    while Layers::at(&places.point)?.is_empty() {
        let mut events = [
            PollFd::new(process, PollFlags::IN),
            PollFd::new(watch, PollFlags::PRI),
        ];
        match rustix::event::poll(&mut events, Some(&process::left(deadline))) {
            Ok(0) => {
                return Err(failure("it did not mount in time", ErrorKind::Unreachable));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                return Err(MachineError::io("wait for a helper", &error.into()));
            }
        }
        let [process, _] = events;
        if process.revents().contains(PollFlags::IN) {
            return Err(failure("it gave up", ErrorKind::Other));
        }
    }

    // In a thread of its own, as nobody can say when the helper answers. It ends at the latest with the helper, which a failure kills.
    let (sender, answer) = mpsc::channel();
    let point = places.point.clone();
    std::thread::spawn(move || {
        let first = std::fs::read_dir(point).and_then(|mut entries| entries.next().transpose());
        // Nobody listens any more after the deadline.
        let _ = sender.send(first.map(|_| ()));
    });
    let answer = answer.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let trouble = match answer {
        Ok(Ok(())) => finish(mount, places)?,
        // It answered: the mount serves those whom the server lets in.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            finish(mount, places)?
        }
        Ok(Err(error)) => Some(format!("the mount does not answer ({error})")),
        Err(_) => {
            return Err(failure(
                "the mount did not answer in time",
                ErrorKind::Unreachable,
            ));
        }
    };
    let Some(trouble) = trouble else {
        return Ok(());
    };
    // Its last words come with its end.
    let soon = deadline.min(Instant::now() + Duration::from_secs(1));
    let mut events = [PollFd::new(process, PollFlags::IN)];
    let _ = rustix::event::poll(&mut events, Some(&process::left(soon)));
    Err(failure(&trouble, ErrorKind::Other))
}

/// Sets the flags of a mount that seems to answer. Returns what is wrong with it: sshfs mounts before it connects, so the answer may have come
/// from the bare directory, after sshfs had given up and unmounted.
fn finish(mount: &FuseMount, places: &Places) -> Result<Option<String>, MachineError> {
    let gone = || Some("it gave up".to_owned());
    if Layers::at(&places.point)?.is_empty() {
        return Ok(gone());
    }
    let set = table::set_flags(&places.point, mount);
    let layers = Layers::at(&places.point)?;
    if layers.is_empty() {
        return Ok(gone());
    }
    set?;
    Ok(layers.difference(mount))
}

fn clear(mount: &FuseMount, place: &Place, hurry: bool) -> Result<(), MachineError> {
    place::check_point(mount)?;
    process::reap();
    let places = Places::of(mount, place)?;
    let mark = places.mark();
    let layers = Layers::at(&places.point)?;
    layers.check_ours(mount)?;
    if !layers.is_empty() && !hurry {
        leave(mount, &places)?;
    }
    // Without a mount there is nothing that a helper would have to finish.
    mark.end(hurry || layers.is_empty())?;
    // The mount of a helper that was killed stays, and one that was about to mount may have done so before it died.
    table::unmount_all(mount, &places.point)?;
    places.remove()?;
    process::reap();
    Ok(())
}

/// Unmounts when everything is written.
fn leave(mount: &FuseMount, places: &Places) -> Result<(), MachineError> {
    let Ok(helper) = helper::find(&mount.program) else {
        // A record of another version of the daemon: its mount is taken away like any other.
        table::unmount_politely(&places.point, PATIENCE, None::<fn()>);
        return Ok(());
    };
    let serves = places
        .mark()
        .is_borne_by(helper.program, places.recorded_process())?;
    if !serves {
        if let Some(file) = (helper.unwritten)(&places.cache) {
            tracing::warn!(
                point = %mount.point.display(), file = %file.display(),
                "the helper died before it had written everything to the server; what was closed last is lost"
            );
        }
        table::unmount_politely(&places.point, PATIENCE, None::<fn()>);
        return Ok(());
    }
    if let Some(file) = wait_until_written(helper, &places.cache) {
        let name = file.strip_prefix(&places.cache).unwrap_or(&file);
        return Err(MachineError::new(
            ErrorKind::Busy,
            format!(
                "{} has not written everything to {} yet ({}); it stays mounted until the server has it",
                mount.program,
                mount.remote,
                name.display()
            ),
        ));
    }
    // What was closed meanwhile.
    let cache = places.cache.clone();
    let written = helper.caches.then_some(move || {
        wait_until_written(helper, &cache);
    });
    table::unmount_politely(&places.point, PATIENCE + WRITING, written);
    Ok(())
}

/// A file that is still not written when the patience is at its end.
fn wait_until_written(helper: &Helper, cache: &Path) -> Option<PathBuf> {
    let until = Instant::now() + WRITING;
    loop {
        let unwritten = (helper.unwritten)(cache)?;
        if Instant::now() >= until {
            return Some(unwritten);
        }
        std::thread::sleep(LOOK);
    }
}
