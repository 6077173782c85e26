//! File systems of other machines: NFS and CIFS. This runs in a process that can be killed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use super::context::{Context, LONGEST, another};
use super::options::{self, Allowed, Rule, Server};
use super::point::Point;
use super::{Mount, MountInfo, Source};
use crate::machine::{ErrorKind, MachineError};

/// NFS's own port; what is asked for an address that leads there.
const NFS_PORT: u16 = 2049;

/// Versions of NFS that the kernel takes. Version 2 is gone from it.
const NFS_VERSIONS: &[&str] = &["3", "4", "4.0", "4.1", "4.2"];

/// Without a version.
const NFS_VERSION: &str = "4.2";

/// Versions of SMB that the kernel takes, without the first, which protects nothing.
const SMB_VERSIONS: &[&str] = &[
    "2.0", "2.1", "3", "3.0", "3.02", "3.0.2", "3.1.1", "3.11", "default",
];

const SECONDS: Rule = Rule::Number(0, 86_400);
const BYTES: Rule = Rule::Number(1024, 16_777_216);
const PORT: Rule = Rule::Number(1, 65_535);
/// The highest number is nobody's: the kernel reads it as "none".
const OWNER: Rule = Rule::Number(0, 4_294_967_294);
const PROTOCOL: Rule = Rule::Word(&["tcp", "tcp6", "udp", "udp6"]);

/// What users may set of NFS, from nfs(5). Left out is what names files or programs of this machine, and what only mount.nfs(8) knows.
const NFS: &Allowed = &[
    ("vers", Rule::Word(NFS_VERSIONS)),
    ("nfsvers", Rule::Word(NFS_VERSIONS)),
    ("port", PORT),
    ("proto", PROTOCOL),
    ("mountport", PORT),
    ("mountproto", PROTOCOL),
    ("mountvers", Rule::Word(&["3"])),
    ("hard", Rule::Switch),
    ("soft", Rule::Switch),
    ("softerr", Rule::Switch),
    ("softreval", Rule::Switch),
    ("nosoftreval", Rule::Switch),
    ("timeo", Rule::Number(1, 6000)),
    ("retrans", Rule::Number(0, 100)),
    ("rsize", BYTES),
    ("wsize", BYTES),
    ("nconnect", Rule::Number(1, 16)),
    ("sec", Rule::Word(&["sys", "none"])),
    ("resvport", Rule::Switch),
    ("noresvport", Rule::Switch),
    ("lock", Rule::Switch),
    ("nolock", Rule::Switch),
    ("local_lock", Rule::Word(&["none", "all", "flock", "posix"])),
    ("ro", Rule::Switch),
    ("rw", Rule::Switch),
    ("ac", Rule::Switch),
    ("noac", Rule::Switch),
    ("actimeo", SECONDS),
    ("acregmin", SECONDS),
    ("acregmax", SECONDS),
    ("acdirmin", SECONDS),
    ("acdirmax", SECONDS),
    (
        "lookupcache",
        Rule::Word(&["all", "none", "pos", "positive"]),
    ),
    ("cto", Rule::Switch),
    ("nocto", Rule::Switch),
    ("acl", Rule::Switch),
    ("noacl", Rule::Switch),
    ("rdirplus", Rule::Switch),
    ("nordirplus", Rule::Switch),
    ("sharecache", Rule::Switch),
    ("nosharecache", Rule::Switch),
    ("xprtsec", Rule::Word(&["none", "tls", "mtls"])),
];

/// What users may set of CIFS, from mount.cifs(8).
const CIFS: &Allowed = &[
    ("vers", Rule::Word(SMB_VERSIONS)),
    ("port", PORT),
    ("uid", OWNER),
    ("gid", OWNER),
    ("forceuid", Rule::Switch),
    ("noforceuid", Rule::Switch),
    ("forcegid", Rule::Switch),
    ("noforcegid", Rule::Switch),
    ("file_mode", Rule::Mode),
    ("dir_mode", Rule::Mode),
    (
        "sec",
        Rule::Word(&["ntlmv2", "ntlmv2i", "ntlmssp", "ntlmsspi", "none"]),
    ),
    ("seal", Rule::Switch),
    ("sign", Rule::Switch),
    ("cache", Rule::Word(&["strict", "loose", "none"])),
    ("iocharset", Rule::Name),
    ("serverino", Rule::Switch),
    ("noserverino", Rule::Switch),
    ("mfsymlinks", Rule::Switch),
    ("brl", Rule::Switch),
    ("nobrl", Rule::Switch),
    ("nolease", Rule::Switch),
    ("perm", Rule::Switch),
    ("noperm", Rule::Switch),
    ("dynperm", Rule::Switch),
    ("unix", Rule::Switch),
    ("nounix", Rule::Switch),
    ("mapposix", Rule::Switch),
    ("mapchars", Rule::Switch),
    ("nocase", Rule::Switch),
    ("cifsacl", Rule::Switch),
    ("idsfromsid", Rule::Switch),
    ("modefromsid", Rule::Switch),
    ("nosharesock", Rule::Switch),
    ("nostrictsync", Rule::Switch),
    ("nohandlecache", Rule::Switch),
    ("persistenthandles", Rule::Switch),
    ("resilienthandles", Rule::Switch),
    ("multichannel", Rule::Switch),
    ("max_channels", Rule::Number(1, 16)),
    ("rsize", BYTES),
    ("wsize", BYTES),
    ("actimeo", SECONDS),
    ("acregmax", SECONDS),
    ("acdirmax", SECONDS),
    ("echo_interval", Rule::Number(1, 600)),
    ("soft", Rule::Switch),
    ("hard", Rule::Switch),
    ("ro", Rule::Switch),
    ("rw", Rule::Switch),
];

fn invalid(message: impl Into<String>) -> MachineError {
    MachineError::new(ErrorKind::Invalid, message)
}

fn given<'a>(options: &'a [(String, String)], name: &str) -> Option<&'a str> {
    options
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

/// Refuses what is not allowed.
pub(super) fn check(source: &Source) -> Result<(), MachineError> {
    match source {
        Source::Nfs {
            server,
            path,
            version,
            options,
        } => {
            Server::parse(server)?;
            options::plain("the exported path", path, LONGEST)?;
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(invalid(format!(
                    "the exported path {} must begin with `/` and have no `..`",
                    options::quoted(path)
                )));
            }
            options::check("NFS", options, NFS)?;
            let versions = [
                Some(version.as_str()).filter(|version| !version.is_empty()),
                given(options, "vers"),
                given(options, "nfsvers"),
            ];
            if versions.iter().flatten().count() > 1 {
                return Err(invalid("the version of NFS is given more than once"));
            }
            if !version.is_empty() && !NFS_VERSIONS.contains(&version.as_str()) {
                return Err(invalid(format!(
                    "version {} of NFS is not known; known are {}",
                    options::quoted(version),
                    NFS_VERSIONS.join(", ")
                )));
            }
        }
        Source::Cifs {
            server,
            share,
            username,
            domain,
            password,
            options,
        } => {
            Server::parse(server)?;
            options::plain("the share", share, LONGEST)?;
            let walks = share
                .split('/')
                .any(|part| part.is_empty() || part == "." || part == "..");
            if walks || share.contains('\\') {
                return Err(invalid(format!(
                    "the share {} must be `share` or `share/path`, without `..` and backslashes",
                    options::quoted(share)
                )));
            }
            if let Some(username) = username {
                options::plain("the user name", username, LONGEST)?;
            } else if password.is_some() {
                return Err(invalid("a password for CIFS needs a user name"));
            }
            if let Some(domain) = domain {
                options::plain("the domain", domain, LONGEST)?;
            }
            options::check("CIFS", options, CIFS)?;
        }
        _ => {}
    }
    let (_, text) = names(source)?;
    if text.len() > LONGEST {
        return Err(invalid(format!(
            "server and path together have {} bytes; the kernel takes {LONGEST}",
            text.len()
        )));
    }
    Ok(())
}

/// The server, and what the mount table calls the source.
fn names(source: &Source) -> Result<(Server, String), MachineError> {
    match source {
        Source::Nfs { server, path, .. } => {
            let server = Server::parse(server)?;
            let text = format!("{}:{path}", server.in_source());
            Ok((server, text))
        }
        Source::Cifs { server, share, .. } => {
            let server = Server::parse(server)?;
            let text = format!("//{}/{share}", server.in_share());
            Ok((server, text))
        }
        _ => Err(invalid("this is no file system of another machine")),
    }
}

/// Who has to answer before a source can be mounted.
pub(super) fn whom(source: &Source) -> String {
    match source {
        Source::Bind { root, beneath } => options::shown(&root.join(beneath)),
        _ => names(source).map_or_else(|_| "the source".to_owned(), |(_, text)| text),
    }
}

/// What the kernel is told, in this order. An empty value is a switch.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    filesystem: &'static str,
    options: Vec<(String, Vec<u8>)>,
}

fn told(
    source: &Source,
    address: IpAddr,
    from: IpAddr,
    secret: Option<&[u8]>,
) -> Result<Told, MachineError> {
    let (_, text) = names(source)?;
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut say = |name: &str, value: &str| all.push((name.to_owned(), value.as_bytes().to_vec()));
    say("source", &text);
    match source {
        Source::Nfs {
            version, options, ..
        } => {
            let version = [given(options, "vers"), given(options, "nfsvers")]
                .into_iter()
                .flatten()
                .next()
                .unwrap_or(if version.is_empty() {
                    NFS_VERSION
                } else {
                    version
                });
            say("vers", version);
            say("addr", &address.to_string());
            if version == "3" {
                if given(options, "mountproto").is_none() {
                    // Without a say the kernel asks by UDP, which many servers have switched off.
                    say("mountproto", if address.is_ipv6() { "tcp6" } else { "tcp" });
                }
                say("mountaddr", &address.to_string());
            } else {
                say("clientaddr", &from.to_string());
            }
            if given(options, "proto").is_none() {
                say("proto", if address.is_ipv6() { "tcp6" } else { "tcp" });
            }
            for (name, value) in options {
                if name != "vers" && name != "nfsvers" {
                    say(name, value);
                }
            }
            Ok(Told {
                filesystem: "nfs",
                options: all,
            })
        }
        Source::Cifs {
            username,
            domain,
            options,
            ..
        } => {
            say("ip", &address.to_string());
            match username {
                Some(username) => say("username", username),
                None if given(options, "sec").is_none() => say("sec", "none"),
                None => {}
            }
            if let Some(domain) = domain {
                say("domain", domain);
            }
            for (name, value) in options {
                say(name, value);
            }
            if let Some(secret) = secret {
                let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
                if secret.is_empty() || secret.len() > LONGEST || secret.contains(&0) {
                    return Err(invalid(format!(
                        "the password for CIFS must have 1 to {LONGEST} bytes, none of them NUL"
                    )));
                }
                all.push(("password".to_owned(), secret.to_vec()));
            }
            Ok(Told {
                filesystem: "cifs",
                options: all,
            })
        }
        _ => Err(invalid("this is no file system of another machine")),
    }
}

pub(super) fn place(
    mount: &Mount,
    secret: Option<&[u8]>,
    point: &Point,
) -> Result<(), MachineError> {
    let (server, text) = names(&mount.source)?;
    let mut failure = MachineError::new(
        ErrorKind::Unreachable,
        format!("the name {} has no address", server.in_share()),
    );
    for address in addresses(&server)? {
        let told = told(&mount.source, address, local(address), secret)?;
        let tried = match &server {
            Server::Name(_) => format!("mount {text} of {address}"),
            Server::Address(_) => format!("mount {text}"),
        };
        let placed = create(&told, &tried).and_then(|context| context.place(mount.flags, point));
        match placed.map_err(|error| without(error, secret)) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind == ErrorKind::Unreachable => failure = error,
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

fn create(told: &Told, tried: &str) -> Result<Context, MachineError> {
    let context = Context::open(told.filesystem)?;
    for (name, value) in &told.options {
        if value.is_empty() {
            context.switch(name)?;
        } else {
            context.set(name, value)?;
        }
    }
    context.create(tried).map_err(|mut error| {
        if error.message.contains("Permission denied") {
            error
                .message
                .push_str("; the server refuses this user, this password or this machine");
        }
        error
    })?;
    Ok(context)
}

/// The kernel's own words may repeat what it was told.
fn without(mut error: MachineError, secret: Option<&[u8]>) -> MachineError {
    let secret = secret.map(|secret| secret.strip_suffix(b"\n").unwrap_or(secret));
    if let Some(Ok(secret)) = secret.map(std::str::from_utf8)
        && !secret.is_empty()
    {
        error.message = error.message.replace(secret, "***");
    }
    error
}

/// Looks a server up.
fn addresses(server: &Server) -> Result<Vec<IpAddr>, MachineError> {
    let name = match server {
        Server::Address(address) => return Ok(vec![*address]),
        Server::Name(name) => name,
    };
    let found = (name.as_str(), NFS_PORT)
        .to_socket_addrs()
        .map_err(|error| {
            MachineError::new(
                ErrorKind::Unreachable,
                format!("cannot look up the server {name}: {error}"),
            )
        })?;
    let mut addresses = Vec::new();
    for address in found.map(|found| found.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// The address of this machine that a server would see. Nothing is sent.
fn local(server: IpAddr) -> IpAddr {
    let any: IpAddr = if server.is_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    UdpSocket::bind(SocketAddr::new(any, 0))
        .and_then(|socket| {
            socket.connect(SocketAddr::new(server, NFS_PORT))?;
            socket.local_addr()
        })
        .map_or(any, |address| address.ip())
}

/// In what a mount differs from that of this server.
pub(super) fn difference(
    info: &MountInfo,
    source: &Source,
) -> Result<Option<String>, MachineError> {
    let (_, text) = names(source)?;
    let kinds: &[&str] = match source {
        Source::Nfs { .. } => &["nfs", "nfs4"],
        _ => &["cifs", "smb3"],
    };
    let same = kinds.contains(&info.filesystem.as_str())
        && info
            .source
            .to_str()
            .is_some_and(|found| found.trim_end_matches('/') == text.trim_end_matches('/'));
    Ok((!same).then(|| another(info)))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests;
