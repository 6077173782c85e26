//! Whether something is so on a link.

use std::collections::HashSet;

use ipnet::IpNet;

use super::edit::Edit;
use super::read::{self, Seen};
use super::record::{FdbEntry, Link, Neighbour, Route};
use super::socket::{Kernel, Refusal};

/// Set while a link is being made, in the very request that makes it: the kernel takes no alias there. No other software uses the number.
pub(super) const UNFINISHED: u32 = 0x646b_0001;
const ALIAS: &str = "dockside:";

/// The alias that proves that a link belongs to a record.
pub(super) fn alias(id: &str) -> String {
    format!("{ALIAS}{id}")
}

/// The identifier in an alias of ours.
pub(super) fn id_of(seen: &Seen) -> Option<&str> {
    seen.alias.as_deref()?.strip_prefix(ALIAS)
}

/// Whether a link that has the name of a record's is that record's.
pub(super) fn belongs(seen: &Seen, link: &Link) -> bool {
    let unfinished = seen.alias.is_none()
        && seen.group == UNFINISHED
        && seen.kind.as_deref() == Some(link.kind.word());
    unfinished || id_of(seen) == Some(&link.id)
}

/// The record's link, if it is here under its name.
pub(super) fn find(kernel: &mut Kernel, link: &Link) -> Result<Option<Seen>, Refusal> {
    let seen = read::by_name(kernel, &link.name)?;
    Ok(seen.filter(|seen| belongs(seen, link)))
}

/// What the kernel has of one link. Tables are read when they are first asked for.
pub(super) struct State {
    pub(super) seen: Seen,
    addresses: Option<Vec<IpNet>>,
    routes: Option<Vec<Route>>,
    fdb: Option<Vec<FdbEntry>>,
    neighbours: Option<Vec<Neighbour>>,
}

impl State {
    pub(super) fn of(seen: Seen) -> State {
        State {
            seen,
            addresses: None,
            routes: None,
            fdb: None,
            neighbours: None,
        }
    }

    /// Whether there is nothing to do for an edit.
    pub(super) fn holds(&mut self, kernel: &mut Kernel, edit: &Edit) -> Result<bool, Refusal> {
        Ok(match edit {
            Edit::Kind(kind) => self.seen.is(kernel, kind)?,
            Edit::Mac(mac) => self.seen.mac == mac,
            Edit::Mtu(mtu) => self.seen.mtu == *mtu,
            Edit::Up(up) => self.seen.up == *up,
            Edit::Port(port) => self.seen.port().as_ref() == Some(port),
            Edit::Master { to: None, .. } => self.seen.master.is_none(),
            Edit::Master { to: Some(to), .. } => {
                let bridge = read::by_name(kernel, to)?;
                bridge.is_some_and(|bridge| self.seen.master == Some(bridge.index))
            }
            Edit::AddAddress(one) => self.addresses(kernel)?.contains(one),
            Edit::RemoveAddress(one) => !self.addresses(kernel)?.contains(one),
            Edit::AddRoute(one) => self.routes(kernel)?.iter().any(|there| {
                there.same(one) && (one.source.is_none() || there.source == one.source)
            }),
            Edit::RemoveRoute(one) => !self.routes(kernel)?.iter().any(|there| there.same(one)),
            Edit::AddFdb(one) => self.fdb(kernel)?.contains(one),
            Edit::RemoveFdb(one) => !self.fdb(kernel)?.contains(one),
            Edit::AddNeighbour(one) => self.neighbours(kernel)?.contains(one),
            Edit::RemoveNeighbour(ip) => !self.neighbours(kernel)?.iter().any(|one| one.ip == *ip),
        })
    }

    /// What brings back what an edit is about to change.
    pub(super) fn inverse(
        &mut self,
        kernel: &mut Kernel,
        link: &Link,
        edit: &Edit,
    ) -> Result<Option<Edit>, Refusal> {
        if self.holds(kernel, edit)? {
            return Ok(None);
        }
        Ok(Some(match edit.clone() {
            Edit::Kind(_) => Edit::Kind(link.kind.clone()),
            Edit::Mac(_) => match self.seen.mac.as_slice().try_into() {
                Ok(mac) => Edit::Mac(mac),
                Err(_) => return Ok(None),
            },
            Edit::Mtu(_) => Edit::Mtu(self.seen.mtu),
            Edit::Up(_) => Edit::Up(self.seen.up),
            Edit::Port(_) => match self.seen.port() {
                Some(port) => Edit::Port(port),
                None => return Ok(None),
            },
            Edit::Master { .. } => {
                let bridge = match self.seen.master {
                    None => None,
                    Some(index) => read::by_index(kernel, index)?.map(|bridge| bridge.name),
                };
                // It was there before, whosever it is.
                Edit::Master {
                    to: bridge,
                    foreign: true,
                }
            }
            Edit::AddAddress(one) => Edit::RemoveAddress(one),
            Edit::RemoveAddress(one) => Edit::AddAddress(one),
            Edit::AddRoute(one) => Edit::RemoveRoute(one),
            Edit::RemoveRoute(one) => {
                let there = self.routes(kernel)?.iter().find(|there| there.same(&one));
                Edit::AddRoute(there.cloned().unwrap_or(one))
            }
            Edit::AddFdb(one) => Edit::RemoveFdb(one),
            Edit::RemoveFdb(one) => Edit::AddFdb(one),
            Edit::AddNeighbour(Neighbour { ip, .. }) | Edit::RemoveNeighbour(ip) => {
                match self.neighbours(kernel)?.iter().find(|one| one.ip == ip) {
                    Some(was) => Edit::AddNeighbour(was.clone()),
                    None => Edit::RemoveNeighbour(ip),
                }
            }
        }))
    }

    fn addresses(&mut self, kernel: &mut Kernel) -> Result<&[IpNet], Refusal> {
        let index = self.seen.index;
        get(&mut self.addresses, || read::addresses(kernel, index))
    }

    fn routes(&mut self, kernel: &mut Kernel) -> Result<&[Route], Refusal> {
        let index = self.seen.index;
        get(&mut self.routes, || read::routes(kernel, index))
    }

    fn fdb(&mut self, kernel: &mut Kernel) -> Result<&[FdbEntry], Refusal> {
        let index = self.seen.index;
        get(&mut self.fdb, || read::fdb(kernel, index))
    }

    fn neighbours(&mut self, kernel: &mut Kernel) -> Result<&[Neighbour], Refusal> {
        let index = self.seen.index;
        get(&mut self.neighbours, || read::neighbours(kernel, index))
    }
}

fn get<T>(
    kept: &mut Option<Vec<T>>,
    read: impl FnOnce() -> Result<Vec<T>, Refusal>,
) -> Result<&[T], Refusal> {
    match kept {
        Some(table) => Ok(table),
        none => Ok(none.insert(read()?)),
    }
}

/// A link by the alias of its record, under whatever name, here or in a namespace that the kernel knows here.
pub(super) fn seek(kernel: &mut Kernel, id: &str) -> Result<Option<(Option<i32>, Seen)>, Refusal> {
    let found = everywhere(kernel)?
        .into_iter()
        .find(|(_, seen)| id_of(seen) == Some(id));
    Ok(found)
}

/// Every link with an alias of ours, first those that are here; with the number of the namespace for one that is elsewhere.
pub(super) fn everywhere(kernel: &mut Kernel) -> Result<Vec<(Option<i32>, Seen)>, Refusal> {
    let mut places = vec![None];
    places.extend(read::namespaces(kernel)?.into_iter().map(Some));
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for place in places {
        let links = match read::all(kernel, place) {
            Ok(links) => links,
            // A namespace that ends as it is read.
            Err(_) if place.is_some() => continue,
            Err(refusal) => return Err(refusal),
        };
        for link in links {
            if id_of(&link).is_some_and(|id| known.insert(id.to_owned())) {
                found.push((place, link));
            }
        }
    }
    Ok(found)
}
