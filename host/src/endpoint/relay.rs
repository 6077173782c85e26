//! The socket of the relays: one for all plugins. Each connection says first which plugin it is for.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::http::{refuse, without_answer};
use super::{Limits, Owner, bind, connection, http as service, peer, remove};
use crate::call::Client;
use crate::machine::mounts::mount_table;
use crate::plugin::Plugin;
use crate::protocol::Method;
use crate::relay::{Context, Preamble, Relays, SOCKET, UNSET, welcome};

/// Finds a plugin by its name.
pub type Find = Arc<dyn Fn(&str) -> Option<Arc<Plugin>> + Send + Sync>;

/// What the relays' socket needs.
#[derive(Clone)]
pub struct Front {
    /// Finds plugins.
    pub find: Find,
    /// Knows which relays are there.
    pub relays: Arc<Relays>,
    /// As for a plugin's own socket.
    pub limits: Limits,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").finish_non_exhaustive()
    }
}

/// Makes the relays' directory with the socket in it, for root alone. Docker mounts the directory and not the socket: that is another file after
/// each start.
///
/// # Errors
/// When the file system says no, or another daemon serves there.
pub fn open(directory: &Path) -> anyhow::Result<UnixListener> {
    let make = |path: &Path| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
    };
    make(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    make(&directory.join(UNSET))?;
    Ok(bind(&directory.join(SOCKET), Owner::User)?)
}

/// Serves the relays until `stopped`; then answers the calls in flight.
pub async fn serve(
    listener: UnixListener,
    directory: PathBuf,
    front: Front,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(front.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let serving = attend(stream, directory.clone(), front.clone(), stopped.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a relay's connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Whoever has not been welcomed yet waits for the next daemon: no relay has said anything of Docker's before.
    remove(&directory.join(SOCKET));
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn attend(
    mut stream: UnixStream,
    directory: PathBuf,
    front: Front,
    mut stopped: watch::Receiver<bool>,
) {
    let preamble = tokio::select! {
        preamble = Preamble::read(&mut stream, front.limits.header_deadline) => preamble,
        _ = stopped.wait_for(|stopped| *stopped) => return,
    };
    let preamble = match preamble {
        Ok(preamble) => preamble,
        Err(error) => {
            tracing::warn!(%error, "a relay cannot be served");
            return;
        }
    };
    let told = peer::of(&stream);
    let unset = directory.join(UNSET);
    let read = tokio::task::spawn_blocking(move || {
        let table = mount_table().unwrap_or_default();
        let context = Context::of(&preamble, &table, &unset);
        (preamble, context)
    });
    let Ok((preamble, context)) = read.await else {
        return;
    };
    let presence = front.relays.arrive(&preamble.plugin, &context);
    if welcome(&mut stream).await.is_err() {
        return;
    }
    if preamble.watch {
        let mut nothing = [0];
        tokio::select! {
            _ = stream.read(&mut nothing) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        return;
    }
    let router = match (front.find)(&preamble.plugin) {
        Some(plugin) => service::router(plugin, &front.limits),
        None => unknown(&preamble.plugin),
    };
    let engine = context.engine.map_or(told, peer::process);
    let client = Client::through(engine, Arc::new(context));
    connection::serve(stream, client, router, front.limits, stopped).await;
    drop(presence);
}

/// What Docker is told of a plugin that is not there.
fn unknown(plugin: &str) -> Router {
    let text: Arc<str> = format!(
        "dockside has no plugin named {plugin}: put its driver back, or remove the relay with `docker plugin rm`"
    )
    .into();
    Router::new().fallback(move |request: Request| {
        let text = Arc::clone(&text);
        async move { refusal(request.uri().path(), &text) }
    })
}

fn refusal(path: &str, text: &str) -> Response {
    // Any answer would make Docker forget the volume.
    if path.strip_prefix('/') == Some(Method::VolumeGet.path()) {
        return without_answer();
    }
    let mut response = refuse(StatusCode::INTERNAL_SERVER_ERROR, text);
    // The next call may find it.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
