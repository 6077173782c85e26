//! Noticing that the project's files change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use notify::{Config, RecursiveMode, Watcher};

use super::Message;
use super::project::Project;

/// What builds and package managers write. Changes in there are nobody's work.
const NOT_SOURCES: &[&str] = &[
    "target",
    "node_modules",
    "vendor",
    "__pycache__",
    "gen",
    "dist",
];

/// How long the files must be quiet: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(120);

/// Tells of changes until what is returned is dropped.
///
/// # Errors
/// Files cannot be watched.
pub(super) fn watch(
    project: &Project,
    sender: Sender<Message>,
) -> anyhow::Result<impl Drop + use<>> {
    let (events, changed) = channel();
    let filter = Filter::new(project);
    let mut watcher = notify::RecommendedWatcher::new(
        move |event: notify::Result<notify::Event>| {
            // A watcher that lost events has none to name.
            let relevant = event.map_or(true, |event| {
                !event.kind.is_access() && event.paths.iter().any(|path| filter.is_source(path))
            });
            if relevant {
                let _ = events.send(());
            }
        },
        Config::default(),
    )
    .context("files cannot be watched")?;
    watcher
        .watch(&project.directory, RecursiveMode::Recursive)
        .with_context(|| format!("{} cannot be watched", project.directory.display()))?;
    let mut seen = Stamps::of(project);
    let (directory, filter) = (project.directory.clone(), Filter::new(project));
    std::thread::spawn(move || {
        while changed.recv().is_ok() {
            loop {
                match changed.recv_timeout(QUIET) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            let now = Stamps::below(&directory, &filter);
            // A build that touches its own sources, or makes and removes a file, does not build again for ever.
            if now != seen {
                seen = now;
                if sender.send(Message::Changed).is_err() {
                    return;
                }
            }
        }
    });
    Ok(Watching { _watcher: watcher })
}

struct Watching {
    _watcher: notify::RecommendedWatcher,
}

impl Drop for Watching {
    fn drop(&mut self) {}
}

/// Which files are sources.
#[derive(Clone)]
struct Filter {
    directory: PathBuf,
    /// The component: a source when nobody here builds it.
    made: Option<PathBuf>,
}

impl Filter {
    fn new(project: &Project) -> Self {
        Self {
            directory: project.directory.clone(),
            made: project.build.is_some().then(|| project.wasm.clone()),
        }
    }

    fn is_source(&self, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix(&self.directory) else {
            return false;
        };
        let hidden = |part: &str| {
            part.starts_with('.') || part.ends_with('~') || NOT_SOURCES.contains(&part)
        };
        Some(path) != self.made.as_deref()
            && (self.made.is_none() || path.extension().is_none_or(|extension| extension != "wasm"))
            && !inside.iter().any(|part| hidden(&part.to_string_lossy()))
    }
}

/// When each source was changed last, and how long it is.
#[derive(Debug, PartialEq, Eq)]
struct Stamps(HashMap<PathBuf, (Option<SystemTime>, u64)>);

impl Stamps {
    fn of(project: &Project) -> Self {
        Self::below(&project.directory, &Filter::new(project))
    }

    fn below(directory: &Path, filter: &Filter) -> Self {
        let mut stamps = HashMap::new();
        let mut left = vec![directory.to_owned()];
        while let Some(next) = left.pop() {
            for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(found) = entry.metadata() else {
                    continue;
                };
                if !filter.is_source(&path) {
                    continue;
                }
                if found.is_dir() {
                    left.push(path);
                } else {
                    stamps.insert(path, (found.modified().ok(), found.len()));
                }
            }
        }
        Self(stamps)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_is_no_source() {
        let filter = Filter {
            directory: "/p".into(),
            made: Some("/p/demo.wasm".into()),
        };
        for (path, source) in [
            ("/p/src/volume.rs", true),
            ("/p/demo.toml", true),
            ("/p/volume.js", true),
            ("/p/demo.wasm", false),
            ("/p/core.wasm", false),
            ("/p/target/release/x.d", false),
            ("/p/node_modules/a/index.js", false),
            ("/p/.git/index", false),
            ("/p/src/volume.rs~", false),
            ("/p/src/.volume.rs.swp", false),
            ("/q/volume.rs", false),
        ] {
            assert_eq!(filter.is_source(Path::new(path)), source, "{path}");
        }
        let elsewhere = Filter {
            directory: "/p".into(),
            made: None,
        };
        assert!(
            elsewhere.is_source(Path::new("/p/demo.wasm")),
            "somebody else builds it"
        );
    }
}
