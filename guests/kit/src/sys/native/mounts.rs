use super::{Directory, Machine, memory, refuse};
use crate::{
    KeyValues, Refusal, Result,
    directories::Attributes,
    mounts::{Flags, Health, MountInfo, PathInfo, Source},
    testing::Mount,
};

/// NFS versions of the contract.
const NFS_VERSIONS: &[&str] = &["3", "4", "4.1", "4.2"];

/// Helper programs of the contract.
const HELPERS: &[&str] = &["sshfs", "s3fs", "rclone"];

impl Machine {
    fn check(&self, directory: &Directory) -> Result<()> {
        let found = match directory {
            Directory::Own(key) => self.directories.contains_key(key),
            Directory::Mount(key) => self.mounts.contains_key(key),
        };
        if found {
            return Ok(());
        }
        refuse(
            Refusal::NotFound,
            format!("the directory of {:?} is gone", directory.known()),
        )
    }
}

fn words(options: &KeyValues) -> String {
    let word = |(name, value): (&str, &str)| match value {
        "" => format!(" {name}"),
        value => format!(" {name}={value}"),
    };
    options.iter().map(word).collect()
}

/// What is mounted, in words, and the directories that it takes.
fn describe(source: &Source<'_>) -> Result<(String, Vec<Directory>)> {
    let key = |directory: &crate::Directory| directory.0.known().to_owned();
    Ok(match source {
        Source::Directory(directory) => (
            format!("directory {}", key(directory)),
            vec![directory.0.clone()],
        ),
        Source::HostPath(path) if !path.starts_with('/') => {
            return refuse(
                Refusal::Invalid,
                format!("{path:?} is no absolute path of the machine"),
            );
        }
        Source::HostPath(path) => (format!("host-path {path}"), Vec::new()),
        Source::Tmpfs(tmpfs) if tmpfs.size == 0 => {
            return refuse(Refusal::Invalid, "a tmpfs needs a size");
        }
        Source::Tmpfs(tmpfs) => (format!("tmpfs {}", tmpfs.size), Vec::new()),
        Source::Overlay(overlay) if overlay.lower.is_empty() => {
            return refuse(Refusal::Invalid, "an overlay needs a lower layer");
        }
        Source::Overlay(overlay) => {
            let lower: Vec<String> = overlay.lower.iter().map(|layer| key(layer)).collect();
            let all = overlay.lower.iter().chain([&overlay.upper, &overlay.work]);
            (
                format!(
                    "overlay {} {} {}",
                    lower.join(","),
                    key(overlay.upper),
                    key(overlay.work)
                ),
                all.map(|directory| directory.0.clone()).collect(),
            )
        }
        Source::Image(image) => (format!("image {}", image.0.known()), Vec::new()),
        Source::Nfs(nfs) if !NFS_VERSIONS.contains(&nfs.version.as_str()) => {
            return refuse(
                Refusal::Invalid,
                format!(
                    "there is no NFS version {:?}: say {}",
                    nfs.version,
                    NFS_VERSIONS.join(", ")
                ),
            );
        }
        Source::Nfs(nfs) => (
            format!(
                "nfs {}:{} {}{}",
                nfs.server,
                nfs.path,
                nfs.version,
                words(&nfs.options)
            ),
            Vec::new(),
        ),
        Source::Cifs(cifs) => {
            let user = cifs.username.as_deref().unwrap_or("guest");
            let password = cifs
                .password
                .map(|secret| format!(" password:{}", secret.0.word()));
            (
                format!(
                    "cifs //{}/{} {user}{}{}",
                    cifs.server,
                    cifs.share,
                    password.unwrap_or_default(),
                    words(&cifs.options)
                ),
                Vec::new(),
            )
        }
        Source::Helper(helper) if !HELPERS.contains(&helper.program.as_str()) => {
            return refuse(
                Refusal::Invalid,
                format!(
                    "there is no helper {:?}: say {}",
                    helper.program,
                    HELPERS.join(", ")
                ),
            );
        }
        Source::Helper(helper) => {
            let secrets: String = helper
                .secrets
                .iter()
                .map(|(role, secret)| format!(" {role}:{}", secret.0.word()))
                .collect();
            let texts: String = helper
                .texts
                .iter()
                .map(|(role, text)| format!(" {role}={text:?}"))
                .collect();
            (
                format!(
                    "{} {}{}{secrets}{texts}",
                    helper.program,
                    helper.remote,
                    words(&helper.options)
                ),
                Vec::new(),
            )
        }
    })
}

pub(crate) fn mount(key: &str, source: &Source<'_>, flags: Flags) -> Result<Directory> {
    let (text, directories) = describe(source)?;
    memory(|memory| {
        let machine = &mut memory.machine;
        if machine.mounts.contains_key(key) {
            return refuse(
                Refusal::AlreadyExists,
                format!("there is a mount for {key:?} already"),
            );
        }
        directories
            .iter()
            .try_for_each(|directory| machine.check(directory))?;
        let image = match source {
            Source::Image(image) => Some(image.0.known().to_owned()),
            _ => None,
        };
        if let Some(image) = &image {
            machine.free_image(image)?;
        }
        let mount = Mount {
            source: text,
            flags,
            health: Health::Alive,
            directories,
            image,
        };
        machine.mounts.insert(key.to_owned(), mount);
        Ok(Directory::Mount(key.to_owned()))
    })
}

fn missing<T>(key: &str) -> Result<T> {
    refuse(Refusal::NotFound, format!("there is no mount for {key:?}"))
}

pub(crate) fn open_mount(key: &str) -> Result<Directory> {
    match memory(|memory| memory.machine.mounts.contains_key(key)) {
        true => Ok(Directory::Mount(key.to_owned())),
        false => missing(key),
    }
}

pub(crate) fn unmount(key: &str) -> Result<()> {
    memory(|memory| {
        let mounts = &mut memory.machine.mounts;
        let this = Directory::Mount(key.to_owned());
        let mut users = mounts.iter();
        if let Some((by, _)) = users.find(|(_, mount)| mount.directories.contains(&this)) {
            return refuse(
                Refusal::InUse,
                format!("the mount {key:?} is the source of the mount {by:?}"),
            );
        }
        match mounts.remove(key) {
            Some(_) => Ok(()),
            None => missing(key),
        }
    })
}

pub(crate) fn make_path(key: &str, path: &str, attributes: Attributes) -> Result<PathInfo> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return refuse(
            Refusal::Invalid,
            format!("{path:?} is no absolute path of the machine"),
        );
    }
    memory(|memory| {
        let machine = &mut memory.machine;
        if machine.made_paths.contains_key(key) {
            return refuse(
                Refusal::AlreadyExists,
                format!("there is a path {key:?} already"),
            );
        }
        if let Some(found) = machine.paths.get(path) {
            return Ok(PathInfo {
                made: false,
                removable: false,
                uid: found.uid.unwrap_or(0),
                gid: found.gid.unwrap_or(0),
                mode: found.mode.unwrap_or(0o755),
            });
        }
        machine.paths.insert(path.to_owned(), attributes);
        machine.made_paths.insert(key.to_owned(), path.to_owned());
        Ok(PathInfo {
            made: true,
            removable: !memory.unmarked,
            uid: attributes.uid.unwrap_or(0),
            gid: attributes.gid.unwrap_or(0),
            mode: attributes.mode.unwrap_or(0o755),
        })
    })
}

fn no_path<T>(key: &str) -> Result<T> {
    refuse(Refusal::NotFound, format!("there is no path {key:?}"))
}

pub(crate) fn keep_path(key: &str) -> Result<()> {
    match memory(|memory| memory.machine.made_paths.remove(key)) {
        Some(_) => Ok(()),
        None => no_path(key),
    }
}

pub(crate) fn remove_path(key: &str) -> Result<()> {
    memory(|memory| {
        let machine = &mut memory.machine;
        let Some(path) = machine.made_paths.get(key).cloned() else {
            return no_path(key);
        };
        let shown = format!("host-path {path}");
        if machine.mounts.values().any(|mount| mount.source == shown) {
            return refuse(Refusal::InUse, format!("{path} is mounted"));
        }
        machine.made_paths.remove(key);
        machine.paths.remove(&path);
        Ok(())
    })
}

pub(crate) fn mounts() -> Vec<MountInfo> {
    memory(|memory| {
        let info = |(key, mount): (&String, &Mount)| MountInfo {
            key: key.clone(),
            health: mount.health,
        };
        memory.machine.mounts.iter().map(info).collect()
    })
}
