//! Who holds the addresses of a pool: beside the bitmap, for listings and for engines that ask again for what they had.

use std::collections::BTreeMap;

use dockside_driver::{MacAddr, Result};
use serde::{Deserialize, Serialize};

use crate::state;

/// Addresses in one state key, as a power of two. 32 of them take some 2 KB, and a million are 31,250 keys.
const PAGE_BITS: u32 = 5;

/// What an address is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// The network's gateway.
    #[serde(rename = "g")]
    Gateway,
    /// A container.
    #[serde(rename = "e")]
    Endpoint,
    /// Asked for by name and for no container: an auxiliary address.
    #[serde(rename = "a")]
    Auxiliary,
}

impl Purpose {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Endpoint => "endpoint",
            Self::Auxiliary => "auxiliary",
        }
    }
}

/// The holder of an address. In the state a list, because there are many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Listed", into = "Listed")]
pub(crate) struct Owner {
    pub(crate) purpose: Purpose,
    /// The pool's generation when it was asked for last.
    pub(crate) generation: u32,
    /// When it was given, in seconds since 1970.
    pub(crate) since: u64,
    /// The endpoint's Ethernet address, if the engine said it.
    pub(crate) mac: Option<MacAddr>,
    /// The endpoint's name, if the engine said it.
    pub(crate) name: String,
}

type Listed = (Purpose, u32, u64, Option<MacAddr>, String);

impl From<Listed> for Owner {
    fn from((purpose, generation, since, mac, name): Listed) -> Self {
        Self {
            purpose,
            generation,
            since,
            mac,
            name,
        }
    }
}

impl From<Owner> for Listed {
    fn from(owner: Owner) -> Self {
        (
            owner.purpose,
            owner.generation,
            owner.since,
            owner.mac,
            owner.name,
        )
    }
}

/// The holders in one page, by their places in it.
type Page = BTreeMap<u8, Owner>;

/// The holders of the addresses of one subnet.
pub(crate) struct Owners {
    prefix: String,
}

impl Owners {
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// Who holds an address.
    pub(crate) fn get(&self, offset: u128) -> Result<Option<Owner>> {
        let (number, place) = split(offset);
        Ok(self.page(number)?.remove(&place))
    }

    /// Says who holds an address.
    pub(crate) fn put(&self, offset: u128, owner: Owner) -> Result<()> {
        let (number, place) = split(offset);
        let mut page = self.page(number)?;
        page.insert(place, owner);
        state::set(&self.key(number), &page)
    }

    /// Forgets who holds an address.
    pub(crate) fn remove(&self, offset: u128) -> Result<()> {
        let (number, place) = split(offset);
        let mut page = self.page(number)?;
        page.remove(&place);
        if page.is_empty() {
            state::delete(&self.key(number))
        } else {
            state::set(&self.key(number), &page)
        }
    }

    /// Forgets the page that an address is in.
    pub(crate) fn forget_page(&self, offset: u128) -> Result<()> {
        state::delete(&self.key(split(offset).0))
    }

    fn page(&self, number: u128) -> Result<Page> {
        Ok(state::get(&self.key(number))?.unwrap_or_default())
    }

    fn key(&self, number: u128) -> String {
        format!("{}{number:x}", self.prefix)
    }
}

/// Whether two addresses are in one page.
pub(crate) fn same_page(one: u128, other: u128) -> bool {
    split(one).0 == split(other).0
}

fn split(offset: u128) -> (u128, u8) {
    let place = offset & ((1 << PAGE_BITS) - 1);
    (offset >> PAGE_BITS, u8::try_from(place).unwrap_or(0))
}
