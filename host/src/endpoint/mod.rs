//! Sockets and HTTP: bytes in, bytes out. One listener for each plugin name.

mod connection;
mod http;
mod listener;
mod peer;
pub mod relay;
mod socket;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use listener::Listener;
pub use socket::{BindError, Owner, bind, clear, remove};
pub use tls::{Tls, TlsError};

use crate::plugin::Plugin;

/// Limits of an endpoint. All durations are generous: the other side is Docker, on the same machine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the first byte of a request to the end of its headers.
    pub header_deadline: Duration,
    /// From there to the end of its body.
    pub body_deadline: Duration,
    /// Bytes of a body, for all kinds but authorization.
    pub max_body: usize,
    /// Bytes of an authorization request's body: Docker packs up to 4 MiB into it as base64.
    pub max_authz_body: usize,
    /// Connections of one socket.
    pub connections: usize,
}

/// A listener that answers for one plugin.
#[derive(Debug)]
pub struct Endpoint {
    port: u16,
    path: Option<PathBuf>,
    stop: watch::Sender<bool>,
    /// Set when the address is free again.
    closed: watch::Receiver<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Endpoint {
    /// Serves `plugin` on a bound listener until it is stopped.
    pub fn serve(listener: Listener, plugin: Arc<Plugin>, limits: Limits) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (closing, closed) = watch::channel(false);
        Endpoint {
            port: listener.port(),
            path: listener.path().map(Path::to_owned),
            stop,
            closed,
            task: tokio::spawn(accept(listener, plugin, limits, stopped, closing)),
        }
    }

    /// The port that it listens on; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket's path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Stops listening, and returns when somebody else can listen there. Who has connected is served still, until [`stop`](Self::stop) says
    /// that it is over.
    pub async fn close(&mut self) {
        let _ = self.stop.send(true);
        let _ = self.closed.wait_for(|closed| *closed).await;
    }

    /// Removes the socket, serves who has connected, lets the calls in flight be answered, then closes. A connection that was queued and is
    /// cut loses its call for good: Docker's second try has no body.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn accept(
    listener: Listener,
    plugin: Arc<Plugin>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
    closing: watch::Sender<bool>,
) {
    let name = plugin.name().to_owned();
    let router = http::router(plugin, &limits);
    let opener = listener.opener(limits.header_deadline);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let told = stopped.clone();
    let serve = |accepted| {
        let (router, limits, stopped) = (router.clone(), limits.clone(), told.clone());
        let (opener, name) = (opener.clone(), name.clone());
        async move {
            match opener.open(accepted).await {
                Ok((stream, peer)) => {
                    connection::serve(stream, peer, router, limits, stopped).await;
                }
                Err(error) => tracing::warn!(plugin = name, %error, "a connection was refused"),
            }
        }
    };
    loop {
        // Beyond the limit clients wait in the kernel's queue, which costs nothing and loses nothing.
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = stopped.changed() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(accepted) => {
                let serving = serve(accepted);
                connections.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors or memory, most likely. Trying again at once would only make it worse.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // From here on nobody finds the socket; who has connected already is served.
    listener.hide();
    while let Ok(Ok(accepted)) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        connections.spawn(serve(accepted));
    }
    drop(listener);
    let _ = closing.send(true);
    while connections.join_next().await.is_some() {}
}
