//! Files of the machine by one word: `SET/NAME`.

use std::{fmt, str::FromStr};

use dockside_driver::{Error, Refusal, Result, files};
use serde::{Deserialize, Serialize};

/// A file, or a directory with everything below it, in a set that the operator grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The name of the set, under `read` in the grant `files`.
    pub set: String,
    /// The name in the set; empty for all of it.
    pub name: String,
}

impl FromStr for Place {
    type Err = Error;

    /// `SET` or `SET/NAME`. A path below `/opa`, where opa-docker-authz has the machine's `/etc/docker`, is one in the set `opa` if the
    /// operator grants such a set, and else as if `/opa/` were not there.
    fn from_str(text: &str) -> Result<Self> {
        let plain = text.strip_prefix("./").unwrap_or(text);
        if let Some(inside) = plain.strip_prefix("/opa/") {
            return if is_granted("opa") || !inside.contains('/') {
                Ok(Self {
                    set: "opa".to_owned(),
                    name: inside.to_owned(),
                })
            } else {
                inside.parse()
            };
        }
        if plain.is_empty() || plain.starts_with('/') {
            return Err(Error::invalid(format!(
                "{text:?} is no file that this driver can see: write SET/NAME, where SET is granted by `[grants.files] read = {{ SET = \"/directory\" }}`"
            )));
        }
        let (set, name) = plain.split_once('/').unwrap_or((plain, ""));
        Ok(Self {
            set: set.to_owned(),
            name: name.trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.set)?;
        if !self.name.is_empty() {
            write!(f, "/{}", self.name)?;
        }
        Ok(())
    }
}

fn is_granted(set: &str) -> bool {
    match files::stamp(set) {
        Ok(_) => true,
        Err(error) => error.refusal() != Some(Refusal::NotGranted),
    }
}

impl Place {
    /// A number that is another one whenever anything in the set has changed.
    pub fn stamp(&self) -> Result<u64> {
        files::stamp(&self.set).map_err(|error| error.context(self))
    }

    /// The file.
    pub fn read(&self) -> Result<Vec<u8>> {
        files::read(&self.set, &self.name).map_err(|error| error.context(self))
    }

    /// The file, which has to be text.
    pub fn read_text(&self) -> Result<String> {
        String::from_utf8(self.read()?)
            .map_err(|error| Error::invalid(format!("{self} is no text: {}", error.utf8_error())))
    }

    /// All files below it; none if it is a file itself.
    pub fn below(&self) -> Result<Vec<Self>> {
        let prefix = if self.name.is_empty() {
            String::new()
        } else {
            format!("{}/", self.name)
        };
        let all = files::list(&self.set).map_err(|error| error.context(self))?;
        Ok(all
            .into_iter()
            .filter(|file| !file.name.is_empty() && file.name.starts_with(&prefix))
            .map(|file| Self {
                set: self.set.clone(),
                name: file.name,
            })
            .collect())
    }
}
