//! Sockets and HTTP: bytes in, bytes out. One listener for each plugin name.

mod connection;
mod http;
mod peer;
mod socket;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use socket::{BindError, Owner, bind, remove};

use crate::call::Client;
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
    path: PathBuf,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Endpoint {
    /// Serves `plugin` on a bound listener until it is stopped.
    pub fn serve(
        listener: UnixListener,
        path: PathBuf,
        plugin: Arc<Plugin>,
        limits: Limits,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, path.clone(), plugin, limits, stopped));
        Endpoint { path, stop, task }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the socket, serves who has connected, lets the calls in flight be answered, then closes. A connection that was queued and is
    /// cut loses its call for good: Docker's second try has no body.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn accept(
    listener: UnixListener,
    path: PathBuf,
    plugin: Arc<Plugin>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let router = http::router(plugin, &limits);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
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
            Ok((stream, _)) => {
                let client = Client::from(peer::of(&stream));
                let serving = connection::serve(
                    stream,
                    client,
                    router.clone(),
                    limits.clone(),
                    stopped.clone(),
                );
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
    remove(&path);
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        let client = Client::from(peer::of(&stream));
        let serving = connection::serve(
            stream,
            client,
            router.clone(),
            limits.clone(),
            stopped.clone(),
        );
        connections.spawn(serving);
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
