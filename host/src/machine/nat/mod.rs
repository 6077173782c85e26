//! NAT and filtering by nftables, in a table of dockside's own.
//!
//! **Rule sets.** The table `inet dockside` has fixed chains that look into maps, and each [`RuleSet`] has chains of its own that the maps
//! lead to: making or removing one touches no other, and what a packet costs does not grow with their number. Every change is one
//! transaction of the kernel. The table goes with the last rule set.
//!
//! **Other firewalls.** What one table accepts another can still drop. Docker's engine sets the policy of iptables' FORWARD chain to DROP, so
//! the packets that this table accepts get a mark ([`MARK`]), and a chain `DOCKSIDE-FORWARD` in iptables' filter table accepts what is
//! marked. It does so wherever iptables is installed, and before there is any reason to: an engine that starts later sets the policy and
//! puts its own jumps in front, but leaves other rules alone. The jump stands behind the one to `DOCKER-USER`, so that what the user drops
//! there stays dropped. No other rule of iptables is touched. An engine that uses nftables itself drops only what goes to its own bridges. In a firewall that
//! drops by rules of its own, the operator accepts the same mark. It is taken off again before the packet leaves.
//!
//! What a packet is dropped for here stays dropped, whatever another table says.

mod base;
mod check;
mod digest;
mod flows;
mod forwarding;
mod iptables;
mod listing;
mod localnet;
mod lock;
mod ports;
mod program;
mod script;
mod uplinks;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use base::MARK;
pub use forwarding::{Family, turn_on_forwarding};
pub use ports::{first_free, overlap, port_free};

use super::{ErrorKind, MachineError, Presence};
use listing::{Listing, Overview};
use lock::Lock;

/// Rules that are made and removed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSet {
    /// The identifier that the host minted, in lower-case hexadecimal, at most 64 digits.
    pub id: String,
    /// What it does. All rules of a link except [`Rule::Publish`] belong in one rule set; a second one that names the link is refused.
    pub rules: Vec<Rule>,
}

/// One thing that a rule set does. Links are named as on the machine, and need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// What comes from `link` with an address of `source` leaves through any other link with that one's address. Connections from the
    /// network to a port that is published on the same network get the link's address, so that the answers come back this way.
    Masquerade {
        /// The addresses behind the link.
        source: IpNet,
        /// The bridge of the network.
        link: String,
    },
    /// New connections from the link to anywhere and between its ports; into the link only from other networks of dockside's, through
    /// published ports, and what belongs to connections that are open. Anything else that comes to the link from outside is dropped.
    /// Whether new connections may go to other people's bridges, such as `docker0`, is left to other people's rules. A bridge is taken for
    /// one if the host has no default route through it.
    Forward {
        /// The bridge of the network.
        link: String,
        /// New connections from anywhere into the link too: a routed network.
        #[serde(default)]
        routed: bool,
    },
    /// Nothing passes between the link and any other. Its ports reach each other, and the host.
    Internal {
        /// The bridge of the network.
        link: String,
    },
    /// Nothing passes between the link and other networks of dockside's.
    Isolate {
        /// The bridge of the network.
        link: String,
    },
    /// A port of the host leads to one behind a link, from outside, from the host itself, and, where [`Rule::Masquerade`] covers it, from
    /// the same network. The link needs a [`Rule::Forward`] in this rule set or another.
    Publish {
        /// The protocol.
        transport: Transport,
        /// The host's address. None, or the unspecified one: every address of the family of `to`.
        host: Option<IpAddr>,
        /// The host's port.
        host_port: u16,
        /// The address behind the link.
        to: IpAddr,
        /// The port there.
        to_port: u16,
        /// The bridge of the network.
        link: String,
        /// Also for connections of the host to 127.0.0.0/8. For that the kernel must take loopback addresses on the link
        /// (`route_localnet`), which goes away only with the link: for links that the host made, and never for others. The link must
        /// exist. There is no such thing for ::1.
        #[serde(default)]
        loopback: bool,
    },
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// Its name in nftables and for people.
    fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        }
    }
}

impl Rule {
    /// The link it names.
    pub fn link(&self) -> &str {
        match self {
            Rule::Masquerade { link, .. }
            | Rule::Forward { link, .. }
            | Rule::Internal { link }
            | Rule::Isolate { link }
            | Rule::Publish { link, .. } => link,
        }
    }
}

/// Makes the rules. Made already, they are made again, and what was lost of them or of what they stand on is put back.
///
/// Forwarding itself is not turned on: see [`turn_on_forwarding`].
///
/// # Errors
///
/// [`ErrorKind::Exists`] if another rule set has the port or the link, [`ErrorKind::Invalid`] for values that make no sense,
/// [`ErrorKind::NotFound`] if a port is to be published on loopback addresses and the link does not exist, [`ErrorKind::Missing`] without
/// the program `nft`, or without `iptables` where iptables' rules drop what is forwarded.
pub fn perform(set: &RuleSet) -> Result<(), MachineError> {
    check::rule_set(set)?;
    let lock = Lock::take()?;
    let before = Overview::read()?;
    if before.has_impostor() {
        let _ = lock.remove();
        return Err(MachineError::new(
            ErrorKind::Exists,
            "nftables has a table inet dockside that dockside has not made: rename or remove it",
        ));
    }
    let filters = set.rules.iter().any(needs_mark);
    let mut script = script::perform(set);
    if !before.has_table() {
        iptables::remember(&before, &mut script)?;
    }
    let mut done = script.run(&lock);
    if done.is_ok() && filters {
        // After the table, which notes what is made here.
        done = iptables::ensure(&before, &lock);
    }
    done = done.and_then(|()| localnet::perform(set));
    let is_new = !before.ids().any(|id| id == set.id);
    match &done {
        Ok(()) if is_new => flows::forget(set, &lock),
        // The caller undoes it as well; what failed is the better text to report.
        Err(_) if is_new => drop(remove(set, &lock)),
        // What could not be put right does not make what was there before worse.
        _ => {}
    }
    done
}

/// Takes the rules away, and with the last ones the table and the chain in iptables.
///
/// # Errors
///
/// Whatever `nft` or `iptables` says. It can be asked again.
pub fn undo(set: &RuleSet) -> Result<(), MachineError> {
    // What is refused was never made.
    if check::rule_set(set).is_err() {
        return Ok(());
    }
    remove(set, &Lock::take()?)
}

fn remove(set: &RuleSet, lock: &Lock) -> Result<(), MachineError> {
    let before = Overview::read()?;
    if before.ids().any(|id| id == set.id) {
        if let Err(error) = script::undo(set).run(lock)
            // Something of it was removed by others, or was never like this.
            && let Some(listing) = Listing::read()?
        {
            script::undo_found(&listing, set)
                .run(lock)
                .map_err(|_| error)?;
        }
        flows::forget(set, lock);
    }
    if before.ids().all(|id| id == set.id) {
        return remove_table(&before, lock);
    }
    Ok(())
}

/// Takes away what is left without rule sets. The table goes last: what is to be removed elsewhere is remembered in it.
fn remove_table(before: &Overview, lock: &Lock) -> Result<(), MachineError> {
    iptables::remove(before, lock)?;
    if before.has_table() {
        iptables::forget(lock)?;
        match base::remove().run(lock) {
            // A daemon that sees another /run than this one has made a rule set meanwhile.
            Err(error) if error.kind == ErrorKind::Busy => {
                return iptables::ensure(&Overview::read()?, lock);
            }
            Err(error) if error.kind == ErrorKind::NotFound => {}
            other => other?,
        }
    }
    lock.remove()
}

/// Whether the rules are there, and what they stand on.
///
/// # Errors
///
/// Whatever `nft` or `iptables` says.
pub fn look(set: &RuleSet) -> Result<Presence, MachineError> {
    let found = look_at_all(&[set])?;
    Ok(found.into_iter().next().unwrap_or(Presence::Absent))
}

/// The same for many, in their order, for the price of one: the table is read once.
///
/// # Errors
///
/// Whatever `nft` or `iptables` says.
pub fn look_at_all(sets: &[&RuleSet]) -> Result<Vec<Presence>, MachineError> {
    let Some(listing) = Listing::read()? else {
        return Ok(vec![Presence::Absent; sets.len()]);
    };
    let filters = |set: &&RuleSet| set.rules.iter().any(needs_mark);
    let missing = if sets.iter().any(filters) {
        iptables::missing(&Overview::read()?)?
    } else {
        None
    };
    let look = |set: &&RuleSet| {
        // What is refused was never made.
        if check::rule_set(set).is_err() {
            return Presence::Absent;
        }
        let found = script::perform(set).compare(&listing, &set.id);
        if found != Presence::Present {
            return found;
        }
        missing
            .clone()
            .filter(|_| filters(set))
            .or_else(|| localnet::missing(set))
            .map_or(Presence::Present, Presence::Changed)
    };
    Ok(sets.iter().map(look).collect())
}

/// The identifiers of all rule sets in the table, those of other daemons on the machine included.
///
/// # Errors
///
/// Whatever `nft` says.
pub fn list_ours() -> Result<Vec<String>, MachineError> {
    Ok(Overview::read()?.ids().map(str::to_owned).collect())
}

/// Whether a rule lets packets pass, which other firewalls must be told.
fn needs_mark(rule: &Rule) -> bool {
    matches!(rule, Rule::Forward { .. } | Rule::Internal { .. })
}

#[cfg(test)]
mod tests;
