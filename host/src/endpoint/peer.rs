//! Who is on the other side of a connection.

use tokio::net::UnixStream;

use crate::store::EngineProcess;

/// The process that has connected. Its start time tells it from a later process that was given the same ID.
pub(super) fn of(stream: &UnixStream) -> EngineProcess {
    let pid = stream
        .peer_cred()
        .ok()
        .and_then(|peer| peer.pid())
        .and_then(|pid| u32::try_from(pid).ok())
        .unwrap_or(0);
    EngineProcess {
        pid,
        started: started(pid).unwrap_or(0),
        boot: crate::daemon::boot_id(),
    }
}

/// The 22nd field of `/proc/PID/stat` (proc(5)). The second, the program's name, can contain anything, a closing parenthesis included.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}
