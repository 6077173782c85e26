//! The socket and who reaches it.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};

use super::common::soon;
use crate::Bench;
use crate::check::{Check, Level, Need, Outcome, Stop, ensure};
use crate::client::{Broken, Connection, as_engine};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P32",
        level: Level::Security,
        kind: None,
        needs: &[Need::Root],
        title: "the socket's owner, mode and directory",
        rule: "A socket of root's with mode 0660 or less, in a directory that nobody else can write to: who can connect to it, or put another in its place, is root on this machine.",
        slow: false,
        run: file,
    },
    Check {
        id: "P33",
        level: Level::Security,
        kind: None,
        needs: &[Need::Root],
        title: "a connection by a user without rights",
        rule: "Refused by the kernel.",
        slow: false,
        run: nobody,
    },
    Check {
        id: "P31",
        level: Level::Robustness,
        kind: None,
        needs: &[],
        title: "1,000 connections at once",
        rule: "Each connects at once and is served. The engine connects without waiting, so a short queue (the backlog of listen(2)) turns its calls into `resource temporarily unavailable`.",
        slow: true,
        run: thousand,
    },
];

fn file(bench: &Bench) -> Outcome {
    let path = bench.socket();
    let shown = path.display();
    let meta = path
        .symlink_metadata()
        .map_err(|error| Stop::fail(format!("{shown}: {error}")))?;
    ensure(!meta.file_type().is_symlink(), || {
        format!("{shown} is a symbolic link")
    })?;
    ensure(meta.file_type().is_socket(), || {
        format!("{shown} is no socket")
    })?;
    ensure(meta.uid() == 0, || {
        format!("{shown} belongs to the user {}", meta.uid())
    })?;
    ensure(meta.mode() & 0o117 == 0, || {
        format!("{shown} has mode {:04o}", meta.mode() & 0o7777)
    })?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let meta = parent
        .metadata()
        .map_err(|error| Stop::fail(format!("{}: {error}", parent.display())))?;
    ensure(meta.uid() == 0 && meta.mode() & 0o022 == 0, || {
        format!(
            "the directory {} belongs to the user {} and has mode {:04o}",
            parent.display(),
            meta.uid(),
            meta.mode() & 0o7777
        )
    })
}

/// The user of services that have none of their own, in Debian and others.
const NOBODY: u32 = 65534;

fn nobody(bench: &Bench) -> Outcome {
    let socket = bench.socket();
    // On Linux credentials are each thread's own.
    let connected = std::thread::scope(|scope| {
        scope
            .spawn(|| -> Result<bool, rustix::io::Errno> {
                let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                rustix::thread::set_thread_groups(&[])?;
                rustix::thread::set_thread_res_gid(group, group, group)?;
                rustix::thread::set_thread_res_uid(user, user, user)?;
                Ok(Connection::open(socket).is_ok())
            })
            .join()
    });
    match connected {
        Ok(Ok(false)) => Ok(()),
        Ok(Ok(true)) => Err(Stop::fail(format!(
            "the user {NOBODY} can connect to {}",
            socket.display()
        ))),
        _ => Err(Stop::skip("this process cannot become another user")),
    }
}

const MANY: usize = 1000;

fn thousand(bench: &Bench) -> Outcome {
    let limits = getrlimit(Resource::Nofile);
    let wanted = Some(MANY as u64 + 200).max(limits.current);
    let raised = Rlimit {
        current: wanted,
        maximum: limits.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        return Err(Stop::skip("this process may not open 1,000 files"));
    }
    let done = all_at_once(bench);
    let _ = setrlimit(Resource::Nofile, limits);
    done
}

fn all_at_once(bench: &Bench) -> Outcome {
    let address = SocketAddrUnix::new(bench.socket()).map_err(Stop::fail)?;
    let mut connections = Vec::with_capacity(MANY);
    for number in 0..MANY {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )
        .map_err(Stop::fail)?;
        connect(&socket, &address)
            .map_err(|error| Stop::fail(format!("connection {} of {MANY}: {error}", number + 1)))?;
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(false).map_err(Stop::fail)?;
        connections.push(Connection::from(stream));
    }
    let end = Instant::now() + soon(bench) + Duration::from_secs(10);
    for connection in &mut connections {
        connection
            .write(&as_engine("Plugin.Activate", b""))
            .map_err(|broken| Stop::fail(broken).during(format!("one of {MANY} connections")))?;
    }
    // A plugin may bound how many it serves at once, so what is answered is closed.
    let mut left = connections.into_iter();
    left.try_for_each(|mut connection| {
        let time = end.saturating_duration_since(Instant::now());
        match connection.read(time) {
            Ok(response) if response.status == 200 => Ok(()),
            Ok(response) => Err(Stop::fail(format!(
                "one of {MANY} connections was answered with status {}",
                response.status
            ))),
            Err(Broken::Late(_)) => Err(Stop::fail(format!(
                "of {MANY} connections some were not answered in time"
            ))),
            Err(broken) => Err(Stop::fail(broken).during(format!("one of {MANY} connections"))),
        }
    })
}
