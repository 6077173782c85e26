//! What is listened on: a Unix socket, or an address with or without TLS. Behind it all connections are alike.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::peer::{self, Peer};
use super::tls::Tls;
use super::{BindError, remove};
use crate::config;

/// Of idle connections: how long until the other side is asked whether it is there, how long between questions, and how many go unanswered.
/// Engines up to 29.4 keep connections for ever, and one whose machine has gone would keep its slot as long.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 6);

/// A connection, whatever it came by.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// Only root and the daemon's own user may connect, where the kernel does not see to that itself.
    private: bool,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener, SocketAddr, Option<Arc<Tls>>),
}

/// A connection before anything was read from it.
#[derive(Debug)]
pub(super) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// What a listener knows that its connections need.
#[derive(Debug, Clone)]
pub(super) struct Opener {
    tls: Option<Arc<Tls>>,
    private: bool,
    /// How long the handshake of TLS may take.
    deadline: Duration,
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the TLS handshake took longer than {} s", .0.as_secs_f32())]
    Slow(Duration),
    #[error(
        "a process of user {} called: only root and dockside's own user may. Ask for a certificate with tls and client-ca under [endpoint], or let every user of this machine in with insecure = true",
        .0.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string())
    )]
    Stranger(Option<u32>),
}

impl Listener {
    /// A Unix socket that is bound already. Its mode says who may connect.
    pub fn unix(listener: UnixListener, path: PathBuf) -> Listener {
        Listener {
            socket: Socket::Unix(listener, path),
            private: false,
        }
    }

    /// Listens where an endpoint says. Of port 0 `before` is tried first: engines remember the address that they were told.
    ///
    /// # Errors
    /// When the address is taken or the machine says no.
    pub async fn tcp(
        settings: &config::Endpoint,
        address: SocketAddr,
        before: Option<u16>,
        tls: Option<Arc<Tls>>,
    ) -> Result<Listener, BindError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::AddressTaken(settings.listen.to_string()),
            _ => BindError::Address {
                address: settings.listen.to_string(),
                error,
            },
        };
        let again = match before.filter(|_| address.port() == 0) {
            Some(port) => TcpListener::bind(SocketAddr::new(address.ip(), port))
                .await
                .ok(),
            None => None,
        };
        let listener = match again {
            Some(listener) => listener,
            None => TcpListener::bind(address).await.map_err(failed)?,
        };
        let address = listener.local_addr().map_err(failed)?;
        Ok(Listener {
            socket: Socket::Tcp(listener, address, tls),
            private: settings.is_private(),
        })
    }

    /// The port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        match &self.socket {
            Socket::Unix(..) => 0,
            Socket::Tcp(_, address, _) => address.port(),
        }
    }

    /// The socket's path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match &self.socket {
            Socket::Unix(_, path) => Some(path),
            Socket::Tcp(..) => None,
        }
    }

    pub(super) fn opener(&self, deadline: Duration) -> Opener {
        Opener {
            tls: match &self.socket {
                Socket::Unix(..) => None,
                Socket::Tcp(_, _, tls) => tls.clone(),
            },
            private: self.private,
            deadline,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Socket::Tcp(listener, ..) => Ok(Accepted::Tcp(listener.accept().await?.0)),
        }
    }

    /// Nobody finds it any more; who has connected is in its queue.
    pub(super) fn hide(&self) {
        if let Socket::Unix(_, path) = &self.socket {
            remove(path);
        }
    }
}

impl Opener {
    /// Makes a connection one that HTTP can be spoken on, and says who is on the other side.
    pub(super) async fn open(
        &self,
        accepted: Accepted,
    ) -> Result<(Box<dyn Stream>, Peer), OpenError> {
        let stream = match accepted {
            Accepted::Unix(stream) => {
                let peer = peer::of_unix(&stream);
                return Ok((Box::new(stream), peer));
            }
            Accepted::Tcp(stream) => stream,
        };
        stream.set_nodelay(true)?;
        let (idle, interval, count) = KEEPALIVE;
        rustix::net::sockopt::set_socket_keepalive(&stream, true)
            .and_then(|()| rustix::net::sockopt::set_tcp_keepidle(&stream, idle))
            .and_then(|()| rustix::net::sockopt::set_tcp_keepintvl(&stream, interval))
            .and_then(|()| rustix::net::sockopt::set_tcp_keepcnt(&stream, count))
            .map_err(io::Error::from)?;
        let (ours, theirs) = (stream.local_addr()?, stream.peer_addr()?);
        let peer = peer::of_tcp(ours, theirs).await;
        if self.private && !peer.is_own() {
            return Err(OpenError::Stranger(peer.uid));
        }
        let Some(tls) = &self.tls else {
            return Ok((Box::new(stream), peer.with(None)));
        };
        let stream = tokio::time::timeout(self.deadline, tls.acceptor().accept(stream))
            .await
            .map_err(|_| OpenError::Slow(self.deadline))??;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|certificate| certificate.as_ref().to_vec());
        Ok((Box::new(stream), peer.with(certificate.as_deref())))
    }
}
