//! The options that a volume takes: those of vieux/docker-volume-sshfs, and those of sshfs that the host lets through.

use std::fmt;

use dockside_driver::{
    Error, KeyValues, Result,
    options::{self, Declaration},
};
use serde::{Deserialize, Serialize};

/// What an option of sshfs takes.
#[derive(Clone, Copy)]
enum Takes {
    /// Nothing, or `true`, `yes`, `false`, `no`.
    Switch,
    /// A whole number in this range.
    Number(u32, u32),
    /// Permission bits in octal.
    Mode,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The name of a method of SSH's.
    Algorithm,
    /// Anything or nothing: it means nothing any more.
    Ignored,
}

struct Known {
    name: &'static str,
    takes: Takes,
    help: &'static str,
}

const fn known(name: &'static str, takes: Takes, help: &'static str) -> Known {
    Known { name, takes, help }
}

const YES_NO: Takes = Takes::OneOf(&["yes", "no"]);
const SECONDS: Takes = Takes::Number(0, 86_400);
const ID: Takes = Takes::Number(0, 0xffff_fffe);

/// Those that go to sshfs, or say how to mount. All that the host lets through is here.
const KNOWN: &[Known] = &[
    known("port", Takes::Number(1, 65_535), "Port of the server"),
    known(
        "allow_other",
        Takes::Switch,
        "Let in others than root in the container",
    ),
    known(
        "default_permissions",
        Takes::Switch,
        "Let the kernel check owners and modes",
    ),
    known(
        "reconnect",
        Takes::Switch,
        "Connect again when the connection is lost",
    ),
    known(
        "ServerAliveInterval",
        Takes::Number(0, 3600),
        "Seconds of silence before the server is asked whether it lives",
    ),
    known(
        "ServerAliveCountMax",
        Takes::Number(1, 1000),
        "How often it is asked before it counts as dead",
    ),
    known(
        "ConnectTimeout",
        Takes::Number(1, 60),
        "Seconds that connecting may take",
    ),
    known("uid", ID, "User ID that all files seem to belong to"),
    known("gid", ID, "Group ID that all files seem to belong to"),
    known(
        "umask",
        Takes::Mode,
        "Permission bits that all files seem to lack, in octal",
    ),
    known(
        "idmap",
        Takes::OneOf(&["none", "user"]),
        "Show the user of the login as the one who mounts",
    ),
    known("ro", Takes::Switch, "No writes"),
    known("noexec", Takes::Switch, "No programs are started from it"),
    known("noatime", Takes::Switch, "Reading changes no times"),
    known("compression", YES_NO, "Compress what is sent"),
    known("Compression", YES_NO, "The same, as ssh calls it"),
    known(
        "follow_symlinks",
        Takes::Switch,
        "The server follows symbolic links",
    ),
    known(
        "transform_symlinks",
        Takes::Switch,
        "Make absolute symbolic links relative",
    ),
    known(
        "no_contain_symlinks",
        Takes::Switch,
        "Let symbolic links lead out of the volume",
    ),
    known("disable_hardlink", Takes::Switch, "No hard links"),
    known("sshfs_sync", Takes::Switch, "Wait for each write"),
    known(
        "sync_readdir",
        Takes::Switch,
        "Wait for each part of a listing",
    ),
    known("no_readahead", Takes::Switch, "Read no further than asked"),
    known("direct_io", Takes::Switch, "Bypass the kernel's cache"),
    known(
        "kernel_cache",
        Takes::Switch,
        "Keep files in the kernel's cache",
    ),
    known(
        "auto_cache",
        Takes::Switch,
        "Keep them as long as they do not change",
    ),
    known("noauto_cache", Takes::Switch, "Do not"),
    known("dir_cache", YES_NO, "Keep names and attributes"),
    known(
        "dcache_max_size",
        Takes::Number(1, 10_000_000),
        "How many of them",
    ),
    known("dcache_timeout", SECONDS, "How long, in seconds"),
    known("dcache_stat_timeout", SECONDS, "How long attributes"),
    known(
        "dcache_link_timeout",
        SECONDS,
        "How long where symbolic links lead",
    ),
    known("dcache_dir_timeout", SECONDS, "How long names"),
    known("entry_timeout", SECONDS, "How long the kernel keeps names"),
    known(
        "negative_timeout",
        SECONDS,
        "How long it remembers that a name is not there",
    ),
    known("attr_timeout", SECONDS, "How long it keeps attributes"),
    known(
        "max_conns",
        Takes::Number(1, 64),
        "Connections to the server",
    ),
    known(
        "workaround",
        Takes::OneOf(&[
            "none",
            "rename",
            "renamexdev",
            "truncate",
            "buflimit",
            "fstat",
            "createmode",
        ]),
        "For servers that need it",
    ),
    known(
        "StrictHostKeyChecking",
        Takes::OneOf(&["yes", "accept-new", "no"]),
        "Whether the server's key must be known; accept-new remembers the first one",
    ),
    known(
        "AddressFamily",
        Takes::OneOf(&["any", "inet", "inet6"]),
        "IPv4 or IPv6",
    ),
    known("Ciphers", Takes::Algorithm, "Cipher"),
    known("MACs", Takes::Algorithm, "Message authentication code"),
    known("KexAlgorithms", Takes::Algorithm, "Key exchange"),
    known(
        "HostKeyAlgorithms",
        Takes::Algorithm,
        "Kind of the server's key",
    ),
    // What sshfs 3 calls otherwise, or has no need of.
    known("cache", YES_NO, "As dir_cache"),
    known("cache_timeout", SECONDS, "As dcache_timeout"),
    known("cache_stat_timeout", SECONDS, "As dcache_stat_timeout"),
    known("cache_link_timeout", SECONDS, "As dcache_link_timeout"),
    known("cache_dir_timeout", SECONDS, "As dcache_dir_timeout"),
    known(
        "cache_max_size",
        Takes::Number(1, 10_000_000),
        "As dcache_max_size",
    ),
    known(
        "nonempty",
        Takes::Ignored,
        "Without meaning: mount points are always empty",
    ),
    known(
        "big_writes",
        Takes::Ignored,
        "Without meaning: writes are always big",
    ),
    known("rw", Takes::Ignored, "Without meaning: it is the default"),
    known("nosuid", Takes::Ignored, "Without meaning: it is always so"),
    known("nodev", Takes::Ignored, "Without meaning: it is always so"),
];

/// What sshfs 3 calls an option.
fn today(name: &str) -> &str {
    match name {
        "Compression" => "compression",
        "cache" => "dir_cache",
        "cache_timeout" => "dcache_timeout",
        "cache_stat_timeout" => "dcache_stat_timeout",
        "cache_link_timeout" => "dcache_link_timeout",
        "cache_dir_timeout" => "dcache_dir_timeout",
        "cache_max_size" => "dcache_max_size",
        other => other,
    }
}

/// Options that go to sshfs or say how to mount, by the names that sshfs has for them today. The value of a switch that is on is empty, and
/// one that is off has `no`, so that a default of the operator's can be switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Chosen(KeyValues);

/// Those that are no options of sshfs.
const FLAGS: [&str; 3] = ["ro", "noexec", "noatime"];

impl Chosen {
    /// Adds one option after checking it. `whose` says where it was given.
    pub(crate) fn add(&mut self, whose: &str, name: &str, value: &str) -> Result<()> {
        let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
            return Err(unknown(whose, name));
        };
        let wrong =
            |wanted: &str| Error::invalid(format!("{whose} {name}={value}: {name} takes {wanted}"));
        let value = match known.takes {
            Takes::Ignored => return Ok(()),
            Takes::Switch => match value {
                "" | "true" | "yes" | "1" => "",
                "false" | "no" | "0" => "no",
                _ => return Err(wrong("no value, or true or false")),
            },
            Takes::Number(least, most) => {
                let fits = value.bytes().all(|byte| byte.is_ascii_digit())
                    && value
                        .parse()
                        .is_ok_and(|number: u32| (least..=most).contains(&number));
                match fits {
                    true => value,
                    false => return Err(wrong(&format!("a number from {least} to {most}"))),
                }
            }
            Takes::Mode => {
                let digits = value.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
                match digits && (1..=4).contains(&value.len()) {
                    true => value,
                    false => return Err(wrong("permission bits in octal such as 022")),
                }
            }
            Takes::OneOf(words) => match words.contains(&value) {
                true => value,
                false => return Err(wrong(&format!("one of {}", words.join(", ")))),
            },
            Takes::Algorithm => {
                let fits = value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"@.+-_".contains(&byte));
                match fits && !value.is_empty() {
                    true => value,
                    false => {
                        return Err(wrong(
                            "the name of one method, such as aes128-gcm@openssh.com",
                        ));
                    }
                }
            }
        };
        let name = today(name);
        match self.0.get(name) {
            Some(other) if other != value => Err(Error::invalid(format!(
                "{whose} {name} is given twice, with different values"
            ))),
            _ => {
                self.0.insert(name, value);
                Ok(())
            }
        }
    }

    /// The value of an option that is given and not off.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).filter(|value| !is_off(name, value))
    }

    /// Whether a switch is on.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// These with others laid over them.
    pub(crate) fn under(mut self, over: &Self) -> Self {
        for (name, value) in over.0.iter() {
            self.0.insert(name, value);
        }
        self
    }

    /// What sshfs is told.
    pub(crate) fn for_helper(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(name, value)| !FLAGS.contains(name) && !is_off(name, value))
    }
}

fn is_off(name: &str, value: &str) -> bool {
    let known = KNOWN.iter().find(|known| known.name == name);
    value == "no" && known.is_some_and(|known| matches!(known.takes, Takes::Switch))
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().filter(|(name, value)| !is_off(name, value));
        for (index, (name, value)) in shown.enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
            if !value.is_empty() {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

fn unknown(whose: &str, name: &str) -> Error {
    let close = KNOWN
        .iter()
        .map(|known| known.name)
        .filter(|known| known.eq_ignore_ascii_case(name) || distance(known, name) <= 2)
        .min_by_key(|known| distance(known, name));
    Error::invalid(match close {
        Some(close) => format!("{whose} {name} is not known; did you mean {close}?"),
        None => format!("{whose} {name} is not known or not allowed"),
    })
}

/// How many letters have to change to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, against) in row.iter_mut().skip(1).zip(other.chars()) {
            let changed = diagonal + usize::from(letter != against);
            diagonal = *cell;
            left = changed.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// What a user wishes.
#[derive(Default)]
pub(crate) struct Wish {
    pub(crate) sshcmd: String,
    pub(crate) password: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) hostkey: Option<String>,
    pub(crate) chosen: Chosen,
}

/// Options of the volume itself, which do not go to sshfs as they are.
pub(crate) const OWN: [&str; 4] = ["sshcmd", "password", "IdentityFile", "hostkey"];

const WHOSE: &str = "option";

/// Reads what was given with `-o`.
pub(crate) fn read(given: &KeyValues) -> Result<Wish> {
    let mut wish = Wish::default();
    for (name, value) in given.iter() {
        match name {
            "sshcmd" => wish.sshcmd = value.to_owned(),
            "password" => wish.password = Some(value.to_owned()).filter(|it| !it.is_empty()),
            "hostkey" => wish.hostkey = Some(value.to_owned()),
            // sshfs splits what it is given at commas, so that users write "idmap=user,uid=1000".
            _ => {
                let mut parts = value.split(',');
                wish.option(name, parts.next().unwrap_or_default())?;
                for part in parts.filter(|part| !part.is_empty()) {
                    let (name, value) = part.split_once('=').unwrap_or((part, ""));
                    wish.option(name, value)?;
                }
            }
        }
    }
    Ok(wish)
}

impl Wish {
    fn option(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "IdentityFile" => {
                self.identity = Some(value.to_owned());
                Ok(())
            }
            // Behind a comma it would be in the clear in the middle of another option.
            "password" | "sshcmd" | "hostkey" => Err(Error::invalid(format!(
                "option {name} must be given by itself: -o {name}=…"
            ))),
            // Where nothing is known, nothing has to be said about it.
            "UserKnownHostsFile" if value == "/dev/null" => Ok(()),
            _ => self.chosen.add(WHOSE, name, value),
        }
    }
}

/// The options for `dockside inspect`, and for the host to refuse others.
pub(crate) fn declare() -> Vec<Declaration> {
    let own = [
        options::volume("sshcmd")
            .required()
            .help("What to mount: user@host:/path"),
        options::volume("password")
            .secret()
            .help("Password of the user on the server, or @NAME for a secret of the operator's"),
        options::volume("IdentityFile")
            .help("Private key: a file that the operator granted, or @NAME for a secret"),
        options::volume("hostkey").help("The server's own key, as in: ssh-ed25519 AAAA…"),
        options::volume("UserKnownHostsFile").help("Without meaning: only /dev/null"),
    ];
    // Text, whatever they take: "idmap=user,uid=1000" is more than one.
    let rest = KNOWN
        .iter()
        .map(|known| options::volume(known.name).help(known.help));
    own.into_iter().chain(rest).collect()
}
