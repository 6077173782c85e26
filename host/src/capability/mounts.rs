//! `dockside:host/mounts`.

use std::path::{Path, PathBuf};

use wasmtime::component::Resource;

use super::directories::{DirectoryHandle, Proof};
use super::held::{Answer, answered, error};
use crate::ledger::{self, Effect, Kind};
use crate::machine::{fuse, mounts as machine};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::effects::mounts::{
    Attributes, Health, Host, MountFlags, MountInfo, Overlay, PathInfo, Source,
};
use crate::sandbox::bindings::machine::{Error, ErrorCode};

impl Host for CallContext {
    async fn make_path(
        &mut self,
        key: String,
        path: String,
        attributes: Attributes,
    ) -> wasmtime::Result<Answer<PathInfo>> {
        answered(self.make_path_for(&key, &path, attributes).await)
    }

    async fn keep_path(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        answered(self.keep_path_of(&key))
    }

    async fn remove_path(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        answered(self.remove_path_of(&key).await)
    }

    async fn mount(
        &mut self,
        key: String,
        source: Source,
        flags: MountFlags,
    ) -> wasmtime::Result<Answer<Resource<DirectoryHandle>>> {
        let mounted = self.mount_it(&key, source, flags).await;
        answered(self.hand_out_mount(mounted)?)
    }

    async fn open(&mut self, key: String) -> wasmtime::Result<Answer<Resource<DirectoryHandle>>> {
        let found = self.held(Kind::Mount, &key).and_then(|(object, effect)| {
            Ok(DirectoryHandle {
                key,
                path: point_of(&effect)?,
                proof: Proof::Mount(object.id.clone()),
            })
        });
        answered(self.hand_out_mount(found)?)
    }

    async fn unmount(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        answered(self.end_mount(&key))
    }

    async fn list_mounts(&mut self) -> wasmtime::Result<Vec<MountInfo>> {
        let held = self.all(Kind::Mount).unwrap_or_default();
        let plugin = self.environment.plugin.clone();
        let ledger = self.effects.ledger().ok().cloned();
        answered(
            held.into_iter()
                .map(|(key, _)| MountInfo {
                    health: match ledger
                        .as_ref()
                        .and_then(|ledger| ledger.health(&plugin, &key))
                    {
                        None | Some(ledger::Health::Alive) => Health::Alive,
                        Some(ledger::Health::Degraded(_)) => Health::Degraded,
                        Some(ledger::Health::Gone) => Health::Gone,
                    },
                    key,
                })
                .collect(),
        )
    }
}

impl CallContext {
    async fn mount_it(
        &mut self,
        key: &str,
        source: Source,
        flags: MountFlags,
    ) -> Answer<DirectoryHandle> {
        let most = self.granted(|grants| grants.mounts().map(|grant| grant.max))?;
        let held = self.count(Kind::Mount, most)?;
        self.free(Kind::Mount, key)?;
        self.granted(|grants| grants.mounts()?.may_add(held))?;
        if flags.contains(MountFlags::ALLOW_SUID) {
            self.granted(|grants| grants.mounts()?.may_suid())?;
        }
        if flags.contains(MountFlags::ALLOW_DEV) {
            self.granted(|grants| grants.mounts()?.may_dev())?;
        }
        let flags = machine::Flags {
            read_only: flags.contains(MountFlags::READ_ONLY),
            no_exec: flags.contains(MountFlags::NO_EXEC),
            no_atime: flags.contains(MountFlags::NO_ATIME),
            allow_suid: flags.contains(MountFlags::ALLOW_SUID),
            allow_dev: flags.contains(MountFlags::ALLOW_DEV),
        };
        let id = ledger::mint();
        let plugin = self.environment.plugin.clone();
        let point = self.effects.ledger()?.mount_point(&plugin, &id);
        let effect = match source {
            Source::Helper(helper) => {
                self.granted(|grants| {
                    grants.mounts()?.may_helper(&helper.program, &helper.remote)
                })?;
                if let Some((_, server)) = helper.options.iter().find(|(name, _)| name == "url") {
                    self.granted(|grants| {
                        grants.mounts()?.may_choose_server(&helper.program, server)
                    })?;
                }
                let mut secrets = Vec::new();
                for (role, secret) in helper.secrets {
                    secrets.push((role, self.secret_name(&secret)?));
                }
                Effect::Helper(fuse::FuseMount {
                    id: id.clone(),
                    point: point.clone(),
                    program: helper.program,
                    remote: helper.remote,
                    options: helper.options,
                    secrets,
                    texts: helper.texts,
                    learned: Some(self.effects.ledger()?.learned_hosts(&plugin)),
                    flags,
                })
            }
            source => Effect::Mount(machine::Mount {
                id: id.clone(),
                point: point.clone(),
                source: self.kernel_source(source)?,
                flags,
            }),
        };
        self.hold(Kind::Mount, key, &id, effect).await?;
        Ok(DirectoryHandle {
            key: key.to_owned(),
            path: point,
            proof: Proof::Mount(id),
        })
    }

    fn kernel_source(&mut self, source: Source) -> Answer<machine::Source> {
        Ok(match source {
            Source::Directory(directory) => {
                self.granted(|grants| grants.mounts()?.may_bind())?;
                machine::Source::Bind {
                    root: self.directory_path(&directory)?,
                    beneath: PathBuf::new(),
                }
            }
            Source::HostPath(path) => {
                let path = PathBuf::from(path);
                self.granted(|grants| grants.mounts()?.may_bind_host(&path))?;
                // Everything is opened below the root, link by link: the operator granted a path, not what somebody makes it point to.
                let beneath = path.strip_prefix("/").unwrap_or(&path).to_owned();
                machine::Source::Bind {
                    root: PathBuf::from("/"),
                    beneath,
                }
            }
            Source::Tmpfs(tmpfs) => {
                self.granted(|grants| grants.mounts()?.may_tmpfs(tmpfs.size))?;
                machine::Source::Tmpfs {
                    size: tmpfs.size,
                    inodes: tmpfs.inodes,
                    uid: tmpfs.uid,
                    gid: tmpfs.gid,
                    mode: tmpfs.mode,
                }
            }
            Source::Overlay(Overlay { lower, upper, work }) => {
                self.granted(|grants| grants.mounts()?.may_bind())?;
                let lower = lower
                    .iter()
                    .map(|layer| self.directory_path(layer))
                    .collect::<Answer<_>>()?;
                machine::Source::Overlay {
                    lower,
                    upper: self.directory_path(&upper)?,
                    work: self.directory_path(&work)?,
                }
            }
            Source::Image(image) => {
                let key = self.image_key(&image)?;
                let image = self.image(&key)?;
                if let Some(by) = self.shown_by(&image.file)? {
                    // Two mounts of one file system through two loop devices would destroy it.
                    return Err(error(
                        ErrorCode::InUse,
                        format!("the image {key:?} is mounted as {by:?} already"),
                    ));
                }
                machine::Source::Disk {
                    file: image.file,
                    filesystem: image.filesystem,
                }
            }
            Source::Nfs(nfs) => {
                self.granted(|grants| grants.mounts()?.may_nfs(&nfs.server, &nfs.path))?;
                machine::Source::Nfs {
                    server: nfs.server,
                    path: nfs.path,
                    version: nfs.version,
                    options: nfs.options,
                }
            }
            Source::Cifs(cifs) => {
                self.granted(|grants| grants.mounts()?.may_cifs(&cifs.server, &cifs.share))?;
                let password = match cifs.password {
                    Some(secret) => Some(self.secret_name(&secret)?),
                    None => None,
                };
                machine::Source::Cifs {
                    server: cifs.server,
                    share: cifs.share,
                    username: cifs.username,
                    domain: cifs.domain,
                    password,
                    options: cifs.options,
                }
            }
            Source::Helper(_) => {
                return Err(error(
                    ErrorCode::Other,
                    "a helper is no mount of the kernel's",
                ));
            }
        })
    }

    fn end_mount(&mut self, key: &str) -> Answer<()> {
        let (_, effect) = self.held(Kind::Mount, key)?;
        let point = point_of(&effect)?;
        if let Some(by) = self.shown_by(&point)? {
            return Err(error(
                ErrorCode::InUse,
                format!("the mount {key:?} is the source of the mount {by:?}"),
            ));
        }
        self.end(Kind::Mount, key)
    }

    /// Where a directory is, if it is one that this call may name.
    fn directory_path(&mut self, directory: &Resource<DirectoryHandle>) -> Answer<PathBuf> {
        let handle = self
            .table
            .get(directory)
            .map_err(|reason| error(ErrorCode::Invalid, reason.to_string()))?
            .clone();
        if !handle.is_held(self.records()?) {
            return Err(error(
                ErrorCode::NotFound,
                format!(
                    "the directory {:?} was removed in the same call",
                    handle.key
                ),
            ));
        }
        Ok(handle.path)
    }

    fn hand_out_mount(
        &mut self,
        handle: Result<DirectoryHandle, Error>,
    ) -> wasmtime::Result<Answer<Resource<DirectoryHandle>>> {
        match handle {
            Ok(handle) => Ok(Ok(self.table.push(handle)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

fn point_of(effect: &Effect) -> Answer<PathBuf> {
    effect
        .mount_point()
        .map(|point| Path::to_path_buf(point))
        .ok_or_else(|| error(ErrorCode::Other, "the record of the mount is damaged"))
}
