//! Makes whole links, and ends them.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use rustix::io::Errno;

use super::edit::Edit;
use super::read::{self, Seen};
use super::record::{Link, LinkKind, Mac, mint_mac};
use super::socket::{Kernel, Refusal};
use super::state::{self, State, UNFINISHED, alias, find, id_of};
use super::write;
use crate::machine::links::Whereabouts;
use crate::machine::{ErrorKind, MachineError, Presence};

fn label(link: &Link) -> String {
    format!("the {} {}", link.kind.word(), link.name)
}

/// Makes a link and sets everything on it. A failure leaves nothing.
pub(super) fn perform(kernel: &mut Kernel, link: &Link) -> Result<(), MachineError> {
    if !matches!(link.kind, LinkKind::VethPeer { .. }) {
        create(kernel, link)?;
    } else if find(kernel, link)
        .map_err(|refusal| refusal.during(&format!("read {}", label(link))))?
        .is_none()
    {
        return Err(MachineError::new(
            ErrorKind::NotFound,
            format!(
                "cannot set {}: the other end's record makes it, and it is not there",
                label(link)
            ),
        ));
    }
    settle(kernel, link).map(|_| ()).inspect_err(|_| {
        // The error that made this necessary says more than one that follows from it.
        let _ = remove(kernel, link);
    })
}

fn create(kernel: &mut Kernel, link: &Link) -> Result<(), MachineError> {
    let tried = format!("make {}", label(link));
    let message = creating(kernel, link).map_err(|refusal| refusal.during(&tried))?;
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    kernel
        .change(RouteNetlinkMessage::NewLink(message), flags)
        .map_err(|refusal| refusal.during(&tried))?;
    finish(kernel, link).map_err(|refusal| {
        let _ = remove(kernel, link);
        refusal.during(&tried)
    })
}

/// The request that makes a link, and a virtual cable's other end with it.
fn creating(kernel: &mut Kernel, link: &Link) -> Result<LinkMessage, Refusal> {
    let mut message = LinkMessage::default();
    message.attributes = own_attributes(&link.name, link.mac.unwrap_or(mint_mac(&link.id)));
    let mtu = link.mtu.map(|mtu| first_mtu(&link.kind, mtu));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message
        .attributes
        .extend(write::kind_attributes(kernel, &link.kind, None)?);
    if let LinkKind::VethPair { peer } = &link.kind {
        let mut other = LinkMessage::default();
        other.attributes = own_attributes(&peer.name, mint_mac(&peer.id));
        for attribute in &mut message.attributes {
            if let LinkAttribute::LinkInfo(info) = attribute {
                let other = InfoVeth::Peer(other.clone());
                info.push(LinkInfo::Data(InfoData::Veth(other)));
            }
        }
    }
    Ok(message)
}

/// What every link has from its first instant: its name, an Ethernet address, for udev gives one to a link that came without, and the mark
/// of a link that is being made.
fn own_attributes(name: &str, mac: Mac) -> Vec<LinkAttribute> {
    vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::Group(UNFINISHED),
    ]
}

/// A bridge follows the MTU of its ports until one is set on it that it has not already.
fn first_mtu(kind: &LinkKind, mtu: u32) -> u32 {
    match kind {
        LinkKind::Bridge { .. } if mtu > 1280 => mtu - 1,
        LinkKind::Bridge { .. } => mtu + 1,
        _ => mtu,
    }
}

/// Puts the alias in the place of the mark.
fn finish(kernel: &mut Kernel, link: &Link) -> Result<(), Refusal> {
    let ends = std::iter::once((&link.name, &link.id))
        .chain(link.kind.peer().map(|peer| (&peer.name, &peer.id)));
    for (name, id) in ends {
        let Some(seen) = read::by_name(kernel, name)? else {
            return Err(Refusal::new(
                Errno::NODEV,
                "somebody took the link away as it was made",
            ));
        };
        if seen.group != UNFINISHED {
            continue;
        }
        let mut message = LinkMessage::default();
        message.header.index = seen.index;
        message.attributes = vec![LinkAttribute::IfAlias(alias(id)), LinkAttribute::Group(0)];
        kernel.change(RouteNetlinkMessage::SetLink(message), 0)?;
    }
    Ok(())
}

/// What the kernel has not as the record says.
pub(super) fn differences(
    kernel: &mut Kernel,
    link: &Link,
    seen: Seen,
) -> Result<Vec<Edit>, Refusal> {
    let mut state = State::of(seen);
    let mut differences = Vec::new();
    for edit in link.edits() {
        if !state.holds(kernel, &edit)? {
            differences.push(edit);
        }
    }
    Ok(differences)
}

/// Makes the kernel match the record, and says what it did.
pub(super) fn repair(kernel: &mut Kernel, link: &Link) -> Result<Vec<String>, MachineError> {
    let tried = format!("repair {}", label(link));
    let fault = |refusal: Refusal| refusal.during(&tried);
    if find(kernel, link).map_err(fault)?.is_some() {
        return settle(kernel, link);
    }
    match place(kernel, link).map_err(fault)? {
        Place::Gone => {
            perform(kernel, link)?;
            Ok(vec!["make it".to_owned()])
        }
        Place::Here(seen) => {
            let name = LinkAttribute::IfName(link.name.clone());
            write::set(kernel, seen.index, name).map_err(fault)?;
            let mut done = vec![format!("give it its name again, it was {}", seen.name)];
            done.extend(settle(kernel, link)?);
            Ok(done)
        }
        Place::Elsewhere => Err(MachineError::new(
            ErrorKind::Busy,
            format!("cannot {tried}: a container has it"),
        )),
    }
}

/// Makes a link that is here under its name match the record.
fn settle(kernel: &mut Kernel, link: &Link) -> Result<Vec<String>, MachineError> {
    let reading = format!("read {}", label(link));
    let Some(seen) = find(kernel, link).map_err(|refusal| refusal.during(&reading))? else {
        return Err(MachineError::new(
            ErrorKind::NotFound,
            format!("somebody took {} away", label(link)),
        ));
    };
    let mut done = Vec::new();
    if seen.group == UNFINISHED {
        finish(kernel, link).map_err(|refusal| refusal.during(&reading))?;
        done.push("mark it as dockside's".to_owned());
    }
    let differences =
        differences(kernel, link, seen.clone()).map_err(|refusal| refusal.during(&reading))?;
    for edit in differences {
        write::apply(kernel, &seen, &edit)
            .map_err(|refusal| refusal.during(&format!("{edit} on {}", label(link))))?;
        done.push(edit.to_string());
    }
    Ok(done)
}

/// Ends a link, wherever it is. That there is none is no error.
pub(super) fn remove(kernel: &mut Kernel, link: &Link) -> Result<(), MachineError> {
    take_away(kernel, link).map_err(|refusal| refusal.during(&format!("remove {}", label(link))))
}

fn take_away(kernel: &mut Kernel, link: &Link) -> Result<(), Refusal> {
    if let Some(seen) = find(kernel, link)? {
        return delete(kernel, seen.index, None);
    }
    // The other end ends both, whichever namespace this one is in.
    if let Some(peer) = link.kind.peer()
        && let Some(seen) = read::by_name(kernel, &peer.name)?
        && id_of(&seen) == Some(&peer.id)
    {
        return delete(kernel, seen.index, None);
    }
    match state::seek(kernel, &link.id)? {
        Some((namespace, seen)) => delete(kernel, seen.index, namespace),
        None => Ok(()),
    }
}

fn delete(kernel: &mut Kernel, index: u32, namespace: Option<i32>) -> Result<(), Refusal> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
        .attributes
        .extend(namespace.map(LinkAttribute::IfNetnsId));
    match kernel.change(RouteNetlinkMessage::DelLink(message), 0) {
        // It, or the namespace that it was in, has just ended.
        Err(refusal) if refusal.errno == Errno::NODEV => Ok(()),
        Err(refusal) if refusal.errno == Errno::INVAL && namespace.is_some() => Ok(()),
        other => other,
    }
}

/// Whether it is here, and as the record says.
pub(super) fn look(kernel: &mut Kernel, link: &Link) -> Result<Presence, MachineError> {
    let fault = |refusal: Refusal| refusal.during(&format!("read {}", label(link)));
    let Some(seen) = find(kernel, link).map_err(fault)? else {
        return Ok(Presence::Absent);
    };
    if seen.group == UNFINISHED {
        return Ok(Presence::Changed("it was never finished".to_owned()));
    }
    let differences = differences(kernel, link, seen).map_err(fault)?;
    if differences.is_empty() {
        return Ok(Presence::Present);
    }
    let lacking: Vec<String> = differences.iter().map(Edit::lacking).collect();
    Ok(Presence::Changed(lacking.join(", ")))
}

/// Where it is.
pub(super) fn whereabouts(kernel: &mut Kernel, link: &Link) -> Result<Whereabouts, MachineError> {
    match place(kernel, link) {
        Ok(Place::Here(_)) => Ok(Whereabouts::Here),
        Ok(Place::Elsewhere) => Ok(Whereabouts::Elsewhere),
        Ok(Place::Gone) => Ok(Whereabouts::Gone),
        Err(refusal) => Err(refusal.during(&format!("look for {}", label(link)))),
    }
}

enum Place {
    /// Perhaps under another name.
    Here(Seen),
    Elsewhere,
    Gone,
}

fn place(kernel: &mut Kernel, link: &Link) -> Result<Place, Refusal> {
    if let Some(seen) = find(kernel, link)? {
        return Ok(Place::Here(seen));
    }
    // A container's administrator can change the alias of what is in the container, and not that it is a cable's other end.
    if let Some(peer) = link.kind.peer()
        && let Some(seen) = read::by_name(kernel, &peer.name)?
        && id_of(&seen) == Some(&peer.id)
        && seen.lower_elsewhere
    {
        return Ok(Place::Elsewhere);
    }
    Ok(match state::seek(kernel, &link.id)? {
        Some((None, seen)) => Place::Here(seen),
        Some((Some(_), _)) => Place::Elsewhere,
        None => Place::Gone,
    })
}
