//! sshfs: a directory of an SSH server.

use std::ffi::OsString;

use zeroize::Zeroizing;

use super::FuseMount;
use super::helper::{Helper, Plan, Request};
use super::options::{
    Chosen, Takes, invalid, is_host_name, is_user, known, remote_path, shown, value,
};
use crate::machine::MachineError;

pub(super) const HELPER: Helper = Helper {
    program: "sshfs",
    package: "sshfs",
    needs: &[("ssh", "openssh-client")],
    options: &[
        known("port", Takes::Number(1..=65535)),
        known("allow_other", Takes::Switch),
        known("default_permissions", Takes::Switch),
        known("reconnect", Takes::Switch),
        known("ServerAliveInterval", Takes::Number(0..=3600)),
        known("ServerAliveCountMax", Takes::Number(1..=1000)),
        known("uid", Takes::Number(0..=4_294_967_294)),
        known("gid", Takes::Number(0..=4_294_967_294)),
        known("umask", Takes::Mode),
        // The third, "file", would read files of this machine.
        known("idmap", Takes::OneOf(&["none", "user"])),
        known("compression", Takes::OneOf(&["yes", "no"])),
        known("follow_symlinks", Takes::Switch),
        known("transform_symlinks", Takes::Switch),
        known("no_contain_symlinks", Takes::Switch),
        known("disable_hardlink", Takes::Switch),
        known("sshfs_sync", Takes::Switch),
        known("sync_readdir", Takes::Switch),
        known("no_readahead", Takes::Switch),
        known("direct_io", Takes::Switch),
        known("kernel_cache", Takes::Switch),
        known("auto_cache", Takes::Switch),
        known("noauto_cache", Takes::Switch),
        known("dir_cache", Takes::OneOf(&["yes", "no"])),
        known("dcache_max_size", Takes::Number(1..=10_000_000)),
        known("dcache_timeout", Takes::Number(0..=86_400)),
        known("dcache_stat_timeout", Takes::Number(0..=86_400)),
        known("dcache_link_timeout", Takes::Number(0..=86_400)),
        known("dcache_dir_timeout", Takes::Number(0..=86_400)),
        known("entry_timeout", Takes::Number(0..=86_400)),
        known("negative_timeout", Takes::Number(0..=86_400)),
        known("attr_timeout", Takes::Number(0..=86_400)),
        known("max_conns", Takes::Number(1..=64)),
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
        ),
        known(
            "StrictHostKeyChecking",
            Takes::OneOf(&["yes", "accept-new", "no"]),
        ),
        known("ConnectTimeout", Takes::Number(1..=60)),
        known("Compression", Takes::OneOf(&["yes", "no"])),
        known("AddressFamily", Takes::OneOf(&["any", "inet", "inet6"])),
        known("Ciphers", Takes::Algorithm),
        known("MACs", Takes::Algorithm),
        known("KexAlgorithms", Takes::Algorithm),
        known("HostKeyAlgorithms", Takes::Algorithm),
    ],
    roles: &["password", "identity", "known-hosts"],
    texts: &["known-hosts"],
    caches: false,
    check,
    server,
    returns_to,
    // Closing a file waits until the server has it.
    unwritten: |_| None,
    plan,
};

/// Options of ssh that hold whatever a driver says: nothing of root's own keys, agent and configuration is used, and nobody is asked.
const FIXED: [&str; 8] = [
    "GlobalKnownHostsFile=/dev/null",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "GSSAPIAuthentication=no",
    "HostbasedAuthentication=no",
    "PermitLocalCommand=no",
    "ControlPath=none",
    "UpdateHostKeys=no",
];

/// User, host (an IPv6 address with its brackets) and path of `user@host:path`.
fn parse(remote: &str) -> Result<(&str, &str, &str), MachineError> {
    let wrong = || {
        invalid(format!(
            "sshfs: {} does not have the form user@host:path, with an IPv6 address in brackets; a port goes into the option port",
            shown(remote)
        ))
    };
    let (user, rest) = remote.split_once('@').ok_or_else(wrong)?;
    let (host, path) = match rest.starts_with('[') {
        true => {
            let end = rest.find("]:").ok_or_else(wrong)?;
            (
                rest.get(..=end).ok_or_else(wrong)?,
                rest.get(end + 2..).ok_or_else(wrong)?,
            )
        }
        false => rest.split_once(':').ok_or_else(wrong)?,
    };
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_fits = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    if !host_fits || !is_user(user) {
        return Err(wrong());
    }
    remote_path("sshfs", path)?;
    Ok((user, host, path))
}

fn check(mount: &FuseMount, chosen: &[Chosen]) -> Result<(), MachineError> {
    parse(&mount.remote)?;
    let has = |role| {
        let mut given = mount.secrets.iter().chain(&mount.texts);
        given.any(|(other, _)| other == role)
    };
    if has("password") == has("identity") {
        return Err(invalid(
            "sshfs needs one secret to log in with: a password or an identity (a private key without a passphrase)",
        ));
    }
    match (value(chosen, "StrictHostKeyChecking"), has("known-hosts")) {
        (None | Some("yes"), false) => Err(invalid(
            "sshfs cannot tell whether it talks to the right server: give the server's key (a line of ssh-keyscan) as the secret \
             known-hosts, or set StrictHostKeyChecking to accept-new or no",
        )),
        (Some("no"), true) => Err(invalid(
            "sshfs: known-hosts and StrictHostKeyChecking=no contradict each other",
        )),
        _ => Ok(()),
    }
}

fn server(mount: &FuseMount, chosen: &[Chosen]) -> Result<Option<String>, MachineError> {
    let (_, host, _) = parse(&mount.remote)?;
    Ok(Some(match value(chosen, "port") {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }))
}

fn returns_to(mount: &FuseMount, chosen: &[Chosen]) -> Option<(String, u16)> {
    value(chosen, "reconnect")?;
    let (_, host, _) = parse(&mount.remote).ok()?;
    let port = value(chosen, "port").map_or(Ok(22), str::parse).ok()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    Some((bare.unwrap_or(host).to_owned(), port))
}

fn plan(request: &Request<'_>) -> Result<Plan, MachineError> {
    let mount = request.mount;
    let mut plan = Plan::default();
    let mut settings: Vec<String> = FIXED.iter().map(|fixed| (*fixed).to_owned()).collect();
    // Also where no key is checked: by this path the ssh of this mount is known.
    let hosts = request.directory.join("known-hosts");
    let learns = value(&request.chosen, "StrictHostKeyChecking") == Some("accept-new");
    settings.push(match mount.learned.as_ref().filter(|_| learns) {
        // ssh adds to the first.
        Some(learned) => {
            plan.learns = Some(learned.clone());
            format!(
                "UserKnownHostsFile={} {}",
                learned.display(),
                hosts.display()
            )
        }
        None => format!("UserKnownHostsFile={}", hosts.display()),
    });
    if let Some(keys) = request.lines("known-hosts")? {
        plan.file(request, "known-hosts", keys);
    }
    match request.lines("identity")? {
        Some(key) => {
            let path = plan.file(request, "identity", key);
            settings.push(format!("IdentityFile={}", path.display()));
            settings.push("PreferredAuthentications=publickey".to_owned());
        }
        None => settings.push("PubkeyAuthentication=no".to_owned()),
    }
    match request.line("password")? {
        Some(password) => {
            // Longer ones sshfs cuts.
            if password.len() > 1000 {
                return Err(request.unfit("password", "must not be longer than 1,000 bytes"));
            }
            let mut input = Zeroizing::new(password.as_bytes().to_vec());
            input.push(b'\n');
            plan.input = Some(input);
            plan.hidden.push(password);
            settings.push("password_stdin".to_owned());
            settings.push("PreferredAuthentications=password".to_owned());
        }
        None => settings.push("BatchMode=yes".to_owned()),
    }
    let connect = request.connect.to_string();
    let defaults = [
        ("ConnectTimeout", connect.as_str()),
        ("StrictHostKeyChecking", "yes"),
        // Without these, whoever uses the mount waits for a dead server for ever.
        ("ServerAliveInterval", "15"),
        ("ServerAliveCountMax", "3"),
    ];
    for (name, usual) in defaults {
        if value(&request.chosen, name).is_none() {
            settings.push(format!("{name}={usual}"));
        }
    }
    for option in &request.chosen {
        settings.push(match option.value.as_str() {
            "" => option.name.to_owned(),
            value => format!("{}={value}", option.name),
        });
    }
    settings.push(format!("fsname={}", mount.source()));
    if mount.flags.read_only {
        settings.push("ro".to_owned());
    }
    plan.arguments.push("-f".into());
    plan.arguments.push("-F/dev/null".into());
    for setting in settings {
        plan.arguments.push("-o".into());
        plan.arguments.push(setting.into());
    }
    plan.arguments.push(OsString::from(&mount.remote));
    plan.arguments.push(request.point.into());
    Ok(plan)
}
