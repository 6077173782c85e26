//! Who is on the other side of a connection.
//!
//! Uses of volumes belong to an engine process, so that what a killed engine left can be told from what its successor has begun. The kernel
//! says which process has connected to a Unix socket, and /proc says it of an address when that process is on this machine. Of an engine on
//! another machine there is its address and the certificate that it has shown: these are one engine until the next handshake from there,
//! which an engine does once in its life.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};
use tokio::net::UnixStream;

use crate::call::Client;
use crate::store::{EngineProcess, Store, StoreError};

/// The host's own note of the last handshake of an engine on another machine.
const HANDSHAKE: &str = "handshake/";

/// Whoever has connected.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    /// Somebody who is known already: a process of this machine, usually.
    Known(Client),
    /// Somebody elsewhere, by address and certificate.
    Distant(String),
}

impl From<Client> for Peer {
    fn from(client: Client) -> Peer {
        Peer::Known(client)
    }
}

impl Peer {
    /// Who a call comes from. `begins` is whether the call is the handshake.
    ///
    /// # Errors
    /// When the handshake cannot be written down.
    pub(super) async fn client(
        &self,
        store: &Store,
        plugin: &str,
        begins: bool,
    ) -> Result<Client, StoreError> {
        let name = match self {
            Peer::Known(client) => return Ok(client.clone()),
            Peer::Distant(name) => name,
        };
        let key = format!("{HANDSHAKE}{name}");
        let life = if begins {
            let life = hex::encode(rand::random::<[u8; 8]>());
            store.set_meta(plugin, &key, Some(&life)).await?;
            life
        } else {
            store.meta(plugin, &key)?.unwrap_or_default()
        };
        let digest = Sha256::digest(format!("{name}\n{life}"));
        Ok(Client::from(EngineProcess {
            pid: 0,
            started: digest
                .first_chunk()
                .map_or(0, |first| u64::from_le_bytes(*first)),
            boot: crate::daemon::boot_id(),
        }))
    }
}

/// The process that has connected. Its start time tells it from a later process that was given the same ID.
pub(super) fn of_unix(stream: &UnixStream) -> Peer {
    Peer::Known(Client::from(of(stream)))
}

/// The same, without what else is known of a peer.
pub(super) fn of(stream: &UnixStream) -> EngineProcess {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    process(pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0))
}

/// A process that runs now.
pub(super) fn process(pid: u32) -> EngineProcess {
    EngineProcess {
        pid,
        started: started(pid).unwrap_or(0),
        boot: crate::daemon::boot_id(),
    }
}

/// What is known of the other side of a connection by TCP.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The user that made its socket, if that is on this machine.
    pub(super) uid: Option<u32>,
    process: Option<EngineProcess>,
    address: IpAddr,
}

impl Found {
    /// Whether root or the daemon's own user has connected, from this machine.
    pub(super) fn is_own(&self) -> bool {
        self.uid
            .is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw())
    }

    /// Whoever it is, with the certificate that was shown.
    pub(super) fn with(self, certificate: Option<&[u8]>) -> Peer {
        match self.process {
            Some(process) => Peer::Known(Client::from(process)),
            None => Peer::Distant(match certificate {
                Some(certificate) => {
                    let digest = hex::encode(Sha256::digest(certificate));
                    format!("{} {digest}", self.address)
                }
                None => self.address.to_string(),
            }),
        }
    }
}

/// Looks for the socket at the other end of a connection.
pub(super) async fn of_tcp(ours: SocketAddr, theirs: SocketAddr) -> Found {
    let ours = SocketAddr::new(ours.ip().to_canonical(), ours.port());
    let theirs = SocketAddr::new(theirs.ip().to_canonical(), theirs.port());
    let looked = tokio::task::spawn_blocking(move || {
        let (uid, inode) = socket_of(theirs, ours)?;
        Some((uid, owner_of(inode).map(process)))
    })
    .await
    .ok()
    .flatten();
    Found {
        uid: looked.as_ref().map(|(uid, _)| *uid),
        process: looked.and_then(|(_, process)| process),
        address: theirs.ip(),
    }
}

/// User and inode of the socket of this network namespace that is connected from `local` to `remote`.
fn socket_of(local: SocketAddr, remote: SocketAddr) -> Option<(u32, u64)> {
    // A program may use an IPv6 socket for IPv4.
    let spellings = match (local.ip(), remote.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => vec![
            ("/proc/self/net/tcp", local.ip(), remote.ip()),
            (
                "/proc/self/net/tcp6",
                from.to_ipv6_mapped().into(),
                to.to_ipv6_mapped().into(),
            ),
        ],
        _ => vec![("/proc/self/net/tcp6", local.ip(), remote.ip())],
    };
    spellings.into_iter().find_map(|(table, from, to)| {
        let wanted = [spelled(from, local.port()), spelled(to, remote.port())];
        let table = fs::read_to_string(table).ok()?;
        table.lines().find_map(|line| {
            // sl local_address rem_address st queues timer retrnsmt uid timeout inode (proc(5)).
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let is_it = words.get(1..3)? == wanted;
            if !is_it {
                return None;
            }
            Some((words.get(7)?.parse().ok()?, words.get(9)?.parse().ok()?))
        })
    })
}

/// An address as the kernel's tables spell it: words of four bytes in the machine's own order.
fn spelled(ip: IpAddr, port: u16) -> String {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words: String = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| format!("{:08X}", u32::from_ne_bytes(*word)))
        .collect();
    format!("{words}:{port:04X}")
}

/// The process that has a socket open. An engine connects often, so who was found last is looked at first.
fn owner_of(inode: u64) -> Option<u32> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    // 0 is a socket that its process has closed.
    if inode == 0 {
        return None;
    }
    let socket = format!("socket:[{inode}]");
    let has =
        |pid: u32| {
            let files = fs::read_dir(format!("/proc/{pid}/fd"));
            files.into_iter().flatten().flatten().any(|file| {
                fs::read_link(file.path()).is_ok_and(|target| target == Path::new(&socket))
            })
        };
    let last = LAST.load(Ordering::Relaxed);
    if last != 0 && has(last) {
        return Some(last);
    }
    let found = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| has(*pid))?;
    LAST.store(found, Ordering::Relaxed);
    Some(found)
}

/// The 22nd field of `/proc/PID/stat` (proc(5)). The second, the program's name, can contain anything, a closing parenthesis included.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_of_this_machine_is_found_by_its_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(address).await else {
                continue;
            };
            let connection = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (server, theirs) = listener.accept().await.unwrap();
            let found = of_tcp(server.local_addr().unwrap(), theirs).await;
            assert!(found.is_own(), "{address}: {found:?}");
            let Peer::Known(client) = found.with(None) else {
                unreachable!("{address}");
            };
            assert_eq!(client.engine.pid, std::process::id());
            assert!(client.engine.started > 0);
            drop(connection);
        }
    }

    #[tokio::test]
    async fn an_engine_elsewhere_is_another_one_after_its_next_handshake() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let elsewhere = "192.0.2.7:1000".parse().unwrap();
        let found = of_tcp("192.0.2.1:7070".parse().unwrap(), elsewhere).await;
        assert!(!found.is_own() && found.uid.is_none());
        let one = found.clone().with(Some(b"certificate"));
        let other = found.clone().with(Some(b"another"));
        let bare = found.with(None);
        let engine = async |peer: &Peer, begins| {
            let client = peer.client(&store, "p", begins).await;
            client.unwrap().engine
        };
        let first = engine(&one, true).await;
        assert_eq!(engine(&one, false).await, first);
        assert_ne!(engine(&other, false).await, first);
        assert_ne!(engine(&bare, false).await, first);
        let second = engine(&one, true).await;
        assert_ne!(second, first);
        assert_eq!(engine(&one, false).await, second);
    }
}
