//! The chain in iptables' filter table that accepts what dockside's table has accepted.

use std::path::Path;

use super::base::{MARK, TABLE};
use super::listing::{self, ForeignChain, Overview};
use super::lock::Lock;
use super::program;
use super::script::Script;
use crate::machine::{ErrorKind, MachineError};

/// The chain.
const CHAIN: &str = "DOCKSIDE-FORWARD";
/// The user's own chain, which the engine puts in front of everything.
const USERS: &str = "DOCKER-USER";
/// How long `iptables` waits for another one, in seconds.
const WAIT: &str = "5";

/// One program with its tables in the kernel. `iptables` keeps them in nftables, or, the older one, in a place of their own; a machine may
/// have both programs and rules in both places.
struct Variant {
    program: String,
    /// The family of nftables.
    family: &'static str,
    /// Whether its tables are nftables'.
    modern: bool,
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
            let mut add = |program: String, modern: bool, exists: bool| {
                all.push(Variant {
                    program,
                    family,
                    modern,
                    exists,
                });
            };
            let Some(path) = program::find(program) else {
                continue;
            };
            let modern = is_modern(&path);
            let (exists, other, other_exists) = if modern {
                (modern_exists, format!("{program}-legacy"), legacy_exists)
            } else {
                (legacy_exists, format!("{program}-nft"), modern_exists)
            };
            add(program.to_owned(), modern, exists);
            // Looking into the older one's tables is enough to make them.
            if other_exists && program::find(&other).is_some() {
                add(other, !modern, true);
            }
        }
        all
    }

    /// The rules of a chain. None: there is no such chain, or it has rules that only `nft` can read; iptables says the same of both.
    fn rules(&self, chain: &str) -> Result<Option<Vec<String>>, MachineError> {
        if !self.exists {
            return Ok(None);
        }
        let arguments = ["-w", WAIT, "-S", chain];
        let finished = program::run(&self.program, "iptables", &arguments, None, None)?;
        if finished.success {
            let rule = |line: &&str| line.starts_with("-A ");
            let rules = finished.output.lines().filter(rule);
            return Ok(Some(rules.map(str::to_owned).collect()));
        }
        let absent = ["No chain/target/match by that name", "is incompatible"];
        if absent.iter().any(|text| finished.errors.contains(text)) {
            return Ok(None);
        }
        Err(self.refused(&format!("read the chain {chain}"), &finished.errors))
    }

    /// What there is of ours. None if the operator has rules in FORWARD that are not iptables': that is a firewall of their own then.
    fn state(&self) -> Result<Option<State>, MachineError> {
        let forward = match self.rules("FORWARD")? {
            Some(rules) => rules,
            None if self.exists => return Ok(None),
            None => Vec::new(),
        };
        let place = |jump: &str| forward.iter().rposition(|rule| rule == jump);
        let own = format!("-A FORWARD -j {CHAIN}");
        Ok(Some(State {
            jumps: forward.iter().filter(|rule| **rule == own).count(),
            after_users: place(&format!("-A FORWARD -j {USERS}")).map_or(1, |place| place + 2),
            chain: self.rules(CHAIN)?,
        }))
    }

    fn change(&self, lines: &[String], lock: &Lock) -> Result<(), MachineError> {
        let script = format!("*filter\n{}\nCOMMIT\n", lines.join("\n"));
        let program = format!("{}-restore", self.program);
        let arguments = ["-w", WAIT, "--noflush"];
        let finished = program::run(&program, "iptables", &arguments, Some(&script), Some(lock))?;
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

/// Adds to the script that makes the table a note of what will be made with our chain.
pub(super) fn remember(overview: &Overview, script: &mut Script) -> Result<(), MachineError> {
    for Variant { family, .. } in Variant::all(overview).iter().filter(|one| one.modern) {
        let has_filter = overview.has_filter(family);
        for (thing, exists) in [
            ("filter", has_filter),
            ("forward", has_filter && listing::has_forward(family)?),
        ] {
            if !exists {
                script.line(
                    "note what iptables did not have",
                    format!("add chain {TABLE} {}", note(family, thing)),
                );
            }
        }
    }
    Ok(())
}

/// Makes the chain and the jump to it where they are missing.
pub(super) fn ensure(overview: &Overview, lock: &Lock) -> Result<(), MachineError> {
    if program::find("iptables").is_none() {
        return without_program(overview);
    }
    for variant in Variant::all(overview) {
        let Some(state) = variant.state()?.filter(|state| !state.is_complete()) else {
            continue;
        };
        // Naming the chain makes it, or empties it.
        let mut lines = vec![format!(":{CHAIN} - [0:0]"), State::wanted()];
        if state.jumps == 0 {
            lines.push(format!("-I FORWARD {} -j {CHAIN}", state.after_users));
        }
        lines.extend((1..state.jumps).map(|_| format!("-D FORWARD -j {CHAIN}")));
        variant.change(&lines, lock)?;
    }
    Ok(())
}

/// An engine that brings its own iptables may have set the policy on a machine that has none.
fn without_program(overview: &Overview) -> Result<(), MachineError> {
    for family in ["ip", "ip6"] {
        if overview.has_filter(family)
            && listing::filter(family)?
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
        if variant.state()?.is_some_and(|state| !state.is_complete()) {
            return Ok(Some(format!(
                "the chain {CHAIN} of {} is missing, is not reached from FORWARD, or has other rules",
                variant.program
            )));
        }
    }
    Ok(None)
}

/// Takes the chain and the jump away.
pub(super) fn remove(overview: &Overview, lock: &Lock) -> Result<(), MachineError> {
    for variant in Variant::all(overview)
        .iter()
        .filter(|variant| variant.exists)
    {
        let Some(state) = variant.state()? else {
            continue;
        };
        let mut lines: Vec<String> = Vec::new();
        lines.extend((0..state.jumps).map(|_| format!("-D FORWARD -j {CHAIN}")));
        if state.chain.is_some() {
            lines.insert(0, format!(":{CHAIN} - [0:0]"));
            lines.push(format!("-X {CHAIN}"));
        }
        if !lines.is_empty() {
            variant.change(&lines, lock)?;
        }
    }
    Ok(())
}

/// Takes away what was made with our chain, if nothing has come into it since: the chain FORWARD, and the filter table.
pub(super) fn forget(lock: &Lock) -> Result<(), MachineError> {
    let overview = Overview::read()?;
    for family in ["ip", "ip6"] {
        if !overview.has_chain(&note(family, "forward")) || !overview.has_filter(family) {
            continue;
        }
        let (chains, more) = listing::filter(family)?;
        let trivial = |chain: &&ForeignChain| {
            let built_in = ["INPUT", "FORWARD", "OUTPUT"].contains(&chain.name.as_str());
            built_in && !chain.drops && chain.rules == 0
        };
        let what = "remove the empty filter table of iptables";
        let mut script = Script::default();
        if overview.has_chain(&note(family, "filter"))
            && !more
            && chains.iter().filter(trivial).count() == chains.len()
        {
            script.line(what, format!("delete table {family} filter"));
        } else if chains
            .iter()
            .filter(trivial)
            .any(|chain| chain.name == "FORWARD")
        {
            script.line(what, format!("delete chain {family} filter FORWARD"));
        }
        match script.run(lock) {
            // Somebody uses it now, or removed it.
            Err(error) if matches!(error.kind, ErrorKind::Busy | ErrorKind::NotFound) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The chain in our table that says that we made something of the other one.
fn note(family: &str, thing: &str) -> String {
    format!("made_{family}_{thing}")
}

/// Whether the program keeps its tables in nftables. Its real name says so.
fn is_modern(path: &Path) -> bool {
    std::fs::canonicalize(path)
        .ok()
        .and_then(|real| Some(real.file_name()?.to_str()?.contains("nft")))
        .unwrap_or(false)
}
