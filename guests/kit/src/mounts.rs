//! Mounts (`dockside:host/mounts`). Needs the grant `mounts`.
//!
//! ```
//! use dockside_driver::mounts::{self, Flags, Tmpfs};
//!
//! let place = mounts::mount("cache", Tmpfs::new(64 << 20).mode(0o700), Flags::default())?;
//! assert_eq!(mounts::open("cache")?.key(), place.key());
//! mounts::unmount("cache")?;
//! # Ok::<(), dockside_driver::Error>(())
//! ```
//!
//! A mount is known by a key: any text. The host makes the mount point. What a call mounts is unmounted again if the call fails, and what it
//! unmounts stays mounted until the call has succeeded. A mount outlives the call and a restart of the daemon, but not the machine: see
//! [`Reconcile`](crate::Reconcile). Everything is mounted `nodev` and `nosuid` unless the operator granted otherwise.

use crate::{Directory, Image, KeyValues, Result, Secret, directories::Attributes, sys};

/// How to mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// No writes.
    pub read_only: bool,
    /// No programs are started from it.
    pub no_exec: bool,
    /// Reading a file does not change its time of access.
    pub no_atime: bool,
    /// Set-user-ID programs work. Needs `suid` in the grant.
    pub allow_suid: bool,
    /// Device files work. Needs `dev` in the grant.
    pub allow_dev: bool,
}

/// What to mount. Made of what stands for it: a [`Directory`], an [`Image`], a [`Tmpfs`] and so on are each taken as they are.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// A directory of the plugin's own, once more in another place.
    Directory(&'a Directory),
    /// A directory of the machine, by its absolute path. Needs `host-paths` in the grant.
    HostPath(String),
    /// A file system in memory.
    Tmpfs(Tmpfs),
    /// Layers.
    Overlay(Overlay<'a>),
    /// A disk image, through a loop device.
    Image(&'a Image),
    /// NFS.
    Nfs(Nfs),
    /// SMB.
    Cifs(Cifs<'a>),
    /// A helper program.
    Helper(Helper<'a>),
}

/// A file system in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Its limit in bytes.
    pub size: u64,
    /// Its limit in files; none is the kernel's.
    pub inodes: Option<u64>,
    /// Owner of its root; none is the daemon's user.
    pub uid: Option<u32>,
    /// Group of its root.
    pub gid: Option<u32>,
    /// Permission bits of its root; none is `0o1777`.
    pub mode: Option<u32>,
}

impl Tmpfs {
    /// One that takes at most this many bytes.
    pub const fn new(size: u64) -> Self {
        Self {
            size,
            inodes: None,
            uid: None,
            gid: None,
            mode: None,
        }
    }

    /// It takes at most this many files.
    #[must_use]
    pub const fn inodes(mut self, count: u64) -> Self {
        self.inodes = Some(count);
        self
    }

    /// Its root belongs to this user and this group.
    #[must_use]
    pub const fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (Some(uid), Some(gid));
        self
    }

    /// Its root has these permission bits.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }
}

/// Layers of directories that look like one.
#[derive(Clone, Debug)]
pub struct Overlay<'a> {
    /// Read-only layers, the topmost first.
    pub lower: Vec<&'a Directory>,
    /// Where changes go.
    pub upper: &'a Directory,
    /// An empty directory on the same file system as `upper`, for the kernel's own use.
    pub work: &'a Directory,
}

impl<'a> Overlay<'a> {
    /// Layers below `upper`; they follow with [`lower`](Self::lower). `work` is an empty directory on the same file system as `upper`.
    pub const fn new(upper: &'a Directory, work: &'a Directory) -> Self {
        Self {
            lower: Vec::new(),
            upper,
            work,
        }
    }

    /// One read-only layer more, below those that were added before.
    #[must_use]
    pub fn lower(mut self, layer: &'a Directory) -> Self {
        self.lower.push(layer);
        self
    }
}

/// An NFS export, mounted by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nfs {
    /// Host name or address.
    pub server: String,
    /// The exported path.
    pub path: String,
    /// `3`, `4`, `4.1` or `4.2`.
    pub version: String,
    /// Further mount options from the host's list of harmless ones.
    pub options: KeyValues,
}

impl Nfs {
    /// This path of this server, with NFS 4.2.
    pub fn new(server: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            path: path.into(),
            version: "4.2".into(),
            options: KeyValues::new(),
        }
    }

    /// Another version: `3`, `4` or `4.1`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// One mount option more. The value of one that takes none is empty.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl std::fmt::Display) -> Self {
        self.options.insert(name, value);
        self
    }
}

/// A share of an SMB server, mounted by the kernel.
#[derive(Clone, Debug)]
pub struct Cifs<'a> {
    /// Host name or address.
    pub server: String,
    /// The share, with or without a path below it.
    pub share: String,
    /// Who logs in; none is a guest.
    pub username: Option<String>,
    /// The user's domain.
    pub domain: Option<String>,
    /// The password.
    pub password: Option<&'a Secret>,
    /// Further mount options from the host's list of harmless ones.
    pub options: KeyValues,
}

impl<'a> Cifs<'a> {
    /// This share of this server, for a guest.
    pub fn new(server: impl Into<String>, share: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            share: share.into(),
            username: None,
            domain: None,
            password: None,
            options: KeyValues::new(),
        }
    }

    /// This user logs in, with this password.
    #[must_use]
    pub fn login(mut self, username: impl Into<String>, password: &'a Secret) -> Self {
        self.username = Some(username.into());
        self.password = Some(password);
        self
    }

    /// The user's domain.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// One mount option more. The value of one that takes none is empty.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl std::fmt::Display) -> Self {
        self.options.insert(name, value);
        self
    }
}

/// A file system in user space, served by one of the helper programs that the host knows.
#[derive(Clone, Debug)]
pub struct Helper<'a> {
    /// `sshfs`, `s3fs` or `rclone`.
    pub program: String,
    /// What it mounts, as that program writes it.
    pub remote: String,
    /// Options from the host's list for that program.
    pub options: KeyValues,
    /// Secrets by their role for that program.
    pub secrets: Vec<(String, &'a Secret)>,
    /// What a secret can be for and need not be one, by its role.
    pub texts: KeyValues,
}

impl<'a> Helper<'a> {
    /// This program (`sshfs`, `s3fs` or `rclone`) mounts this remote place.
    pub fn new(program: impl Into<String>, remote: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            remote: remote.into(),
            options: KeyValues::new(),
            secrets: Vec::new(),
            texts: KeyValues::new(),
        }
    }

    /// One option more. The value of one that takes none is empty.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl std::fmt::Display) -> Self {
        self.options.insert(name, value);
        self
    }

    /// One secret more, by its role: `password`, `identity`, `known-hosts` or `credentials`.
    #[must_use]
    pub fn secret(mut self, role: impl Into<String>, secret: &'a Secret) -> Self {
        self.secrets.push((role.into(), secret));
        self
    }

    /// What would be a secret of this role and need not be one: `known-hosts`.
    #[must_use]
    pub fn text(mut self, role: impl Into<String>, text: impl std::fmt::Display) -> Self {
        self.texts.insert(role, text);
        self
    }
}

macro_rules! sources {
    ($($variant:ident: $type:ty,)*) => {
        $(impl<'a> From<$type> for Source<'a> {
            fn from(source: $type) -> Self {
                Self::$variant(source)
            }
        })*
    };
}

sources! {
    Directory: &'a Directory,
    Tmpfs: Tmpfs,
    Overlay: Overlay<'a>,
    Image: &'a Image,
    Nfs: Nfs,
    Cifs: Cifs<'a>,
    Helper: Helper<'a>,
}

/// How a mount does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    #[default]
    Alive,
    /// It does not answer, or answers with errors.
    Degraded,
    /// It is not there any more.
    Gone,
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Alive => "alive",
            Self::Degraded => "degraded",
            Self::Gone => "gone",
        })
    }
}

/// A mount of this plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// The key that it was made under.
    pub key: String,
    /// How it did when the host looked last.
    pub health: Health,
}

/// A directory of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// Whether it was made just now. It is held under the key then, and nothing is if it was there.
    pub made: bool,
    /// Whether [`remove_path`] can remove it with what is in it. Some file systems, such as NFS, do not keep the mark that this takes.
    pub removable: bool,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// Makes sure that there is a directory at an absolute path of the machine, for [`Source::HostPath`]. One that is there is left as it is; else
/// it is made with its parents. Needs `host-paths` in the grant, and to make one `make-paths`. Symbolic links are refused.
pub fn make_path(key: &str, path: &str, attributes: Attributes) -> Result<PathInfo> {
    sys::make_path(key, path, attributes)
}

/// Lets go of a directory that was made under this key: it stays, and becomes somebody else's.
pub fn keep_path(key: &str) -> Result<()> {
    sys::keep_path(key)
}

/// Removes a directory that was made under this key, with everything in it, once the call has succeeded. Refused while anything is mounted in
/// it, or if another one is in its place.
pub fn remove_path(key: &str) -> Result<()> {
    sys::remove_path(key)
}

/// Mounts and returns the mount point. There must be no mount of that key.
pub fn mount<'a>(key: &str, source: impl Into<Source<'a>>, flags: Flags) -> Result<Directory> {
    sys::mount(key, &source.into(), flags).map(Directory)
}

/// The mount point of a mount. There must be one of that key: the error is `not-found` otherwise.
pub fn open(key: &str) -> Result<Directory> {
    sys::open_mount(key).map(Directory)
}

/// Unmounts, once the call has succeeded.
pub fn unmount(key: &str) -> Result<()> {
    sys::unmount(key)
}

/// All mounts of this plugin, sorted by key.
pub fn list() -> Result<Vec<MountInfo>> {
    Ok(sys::mounts())
}
