//! What there is to know about one helper program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::FuseMount;
use super::options::{self, Chosen, Known, invalid, shown};
use crate::machine::{MachineError, kept};

/// What says which host and port a helper connects to again.
type ReturnsTo = fn(&FuseMount, &[Chosen]) -> Option<(String, u16)>;

/// A helper program that is known.
#[derive(Debug)]
pub(super) struct Helper {
    /// Its name, and that of its executable.
    pub(super) program: &'static str,
    /// The Debian package that has it.
    pub(super) package: &'static str,
    /// Other executables that it needs, with their packages.
    pub(super) needs: &'static [(&'static str, &'static str)],
    /// What may be set, and how.
    pub(super) options: &'static [Known],
    /// What secrets can be for.
    pub(super) roles: &'static [&'static str],
    /// What texts can be for that are no secrets.
    pub(super) texts: &'static [&'static str],
    /// Whether it keeps data of files on disk while it works.
    pub(super) caches: bool,
    /// Checks what the tables cannot say, without secrets.
    pub(super) check: fn(&FuseMount, &[Chosen]) -> Result<(), MachineError>,
    /// The host that it connects to, and the port where it is not the usual one.
    pub(super) server: fn(&FuseMount, &[Chosen]) -> Result<Option<String>, MachineError>,
    /// The host and the port that it connects to again by itself when the connection was lost; none for a helper that does not, or gives up.
    pub(super) returns_to: ReturnsTo,
    /// A file that was closed and is only in the cache as yet, for a helper that writes it to the server later.
    pub(super) unwritten: fn(&Path) -> Option<PathBuf>,
    /// How it is started.
    pub(super) plan: fn(&Request<'_>) -> Result<Plan, MachineError>,
}

/// All helpers.
pub(super) const HELPERS: [&Helper; 3] = [
    &super::sshfs::HELPER,
    &super::s3fs::HELPER,
    &super::rclone::HELPER,
];

/// The helper of this name.
pub(super) fn find(program: &str) -> Result<&'static Helper, MachineError> {
    HELPERS
        .into_iter()
        .find(|helper| helper.program == program)
        .ok_or_else(|| {
            let names: Vec<_> = HELPERS.iter().map(|helper| helper.program).collect();
            invalid(format!(
                "{} is not a known helper for mounts; there are {}",
                shown(program),
                names.join(", ")
            ))
        })
}

impl Helper {
    /// Checks a mount without touching anything.
    pub(super) fn chosen(&self, mount: &FuseMount) -> Result<Vec<Chosen>, MachineError> {
        let chosen = options::check(self.program, self.options, &mount.options)?;
        for (index, (role, name)) in mount.secrets.iter().enumerate() {
            if !self.roles.contains(&role.as_str()) {
                return Err(invalid(format!(
                    "{} has no use for a secret as {}; it takes {}",
                    self.program,
                    shown(role),
                    self.roles.join(", ")
                )));
            }
            if mount
                .secrets
                .iter()
                .take(index)
                .any(|(other, _)| other == role)
            {
                return Err(invalid(format!(
                    "{}: two secrets are given as {role}",
                    self.program
                )));
            }
            if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
                return Err(invalid(format!(
                    "{}: {} is not the name of a secret",
                    self.program,
                    shown(name)
                )));
            }
        }
        for (index, (role, _)) in mount.texts.iter().enumerate() {
            if !self.texts.contains(&role.as_str()) {
                return Err(invalid(format!(
                    "{} has no use for a text as {}{}",
                    self.program,
                    shown(role),
                    match self.texts {
                        [] => String::new(),
                        roles => format!("; it takes {}", roles.join(", ")),
                    }
                )));
            }
            let secrets = mount.secrets.iter().map(|(other, _)| other);
            let before = mount.texts.iter().take(index).map(|(other, _)| other);
            if secrets.chain(before).any(|other| other == role) {
                return Err(invalid(format!("{}: {role} is given twice", self.program)));
            }
        }
        (self.check)(mount, &chosen)?;
        Ok(chosen)
    }
}

/// What a plan is made from.
pub(super) struct Request<'a> {
    pub(super) mount: &'a FuseMount,
    pub(super) chosen: Vec<Chosen>,
    /// Values by role.
    pub(super) secrets: BTreeMap<&'a str, Zeroizing<Vec<u8>>>,
    /// Where files of this mount go: root-only, in memory.
    pub(super) directory: &'a Path,
    /// Where the helper may keep data of files, on disk.
    pub(super) cache: &'a Path,
    /// Where to mount.
    pub(super) point: &'a Path,
    /// How long connecting may take, in seconds.
    pub(super) connect: u64,
    /// Hides a password as rclone wants it in its configuration.
    pub(super) obscure: &'a dyn Fn(&str) -> Result<Zeroizing<String>, MachineError>,
}

impl Request<'_> {
    /// The secret for a role, as one line of text without the newline that editors leave at the end.
    pub(super) fn line(&self, role: &str) -> Result<Option<Zeroizing<String>>, MachineError> {
        let Some(bytes) = self.secrets.get(role) else {
            return Ok(None);
        };
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => {
                Ok(Some(Zeroizing::new(text.to_owned())))
            }
            _ => Err(self.unfit(role, "must be one line of text")),
        }
    }

    /// The secret for a role, as a file of lines.
    pub(super) fn lines(&self, role: &str) -> Result<Option<Zeroizing<Vec<u8>>>, MachineError> {
        let text = self.mount.texts.iter().find(|(other, _)| other == role);
        let bytes = match (self.secrets.get(role), text) {
            (Some(bytes), _) => bytes.as_slice(),
            (None, Some((_, text))) => text.as_bytes(),
            (None, None) => return Ok(None),
        };
        if bytes.trim_ascii().is_empty() || bytes.contains(&0) {
            return Err(self.unfit(role, "must be a text file"));
        }
        let mut bytes = Zeroizing::new(bytes.to_vec());
        // OpenSSH does not read a key whose last line has no end.
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        Ok(Some(bytes))
    }

    /// Says what is wrong with a secret, and not what is in it.
    pub(super) fn unfit(&self, role: &str, wanted: &str) -> MachineError {
        let name = self
            .mount
            .secrets
            .iter()
            .find(|(other, _)| other == role)
            .map(|(_, name)| name.as_str());
        let program = &self.mount.program;
        invalid(match name {
            // That name is the host's own.
            Some(name) if kept::id_in(name).is_none() => {
                format!("the secret {name:?}, which {program} takes as {role}, {wanted}")
            }
            _ => format!("what {program} was given as {role} {wanted}"),
        })
    }
}

/// How a helper is started.
#[derive(Default)]
pub(super) struct Plan {
    /// Its arguments, without a secret.
    pub(super) arguments: Vec<OsString>,
    /// What it reads from its standard input.
    pub(super) input: Option<Zeroizing<Vec<u8>>>,
    /// Files that it reads.
    pub(super) files: Vec<(PathBuf, Zeroizing<Vec<u8>>)>,
    /// Arguments for a run before, which says what the mount itself would only write into its log.
    pub(super) rehearsal: Option<Vec<OsString>>,
    /// A file into which it writes keys of servers that it takes for good.
    pub(super) learns: Option<PathBuf>,
    /// What must not be told in an error.
    pub(super) hidden: Vec<Zeroizing<String>>,
}

impl Plan {
    /// Adds a file below the directory of the mount and returns its path.
    pub(super) fn file(
        &mut self,
        request: &Request<'_>,
        name: &str,
        content: Zeroizing<Vec<u8>>,
    ) -> PathBuf {
        let path = request.directory.join(name);
        self.files.push((path.clone(), content));
        path
    }
}

/// What an S3 server is logged in to with.
pub(super) struct KeyPair {
    pub(super) access: Zeroizing<String>,
    pub(super) secret: Zeroizing<String>,
}

/// The secret `credentials`, `ACCESS:SECRET` as s3fs has it.
pub(super) fn key_pair(request: &Request<'_>) -> Result<Option<KeyPair>, MachineError> {
    let Some(line) = request.line("credentials")? else {
        return Ok(None);
    };
    let fits = |part: &str| {
        !part.is_empty() && part.len() <= 1024 && part.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match line.split_once(':') {
        Some((access, secret)) if fits(access) && fits(secret) => Ok(Some(KeyPair {
            access: Zeroizing::new(access.to_owned()),
            secret: Zeroizing::new(secret.to_owned()),
        })),
        _ => Err(request.unfit(
            "credentials",
            "must have the form ACCESS-KEY:SECRET-KEY, without blanks",
        )),
    }
}
