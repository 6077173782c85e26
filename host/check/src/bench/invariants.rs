//! What must be as it was after every check: the plugin answers, is the same process, and the machine is unchanged.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::client::{Answer, Connection, Patience, as_engine};

/// The machine as far as plugins change it, as lines that name what they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World(BTreeSet<String>);

impl World {
    /// As it is now. What this process may not see is left out.
    #[must_use]
    pub fn now() -> Self {
        let mut lines = BTreeSet::new();
        for line in std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap_or_default()
            .lines()
        {
            // Without the two numbers at its start, which are given anew at each mount.
            lines.insert(format!(
                "mount {}",
                line.splitn(4, ' ').nth(3).unwrap_or_default()
            ));
        }
        for (what, program, arguments) in [
            ("link", "ip", ["-o", "link"].as_slice()),
            ("address", "ip", &["-o", "address"]),
            ("route", "ip", &["route", "show", "table", "all"]),
            ("route6", "ip", &["-6", "route", "show", "table", "all"]),
            ("rule", "nft", &["-s", "list", "ruleset"]),
        ] {
            for line in output(program, arguments).lines() {
                // The kernel gives these to links by itself, some time after they are up.
                if line.contains(" fe80:") {
                    continue;
                }
                // What counts down by itself is no change.
                let lasting = line
                    .split("valid_lft")
                    .next()
                    .unwrap_or_default()
                    .split(" expires ")
                    .next()
                    .unwrap_or_default();
                lines.insert(format!("{what} {}", lasting.trim()));
            }
        }
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let value =
                std::fs::read_to_string(format!("/proc/sys/net/{setting}")).unwrap_or_default();
            lines.insert(format!("sysctl {setting} {}", value.trim()));
        }
        Self(lines)
    }

    /// What is there that was not, and the reverse. Empty: nothing.
    #[must_use]
    pub fn changes(&self, since: &Self) -> Vec<String> {
        let new = self
            .0
            .difference(&since.0)
            .map(|line| format!("new: {line}"));
        let gone = since
            .0
            .difference(&self.0)
            .map(|line| format!("gone: {line}"));
        new.chain(gone).collect()
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, in ticks since the machine was.
    started: u64,
}

impl Process {
    /// The one behind a socket. `None` if it cannot be told: another PID namespace, or a socket that the service manager holds.
    #[must_use]
    pub fn behind(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?;
        if pid == 1 { None } else { Self::of(pid) }
    }

    /// One by its number.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, and may hold anything.
        let fields = stat.rsplit_once(')')?.1;
        Some(Self {
            pid,
            started: fields.split_whitespace().nth(19)?.parse().ok()?,
        })
    }

    /// How many files it has open, and how many threads run in it. `None`: it may not be looked at.
    #[must_use]
    pub fn load(&self) -> Option<(usize, usize)> {
        let count = |what: &str| {
            Some(
                std::fs::read_dir(format!("/proc/{}/{what}", self.pid))
                    .ok()?
                    .count(),
            )
        };
        Some((count("fd")?, count("task")?))
    }
}

/// Whether the plugin still answers the handshake, and in the same words.
///
/// # Errors
///
/// A sentence about what it does.
pub fn still_answers(
    socket: &Path,
    before: Option<&serde_json::Value>,
    patience: Patience,
) -> Result<(), String> {
    let answer = activate(socket, patience);
    match (answer.json(), before) {
        (Some(now), Some(before)) if now == before => Ok(()),
        _ if before.is_none() => Ok(()),
        _ => Err(format!(
            "afterwards Plugin.Activate gives {}",
            answer.exchange().answer
        )),
    }
}

/// The handshake.
#[must_use]
pub fn activate(socket: &Path, patience: Patience) -> Answer {
    let method = "Plugin.Activate";
    let got = Connection::open(socket).and_then(|mut connection| {
        connection.write(&as_engine(method, b""))?;
        connection.read(patience.for_call(method))
    });
    Answer::new(method, b"", got)
}
