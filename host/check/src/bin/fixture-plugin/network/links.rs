//! Links and rules of the machine, made by the programs of iproute2 and nftables. Without root there are none.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use ipnet::IpNet;
use rand::Rng;

use crate::breaks::Breaks;

/// The start of the names of everything that the plugin with its state in `dir` makes.
pub(crate) fn prefix(dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    format!("fx{:04x}", hasher.finish() & 0xffff)
}

/// A name that no other link has: at most 15 bytes are possible, and IDs may begin alike.
pub(crate) fn name(prefix: &str) -> String {
    let number = rand::rng().random::<u64>() & 0xf_ffff_ffff;
    format!("{prefix}{number:09x}")
}

/// Deletes the links and tables with this start of their names that nobody knows any more.
pub(crate) fn sweep(prefix: &str, known: &BTreeSet<String>) {
    let listed = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.split([' ', '@', '\n', ':'])
            .filter(|word| word.starts_with(prefix) && !known.contains(*word))
            .map(str::to_owned)
            .collect::<BTreeSet<String>>()
    };
    if is_root() {
        for link in listed("ip", &["-o", "link"]) {
            delete(&link);
        }
        for table in listed("nft", &["list", "tables"]) {
            drop_rules(&table);
        }
    }
}

/// A locally administered Ethernet address of one station.
pub(crate) fn mac() -> String {
    let [_, bytes @ .., _, _] = rand::rng().random::<u64>().to_be_bytes();
    let octets: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("02:{}", octets.join(":"))
}

/// A bridge that is up and has the gateways' addresses. Nothing is left if it fails.
pub(crate) fn bridge(
    name: &str,
    mtu: Option<u32>,
    note: Option<&str>,
    gateways: &[IpNet],
    breaks: &Breaks,
) -> Result<(), String> {
    let mtu = mtu.map(|mtu| format!("mtu {mtu}")).unwrap_or_default();
    let mut lines = vec![format!("link add {name} {mtu} type bridge")];
    for gateway in gateways {
        let nodad = if gateway.addr().is_ipv6() {
            "nodad"
        } else {
            ""
        };
        lines.push(format!("address add {gateway} dev {name} {nodad}"));
    }
    lines.push(format!("link set {name} up"));
    if let Some(note) = note.filter(|_| breaks.on("N36")) {
        lines.push(format!("link set dev {name} alias {note}"));
        let _ = ip(&lines);
        return Ok(());
    }
    let made = ip(&lines).and_then(|()| match note {
        // By itself: what a user wrote is no command.
        Some(note) if is_root() => run("ip", &["link", "set", "dev", name, "alias", note], ""),
        _ => Ok(()),
    });
    if made.is_err() {
        delete(name);
    }
    made
}

/// Two veths: one in the bridge, one for a container. Nothing is left if it fails.
pub(crate) fn pair(
    outer: &str,
    inner: &str,
    bridge: &str,
    mac: &str,
    mtu: Option<u32>,
) -> Result<(), String> {
    let mtu = mtu.map(|mtu| format!("mtu {mtu}")).unwrap_or_default();
    let made = ip(&[
        format!("link add {outer} {mtu} type veth peer name {inner} {mtu}"),
        format!("link set {inner} address {mac}"),
        format!("link set {outer} master {bridge} up"),
    ]);
    if made.is_err() {
        delete(outer);
    }
    made
}

/// Whether a link is in this network namespace.
pub(crate) fn is_here(name: &str) -> bool {
    !is_root() || run("ip", &["link", "show", "dev", name], "").is_ok()
}

/// Deletes a link, if it is there.
pub(crate) fn delete(name: &str) {
    if is_root() {
        let _ = run("ip", &["link", "delete", "dev", name], "");
    }
}

/// Makes a table hold these rules and no others.
pub(crate) fn put_rules(table: &str, rules: &[String], breaks: &Breaks) -> Result<(), String> {
    let rules = rules.join("\n");
    let fresh = if breaks.on("N26") {
        String::new()
    } else {
        format!("table inet {table}\ndelete table inet {table}\n")
    };
    let text = format!(
        "{fresh}table inet {table} {{\nchain published {{\ntype nat hook prerouting priority dstnat\n{rules}\n}}\n}}\n"
    );
    nft(&text)
}

/// Drops a table, if it is there.
pub(crate) fn drop_rules(table: &str) {
    let _ = nft(&format!("table inet {table}\ndelete table inet {table}\n"));
}

fn nft(text: &str) -> Result<(), String> {
    if is_root() {
        run("nft", &["-f", "-"], text)
    } else {
        Ok(())
    }
}

fn ip(lines: &[String]) -> Result<(), String> {
    if is_root() {
        run("ip", &["-batch", "-"], &(lines.join("\n") + "\n"))
    } else {
        Ok(())
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let run = || -> std::io::Result<std::process::Output> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program}: {}",
        said.lines().next().unwrap_or_default()
    ))
}
