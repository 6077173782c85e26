//! The grant `mounts`: what may be mounted, and from where.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::place::{Export, HostPath, Remote, Rule, Share, allowed};
use super::refusal::{Refusal, quoted, shown};
use super::{KIB, TIB};
use crate::config::units::{self, show_size};

const TABLE: &str = "grants.mounts";

/// The grant `mounts` (`dockside:host/mounts`). The default is an empty table: directories of the plugin's own can be mounted elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: mounts = { tmpfs = \"64MiB\" }"
)]
pub struct Mounts {
    /// Mounts held at once.
    #[serde(deserialize_with = "units::count::<_, 1, 100_000>")]
    pub max: u32,
    /// Whether directories of the plugin's own may be mounted elsewhere: by bind or overlay.
    pub binds: bool,
    /// The largest size of one tmpfs in bytes; none is no tmpfs.
    #[serde(deserialize_with = "tmpfs")]
    pub tmpfs: Option<u64>,
    /// Directories of the machine that may be mounted, with everything below.
    pub host_paths: Vec<HostPath>,
    /// Whether missing directories may be made there, and removed again.
    pub make_paths: bool,
    /// Exports of NFS servers that may be mounted, with everything below.
    pub nfs: Vec<Rule<Export>>,
    /// Shares of SMB servers that may be mounted, with everything below.
    pub cifs: Vec<Rule<Share>>,
    /// The FUSE helpers that may be run, and what they may reach.
    #[serde(deserialize_with = "helpers")]
    pub helpers: Helpers,
    /// Whether set-user-ID programs on what is mounted are honoured.
    pub suid: bool,
    /// Whether device files on what is mounted are honoured.
    pub dev: bool,
    /// What happens to a mount that no longer answers.
    pub on_dead: OnDead,
    /// How often mounts are asked whether they answer.
    #[serde(deserialize_with = "units::span::<_, 1_000, 3_600_000>")]
    pub probe_every: Duration,
}

impl Default for Mounts {
    fn default() -> Self {
        Self {
            max: 1000,
            binds: true,
            tmpfs: None,
            host_paths: Vec::new(),
            make_paths: false,
            nfs: Vec::new(),
            cifs: Vec::new(),
            helpers: Helpers::default(),
            suid: false,
            dev: false,
            on_dead: OnDead::default(),
            probe_every: Duration::from_secs(30),
        }
    }
}

/// What each FUSE helper may reach. A helper without an entry may not be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Helpers {
    /// `user@host:/path`.
    pub sshfs: Vec<Rule<Remote>>,
    /// `bucket` or `bucket:/path`.
    pub s3fs: Vec<Rule<Remote>>,
    /// `remote:path`, where `remote` is in rclone's own configuration.
    pub rclone: Vec<Rule<Remote>>,
}

/// What happens to a mount that no longer answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDead {
    /// It is mounted again.
    Remount,
    /// It is taken away, lazily.
    Unmount,
    /// It is shown, and nothing else.
    #[default]
    Alert,
}

impl Mounts {
    /// Whether one more may be mounted by a plugin that holds `held`.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_add(&self, held: u64) -> Result<(), Refusal> {
        super::room("mounts", held, self.max, TABLE)
    }

    /// Whether directories of the plugin's own may be mounted elsewhere, by bind or overlay.
    ///
    /// # Errors
    /// When they may not.
    pub fn may_bind(&self) -> Result<(), Refusal> {
        super::switch(
            self.binds,
            "may not mount its own directories elsewhere",
            "binds",
            TABLE,
        )
    }

    /// Whether a directory of the machine may be mounted. Symbolic links in the path are for the caller to refuse.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_bind_host(&self, path: &Path) -> Result<(), Refusal> {
        let deed = format!("may not mount {}", shown(&path.to_string_lossy()));
        let wanted: HostPath = match path.to_str().ok_or("the path is not UTF-8".to_owned()) {
            Ok(text) => text
                .parse()
                .map_err(|reason: String| Refusal::invalid(deed.clone(), shown(&reason)))?,
            Err(reason) => return Err(Refusal::invalid(deed, reason)),
        };
        if self.host_paths.iter().any(|path| path.covers(&wanted)) {
            return Ok(());
        }
        Err(Refusal::add(deed, &wanted.to_string(), "host-paths", TABLE))
    }

    /// Whether a directory may be made at a path that may be mounted.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_make(&self, path: &Path) -> Result<(), Refusal> {
        let deed = format!(
            "may not make the directory {}",
            shown(&path.to_string_lossy())
        );
        super::switch(self.make_paths, &deed, "make-paths", TABLE)
    }

    /// Whether a tmpfs of `size` bytes may be mounted.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_tmpfs(&self, size: u64) -> Result<(), Refusal> {
        let deed = format!("may not mount a tmpfs of {}", show_size(size));
        if size == 0 {
            return Err(Refusal::invalid(deed, "a tmpfs of size 0 has no limit"));
        }
        if size > MAX_TMPFS {
            let most = format!("at most {} can be granted", show_size(MAX_TMPFS));
            return Err(Refusal::invalid(deed, most));
        }
        let line = format!("tmpfs = {}", quoted(&show_size(size.max(MIN_TMPFS))));
        match self.tmpfs {
            Some(largest) if size <= largest => Ok(()),
            Some(_) => Err(Refusal::limit(deed, line, TABLE)),
            None => Err(Refusal::set(deed, line, TABLE)),
        }
    }

    /// Whether a directory of an NFS server may be mounted. An IPv6 address can be in brackets or without.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_nfs(&self, server: &str, path: &str) -> Result<(), Refusal> {
        let deed = format!(
            "may not mount {} of the NFS server {}",
            shown(path),
            shown(server)
        );
        let wanted = Export::new(server, path)
            .map_err(|reason| Refusal::invalid(deed.clone(), shown(&reason)))?;
        if allowed(&self.nfs, |export| export.covers(&wanted)) {
            return Ok(());
        }
        Err(Refusal::add(deed, &wanted.to_string(), "nfs", TABLE))
    }

    /// Whether a share of an SMB server, or a directory in one (`share/directory`), may be mounted.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_cifs(&self, server: &str, path: &str) -> Result<(), Refusal> {
        let deed = format!(
            "may not mount {} of the SMB server {}",
            shown(path),
            shown(server)
        );
        let wanted = Share::new(server, path)
            .map_err(|reason| Refusal::invalid(deed.clone(), shown(reason)))?;
        if allowed(&self.cifs, |share| share.covers(&wanted)) {
            return Ok(());
        }
        Err(Refusal::add(deed, &wanted.to_string(), "cifs", TABLE))
    }

    /// Whether a helper program may mount `remote`, written as the helper takes it.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_helper(&self, program: &str, remote: &str) -> Result<(), Refusal> {
        let deed = format!("may not mount {} with {}", shown(remote), shown(program));
        let invalid = |reason: &str| Refusal::invalid(deed.clone(), shown(reason));
        let rules = match program {
            "sshfs" => &self.helpers.sshfs,
            "s3fs" => &self.helpers.s3fs,
            "rclone" => &self.helpers.rclone,
            _ => return Err(invalid("the helpers are sshfs, s3fs and rclone")),
        };
        let wanted: Remote = remote.parse().map_err(|reason: String| invalid(&reason))?;
        if program == "s3fs" {
            if wanted.is_relative() {
                return Err(invalid("the path in a bucket begins with /"));
            }
        } else if !wanted.has_colon() {
            // rclone would take it for a directory of this machine.
            return Err(invalid("there is no colon behind the name of the remote"));
        }
        if allowed(rules, |remote| remote.covers(&wanted)) {
            return Ok(());
        }
        let key = format!("helpers.{program}");
        Err(Refusal::add(deed, &wanted.to_string(), &key, TABLE))
    }

    /// Whether a helper may be sent to a server that the remote does not name: s3fs takes a bucket, and the server by an option. Credentials go
    /// there, so a grant of buckets alone does not cover it.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_choose_server(&self, program: &str, server: &str) -> Result<(), Refusal> {
        let rules = match program {
            "s3fs" => &self.helpers.s3fs,
            _ => return Ok(()),
        };
        if rules.iter().any(|rule| matches!(rule, Rule::Any)) {
            return Ok(());
        }
        let deed = format!("may not send {program} to {}", shown(server));
        Err(Refusal::add(deed, "*", "helpers.s3fs", TABLE))
    }

    /// Whether set-user-ID programs may be honoured.
    ///
    /// # Errors
    /// When they may not.
    pub fn may_suid(&self) -> Result<(), Refusal> {
        super::switch(
            self.suid,
            "may not mount anything without nosuid",
            "suid",
            TABLE,
        )
    }

    /// Whether device files may be honoured.
    ///
    /// # Errors
    /// When they may not.
    pub fn may_dev(&self) -> Result<(), Refusal> {
        super::switch(
            self.dev,
            "may not mount anything without nodev",
            "dev",
            TABLE,
        )
    }
}

/// A page: the kernel rounds up to it.
const MIN_TMPFS: u64 = 4 * KIB;
const MAX_TMPFS: u64 = TIB;

fn tmpfs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    units::size::<D, MIN_TMPFS, MAX_TMPFS>(deserializer).map(Some)
}

/// Serde would take a list for the fields in their order.
fn helpers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Helpers, D::Error> {
    struct Table;
    impl<'de> Visitor<'de> for Table {
        type Value = Helpers;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a table: helpers = { sshfs = [\"user@host:/path\"], s3fs = [\"bucket\"], rclone = [\"*\"] }",
            )
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Helpers, A::Error> {
            Helpers::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_map(Table)
}
