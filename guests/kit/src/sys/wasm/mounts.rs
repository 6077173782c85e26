use super::{Directory, refused};
use crate::{
    KeyValues, Result,
    bindings::imports::dockside::host::mounts as wit,
    directories::Attributes,
    mounts::{Flags, Health, MountInfo, PathInfo, Source},
};

fn options(options: &KeyValues) -> Vec<(String, String)> {
    options.clone().into_iter().collect()
}

fn source<'a>(source: &Source<'a>) -> wit::Source<'a> {
    match source {
        Source::Directory(directory) => wit::Source::Directory(&directory.0),
        Source::HostPath(path) => wit::Source::HostPath(path.clone()),
        Source::Tmpfs(tmpfs) => wit::Source::Tmpfs(wit::Tmpfs {
            size: tmpfs.size,
            inodes: tmpfs.inodes,
            uid: tmpfs.uid,
            gid: tmpfs.gid,
            mode: tmpfs.mode,
        }),
        Source::Overlay(overlay) => wit::Source::Overlay(wit::Overlay {
            lower: overlay.lower.iter().map(|layer| &layer.0).collect(),
            upper: &overlay.upper.0,
            work: &overlay.work.0,
        }),
        Source::Image(image) => wit::Source::Image(&image.0),
        Source::Nfs(nfs) => wit::Source::Nfs(wit::Nfs {
            server: nfs.server.clone(),
            path: nfs.path.clone(),
            version: nfs.version.clone(),
            options: options(&nfs.options),
        }),
        Source::Cifs(cifs) => wit::Source::Cifs(wit::Cifs {
            server: cifs.server.clone(),
            share: cifs.share.clone(),
            username: cifs.username.clone(),
            domain: cifs.domain.clone(),
            password: cifs.password.map(|secret| &secret.0),
            options: options(&cifs.options),
        }),
        Source::Helper(helper) => wit::Source::Helper(wit::Helper {
            program: helper.program.clone(),
            remote: helper.remote.clone(),
            options: options(&helper.options),
            secrets: helper
                .secrets
                .iter()
                .map(|(role, secret)| (role.clone(), &secret.0))
                .collect(),
            texts: options(&helper.texts),
        }),
    }
}

fn flags(flags: Flags) -> wit::MountFlags {
    [
        (flags.read_only, wit::MountFlags::READ_ONLY),
        (flags.no_exec, wit::MountFlags::NO_EXEC),
        (flags.no_atime, wit::MountFlags::NO_ATIME),
        (flags.allow_suid, wit::MountFlags::ALLOW_SUID),
        (flags.allow_dev, wit::MountFlags::ALLOW_DEV),
    ]
    .into_iter()
    .filter_map(|(wanted, flag)| wanted.then_some(flag))
    .fold(wit::MountFlags::empty(), |all, flag| all | flag)
}

pub(crate) fn mount(key: &str, what: &Source<'_>, how: Flags) -> Result<Directory> {
    wit::mount(key, &source(what), flags(how)).map_err(refused)
}

pub(crate) fn open_mount(key: &str) -> Result<Directory> {
    wit::open(key).map_err(refused)
}

pub(crate) fn unmount(key: &str) -> Result<()> {
    wit::unmount(key).map_err(refused)
}

pub(crate) fn make_path(key: &str, path: &str, attributes: Attributes) -> Result<PathInfo> {
    let attributes = wit::Attributes {
        uid: attributes.uid,
        gid: attributes.gid,
        mode: attributes.mode,
    };
    let found = wit::make_path(key, path, attributes).map_err(refused)?;
    Ok(PathInfo {
        made: found.made,
        removable: found.removable,
        uid: found.uid,
        gid: found.gid,
        mode: found.mode,
    })
}

pub(crate) fn keep_path(key: &str) -> Result<()> {
    wit::keep_path(key).map_err(refused)
}

pub(crate) fn remove_path(key: &str) -> Result<()> {
    wit::remove_path(key).map_err(refused)
}

pub(crate) fn mounts() -> Vec<MountInfo> {
    let info = |info: wit::MountInfo| MountInfo {
        key: info.key,
        health: match info.health {
            wit::Health::Alive => Health::Alive,
            wit::Health::Degraded => Health::Degraded,
            wit::Health::Gone => Health::Gone,
        },
    };
    wit::list_mounts().into_iter().map(info).collect()
}
