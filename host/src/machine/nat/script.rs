//! What `nft` is told. Every value in it has been checked or has a type whose text cannot be anything else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::base::{self, MARK, TABLE};
use super::check::bound;
use super::digest::digest;
use super::listing::Listing;
use super::lock::Lock;
use super::{Rule, RuleSet, program};
use crate::machine::{ErrorKind, MachineError, Presence};

/// One transaction.
#[derive(Default)]
pub(super) struct Script {
    text: String,
    /// What each line is for.
    purposes: Vec<String>,
    /// Each chain with the number of its rules.
    chains: BTreeMap<String, usize>,
    /// The comment of the rule set's own chain.
    digest: String,
    /// Each key with the map or set that it is in.
    elements: Vec<Element>,
}

/// A key of a map or a set.
pub(super) struct Element {
    pub(super) set: &'static str,
    pub(super) key: String,
    /// The chain that it leads to; none in a set.
    pub(super) chain: Option<String>,
}

impl Script {
    /// Adds a line.
    pub(super) fn line(&mut self, purpose: &str, line: String) {
        self.text.push_str(&line);
        self.text.push('\n');
        self.purposes.push(purpose.to_owned());
    }

    /// Makes a chain consist of these rules.
    pub(super) fn chain(
        &mut self,
        purpose: &str,
        name: &str,
        rules: impl IntoIterator<Item = String>,
    ) {
        self.line(purpose, format!("add chain {TABLE} {name}"));
        self.line(purpose, format!("flush chain {TABLE} {name}"));
        let mut count = 0;
        for rule in rules {
            self.line(purpose, format!("add rule {TABLE} {name} {rule}"));
            count += 1;
        }
        self.chains.insert(name.to_owned(), count);
    }

    /// Runs it.
    pub(super) fn run(&self, lock: &Lock) -> Result<(), MachineError> {
        if self.text.is_empty() {
            return Ok(());
        }
        let finished = program::run("nft", "nftables", &["-f"], Some(&self.text), Some(lock))?;
        if finished.success {
            return Ok(());
        }
        let (line, said) = first_error(&finished.errors);
        let purpose = line
            .and_then(|line| self.purposes.get(line.checked_sub(1)?))
            .map_or("change dockside's table", String::as_str);
        Err(refusal(purpose, said))
    }

    /// What differs between the table and what this script makes.
    pub(super) fn compare(&self, listing: &Listing, id: &str) -> Presence {
        let Some(made_from) = listing.digest(id) else {
            return Presence::Absent;
        };
        let changed = |text: String| Presence::Changed(text);
        if made_from != self.digest {
            return changed("it was made from another record".to_owned());
        }
        for (chain, rules) in &self.chains {
            match listing.rules(chain) {
                None => return changed(format!("the chain {chain} of the table {TABLE} is gone")),
                Some(found) if found != *rules => {
                    return changed(format!(
                        "the chain {chain} of the table {TABLE} has {found} rules instead of {rules}"
                    ));
                }
                Some(_) => {}
            }
        }
        for element in &self.elements {
            if !listing.has(element) {
                return changed(format!(
                    "{} is gone from {} of the table {TABLE}",
                    element.key, element.set
                ));
            }
        }
        Presence::Present
    }
}

/// What makes a rule set, with the table.
pub(super) fn perform(set: &RuleSet) -> Script {
    let mut script = Script::default();
    base::ensure(&mut script);
    let id = &set.id;
    script.digest = digest(set);
    let own = format!("jump held comment \"{}\"", script.digest);
    script.chain("make a rule set", &format!("r_{id}"), [own]);
    for (prefix, purpose, rules) in [
        ('f', "filter what is forwarded", filtering(set)),
        ('n', "masquerade", masquerading(set)),
        ('d', "publish ports", publishing(set)),
    ] {
        if !rules.is_empty() {
            script.chain(purpose, &format!("{prefix}_{id}"), rules);
        }
    }
    for (purpose, element) in elements(set) {
        let Element { set, key, chain } = &element;
        let leads = chain.as_ref().map(|chain| format!(" : jump {chain}"));
        let line = format!(
            "add element {TABLE} {set} {{ {key}{} }}",
            leads.unwrap_or_default()
        );
        script.line(&purpose, line);
        script.elements.push(element);
    }
    script
}

/// What removes a rule set that is as it was made.
pub(super) fn undo(set: &RuleSet) -> Script {
    let chains = [
        ('r', true),
        ('f', !filtering(set).is_empty()),
        ('n', !masquerading(set).is_empty()),
        ('d', !publishing(set).is_empty()),
    ];
    removal(
        elements(set)
            .into_iter()
            .map(|(_, element)| (element.set, element.key)),
        chains
            .into_iter()
            .filter(|(_, has)| *has)
            .map(|(prefix, _)| format!("{prefix}_{}", set.id)),
    )
}

/// What removes whatever is there of a rule set.
pub(super) fn undo_found(listing: &Listing, set: &RuleSet) -> Script {
    let chains: Vec<String> = ['r', 'f', 'n', 'd']
        .iter()
        .map(|prefix| format!("{prefix}_{}", set.id))
        .filter(|chain| listing.rules(chain).is_some())
        .collect();
    let mut found = listing.leading_to(&chains);
    // A name belongs to whoever has the link, and to the record if nobody has.
    let named = elements(set).into_iter().map(|(_, element)| element);
    for Element { set, key, .. } in named.filter(|element| element.set == "names") {
        if listing.has_key("names", &key) && !listing.has_key("links", &key) {
            found.push((set, key));
        }
    }
    removal(found, chains)
}

fn removal(
    elements: impl IntoIterator<Item = (&'static str, String)>,
    chains: impl IntoIterator<Item = String>,
) -> Script {
    let what = "remove a rule set";
    let mut script = Script::default();
    for (set, key) in elements {
        script.line(what, format!("delete element {TABLE} {set} {{ {key} }}"));
    }
    for chain in chains {
        script.line(what, format!("flush chain {TABLE} {chain}"));
        script.line(what, format!("delete chain {TABLE} {chain}"));
    }
    script
}

/// The keys that lead to the rule set's chains, each with what it is for.
fn elements(set: &RuleSet) -> Vec<(String, Element)> {
    let id = &set.id;
    let mut elements: Vec<(String, Element)> = Vec::new();
    let mut add = |purpose: String, set: &'static str, key: String, chain: Option<String>| {
        if !elements
            .iter()
            .any(|(_, one)| one.set == set && one.key == key)
        {
            elements.push((purpose, Element { set, key, chain }));
        }
    };
    for rule in &set.rules {
        let link = format!("\"{}\"", rule.link());
        match rule {
            Rule::Masquerade { .. } => add(
                format!("masquerade what comes from {link}"),
                "leaving",
                link,
                Some(format!("n_{id}")),
            ),
            Rule::Forward { .. } | Rule::Internal { .. } | Rule::Isolate { .. } => {
                let purpose = format!("filter what is forwarded from and to {link}");
                add(
                    purpose.clone(),
                    "links",
                    link.clone(),
                    Some(format!("f_{id}")),
                );
                add(purpose, "names", link, None);
            }
            Rule::Publish {
                transport,
                host,
                host_port,
                to,
                ..
            } => {
                let transport = transport.name();
                let (set, key) = match (bound(*host), to) {
                    (None, IpAddr::V4(_)) => ("any4", String::new()),
                    (None, IpAddr::V6(_)) => ("any6", String::new()),
                    (Some(IpAddr::V4(host)), _) => ("bound4", format!("{host} . ")),
                    (Some(IpAddr::V6(host)), _) => ("bound6", format!("{host} . ")),
                };
                add(
                    format!("publish port {host_port}/{transport}"),
                    set,
                    format!("{key}{transport} . {host_port}"),
                    Some(format!("d_{id}")),
                );
            }
        }
    }
    elements
}

/// The rules for what is forwarded. They see each packet twice if both its links are dockside's, so none accepts for good: that would keep
/// the other link's rules from being asked. The first ones drop, the last ones mark.
fn filtering(set: &RuleSet) -> Vec<String> {
    let mark = format!("meta mark set meta mark | {MARK:#010x}");
    let mut rules = Vec::new();
    for rule in &set.rules {
        match rule {
            Rule::Internal { link } => rules.extend([
                format!("iifname \"{link}\" oifname != \"{link}\" drop"),
                format!("iifname != \"{link}\" oifname \"{link}\" drop"),
            ]),
            Rule::Isolate { link } => rules.extend([
                format!("iifname \"{link}\" oifname != \"{link}\" oifname @names drop"),
                format!("iifname != \"{link}\" iifname @names oifname \"{link}\" drop"),
            ]),
            _ => {}
        }
    }
    for rule in &set.rules {
        match rule {
            Rule::Internal { link } => {
                rules.push(format!("iifname \"{link}\" oifname \"{link}\" {mark}"));
            }
            Rule::Forward { link, routed } => {
                // A bridge that leads nowhere is the network of somebody else's containers or virtual machines. Whether new connections
                // may go there is for others to say: the engine counts on the policy to keep them out of its networks.
                rules.push(format!(
                    "iifname \"{link}\" ct state new oifname != \"{link}\" meta oifkind \"bridge\" oifname != @names oifname != @uplinks return"
                ));
                rules.push(format!("iifname \"{link}\" {mark} return"));
                // Only what goes to the link and comes from another one is left.
                let to = format!("oifname \"{link}\"");
                if *routed {
                    rules.push(format!("{to} {mark}"));
                } else {
                    rules.extend([
                        format!("{to} ct state established,related {mark} return"),
                        format!("{to} ct status dnat {mark} return"),
                        format!("{to} iifname @names return"),
                        format!("{to} drop"),
                    ]);
                }
            }
            _ => {}
        }
    }
    rules
}

fn masquerading(set: &RuleSet) -> Vec<String> {
    let mut rules = Vec::new();
    for rule in &set.rules {
        if let Rule::Masquerade { source, link } = rule {
            let from = match source {
                IpNet::V4(net) => format!("ip saddr {}", net.trunc()),
                IpNet::V6(net) => format!("ip6 saddr {}", net.trunc()),
            };
            rules.extend([
                format!("{from} iifname \"{link}\" oifname != \"{link}\" masquerade"),
                format!("{from} oifname \"{link}\" ct status dnat masquerade"),
            ]);
        }
    }
    rules
}

fn publishing(set: &RuleSet) -> Vec<String> {
    let mut rules = Vec::new();
    for rule in &set.rules {
        if let Rule::Publish {
            transport,
            host,
            host_port,
            to,
            to_port,
            loopback,
            ..
        } = rule
        {
            let host = bound(*host);
            let (at, target) = match to {
                IpAddr::V4(to) => (
                    match host {
                        Some(host) => format!("ip daddr {host}"),
                        None if *loopback => "meta nfproto ipv4".to_owned(),
                        None => "ip daddr != 127.0.0.0/8".to_owned(),
                    },
                    format!("dnat ip to {to}:{to_port}"),
                ),
                IpAddr::V6(to) => (
                    match host {
                        Some(host) => format!("ip6 daddr {host}"),
                        None => "ip6 daddr != ::1".to_owned(),
                    },
                    format!("dnat ip6 to [{to}]:{to_port}"),
                ),
            };
            rules.push(format!(
                "{at} meta l4proto {} th dport {host_port} {target}",
                transport.name()
            ));
        }
    }
    rules
}

/// The line of the script that the first complaint is about, and the complaint.
pub(super) fn first_error(errors: &str) -> (Option<usize>, &str) {
    let first = errors
        .lines()
        .find(|line| line.contains("Error:"))
        .or_else(|| errors.lines().next())
        .unwrap_or_default();
    let line = first
        .split(':')
        .nth(1)
        .and_then(|number| number.trim().parse().ok());
    let said = first.split_once("Error: ").map_or(first, |(_, said)| said);
    let said = said
        .strip_prefix("Could not process rule: ")
        .unwrap_or(said)
        .trim();
    (line, said)
}

/// What the kernel's word, as `nft` repeats it, means.
pub(super) fn refusal(purpose: &str, said: &str) -> MachineError {
    let (kind, advice) = if said.contains("File exists") {
        (
            ErrorKind::Exists,
            ": another network or container of dockside's has it already",
        )
    } else if said.contains("No such file or directory") {
        (ErrorKind::NotFound, "")
    } else if said.contains("Device or resource busy") {
        (ErrorKind::Busy, "")
    } else if said.contains("Operation not permitted") {
        (
            ErrorKind::Other,
            ": dockside needs the capability CAP_NET_ADMIN",
        )
    } else if said.contains("Operation not supported") || said.contains("Protocol not supported") {
        (
            ErrorKind::Missing,
            ": the kernel lacks a part of nftables (nf_tables, nft_nat, nft_masq, nft_fib_inet)",
        )
    } else {
        (ErrorKind::Other, "")
    };
    MachineError::new(kind, format!("cannot {purpose}: {said}{advice}"))
}
