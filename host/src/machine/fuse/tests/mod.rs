//! Tests of helpers: first what they are never given, then real ones against real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod arguments;
mod crash;
mod hostile;
mod machine;
mod rclone;
mod s3fs;
mod secrets;
mod sshfs;

use std::path::{Path, PathBuf};

use super::*;

/// A mount with an id that no other test has.
fn mount(program: &str, remote: &str, id: u64, below: &Path) -> FuseMount {
    let id = format!("{id:016x}");
    FuseMount {
        point: below.join(&id),
        id,
        program: program.to_owned(),
        remote: remote.to_owned(),
        options: Vec::new(),
        secrets: Vec::new(),
        texts: Vec::new(),
        learned: None,
        flags: Flags::default(),
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// One good mount for each helper.
fn good() -> [FuseMount; 3] {
    let below = Path::new("/var/lib/dockside/mounts");
    let mut sshfs = mount("sshfs", "joe@files.example:/srv", 1, below);
    sshfs.secrets = pairs(&[("password", "pw"), ("known-hosts", "hosts")]);
    let mut s3fs = mount("s3fs", "bucket:/dir", 2, below);
    s3fs.secrets = pairs(&[("credentials", "keys")]);
    let mut rclone = mount("rclone", ":sftp,host=files.example,user=joe:/srv", 3, below);
    rclone.secrets = pairs(&[("password", "pw"), ("known-hosts", "hosts")]);
    [sshfs, s3fs, rclone]
}

/// What a helper would be started with.
fn plan(mount: &FuseMount, secret: impl Fn(&str) -> Vec<u8>) -> Result<Plan, MachineError> {
    mount.check()?;
    let helper = helper::find(&mount.program)?;
    let directory = PathBuf::from("/run/dockside/helpers").join(&mount.id);
    let cache = mount.point.with_extension("cache");
    (helper.plan)(&Request {
        mount,
        chosen: helper.chosen(mount)?,
        secrets: mount
            .secrets
            .iter()
            .map(|(role, name)| (role.as_str(), Zeroizing::new(secret(name))))
            .collect(),
        directory: &directory,
        cache: &cache,
        point: &mount.point,
        connect: 7,
        obscure: &|password| Ok(Zeroizing::new(format!("obscured-{}", password.len()))),
    })
}

/// Secrets that would do for any role.
fn usual(name: &str) -> Vec<u8> {
    match name {
        "pw" => b"s3cret-of-joe\n".to_vec(),
        "keys" => b"ACCESS-OF-JOE:SECRET-OF-JOE".to_vec(),
        "key" => {
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nKEY-OF-JOE\n-----END OPENSSH PRIVATE KEY-----"
                .to_vec()
        }
        _ => b"files.example ssh-ed25519 HOST-KEY".to_vec(),
    }
}

fn words(arguments: &[std::ffi::OsString]) -> Vec<String> {
    arguments
        .iter()
        .map(|argument| argument.to_str().unwrap().to_owned())
        .collect()
}
