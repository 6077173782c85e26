//! `dockside:host/files`: what the operator lets the driver read.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::held::{Answer, answered, error};
use crate::config::Refusal;
use crate::machine::files::{self as machine, FilesError, Set};
use crate::machine::{ErrorKind, MachineError};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::effects::files::{FileInfo, Host};
use crate::sandbox::bindings::machine::{Error, ErrorCode};

/// How long the machine may take. A file system of a server that is gone can take for ever, and whoever asks should hear of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many threads may wait for such file systems at once. A user of Docker can name any path of the machine for a driver to ask about.
const THREADS: usize = 32;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(THREADS)));

impl Host for CallContext {
    async fn list_files(&mut self, set: String) -> wasmtime::Result<Answer<Vec<FileInfo>>> {
        let listed = self.of_set(&set, machine::list).await;
        answered(listed.map(|files| files.into_iter().map(to_wit).collect()))
    }

    async fn read(&mut self, set: String, name: String) -> wasmtime::Result<Answer<Vec<u8>>> {
        let max = match self.granted(|grants| Ok(grants.files()?.max_bytes)) {
            Ok(max) => max,
            Err(error) => return answered(Err(error)),
        };
        let read = move |place: &Set| machine::read(place, &name, max);
        answered(self.of_set(&set, read).await)
    }

    async fn stamp(&mut self, set: String) -> wasmtime::Result<Answer<u64>> {
        answered(self.of_set(&set, machine::stamp).await)
    }

    async fn resolve_path(&mut self, path: String) -> wasmtime::Result<Answer<String>> {
        if let Err(error) = self.granted(|grants| grants.files()?.may_resolve()) {
            return answered(Err(error));
        }
        let resolved = waited(move || machine::resolve(&path).map_err(Into::into)).await;
        answered(resolved.map_err(|error| self.no_files("", error)))
    }
}

impl CallContext {
    /// Asks the machine about a set.
    async fn of_set<T: Send + 'static>(
        &mut self,
        name: &str,
        ask: impl FnOnce(&Set) -> Result<T, FilesError> + Send + 'static,
    ) -> Answer<T> {
        let place = self.set(name)?;
        let asked = waited(move || ask(&place)).await;
        asked.map_err(|error| self.no_files(name, error))
    }

    fn set(&self, name: &str) -> Answer<Set> {
        self.granted(|grants| {
            let set = grants.files()?.set(name)?;
            Ok::<_, Refusal>(Set {
                path: set.path.clone(),
                root_only: set.root_only,
            })
        })
    }

    /// What the driver is told.
    fn no_files(&self, set: &str, why: FilesError) -> Error {
        match why {
            FilesError::Machine(error) => error.into(),
            FilesError::NotRootOnly(_) => error(ErrorCode::NotGranted, why.to_string()),
            FilesError::TooLong(size) => {
                let what = format!("a file of {set}");
                let may = self.granted(|grants| grants.files()?.may_read(&what, size));
                may.err()
                    .unwrap_or_else(|| error(ErrorCode::Exhausted, why.to_string()))
            }
        }
    }
}

/// Asks the machine, on a thread of its own.
async fn waited<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    let late = || {
        let text = "the machine's file system does not answer: is the server of a mount gone?";
        FilesError::Machine(MachineError::new(ErrorKind::Unreachable, text))
    };
    let asked = async {
        let turn = Arc::clone(&TURNS).acquire_owned().await;
        let asked = tokio::task::spawn_blocking(move || {
            // Until the thread is free again, whoever waits for it.
            let _turn = turn;
            work()
        });
        asked.await.unwrap_or_else(|_| {
            let text = "the operation was interrupted";
            Err(MachineError::new(ErrorKind::Other, text).into())
        })
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(asked) => asked,
        Err(_) => Err(late()),
    }
}

fn to_wit(file: machine::FileInfo) -> FileInfo {
    FileInfo {
        name: file.name,
        size: file.size,
        stamp: file.stamp,
    }
}
