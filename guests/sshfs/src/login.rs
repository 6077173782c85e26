//! How to log in: by a password in the host's keeping, by a secret of the operator's, or by a key in a file.

use dockside_driver::{
    Error, ErrorCode, Result,
    secrets::{self, Secret},
};
use serde::{Deserialize, Serialize};

use crate::{options::Wish, settings};

/// How to log in. No secret is in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Login {
    /// By the password that the user gave with the volume.
    Password,
    /// By a password of the operator's, by its name.
    PasswordOf(String),
    /// By a private key of the operator's, by its name.
    Key(String),
    /// By a private key of the operator's, by its file.
    KeyIn(String),
}

/// The longest password that sshfs takes whole, in bytes.
const LONGEST: usize = 1000;

/// Keys that ssh would try by itself, in its order (ssh_config(5), "IdentityFile").
const USUAL: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

impl Login {
    /// What a user chose, or the operator's default, checked as far as it can be without the server.
    pub(crate) fn choose(wish: &Wish) -> Result<Self> {
        let login = match (&wish.password, &wish.identity) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "options password and IdentityFile: one of them is enough, and it has to be clear which",
                ));
            }
            (Some(password), None) => match password.strip_prefix('@') {
                Some(name) if !name.starts_with('@') => Self::PasswordOf(name.to_owned()),
                _ => {
                    let fits = password.len() <= LONGEST && !password.chars().any(char::is_control);
                    if !fits {
                        return Err(Error::invalid(format!(
                            "option password: it has to be one line of at most {LONGEST} bytes"
                        )));
                    }
                    return Ok(Self::Password);
                }
            },
            (None, Some(key)) => Self::by_key(key)?,
            (None, None) => Self::usual()?,
        };
        // Refused now, and not when a container starts.
        login.open("").map(|_| login)
    }

    fn by_key(key: &str) -> Result<Self> {
        if let Some(name) = key.strip_prefix('@') {
            return Ok(Self::Key(name.to_owned()));
        }
        let path = settings::key_path(key)?;
        if !path.starts_with('/') {
            return Err(Error::invalid(format!(
                "option IdentityFile={key}: say an absolute path such as /root/.ssh/id_ed25519, or @NAME for a secret of the operator's"
            )));
        }
        Ok(Self::KeyIn(path))
    }

    /// Where the user says nothing.
    fn usual() -> Result<Self> {
        if let Some(key) = settings::text("IdentityFile")? {
            return Self::by_key(&key);
        }
        if let Some(password) = settings::text("password")? {
            return match password.strip_prefix('@') {
                Some(name) => Ok(Self::PasswordOf(name.to_owned())),
                None => Err(Error::invalid(
                    "password under [config]: only @NAME is allowed there, the name of a secret under [secrets]",
                )),
            };
        }
        let mut refusal = None;
        if settings::keys()?.is_some() {
            for name in USUAL {
                let path = settings::key_path(&format!("/root/.ssh/{name}"))?;
                match secrets::open_file(&path) {
                    Ok(_) => return Ok(Self::KeyIn(path)),
                    Err(error) => refusal = Some(error),
                }
            }
        }
        Err(match refusal {
            Some(refusal) => refusal.context("no password, and no key to log in with"),
            None => Error::invalid(
                "how to log in? Say -o password=… or -o IdentityFile=…, or put IdentityFile = \"@NAME\" under [config]",
            ),
        })
    }

    /// The secret that it takes. `volume` is the name of the volume.
    pub(crate) fn open(&self, volume: &str) -> Result<Secret> {
        match self {
            Self::Password => secrets::kept(volume).map_err(|error| match error.code() {
                // Not found would make the engine forget the volume.
                ErrorCode::NotFound => Error::unavailable(
                    "the password of this volume is not kept any more; remove the volume and create it again, which leaves everything on the server as it is",
                ),
                _ => error,
            }),
            Self::PasswordOf(name) | Self::Key(name) => secrets::open(name),
            Self::KeyIn(path) => secrets::open_file(path),
        }
    }

    /// What the secret is for sshfs.
    pub(crate) fn role(&self) -> &'static str {
        match self {
            Self::Password | Self::PasswordOf(_) => "password",
            Self::Key(_) | Self::KeyIn(_) => "identity",
        }
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Password => {
                "a password, which dockside keeps and Docker shows under Options: password=@NAME would not show it".to_owned()
            }
            Self::PasswordOf(name) => format!("the password @{name}"),
            Self::Key(name) => format!("the key @{name}"),
            Self::KeyIn(path) => format!("the key in {path}"),
        }
    }

    /// Destroys what was kept for the volume.
    pub(crate) fn forget(&self, volume: &str) -> Result<()> {
        match self {
            Self::Password => crate::unless_missing(secrets::forget(volume)).map(drop),
            _ => Ok(()),
        }
    }
}

/// Gives the password of a new volume into the host's keeping, if it is one and not the name of one.
pub(crate) fn keep(volume: &str, password: &str) -> Result<()> {
    let password = match password.strip_prefix('@') {
        Some(rest) if rest.starts_with('@') => rest,
        Some(_) => return Ok(()),
        None => password,
    };
    secrets::keep(volume, password.as_bytes())
        .map(drop)
        .map_err(|error| {
            error.context(
                "option password: say password=@NAME for a secret of the operator's, or have the operator let dockside keep it",
            )
        })
}
