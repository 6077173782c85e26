//! The part of `dockside:host/mounts` that makes directories for `host-path`.

use std::path::{Component, Path, PathBuf};

use super::held::{Answer, error};
use crate::ledger::{self, Effect, Kind};
use crate::machine::{MachineError, Presence, paths};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::effects::mounts::{Attributes, PathInfo};
use crate::sandbox::bindings::machine::ErrorCode;

impl CallContext {
    pub(super) async fn make_path_for(
        &mut self,
        key: &str,
        path: &str,
        attributes: Attributes,
    ) -> Answer<PathInfo> {
        self.granted(|grants| grants.mounts()?.may_bind_host(Path::new(path)))?;
        self.free(Kind::Path, key)?;
        // The grant has refused `..`; this takes out what means nothing.
        let path: PathBuf = Path::new(path)
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .collect();
        let first = match look(path.clone()).await? {
            Ok(found) => return Ok(info(found, None)),
            Err(first) => first,
        };
        self.granted(|grants| grants.mounts()?.may_make(&path))?;
        let id = ledger::mint();
        let made = paths::MadePath {
            id: id.clone(),
            path: path.clone(),
            first,
            uid: attributes.uid,
            gid: attributes.gid,
            mode: attributes.mode,
        };
        self.hold(Kind::Path, key, &id, Effect::Path(made.clone()))
            .await?;
        match look(path).await? {
            Ok(found) => {
                let marked = blocking(move || Ok(paths::is_marked(&made))).await?;
                Ok(info(found, Some(marked)))
            }
            Err(gone) => Err(error(
                ErrorCode::Other,
                format!("somebody else has removed {} meanwhile", gone.display()),
            )),
        }
    }

    pub(super) fn keep_path_of(&mut self, key: &str) -> Answer<()> {
        let (object, _) = self.held(Kind::Path, key)?;
        self.records()?.remove_object(&object.name);
        Ok(())
    }

    pub(super) async fn remove_path_of(&mut self, key: &str) -> Answer<()> {
        let (object, effect) = self.held(Kind::Path, key)?;
        let Effect::Path(made) = effect else {
            return Err(error(
                ErrorCode::Other,
                "the record of the directory is damaged",
            ));
        };
        if let Some(by) = self.shown_by(&made.path)? {
            return Err(error(
                ErrorCode::InUse,
                format!("{} is mounted as {by:?}", made.path.display()),
            ));
        }
        let looked = made.clone();
        match blocking(move || paths::look(&looked)).await? {
            Presence::Present => {}
            // Somebody has removed it already.
            Presence::Absent => return self.keep_path_of(key),
            Presence::Changed(_) => {
                return Err(error(
                    ErrorCode::InUse,
                    format!(
                        "{} is not the directory that was made for it: somebody has put another in its place. Move that away, or remove it by hand",
                        made.path.display()
                    ),
                ));
            }
        }
        self.records()?.remove_object(&object.name);
        let record = ledger::encode(&Effect::Erase(paths::Erasure { made }))?;
        self.behind(record, true)
    }
}

fn info(found: paths::Found, made: Option<bool>) -> PathInfo {
    PathInfo {
        made: made.is_some(),
        removable: made == Some(true),
        uid: found.uid,
        gid: found.gid,
        mode: found.mode,
    }
}

async fn look(path: PathBuf) -> Answer<Result<paths::Found, PathBuf>> {
    blocking(move || paths::find(&path)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MachineError> + Send + 'static,
) -> Answer<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| error(ErrorCode::Other, "the operation was interrupted"))?
        .map_err(Into::into)
}
