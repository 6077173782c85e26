//! Which subnets of an address space are held: a sorted list in pages, one state key each, and a directory of the pages.
//!
//! Held subnets never overlap, so a new one can only overlap with its two neighbours in the list: a request reads the
//! directory and one or two pages, however many pools there are.

use std::cell::RefCell;
use std::rc::Rc;

use dockside_driver::{Error, IpNet, Result};
use serde::{Deserialize, Serialize};

use crate::{state, subnet};

/// The number of subnets at which a page is split. A page is some 2 KB then, and a thousand networks are a dozen pages.
const PAGE_LIMIT: usize = 128;

/// One line of the directory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Page {
    number: u64,
    /// The page's first subnet.
    first: IpNet,
}

/// The held subnets of one address space and family.
pub(crate) struct Held {
    /// What the keys begin with.
    prefix: String,
    /// The page that was read last: the search for a subnet to offer asks for neighbours again and again.
    recent: RefCell<Option<(u64, Rc<Vec<IpNet>>)>>,
    directory: RefCell<Option<Rc<Vec<Page>>>>,
}

impl Held {
    /// The subnets listed under this prefix.
    pub(crate) fn new(prefix: String) -> Self {
        Self {
            prefix,
            recent: RefCell::new(None),
            directory: RefCell::new(None),
        }
    }

    /// Those of an address space and a family.
    pub(crate) fn of(space: &str, ipv6: bool) -> Self {
        Self::new(format!("held/{space}/{}/", family(ipv6)))
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Result<Vec<IpNet>> {
        let mut all = Vec::new();
        for page in self.directory()?.iter() {
            all.extend(self.page(page.number)?.iter());
        }
        Ok(all)
    }

    /// The first held subnet that overlaps with this one.
    pub(crate) fn overlapping(&self, wanted: IpNet) -> Result<Option<IpNet>> {
        let directory = self.directory()?;
        let at = page_for(&directory, wanted);
        // The predecessor is in the page itself, the successor there or at the start of the next.
        if let Some(page) = directory.get(at) {
            let subnets = self.page(page.number)?;
            let behind = subnets.partition_point(|held| position(*held) <= position(wanted));
            let neighbours = subnets.iter().skip(behind.saturating_sub(1)).take(2);
            for held in neighbours {
                if subnet::overlap(*held, wanted) {
                    return Ok(Some(*held));
                }
            }
        }
        Ok(directory
            .get(at + 1)
            .map(|page| page.first)
            .filter(|held| subnet::overlap(*held, wanted)))
    }

    /// Adds a subnet that overlaps with none.
    pub(crate) fn insert(&self, new: IpNet) -> Result<()> {
        let mut directory = Rc::unwrap_or_clone(self.directory()?);
        let at = page_for(&directory, new);
        let Some(page) = directory.get_mut(at) else {
            self.put_page(0, vec![new])?;
            return self.put_directory(vec![Page {
                number: 0,
                first: new,
            }]);
        };
        let number = page.number;
        let mut subnets = Rc::unwrap_or_clone(self.page(number)?);
        let place = subnets.partition_point(|held| position(*held) < position(new));
        subnets.insert(place, new);
        let mut changed = place == 0;
        if changed {
            page.first = new;
        }
        if subnets.len() > PAGE_LIMIT {
            let upper = subnets.split_off(subnets.len() / 2);
            let unused = directory
                .iter()
                .map(|page| page.number + 1)
                .max()
                .unwrap_or(0);
            if let Some(first) = upper.first() {
                let page = Page {
                    number: unused,
                    first: *first,
                };
                directory.insert(at + 1, page);
                self.put_page(unused, upper)?;
            }
            changed = true;
        }
        self.put_page(number, subnets)?;
        if changed {
            self.put_directory(directory)?;
        }
        Ok(())
    }

    /// Removes a subnet; false if it was not held.
    pub(crate) fn remove(&self, gone: IpNet) -> Result<bool> {
        let mut directory = Rc::unwrap_or_clone(self.directory()?);
        let at = page_for(&directory, gone);
        let Some(page) = directory.get_mut(at) else {
            return Ok(false);
        };
        let number = page.number;
        let mut subnets = Rc::unwrap_or_clone(self.page(number)?);
        let Some(place) = subnets.iter().position(|held| *held == gone) else {
            return Ok(false);
        };
        subnets.remove(place);
        match subnets.first() {
            None => {
                directory.remove(at);
                self.recent.replace(None);
                state::delete(&self.page_key(number))?;
                self.put_directory(directory)?;
            }
            Some(first) => {
                let moved = page.first != *first;
                page.first = *first;
                self.put_page(number, subnets)?;
                if moved {
                    self.put_directory(directory)?;
                }
            }
        }
        Ok(true)
    }

    fn directory(&self) -> Result<Rc<Vec<Page>>> {
        if let Some(known) = &*self.directory.borrow() {
            return Ok(known.clone());
        }
        let pages: Vec<Page> = state::get(&self.directory_key())?.unwrap_or_default();
        let pages = Rc::new(pages);
        self.directory.replace(Some(pages.clone()));
        Ok(pages)
    }

    fn put_directory(&self, pages: Vec<Page>) -> Result<()> {
        let key = self.directory_key();
        if pages.is_empty() {
            state::delete(&key)?;
        } else {
            state::set(&key, &pages)?;
        }
        self.directory.replace(Some(Rc::new(pages)));
        Ok(())
    }

    fn page(&self, number: u64) -> Result<Rc<Vec<IpNet>>> {
        if let Some((known, subnets)) = &*self.recent.borrow()
            && *known == number
        {
            return Ok(subnets.clone());
        }
        let key = self.page_key(number);
        let subnets: Vec<IpNet> = state::get(&key)?.ok_or_else(|| {
            Error::other(format!(
                "the driver's state is damaged: {key:?} is named in the directory and not there"
            ))
        })?;
        let subnets = Rc::new(subnets);
        self.recent.replace(Some((number, subnets.clone())));
        Ok(subnets)
    }

    fn put_page(&self, number: u64, subnets: Vec<IpNet>) -> Result<()> {
        state::set(&self.page_key(number), &subnets)?;
        self.recent.replace(Some((number, Rc::new(subnets))));
        Ok(())
    }

    fn directory_key(&self) -> String {
        format!("{}directory", self.prefix)
    }

    fn page_key(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }
}

/// The number of an IP version.
pub(crate) fn family(ipv6: bool) -> u8 {
    if ipv6 { 6 } else { 4 }
}

/// The place in the directory of the page that holds the subnet, or would.
fn page_for(directory: &[Page], wanted: IpNet) -> usize {
    directory
        .partition_point(|page| position(page.first) <= position(wanted))
        .saturating_sub(1)
}

fn position(of: IpNet) -> u128 {
    subnet::number(of.network())
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use dockside_driver::testing;
    use proptest::prelude::*;

    use super::*;
    use crate::state::cost;

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(
            steps in proptest::collection::vec((any::<bool>(), 0u32..1 << 10, 22u8..=32), 1..600)
        ) {
            testing::reset();
            let mut model: Vec<IpNet> = Vec::new();
            for (remove, low, length) in steps {
                let held = Held::new("h/".into());
                let net = subnet::containing(std::net::Ipv4Addr::from(0x0a00_0000 | low).into(), length).unwrap();
                let overlapping = held.overlapping(net).unwrap();
                let expected: Vec<IpNet> = model.iter().copied().filter(|one| subnet::overlap(*one, net)).collect();
                prop_assert_eq!(overlapping.is_some(), !expected.is_empty());
                if let Some(found) = overlapping {
                    prop_assert!(expected.contains(&found));
                }
                if remove {
                    let before = model.len();
                    model.retain(|one| *one != net);
                    prop_assert_eq!(held.remove(net).unwrap(), model.len() < before);
                } else if overlapping.is_none() {
                    held.insert(net).unwrap();
                    model.push(net);
                }
            }
            for net in model {
                prop_assert!(Held::new("h/".into()).remove(net).unwrap());
            }
            prop_assert_eq!(cost::keys(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_request_reads_three_keys_at_most_among_thousands_of_pools() {
        testing::reset();
        let mut net: IpNet = "10.0.0.0/24".parse().unwrap();
        for _ in 0..4000 {
            cost::take();
            let held = Held::new("h/".into());
            assert_eq!(held.overlapping(net).unwrap(), None);
            held.insert(net).unwrap();
            let (read, written) = cost::take();
            assert!(
                read <= 3 && written < 8192,
                "{read} keys read, {written} bytes written"
            );
            net = subnet::next(net).unwrap();
        }
        let wide = "8.0.0.0/6".parse().unwrap();
        assert!(Held::new("h/".into()).overlapping(wide).unwrap().is_some());
    }
}
