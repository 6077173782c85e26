//! Kinds of storage that rclone may mount. Others would reach files of this machine (`local`, `alias`, `union`), and other parameters would
//! run programs on it (`ssh`, `bearer_token_command`) or use what is its own (`env_auth`, `key_file`).

use super::options::{self, Chosen, Known, Takes, invalid, known, shown, value};
use crate::machine::MachineError;

/// A kind of storage.
pub(super) struct Backend {
    pub(super) name: &'static str,
    /// Parameters that a remote may have.
    pub(super) parameters: &'static [Known],
    /// Those that it must have.
    pub(super) required: &'static [&'static str],
    /// Secrets that make sense for it.
    pub(super) roles: &'static [&'static str],
    /// Parameters that only a secret may hold: refused in a remote, taken from the secret `config`.
    pub(super) hidden: &'static [&'static str],
    /// Always set.
    pub(super) fixed: &'static [(&'static str, &'static str)],
}

const BACKENDS: [Backend; 4] = [
    Backend {
        name: "sftp",
        parameters: &[
            known("host", Takes::Host),
            known("user", Takes::User),
            known("port", Takes::Number(1..=65535)),
            known("set_modtime", Takes::Bool),
            known("skip_links", Takes::Bool),
            known("use_fstat", Takes::Bool),
            known("use_insecure_cipher", Takes::Bool),
            known("disable_concurrent_reads", Takes::Bool),
            known("disable_concurrent_writes", Takes::Bool),
            known("idle_timeout", Takes::Duration),
            known("chunk_size", Takes::Size),
            known("concurrency", Takes::Number(1..=256)),
        ],
        required: &["host", "user"],
        roles: &["password", "identity", "known-hosts", "config"],
        hidden: &["pass", "key_pem", "key_file_pass"],
        // Without this rclone runs commands on the server to learn what it is.
        fixed: &[("shell_type", "none"), ("disable_hashcheck", "true")],
    },
    Backend {
        name: "s3",
        parameters: &[
            known("provider", Takes::Word),
            known("region", Takes::Word),
            known("endpoint", Takes::Url),
            known("location_constraint", Takes::Word),
            known("acl", Takes::Word),
            known("storage_class", Takes::Word),
            known("server_side_encryption", Takes::Word),
            known("force_path_style", Takes::Bool),
            known("no_check_bucket", Takes::Bool),
            known("no_head", Takes::Bool),
            known("v2_auth", Takes::Bool),
            known("requester_pays", Takes::Bool),
            known("list_version", Takes::Number(0..=2)),
            known("list_chunk", Takes::Number(1..=100_000)),
            known("chunk_size", Takes::Size),
            known("upload_cutoff", Takes::Size),
            known("upload_concurrency", Takes::Number(1..=256)),
        ],
        required: &["provider"],
        roles: &["credentials", "session-token", "config"],
        hidden: &["access_key_id", "secret_access_key", "session_token"],
        // With "true" it would ask the machine's own cloud for credentials.
        fixed: &[("env_auth", "false")],
    },
    Backend {
        name: "webdav",
        parameters: &[
            known("url", Takes::Url),
            known(
                "vendor",
                Takes::OneOf(&["nextcloud", "owncloud", "sharepoint", "other"]),
            ),
            known("user", Takes::User),
        ],
        required: &["url"],
        roles: &["password", "token", "config"],
        hidden: &["pass", "bearer_token"],
        fixed: &[],
    },
    Backend {
        name: "http",
        parameters: &[
            known("url", Takes::Url),
            known("no_head", Takes::Bool),
            known("no_slash", Takes::Bool),
        ],
        required: &["url"],
        roles: &["config"],
        hidden: &[],
        fixed: &[],
    },
];

impl Backend {
    /// The kind of this name.
    pub(super) fn find(name: &str) -> Result<&'static Backend, MachineError> {
        BACKENDS
            .iter()
            .find(|backend| backend.name == name)
            .ok_or_else(|| {
                let names: Vec<_> = BACKENDS.iter().map(|backend| backend.name).collect();
                invalid(format!(
                    "rclone: remotes of type {} may not be mounted; there are {}",
                    shown(name),
                    names.join(", ")
                ))
            })
    }

    /// Checks parameters; those that hold secrets come back apart.
    pub(super) fn check(
        &'static self,
        parameters: Vec<(String, String)>,
        may_hide: bool,
    ) -> Result<(Vec<Chosen>, Vec<Chosen>), MachineError> {
        let owner = format!("rclone, remotes of type {}", self.name);
        let (mut open, mut hidden) = (Vec::new(), Vec::<Chosen>::new());
        for (name, value) in parameters {
            let Some(name) = self.hidden.iter().find(|hidden| **hidden == name) else {
                open.push((name, value));
                continue;
            };
            if !may_hide {
                return Err(invalid(format!(
                    "{owner}: {name} does not belong into the remote; give it as a secret: {}",
                    self.roles.join(", ")
                )));
            }
            if hidden.iter().any(|other| other.name == *name) {
                return Err(invalid(format!("{owner}: {name} is given twice")));
            }
            hidden.push(Chosen { name, value });
        }
        let open = options::check(&owner, self.parameters, &open)?;
        for name in self.required {
            if value(&open, name).is_none() {
                return Err(invalid(format!("{owner}: {name} is missing")));
            }
        }
        Ok((open, hidden))
    }
}
