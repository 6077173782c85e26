//! rclone: storage of many kinds. It gets a configuration of its own with one remote in it, and nothing of that in its arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::FuseMount;
use super::backends::Backend;
use super::helper::{Helper, KeyPair, Plan, Request, key_pair};
use super::options::{Chosen, Takes, invalid, known, remote_path, shown, value};
use crate::machine::MachineError;

pub(super) const HELPER: Helper = Helper {
    program: "rclone",
    package: "rclone",
    needs: &[("fusermount3", "fuse3")],
    options: &[
        known("allow_other", Takes::Switch),
        known("default_permissions", Takes::Switch),
        known("uid", Takes::Number(0..=4_294_967_294)),
        known("gid", Takes::Number(0..=4_294_967_294)),
        known("umask", Takes::Mode),
        known("dir_perms", Takes::Mode),
        known("file_perms", Takes::Mode),
        known(
            "vfs_cache_mode",
            Takes::OneOf(&["off", "minimal", "writes", "full"]),
        ),
        known("vfs_cache_max_size", Takes::Size),
        known("vfs_cache_max_age", Takes::Duration),
        known("vfs_read_chunk_size", Takes::Size),
        known("vfs_read_chunk_size_limit", Takes::Size),
        known("vfs_read_ahead", Takes::Size),
        known("vfs_fast_fingerprint", Takes::Switch),
        known("dir_cache_time", Takes::Duration),
        known("poll_interval", Takes::Duration),
        known("attr_timeout", Takes::Duration),
        known("buffer_size", Takes::Size),
        known("transfers", Takes::Number(1..=256)),
        known("bwlimit", Takes::Size),
        known("contimeout", Takes::Duration),
        known("timeout", Takes::Duration),
        known("low_level_retries", Takes::Number(1..=100)),
        known("no_checksum", Takes::Switch),
        known("no_modtime", Takes::Switch),
        known("no_seek", Takes::Switch),
        known("no_check_certificate", Takes::Switch),
        known("StrictHostKeyChecking", Takes::OneOf(&["yes", "no"])),
    ],
    roles: &[
        "password",
        "identity",
        "known-hosts",
        "credentials",
        "session-token",
        "token",
        "config",
    ],
    texts: &[],
    caches: true,
    check,
    server,
    returns_to: |_, _| None,
    unwritten,
    plan,
};

/// The name of the one remote in the configuration that rclone gets.
const REMOTE: &str = "dockside";

/// What a remote is, as it is written.
enum Remote<'a> {
    /// `:type,name=value,...:path`.
    Inline {
        backend: &'static Backend,
        parameters: Vec<Chosen>,
        path: &'a str,
    },
    /// `name:path`, with the secret `config`.
    Named { name: &'a str, path: &'a str },
}

impl<'a> Remote<'a> {
    fn parse(remote: &'a str) -> Result<Remote<'a>, MachineError> {
        let wrong = || {
            invalid(format!(
                "rclone: {} has neither the form \":type,name=value,...:path\" nor \"name:path\"; a value with a comma or a colon in it is \
                 put between quotes",
                shown(remote)
            ))
        };
        let Some(rest) = remote.strip_prefix(':') else {
            let (name, path) = remote.split_once(':').ok_or_else(wrong)?;
            let fits = (1..=64).contains(&name.len())
                && name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
            if !fits {
                return Err(wrong());
            }
            remote_path("rclone", path)?;
            return Ok(Remote::Named { name, path });
        };
        let end = rest.find([',', ':']).ok_or_else(wrong)?;
        let (kind, mut rest) = rest.split_at(end);
        let backend = Backend::find(kind)?;
        let mut parameters = Vec::new();
        let path = loop {
            if let Some(path) = rest.strip_prefix(':') {
                break path;
            }
            let after = rest.strip_prefix(',').ok_or_else(wrong)?;
            let (name, after) = after.split_once('=').ok_or_else(wrong)?;
            let quote = after
                .chars()
                .next()
                .filter(|first| ['\'', '"'].contains(first));
            let (value, after) = match quote {
                Some(quote) => after
                    .get(1..)
                    .and_then(|after| after.split_once(quote))
                    .ok_or_else(wrong)?,
                None => after.split_at(after.find([',', ':']).ok_or_else(wrong)?),
            };
            parameters.push((name.to_owned(), value.to_owned()));
            rest = after;
        };
        remote_path("rclone", path)?;
        let (parameters, _) = backend.check(parameters, false)?;
        Ok(Remote::Inline {
            backend,
            parameters,
            path,
        })
    }
}

fn check(mount: &FuseMount, chosen: &[Chosen]) -> Result<(), MachineError> {
    let has = |role: &str| mount.secrets.iter().any(|(other, _)| other == role);
    match Remote::parse(&mount.remote)? {
        Remote::Named { name, .. } if !has("config") => Err(invalid(format!(
            "rclone: the remote {name:?} must be in the secret config (a file as rclone config writes it); or write the remote as \
             :type,name=value,...:path"
        ))),
        Remote::Named { .. } => Ok(()),
        Remote::Inline { .. } if has("config") => Err(invalid(
            "rclone: the secret config is for a remote of the form name:path",
        )),
        Remote::Inline { backend, .. } => check_roles(mount, chosen, backend, &[]),
    }
}

/// Checks what depends on the kind of storage. `held` are the parameters that the secret `config` has.
fn check_roles(
    mount: &FuseMount,
    chosen: &[Chosen],
    backend: &Backend,
    held: &[Chosen],
) -> Result<(), MachineError> {
    let has = |role: &str| mount.secrets.iter().any(|(other, _)| other == role);
    for (role, _) in &mount.secrets {
        if !backend.roles.contains(&role.as_str()) {
            return Err(invalid(format!(
                "rclone: remotes of type {} have no use for a secret as {role}; they take {}",
                backend.name,
                backend.roles.join(", ")
            )));
        }
    }
    let host_keys = value(chosen, "StrictHostKeyChecking");
    if backend.name != "sftp" {
        return match host_keys {
            Some(_) => Err(invalid(
                "rclone: StrictHostKeyChecking is for remotes of type sftp",
            )),
            None => Ok(()),
        };
    }
    let logs_in = has("password")
        || has("identity")
        || value(held, "pass").is_some()
        || value(held, "key_pem").is_some();
    if !logs_in {
        return Err(invalid(
            "rclone: a remote of type sftp needs a secret to log in with: a password or an identity (a private key)",
        ));
    }
    match (host_keys, has("known-hosts")) {
        (Some("no"), false) | (None | Some("yes"), true) => Ok(()),
        (Some("no"), true) => Err(invalid(
            "rclone: a secret known-hosts and StrictHostKeyChecking=no contradict each other",
        )),
        _ => Err(invalid(
            "rclone cannot tell whether it talks to the right server: give the server's key (a line of ssh-keyscan) as the secret \
             known-hosts, or set StrictHostKeyChecking to no",
        )),
    }
}

fn server(mount: &FuseMount, _: &[Chosen]) -> Result<Option<String>, MachineError> {
    let Remote::Inline {
        backend,
        parameters,
        ..
    } = Remote::parse(&mount.remote)?
    else {
        return Ok(None);
    };
    let place = match (
        value(&parameters, "host"),
        value(&parameters, "url").or(value(&parameters, "endpoint")),
    ) {
        (Some(host), _) => {
            let host = match host.contains(':') {
                true => format!("[{host}]"),
                false => host.to_owned(),
            };
            match value(&parameters, "port") {
                Some(port) => format!("{host}:{port}"),
                None => host,
            }
        }
        (None, Some(url)) => url.to_owned(),
        (None, None) => format!(
            "{} of {}",
            backend.name,
            value(&parameters, "provider").unwrap_or("an unknown provider")
        ),
    };
    Ok(Some(place))
}

/// Deepest directory that is looked into for files that are not written yet.
const DEEPEST: usize = 256;

/// Beside each file in its cache rclone keeps a record of it.
fn unwritten(cache: &Path) -> Option<PathBuf> {
    let mut directories = vec![(cache.join("vfsMeta"), 0)];
    while let Some((directory, depth)) = directories.pop() {
        // What cannot be read is gone, or about to go: rclone clears up as it goes along.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEEPEST => directories.push((path, depth + 1)),
                Ok(kind) if kind.is_file() && is_unwritten(&path) => return Some(path),
                _ => {}
            }
        }
    }
    None
}

fn is_unwritten(record: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Record {
        #[serde(rename = "Dirty")]
        dirty: bool,
    }
    match std::fs::read(record) {
        // One that makes no sense is being written.
        Ok(text) => serde_json::from_slice::<Record>(&text).map_or(true, |record| record.dirty),
        Err(_) => false,
    }
}

/// The parameters of one remote in a file as rclone writes it.
fn section(
    request: &Request<'_>,
    name: &str,
) -> Result<(String, Vec<(String, String)>), MachineError> {
    let file = request.lines("config")?.unwrap_or_default();
    let text =
        std::str::from_utf8(&file).map_err(|_| request.unfit("config", "must be a text file"))?;
    let (mut inside, mut kind, mut parameters) = (false, None, Vec::new());
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(title) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            inside = title == name;
            continue;
        }
        if !inside {
            continue;
        }
        match line
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
        {
            Some(("type", value)) => kind = Some(value.to_owned()),
            Some(("env_auth", "false")) | Some((_, "")) => {}
            Some((name, value)) => parameters.push((name.to_owned(), value.to_owned())),
            None => return Err(request.unfit("config", "has a line without \"=\"")),
        }
    }
    match kind {
        Some(kind) => Ok((kind, parameters)),
        None => Err(request.unfit(
            "config",
            &format!("has no section [{name}] with a line \"type = ...\""),
        )),
    }
}

/// A value as rclone's reader of configurations takes it for itself: no quotes, no references to other values.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_graphic())
        && !value.starts_with(['"', '`', '\''])
        && !value.contains("%(")
}

fn plan(request: &Request<'_>) -> Result<Plan, MachineError> {
    let mount = request.mount;
    let mut plan = Plan::default();
    let (backend, parameters, path, held) = match Remote::parse(&mount.remote)? {
        Remote::Inline {
            backend,
            parameters,
            path,
        } => (backend, parameters, path, Vec::new()),
        Remote::Named { name, path } => {
            let (kind, parameters) = section(request, name)?;
            let backend = Backend::find(&kind)?;
            let (parameters, held) = backend.check(parameters, true)?;
            check_roles(mount, &request.chosen, backend, &held)?;
            (backend, parameters, path, held)
        }
    };
    let mut lines = Zeroizing::new(format!("[{REMOTE}]\ntype = {}\n", backend.name));
    let mut add = |name: &str, value: &str| {
        for part in [name, " = ", value, "\n"] {
            lines.push_str(part);
        }
    };
    for option in &parameters {
        add(option.name, &option.value);
    }
    for (name, value) in backend.fixed {
        add(name, value);
    }
    for option in &held {
        // A key of several lines is written with \n between them, which is not read as anything else.
        let fits = is_plain(&option.value.replace(' ', "_"))
            && (option.name == "key_pem" || !option.value.contains(' '));
        if !fits {
            return Err(request.unfit(
                "config",
                &format!("has a value of {} that cannot be passed on", option.name),
            ));
        }
        add(option.name, &option.value);
        plan.hidden.push(Zeroizing::new(option.value.clone()));
    }
    if let Some(password) = request.line("password")? {
        add("pass", &(request.obscure)(&password)?);
        plan.hidden.push(password);
    }
    for (role, name) in [
        ("identity", "key_file"),
        ("known-hosts", "known_hosts_file"),
    ] {
        if let Some(content) = request.lines(role)? {
            let path = plan.file(request, role, content);
            add(name, &path.display().to_string());
        }
    }
    for (role, name) in [
        ("session-token", "session_token"),
        ("token", "bearer_token"),
    ] {
        if let Some(token) = request.line(role)? {
            if !is_plain(&token) {
                return Err(request.unfit(role, "must have no blanks and no quotes"));
            }
            add(name, &token);
            plan.hidden.push(token);
        }
    }
    if let Some(KeyPair { access, secret }) = key_pair(request)? {
        for (name, value) in [("access_key_id", access), ("secret_access_key", secret)] {
            if !is_plain(&value) {
                return Err(request.unfit("credentials", "must not begin with a quote"));
            }
            add(name, &value);
            plan.hidden.push(value);
        }
    }
    let content = Zeroizing::new(lines.as_bytes().to_vec());
    let file = plan.file(request, "rclone.conf", content);

    let mut common: Vec<OsString> = vec![
        "--config".into(),
        file.into(),
        "--ask-password=false".into(),
    ];
    if value(&request.chosen, "contimeout").is_none() {
        common.push(format!("--contimeout={}s", request.connect).into());
    }
    let mut mounting: Vec<OsString> = vec![
        format!("--devname={}", mount.source()).into(),
        "--cache-dir".into(),
        request.cache.into(),
        // It starts to write a file when that is closed, and not some time later.
        "--vfs-write-back=0s".into(),
    ];
    if value(&request.chosen, "vfs_cache_mode").is_none() {
        mounting.push("--vfs-cache-mode=writes".into());
    }
    for option in &request.chosen {
        let flag = option.name.replace('_', "-");
        let argument = match (option.name, option.value.as_str()) {
            ("StrictHostKeyChecking", _) => continue,
            (_, "") => format!("--{flag}"),
            // It takes decimal numbers otherwise.
            ("umask" | "dir_perms" | "file_perms", value) => format!("--{flag}=0{value}"),
            (_, value) => format!("--{flag}={value}"),
        };
        match option.name {
            "contimeout" | "timeout" | "no_check_certificate" => common.push(argument.into()),
            _ => mounting.push(argument.into()),
        }
    }
    if mount.flags.read_only {
        mounting.push("--read-only".into());
    }
    let remote = OsString::from(format!("{REMOTE}:{path}"));
    let mut rehearsal: Vec<OsString> = vec!["lsjson".into(), "--stat".into()];
    rehearsal.extend(common.iter().cloned());
    rehearsal.extend([
        "--retries=1".into(),
        "--low-level-retries=1".into(),
        remote.clone(),
    ]);
    plan.rehearsal = Some(rehearsal);
    plan.arguments.push("mount".into());
    plan.arguments.extend(common);
    plan.arguments.extend(mounting);
    plan.arguments.push(remote);
    plan.arguments.push(request.point.into());
    Ok(plan)
}
