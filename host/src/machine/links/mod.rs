//! Network links, by the kernel's rtnetlink.
//!
//! The host mints identifier and name; the alias `dockside:<id>` proves that a link is ours. A link that is being made has no alias for an
//! instant, and then a mark in its place, which is set by the very request that makes the link. Anything else, under whatever name, is
//! never touched.
//!
//! All of it blocks, and happens on one thread in the order in which it was asked for.

mod change;
mod check;
mod edit;
mod make;
mod read;
mod record;
mod socket;
mod state;
mod thread;
mod write;

#[cfg(test)]
mod tests;

pub use change::Change;
pub use edit::Edit;
pub use record::{
    BridgePort, End, FdbEntry, Link, LinkKind, Mac, MacvlanMode, Neighbour, Route, mint_mac,
    mint_name,
};

use super::{MachineError, Presence};

/// Where a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// In the host's network namespace.
    Here,
    /// In another one: a container has it.
    Elsewhere,
    /// Nowhere.
    Gone,
}

/// A link with an alias of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// Its name, which is another one than the record's in a container.
    pub name: String,
    /// The identifier in its alias.
    pub id: String,
    /// Here or elsewhere.
    pub place: Whereabouts,
}

/// Makes a link, with everything that its record says. For [`LinkKind::VethPeer`], sets what the record says on the end that the other
/// end's record made. A failure leaves nothing; of a virtual cable, neither end.
///
/// # Errors
///
/// `ErrorKind::Invalid` if the record makes no sense, `ErrorKind::Exists` if the name, an address or a VXLAN identifier is taken,
/// `ErrorKind::NotFound` if a link that it names is not there, `ErrorKind::Missing` if the kernel lacks the kind of link.
pub fn perform(link: &Link) -> Result<(), MachineError> {
    check::link(link)?;
    let (link, unwanted) = (link.clone(), link.clone());
    thread::run_or(
        move |kernel| make::perform(kernel, &link),
        move |kernel| drop(make::remove(kernel, &unwanted)),
    )
}

/// Takes a link away, also out of a container, with both ends of a virtual cable. That it is not there is no error.
///
/// # Errors
///
/// The kernel refuses.
pub fn undo(link: &Link) -> Result<(), MachineError> {
    check::identity(link)?;
    let link = link.clone();
    thread::run(move |kernel| make::remove(kernel, &link))
}

/// Whether a link is here, and as its record says. One that was moved into a container is absent: see [`whereabouts`].
///
/// # Errors
///
/// The kernel refuses.
pub fn look(link: &Link) -> Result<Presence, MachineError> {
    check::identity(link)?;
    let link = link.clone();
    thread::run(move |kernel| make::look(kernel, &link))
}

/// Makes the kernel match the record, and says what it did: makes the link if it is gone, as after a restart of the machine, and sets what
/// somebody else changed. A virtual cable is made by the record of its first end, so that one comes first.
///
/// # Errors
///
/// Those of [`perform`], and `ErrorKind::Busy` if a container has the link. The kernel does not change everything of a link that is there,
/// for instance a VXLAN identifier: then only ending the link and making it anew helps.
pub fn repair(link: &Link) -> Result<Vec<String>, MachineError> {
    check::link(link)?;
    let link = link.clone();
    thread::run(move |kernel| make::repair(kernel, &link))
}

/// Where a link is. A link in a container is known by its alias, or by the other end of a virtual cable if that is here.
///
/// # Errors
///
/// The kernel refuses.
pub fn whereabouts(link: &Link) -> Result<Whereabouts, MachineError> {
    check::identity(link)?;
    let link = link.clone();
    thread::run(move |kernel| make::whereabouts(kernel, &link))
}

/// Makes a change. That it is so already is no error.
///
/// # Errors
///
/// `ErrorKind::NotFound` if the link is not here, `ErrorKind::Exists` if something else is in the place of what is to be added.
pub fn perform_change(change: &Change) -> Result<(), MachineError> {
    let (change, unwanted) = (change.clone(), change.clone());
    thread::run_or(
        move |kernel| change.perform(kernel),
        move |kernel| drop(unwanted.undo(kernel)),
    )
}

/// Brings back what was before a change, if the change is still there, and what the kernel took away with it, as the routes of a link that
/// went down. That the link is not here is no error.
///
/// # Errors
///
/// The kernel refuses.
pub fn undo_change(change: &Change) -> Result<(), MachineError> {
    let change = change.clone();
    thread::run(move |kernel| change.undo(kernel))
}

/// Whether the host has a link of that name, whosever it is.
///
/// # Errors
///
/// `ErrorKind::Invalid` if it is no name of a link.
pub fn exists(name: &str) -> Result<bool, MachineError> {
    check::name(name)?;
    let name = name.to_owned();
    thread::run(move |kernel| {
        let seen = read::by_name(kernel, &name);
        seen.map(|seen| seen.is_some())
            .map_err(|refusal| refusal.during(&format!("look for the network link {name}")))
    })
}

/// Every link with an alias of dockside's, also of another daemon's, in the host's network namespace and in those of containers.
///
/// # Errors
///
/// The kernel refuses.
pub fn list_ours() -> Result<Vec<Ours>, MachineError> {
    thread::run(|kernel| {
        let found = state::everywhere(kernel)
            .map_err(|refusal| refusal.during("list the network links"))?;
        let ours = found.into_iter().map(|(namespace, seen)| Ours {
            id: state::id_of(&seen).unwrap_or_default().to_owned(),
            name: seen.name,
            place: match namespace {
                None => Whereabouts::Here,
                Some(_) => Whereabouts::Elsewhere,
            },
        });
        Ok(ours.collect())
    })
}
