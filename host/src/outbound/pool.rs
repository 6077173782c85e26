//! Connections: made to an address that was judged, kept for a while, used again.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::error::{HttpError, HttpErrorKind};
use super::target::{Host, Origin};

/// How long a connection is kept without use. Most servers close one after 60 s or more, some after 5 s.
const IDLE: Duration = Duration::from_secs(30);

/// Connections that a client keeps without use.
const MAX_IDLE: usize = 16;

/// Headers of one response.
const MAX_HEADERS: usize = 128;

/// Bytes of all headers of one response.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// The body of a request on its way to hyper.
pub(super) type Sent = UnsyncBoxBody<bytes::Bytes, HttpError>;

/// What a connection is good for: this origin at this address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) origin: Origin,
    pub(super) address: IpAddr,
}

/// A connection on which a request can be sent.
pub(super) struct Connection {
    key: Key,
    sender: SendRequest<Sent>,
    pool: Weak<Pool>,
}

/// The idle connections of a client.
#[derive(Default)]
pub(super) struct Pool(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    idle: Vec<(Connection, Instant)>,
    swept: bool,
}

impl Pool {
    /// A connection to this origin at one of these addresses, the last used first.
    pub(super) fn take(&self, origin: &Origin, addresses: &[IpAddr]) -> Option<Connection> {
        let mut kept = self.0.lock();
        kept.sweep();
        let found = kept.idle.iter().rposition(|(connection, _)| {
            connection.key.origin == *origin && addresses.contains(&connection.key.address)
        })?;
        Some(kept.idle.remove(found).0)
    }

    fn put(self: &Arc<Self>, connection: Connection) {
        let mut kept = self.0.lock();
        kept.sweep();
        if kept.idle.len() >= MAX_IDLE {
            kept.idle.remove(0);
        }
        kept.idle.push((connection, Instant::now()));
        // Without this a client that is not used again would hold its sockets for as long as the servers do.
        if !kept.swept
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            kept.swept = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }
}

impl Kept {
    fn sweep(&mut self) {
        self.idle
            .retain(|(connection, since)| since.elapsed() < IDLE && !connection.sender.is_closed());
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut kept = pool.0.lock();
        kept.sweep();
        if kept.idle.is_empty() {
            kept.swept = false;
            return;
        }
    }
}

impl Connection {
    /// Connects to the address and to nothing else. Nothing from the environment has a say in it.
    pub(super) async fn open(
        key: Key,
        tls: Option<&TlsConnector>,
        pool: &Arc<Pool>,
    ) -> Result<Connection, HttpError> {
        let stream = TcpStream::connect((key.address, key.origin.port))
            .await
            .map_err(|error| HttpError::connect(&error))?;
        // Requests are written whole; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let sender = match tls.filter(|_| key.origin.secure) {
            None if key.origin.secure => {
                return Err(HttpError::new(
                    HttpErrorKind::Configuration,
                    "this client was not set up for https",
                ));
            }
            None => handshake(stream).await?,
            Some(tls) => {
                let name = match &key.origin.host {
                    Host::Address(address) => ServerName::from(*address),
                    Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| {
                        HttpError::new(
                            HttpErrorKind::UriInvalid,
                            "the name of the host cannot be in a certificate",
                        )
                    })?,
                };
                let stream = tls
                    .connect(name, stream)
                    .await
                    .map_err(|error| HttpError::tls(&error))?;
                handshake(stream).await?
            }
        };
        Ok(Connection {
            key,
            sender,
            pool: Arc::downgrade(pool),
        })
    }

    pub(super) fn sender(&mut self) -> &mut SendRequest<Sent> {
        &mut self.sender
    }

    /// Keeps the connection for the next request. Only right when the response was read to its end.
    pub(super) fn keep(self) {
        if self.sender.is_closed() {
            return;
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.put(self);
        }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Sent>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| HttpError::hyper(&error))?;
    // It ends when both ends of it are dropped, and its errors are those of the request.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
