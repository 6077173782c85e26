//! The chain in iptables' filter table that accepts what dockside's table has accepted.

use std::path::Path;

use super::base::{MARK, TABLE};
use super::listing::{self, Overview};
use super::program;
use super::script::Script;
use crate::machine::{ErrorKind, MachineError};

/// The chain.
const CHAIN: &str = "DOCKSIDE-FORWARD";
/// The user's own chain, which the engine puts in front of everything.
const USERS: &str = "DOCKER-USER";
/// How long `iptables` waits for another one, in seconds.
const WAIT: &str = "5";
/// The chains of an empty filter table.
const BUILT_IN: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];

/// One program with its tables in the kernel. `iptables` keeps them in nftables, or, the older one, in a place of their own; a machine may
/// have both programs and rules in both places.
struct Variant {
    program: String,
    /// The family of nftables.
    family: &'static str,
    /// Whether the kernel has the filter table.
    exists: bool,
}

impl Variant {
    /// Every program whose tables are or can be in use.
    fn all(overview: &Overview) -> Vec<Variant> {
        let mut all = Vec::new();
        for (family, program, names) in [
            ("ip", "iptables", "/proc/net/ip_tables_names"),
            ("ip6", "ip6tables", "/proc/net/ip6_tables_names"),
        ] {
            if family == "ip6" && !Path::new("/proc/sys/net/ipv6").exists() {
                continue;
            }
            let modern_exists = overview.has_filter(family);
            let legacy_exists = std::fs::read_to_string(names)
                .is_ok_and(|names| names.lines().any(|name| name == "filter"));
            let mut add = |program: String, exists: bool| {
                all.push(Variant {
                    program,
                    family,
                    exists,
                });
            };
            let Some(path) = program::find(program) else {
                continue;
            };
            let modern = is_modern(&path);
            add(
                program.to_owned(),
                if modern { modern_exists } else { legacy_exists },
            );
            let (other, other_exists) = if modern {
                (format!("{program}-legacy"), legacy_exists)
            } else {
                (format!("{program}-nft"), modern_exists)
            };
            // Looking into the older one's tables is enough to make them.
            if other_exists && program::find(&other).is_some() {
                add(other, true);
            }
        }
        all
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<program::Finished, MachineError> {
        let restore = arguments.is_empty();
        if restore {
            let program = format!("{}-restore", self.program);
            program::run(&program, "iptables", &["-w", WAIT, "--noflush"], input)
        } else {
            let arguments = [&["-w", WAIT], arguments].concat();
            program::run(&self.program, "iptables", &arguments, input)
        }
    }

    /// The rules of a chain; none if there is no such chain.
    fn rules(&self, chain: &str) -> Result<Option<Vec<String>>, MachineError> {
        if !self.exists {
            return Ok(None);
        }
        let finished = self.run(&["-S", chain], "")?;
        if finished.success {
            let rule = |line: &&str| line.starts_with("-A ");
            return Ok(Some(
                finished
                    .output
                    .lines()
                    .filter(rule)
                    .map(str::to_owned)
                    .collect(),
            ));
        }
        if finished
            .errors
            .contains("No chain/target/match by that name")
        {
            return Ok(None);
        }
        Err(self.refused(&format!("read the chain {chain}"), &finished.errors))
    }

    fn state(&self) -> Result<State, MachineError> {
        let forward = self.rules("FORWARD")?.unwrap_or_default();
        let place = |jump: &str| forward.iter().rposition(|rule| rule == jump);
        let own = format!("-A FORWARD -j {CHAIN}");
        Ok(State {
            jumps: forward.iter().filter(|rule| **rule == own).count(),
            after_users: place(&format!("-A FORWARD -j {USERS}")).map_or(1, |place| place + 2),
            chain: self.rules(CHAIN)?,
        })
    }

    fn change(&self, lines: &[String]) -> Result<(), MachineError> {
        let script = format!("*filter\n{}\nCOMMIT\n", lines.join("\n"));
        let finished = self.run(&[], &script)?;
        if finished.success {
            return Ok(());
        }
        Err(self.refused(&format!("change the chain {CHAIN}"), &finished.errors))
    }

    fn refused(&self, tried: &str, errors: &str) -> MachineError {
        let said = errors
            .lines()
            .find(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .unwrap_or_default();
        MachineError::new(
            ErrorKind::Other,
            format!("cannot {tried} of iptables: {}: {said}", self.program),
        )
    }
}

/// What there is of ours.
struct State {
    /// Jumps in FORWARD to our chain.
    jumps: usize,
    /// The place for one, counted from 1.
    after_users: usize,
    /// The chain's rules, if there is the chain.
    chain: Option<Vec<String>>,
}

impl State {
    fn wanted() -> String {
        format!("-A {CHAIN} -m mark --mark {MARK:#x}/{MARK:#x} -j ACCEPT")
    }

    fn is_complete(&self) -> bool {
        self.jumps == 1
            && self
                .chain
                .as_ref()
                .is_some_and(|rules| *rules == [State::wanted()])
    }
}

/// Adds to the script that makes the table a note of which filter tables will be made with it.
pub(super) fn remember(overview: &Overview, script: &mut Script) {
    for variant in Variant::all(overview) {
        if !variant.exists && !overview.has_filter(variant.family) {
            script.line(
                "note that iptables had no filter table",
                format!("add chain {TABLE} {}", note(variant.family)),
            );
        }
    }
}

/// Makes the chain and the jump to it where they are missing.
pub(super) fn ensure(overview: &Overview) -> Result<(), MachineError> {
    if program::find("iptables").is_none() {
        return without_program(overview);
    }
    for variant in Variant::all(overview) {
        let state = variant.state()?;
        if state.is_complete() {
            continue;
        }
        // Naming the chain makes it, or empties it.
        let mut lines = vec![format!(":{CHAIN} - [0:0]"), State::wanted()];
        if state.jumps == 0 {
            lines.push(format!("-I FORWARD {} -j {CHAIN}", state.after_users));
        }
        lines.extend((1..state.jumps).map(|_| format!("-D FORWARD -j {CHAIN}")));
        variant.change(&lines)?;
    }
    Ok(())
}

/// An engine that brings its own iptables may have set the policy on a machine that has none.
fn without_program(overview: &Overview) -> Result<(), MachineError> {
    for family in ["ip", "ip6"] {
        if overview.has_filter(family)
            && listing::foreign(family)?
                .0
                .iter()
                .any(|chain| chain.name == "FORWARD" && chain.drops)
        {
            return Err(MachineError::new(
                ErrorKind::Missing,
                "iptables' FORWARD chain drops what is forwarded, and iptables is not installed to make an exception: install the package iptables",
            ));
        }
    }
    Ok(())
}

/// What is missing.
pub(super) fn missing(overview: &Overview) -> Result<Option<String>, MachineError> {
    for variant in Variant::all(overview) {
        if !variant.state()?.is_complete() {
            return Ok(Some(format!(
                "the chain {CHAIN} of {} is missing, is not reached from FORWARD, or has other rules",
                variant.program
            )));
        }
    }
    Ok(None)
}

/// Takes the chain and the jump away.
pub(super) fn remove(overview: &Overview) -> Result<(), MachineError> {
    for variant in Variant::all(overview)
        .iter()
        .filter(|variant| variant.exists)
    {
        let state = variant.state()?;
        let mut lines: Vec<String> = Vec::new();
        lines.extend((0..state.jumps).map(|_| format!("-D FORWARD -j {CHAIN}")));
        if state.chain.is_some() {
            lines.insert(0, format!(":{CHAIN} - [0:0]"));
            lines.push(format!("-X {CHAIN}"));
        }
        if !lines.is_empty() {
            variant.change(&lines)?;
        }
    }
    Ok(())
}

/// Takes filter tables away that were made for our chain, if nothing has come into them since.
pub(super) fn forget() -> Result<(), MachineError> {
    let overview = Overview::read()?;
    for family in ["ip", "ip6"] {
        if !overview.has_chain(&note(family)) || !overview.has_filter(family) {
            continue;
        }
        let (chains, more) = listing::foreign(family)?;
        let trivial =
            |chain: &listing::ForeignChain| !chain.drops && BUILT_IN.contains(&chain.name.as_str());
        if more || !chains.iter().all(trivial) {
            continue;
        }
        let what = "remove the empty filter table of iptables";
        let mut script = Script::default();
        for chain in chains {
            script.line(what, format!("delete chain {family} filter {}", chain.name));
        }
        script.line(what, format!("delete table {family} filter"));
        match script.run() {
            // Somebody uses it now, or removed it.
            Err(error) if matches!(error.kind, ErrorKind::Busy | ErrorKind::NotFound) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The chain in our table that says that we made the other one.
fn note(family: &str) -> String {
    format!("made_{family}_filter")
}

/// Whether the program keeps its tables in nftables. Its real name says so.
fn is_modern(path: &Path) -> bool {
    std::fs::canonicalize(path)
        .ok()
        .and_then(|real| Some(real.file_name()?.to_str()?.contains("nft")))
        .unwrap_or(false)
}
