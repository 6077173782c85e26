//! What one call does to the machine: kept if the call is committed, undone if it is not.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use zeroize::Zeroizing;

use super::{Effect, Ledger};
use crate::config;
use crate::failpoint;
use crate::machine::{ErrorKind, MachineError};
use crate::store::{Intent, Snapshot};
use crate::trace::EffectRecord;

/// How long an answer waits for an undo. What takes longer goes on behind it; nobody can see what is being undone.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a call has done to the machine so far. Clones are the same.
#[derive(Debug, Clone)]
pub struct Effects(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None while a component is only asked what it is: then there are no effects.
    ledger: Option<Arc<Ledger>>,
    plugin: String,
    call: String,
    list: Mutex<List>,
}

/// In the order of the call.
#[derive(Debug, Default)]
struct List {
    /// Effects by their intents.
    made: Vec<(String, Effect)>,
    /// Empty directories below the plugin's own root. They need no intent: what is there and on no record is found after a crash.
    directories: Vec<PathBuf>,
    /// What a commit starts.
    then: Vec<Intent>,
    removes_directories: bool,
    /// What nobody else may change until the call is committed or undone, by IDs.
    alone: Vec<(String, OwnedMutexGuard<()>)>,
    /// Nothing more may be done.
    over: bool,
}

impl Effects {
    /// The effects of a call; `call` is its key.
    pub fn of_call(ledger: Option<Arc<Ledger>>, plugin: &str, call: &str) -> Effects {
        Effects(Arc::new(Inner {
            ledger,
            plugin: plugin.to_owned(),
            call: call.to_owned(),
            list: Mutex::default(),
        }))
    }

    /// No effects: for a component that is only asked what it is.
    pub fn none() -> Effects {
        Effects::of_call(None, "", "")
    }

    /// The call's key.
    pub fn call(&self) -> &str {
        &self.0.call
    }

    /// The ledger.
    ///
    /// # Errors
    /// While a component is only asked what it is.
    pub fn ledger(&self) -> Result<&Arc<Ledger>, MachineError> {
        self.0.ledger.as_ref().ok_or_else(|| {
            MachineError::new(
                ErrorKind::Other,
                "there is no machine while the component is asked what it is",
            )
        })
    }

    /// Makes something: writes the intent down, then does it. Returns the intent's ID, which the call's transaction has to settle. `given` is
    /// a secret that came with the call and that it is made of.
    ///
    /// # Errors
    /// When the intent cannot be made durable, or the machine says no. Nothing is left then.
    pub async fn make(
        &self,
        effect: Effect,
        settings: Arc<config::Plugin>,
        given: Option<Given>,
        deadline: Instant,
    ) -> Result<String, MachineError> {
        let ledger = Arc::clone(self.ledger()?);
        let id = super::mint();
        let intent = Intent {
            id: id.clone(),
            record: super::encode(&effect)?,
            redo: false,
        };
        let hit = |point| {
            failpoint::hit(point).map_err(|error| MachineError::io("note an intent", &error))
        };
        // On the list before it is in the store: the call may be over between the two.
        ledger.live.lock().insert(id.clone());
        self.0.list.lock().made.push((id.clone(), effect.clone()));
        let written = async {
            hit("intent.before")?;
            ledger
                .store
                .intend(&self.0.plugin, intent)
                .await
                .map_err(|error| MachineError::new(ErrorKind::Other, error.to_string()))?;
            hit("intent.after")
        };
        let done = match written.await {
            Ok(()) => {
                let inner = Arc::clone(&self.0);
                let ledger = Arc::clone(&ledger);
                let effect = effect.clone();
                blocking(move || {
                    // Held while it is done, so that an undo waits for it.
                    let list = inner.list.lock();
                    if list.over {
                        return Err(MachineError::new(ErrorKind::Other, "the call is over"));
                    }
                    let secret = |name: &str| match &given {
                        Some(given) if given.name == name => Ok(given.value.to_vec()),
                        _ => ledger.secret(&inner.plugin, &settings, name),
                    };
                    effect.perform(&ledger.runtime, &secret, deadline)
                })
                .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            // The driver may go on and succeed all the same, so this one is taken out of the call now.
            self.0.list.lock().made.retain(|(made, _)| *made != id);
            // A task of its own: nobody else would undo it if the call ran out of time here.
            let undoing = tokio::spawn(async move {
                let runtime = ledger.runtime.clone();
                let undone = blocking(move || effect.undo(&runtime)).await;
                if undone.is_ok() {
                    ledger.settled(vec![id]).await;
                } else {
                    ledger.live.lock().remove(&id);
                }
            });
            let _ = undoing.await;
            return Err(error);
        }
        Ok(id)
    }

    /// Keeps other calls from changing something until this one is committed or undone: what undoes a change brings back what was there before,
    /// and that must not be the half of another call.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when another call changes it for long. Two calls may each wait for the other.
    pub async fn alone_with(&self, id: &str, deadline: Instant) -> Result<(), MachineError> {
        let held = |list: &List| list.alone.iter().any(|(held, _)| held == id);
        if held(&self.0.list.lock()) {
            return Ok(());
        }
        let turn = self.ledger()?.turn(id);
        let until = deadline.min(Instant::now() + PATIENCE);
        let Ok(turn) = tokio::time::timeout_at(until.into(), turn.lock_owned()).await else {
            return Err(MachineError::new(
                ErrorKind::Busy,
                "another call is changing the same thing: try again",
            ));
        };
        let mut list = self.0.list.lock();
        if list.over {
            return Err(MachineError::new(ErrorKind::Other, "the call is over"));
        }
        list.alone.push((id.to_owned(), turn));
        Ok(())
    }

    /// Notes a directory that was just made. False if the call is over: then the directory has to go again.
    pub fn created(&self, path: PathBuf) -> bool {
        let mut list = self.0.list.lock();
        if !list.over {
            list.directories.push(path);
        }
        !list.over
    }

    /// Notes that directories are removed with the commit.
    pub fn removes_directory(&self) {
        self.0.list.lock().removes_directories = true;
    }

    /// What is to be done, or undone, behind the commit. The call's transaction has to contain the intent too.
    pub fn then(&self, intent: Intent) {
        if let Some(ledger) = &self.0.ledger {
            ledger.live.lock().insert(intent.id.clone());
        }
        self.0.list.lock().then.push(intent);
    }

    /// What is kept if the call is committed, for people.
    pub fn shown(&self) -> Vec<EffectRecord> {
        let list = self.0.list.lock();
        let made = list.made.iter().map(|(_, effect)| EffectRecord {
            change: "made".to_owned(),
            what: effect.describe(),
        });
        let directories = list.directories.iter().map(|path| EffectRecord {
            change: "made".to_owned(),
            what: format!("directory {}", path.display()),
        });
        let ended = list.then.iter().map(|intent| EffectRecord {
            change: if intent.redo { "then" } else { "ended" }.to_owned(),
            what: super::decode(&intent.record)
                .map(|effect| effect.describe())
                .unwrap_or_default(),
        });
        made.chain(directories).chain(ended).collect()
    }

    /// Whether there is anything to keep or to undo.
    pub fn is_empty(&self) -> bool {
        // Whoever holds it is doing something, perhaps for minutes.
        let Some(list) = self.0.list.try_lock() else {
            return false;
        };
        list.made.is_empty() && list.directories.is_empty() && list.then.is_empty()
    }

    /// Undoes everything. Answers when that is done or takes too long.
    pub async fn undo(&self) {
        self.undo_if(None).await;
    }

    /// As [`undo`](Self::undo), after a commit of which nobody knows whether it got through: what the store has settled stays.
    pub async fn undo_lost(&self, now: Snapshot) {
        self.undo_if(Some(now)).await;
    }

    async fn undo_if(&self, committed: Option<Snapshot>) {
        if self.is_empty() {
            if let Some(mut list) = self.0.list.try_lock() {
                list.over = true;
                list.alone.clear();
            }
            return;
        }
        let inner = Arc::clone(&self.0);
        let work = tokio::task::spawn_blocking(move || inner.undo(committed.as_ref()));
        if tokio::time::timeout(PATIENCE, work).await.is_err() {
            tracing::warn!(plugin = %self.0.plugin, "what a failed call did to the machine is still being undone");
        }
    }

    /// Before the commit: from now on nothing is done any more, and nothing is undone if the call is dropped, for nobody knows then whether the
    /// commit got through. The next start knows.
    pub fn close(&self) {
        self.0.list.lock().over = true;
    }

    /// After the commit: does what was left for then. An answer waits for it, because Docker may look at once.
    pub async fn finish(&self) -> bool {
        let (then, removes) = {
            let mut list = self.0.list.lock();
            list.over = true;
            let made = std::mem::take(&mut list.made);
            if let Some(ledger) = &self.0.ledger {
                let mut live = ledger.live.lock();
                made.iter().for_each(|(id, _)| {
                    live.remove(id);
                });
            }
            list.directories.clear();
            list.alone.clear();
            (std::mem::take(&mut list.then), list.removes_directories)
        };
        if let Some(ledger) = self.0.ledger.clone().filter(|_| !then.is_empty()) {
            let plugin = self.0.plugin.clone();
            // A task of its own: it goes on when the call is dropped.
            let work = tokio::spawn(async move { ledger.carry_out(&plugin, then).await });
            let _ = work.await;
        }
        removes
    }

    /// Undoes what is not [finished](Self::finish) also when the call is dropped in the middle.
    pub fn guard(&self) -> Guard {
        Guard(self.clone())
    }
}

/// A secret that came with a call.
#[derive(Clone)]
pub struct Given {
    /// The name by which it is asked for.
    pub name: String,
    /// Its value.
    pub value: Zeroizing<Vec<u8>>,
}

/// See [`Effects::guard`].
#[derive(Debug)]
#[must_use]
pub struct Guard(Effects);

impl Drop for Guard {
    fn drop(&mut self) {
        let effects = &self.0;
        // While something is being done the lock is taken, and the thread that undoes waits for it.
        let over =
            effects.0.list.try_lock().is_some_and(|list| {
                list.over || (list.made.is_empty() && list.directories.is_empty())
            });
        if over {
            return;
        }
        let inner = Arc::clone(&effects.0);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || inner.undo(None))),
            Err(_) => inner.undo(None),
        }
    }
}

impl Inner {
    /// Undoes everything, last things first.
    fn undo(&self, committed: Option<&Snapshot>) {
        // The turns end with this function.
        let (made, then, directories, _alone) = {
            let mut list = self.list.lock();
            list.over = true;
            (
                std::mem::take(&mut list.made),
                std::mem::take(&mut list.then),
                std::mem::take(&mut list.directories),
                std::mem::take(&mut list.alone),
            )
        };
        let mut settled = Vec::new();
        if let Some(ledger) = &self.ledger {
            // A commit removes the intents of what it keeps. If that cannot be read now, the next retry reads it.
            let open: Option<HashSet<String>> = committed.map(|_| {
                let intents = ledger.store.intents().unwrap_or_default();
                intents.into_iter().map(|(_, intent)| intent.id).collect()
            });
            for (id, effect) in made.into_iter().rev() {
                if open.as_ref().is_some_and(|open| !open.contains(&id)) {
                    ledger.live.lock().remove(&id);
                    continue;
                }
                match effect.undo(&ledger.runtime) {
                    Ok(()) => settled.push(id),
                    Err(error) => {
                        ledger.live.lock().remove(&id);
                        tracing::warn!(
                            plugin = %self.plugin, %error, effect = %effect.describe(),
                            "cannot undo yet what a failed call did; it is tried again"
                        );
                    }
                }
            }
            let mut live = ledger.live.lock();
            for intent in then {
                live.remove(&intent.id);
            }
        }
        for path in directories.into_iter().rev() {
            let known = committed.is_some_and(|now| {
                let id = path.file_name().map(|name| name.to_string_lossy());
                now.directories()
                    .any(|known| id.as_deref() == Some(known.id.as_str()))
            });
            if !known {
                take_back(&path);
            }
        }
        if let (Some(ledger), Ok(runtime)) = (&self.ledger, tokio::runtime::Handle::try_current()) {
            let ledger = Arc::clone(ledger);
            runtime.spawn(async move { ledger.settled(settled).await });
        }
    }
}

/// Never more than the empty directory that the call made: if something is in it, it is not ours to judge.
pub fn take_back(path: &Path) {
    if let Err(error) = remove_unused(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove the directory of a call that failed");
    }
}

/// What overlayfs makes in its work directory and leaves there.
const LEFT_BY_OVERLAYS: [&str; 2] = ["work", "index"];

/// Removes a directory in which nobody has put anything.
///
/// # Errors
/// When there is something in it, or the file system says no.
pub fn remove_unused(path: &Path) -> std::io::Result<()> {
    let error = match std::fs::remove_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => error,
        done => return done,
    };
    let names = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<Vec<_>>>()?;
    if names
        .iter()
        .any(|name| !LEFT_BY_OVERLAYS.iter().any(|left| name == *left))
    {
        return Err(error);
    }
    for name in names {
        std::fs::remove_dir(path.join(name))?;
    }
    std::fs::remove_dir(path)
}

/// Reads a secret of the operator's.
///
/// # Errors
/// When there is none of that name, or it cannot be read.
pub(super) fn resolve(settings: &config::Plugin, name: &str) -> Result<Vec<u8>, MachineError> {
    let source = settings.secrets.get(name).ok_or_else(|| {
        MachineError::new(
            ErrorKind::NotFound,
            format!(
                "there is no secret {name:?}: add it under [secrets] in the plugin's TOML file"
            ),
        )
    })?;
    match source.resolve() {
        Ok(value) => Ok(value.to_vec()),
        Err(error) => Err(MachineError::new(
            ErrorKind::NotFound,
            format!("the secret {name:?} cannot be read: {error}"),
        )),
    }
}

/// Runs what waits for the kernel on a thread that may wait.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MachineError> + Send + 'static,
) -> Result<T, MachineError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(MachineError::new(
            ErrorKind::Other,
            "the operation was interrupted",
        ))
    })
}
