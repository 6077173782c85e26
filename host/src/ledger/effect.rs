//! What can be made on the machine, as one type that the store can keep.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::failpoint;
use crate::machine::{
    ErrorKind, MachineError, Presence, fuse, images, kept, links, mounts, nat, paths,
};

/// The value of a secret, by its name.
pub type Secrets<'a> = &'a (dyn Fn(&str) -> Result<Vec<u8>, MachineError> + Sync);

/// Kinds of things that a plugin can hold on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A mount.
    Mount,
    /// A disk image.
    Image,
    /// A network link.
    Link,
    /// A set of packet rules.
    Rules,
    /// A secret in the host's keeping.
    Secret,
    /// A directory at a path that somebody named.
    Path,
    /// A volume where Docker shows it to containers on behalf of a relay. The host's own: drivers do not know of it.
    Relay,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Mount,
        Kind::Image,
        Kind::Link,
        Kind::Rules,
        Kind::Secret,
        Kind::Path,
        Kind::Relay,
    ];

    /// What it is called in names and listings.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Mount => "mount",
            Kind::Image => "image",
            Kind::Link => "link",
            Kind::Rules => "rules",
            Kind::Secret => "secret",
            Kind::Path => "path",
            Kind::Relay => "relay",
        }
    }

    /// [`ObjectRecord::name`](crate::store::ObjectRecord::name) of the thing with this key.
    pub fn name(self, key: &str) -> String {
        format!("{}/{key}", self.word())
    }

    /// Kind and key of a name.
    pub fn parse(name: &str) -> Option<(Kind, &str)> {
        let (word, key) = name.split_once('/')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
        Some((kind, key))
    }

    /// Whether it outlives a restart of the machine.
    pub fn is_persistent(self) -> bool {
        matches!(self, Kind::Image | Kind::Secret | Kind::Path)
    }
}

/// Docker's ID of the relay in the key of what is shown on its behalf.
pub fn relay_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(relay, _)| relay)
}

/// One change to the machine, with everything that is needed to make it and to take it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// A mount by the kernel.
    Mount(mounts::Mount),
    /// A mount by a helper program.
    Helper(fuse::FuseMount),
    /// A disk image.
    Image(images::Image),
    /// A disk image becomes larger. Cannot be undone, so it is only done behind a commit.
    Grow(images::Growth),
    /// A network link.
    Link(links::Link),
    /// A change of a link that is held already.
    Change(links::Change),
    /// A set of packet rules.
    Rules(nat::RuleSet),
    /// A secret in the host's keeping.
    Secret(kept::Kept),
    /// A directory at a path that somebody named.
    Path(paths::MadePath),
    /// Such a directory goes, with everything in it. Cannot be undone, so it is only done behind a commit.
    Erase(paths::Erasure),
    /// A volume in Docker's own directory of a relay, which is made and removed by Docker.
    Relay(mounts::Mount),
}

impl Effect {
    /// Does it.
    ///
    /// # Errors
    /// When the machine says no. Nothing of it remains then.
    pub fn perform(
        &self,
        runtime: &Path,
        secrets: Secrets<'_>,
        deadline: Instant,
    ) -> Result<(), MachineError> {
        visit("effect.before")?;
        match self {
            Effect::Mount(mount) => mounts::perform(mount, secrets, deadline),
            Effect::Relay(mount) => {
                dockers_own(mount).and_then(|()| mounts::perform(mount, secrets, deadline))
            }
            Effect::Helper(mount) => fuse::perform(mount, &place(runtime), secrets, deadline),
            Effect::Image(image) => images::perform(image, deadline),
            Effect::Grow(growth) => images::grow(growth, deadline),
            Effect::Link(link) => links::perform(link),
            Effect::Change(change) => links::perform_change(change),
            Effect::Rules(rules) => nat::perform(rules),
            Effect::Secret(secret) => kept::perform(secret, &secrets(&secret.name())?),
            Effect::Path(made) => paths::perform(made),
            Effect::Erase(erasure) => paths::erase(erasure),
        }?;
        visit("effect.after")
    }

    /// Takes it back, whether or not it was done.
    ///
    /// # Errors
    /// When the machine says no. It has to be tried again then.
    pub fn undo(&self, runtime: &Path) -> Result<(), MachineError> {
        visit("undo.before")?;
        match self {
            Effect::Mount(mount) | Effect::Relay(mount) => mounts::undo(mount),
            Effect::Helper(mount) => fuse::undo(mount, &place(runtime)),
            Effect::Image(image) => images::undo(image),
            Effect::Grow(_) | Effect::Erase(_) => Ok(()),
            Effect::Link(link) => links::undo(link),
            Effect::Change(change) => links::undo_change(change),
            Effect::Rules(rules) => nat::undo(rules),
            Effect::Secret(secret) => kept::undo(secret),
            Effect::Path(made) => paths::undo(made),
        }?;
        visit("undo.after")
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// When the machine does not tell.
    pub fn look(&self, runtime: &Path) -> Result<Presence, MachineError> {
        match self {
            Effect::Mount(mount) | Effect::Relay(mount) => mounts::look(mount),
            Effect::Helper(mount) => fuse::look(mount, &place(runtime)),
            Effect::Image(image) => images::look(image),
            Effect::Link(link) => links::look(link),
            Effect::Rules(rules) => nat::look(rules),
            Effect::Secret(secret) => kept::look(secret),
            Effect::Path(made) => paths::look(made),
            Effect::Grow(_) | Effect::Change(_) | Effect::Erase(_) => Ok(Presence::Present),
        }
    }

    /// Where a mount is.
    pub fn mount_point(&self) -> Option<&PathBuf> {
        match self {
            Effect::Mount(mount) | Effect::Relay(mount) => Some(&mount.point),
            Effect::Helper(mount) => Some(&mount.point),
            _ => None,
        }
    }

    /// Whether the other side of a mount, or the program that serves it, can die while the mount stays.
    pub fn can_die(&self) -> bool {
        match self {
            Effect::Helper(_) => true,
            Effect::Mount(mount) => matches!(
                mount.source,
                mounts::Source::Nfs { .. } | mounts::Source::Cifs { .. }
            ),
            _ => false,
        }
    }

    /// Whether a mount that does not answer may answer again by itself: it has a helper at work that connects again, and a server to connect to.
    ///
    /// # Errors
    /// When the helper waits for a server that cannot be reached, so that there is nothing to do now; or when the machine does not tell.
    pub fn may_come_back(&self, runtime: &Path) -> Result<bool, MachineError> {
        let Effect::Helper(mount) = self else {
            return Ok(false);
        };
        match fuse::returns(mount, &place(runtime))? {
            fuse::Return::Never => Ok(false),
            fuse::Return::Now => Ok(true),
            fuse::Return::Later(reason) => Err(MachineError::new(ErrorKind::Unreachable, reason)),
        }
    }

    /// Whether a mount shows this directory, or something in it, or the file.
    pub fn uses(&self, path: &Path) -> bool {
        let Effect::Mount(mount) = self else {
            return false;
        };
        match &mount.source {
            mounts::Source::Bind { root, beneath } => root.join(beneath).starts_with(path),
            mounts::Source::Disk { file, .. } => file == path,
            mounts::Source::Overlay { lower, upper, work } => {
                lower.iter().any(|layer| layer.starts_with(path))
                    || upper.starts_with(path)
                    || work.starts_with(path)
            }
            _ => false,
        }
    }

    /// One line for people. No secret is in a record, so none is in here.
    pub fn describe(&self) -> String {
        match self {
            Effect::Mount(mount) | Effect::Relay(mount) => {
                let what = match &mount.source {
                    mounts::Source::Bind { root, beneath } => {
                        root.join(beneath).display().to_string()
                    }
                    mounts::Source::Tmpfs { size, .. } => format!("tmpfs of {size} bytes"),
                    mounts::Source::Overlay { upper, .. } => {
                        format!("overlay over {}", upper.display())
                    }
                    mounts::Source::Disk { file, filesystem } => {
                        format!("{filesystem} in {}", file.display())
                    }
                    mounts::Source::Nfs { server, path, .. } => format!("nfs {server}:{path}"),
                    mounts::Source::Cifs { server, share, .. } => {
                        format!("cifs //{server}/{share}")
                    }
                };
                format!("{what} on {}", mount.point.display())
            }
            Effect::Helper(mount) => format!(
                "{} {} on {}",
                mount.program,
                mount.remote,
                mount.point.display()
            ),
            Effect::Image(image) => format!(
                "{} of {} bytes in {}",
                image.filesystem,
                image.size,
                image.file.display()
            ),
            Effect::Grow(growth) => {
                format!("{} grows to {} bytes", growth.file.display(), growth.to)
            }
            Effect::Link(link) => link.name.clone(),
            Effect::Change(change) => format!("a change of link {}", change.link()),
            Effect::Path(made) => made.path.display().to_string(),
            Effect::Erase(erasure) => {
                format!("{} with everything in it", erasure.made.path.display())
            }
            Effect::Rules(rules) => format!("{} packet rules, set {}", rules.rules.len(), rules.id),
            Effect::Secret(secret) => format!("kept in {}", secret.file.display()),
        }
    }
}

fn place(runtime: &Path) -> fuse::Place {
    fuse::Place {
        runtime: runtime.to_owned(),
    }
}

/// Whether Docker's directory of a relay is there. Making it would leave something of a plugin that Docker has removed.
fn dockers_own(mount: &mounts::Mount) -> Result<(), MachineError> {
    match mount.point.parent() {
        Some(directory) if directory.is_dir() => Ok(()),
        directory => Err(MachineError::new(
            ErrorKind::NotFound,
            format!(
                "Docker's directory {} is gone with the plugin that it belonged to",
                directory.unwrap_or(&mount.point).display()
            ),
        )),
    }
}

fn visit(point: &str) -> Result<(), MachineError> {
    failpoint::hit(point).map_err(|error| MachineError::io("change the machine", &error))
}
