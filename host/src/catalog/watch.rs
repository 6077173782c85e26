//! Noticing that something changed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch as signal};

use super::Catalog;
use crate::protocol::lifecycle::StartReason;

/// How long the directory must be quiet before it is read. Copying tools make several events of one file.
const QUIET: Duration = Duration::from_millis(40);

/// How long a directory may stay unquiet.
const LOUD: Duration = Duration::from_secs(1);

/// A look without an event, for file systems that send none.
const ANYWAY: Duration = Duration::from_secs(10);

/// Reconciles whenever something changes, until `stopped`. `now` asks for it at once.
pub async fn watch(
    catalog: Arc<Catalog>,
    mut now: mpsc::Receiver<()>,
    mut stopped: signal::Receiver<bool>,
) {
    let (events, mut changed) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event too, and the scan reads them all.
        if !matches!(event, Ok(notify::Event { kind: EventKind::Access(access), .. })
            if !matches!(access, notify::event::AccessKind::Close(notify::event::AccessMode::Write)))
        {
            let _ = events.try_send(());
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "no file events: the drivers directory is read every {} s", ANYWAY.as_secs());
            None
        }
    };
    let mut watched = BTreeSet::new();
    loop {
        if let Some(watcher) = &mut watcher {
            let wanted = catalog.watched_directories();
            for directory in wanted.difference(&watched) {
                if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                    tracing::warn!(directory = %directory.display(), %error, "cannot be watched: it is read every {} s", ANYWAY.as_secs());
                }
            }
            for directory in watched.difference(&wanted) {
                let _ = watcher.unwatch(directory);
            }
            watched = wanted;
        }
        tokio::select! {
            Some(()) = changed.recv() => {
                // A directory that is never quiet is read all the same.
                let quiet = async {
                    while let Ok(Some(())) = tokio::time::timeout(QUIET, changed.recv()).await {}
                };
                let _ = tokio::time::timeout(LOUD, quiet).await;
            }
            Some(()) = now.recv() => {}
            () = tokio::time::sleep(ANYWAY) => {}
            _ = stopped.changed() => return,
        }
        catalog.reconcile(StartReason::Installed).await;
    }
}

impl Catalog {
    /// The drivers directory, and the directories of the files that configuration values come from.
    fn watched_directories(&self) -> BTreeSet<PathBuf> {
        let mut directories = BTreeSet::from([self.daemon.drivers.clone()]);
        for plugin in self.plugins() {
            if let Some(version) = plugin.version() {
                directories.extend(
                    version
                        .settings
                        .files()
                        .iter()
                        .filter_map(|file| file.parent().map(ToOwned::to_owned)),
                );
            }
        }
        directories
    }
}
