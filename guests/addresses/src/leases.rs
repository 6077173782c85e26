//! Which addresses of a pool are held: a bitmap in pieces, one state key each.
//!
//! The bitmap is a tree of nodes with 4,096 children. A leaf says of each of its addresses whether it is held. A node above
//! says of each child whether it is full and whether it exists. So a free address is found in as many steps as the tree is
//! high (2 for a /8, 6 for a /64), however many are held, and an empty pool takes no room.

use dockside_driver::Result;
use serde::{Deserialize, Serialize};

use crate::state;

/// A node's number of children as a power of two. 4,096 bits make a value of 512 bytes: large enough that a million leases
/// are a few hundred keys, small enough to be read and written for every address.
const FAN_BITS: u32 = 12;
const FAN: usize = 1 << FAN_BITS;
const WORDS: usize = FAN / 64;
/// Up to this many ranges, their numbers take less room than the bitmap in hexadecimal. Addresses are given in order, so that
/// there are few ranges as a rule, and people can read them.
const RANGES_LIMIT: usize = 100;

/// 4,096 bits; in the state a text, either the ranges of those that are 1 (`0-17 20`) or, behind `#`, all of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Bits([u64; WORDS]);

impl Bits {
    fn new() -> Self {
        Self([0; WORDS])
    }

    fn get(&self, bit: usize) -> bool {
        self.0
            .get(bit / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn set(&mut self, bit: usize, value: bool) {
        if let Some(word) = self.0.get_mut(bit / 64) {
            let mask = 1 << (bit % 64);
            *word = if value { *word | mask } else { *word & !mask };
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn is_full(&self) -> bool {
        self.0.iter().all(|word| *word == u64::MAX)
    }

    /// The first bit of this value, from `first` to `last`, both included.
    fn first(&self, value: bool, first: usize, last: usize) -> Option<usize> {
        let mut from = first;
        for (index, word) in self.0.iter().enumerate().skip(first / 64) {
            if from > last {
                return None;
            }
            let word = if value { *word } else { !*word };
            let matching = word & (u64::MAX << (from % 64));
            if matching != 0 {
                let bit = index * 64 + matching.trailing_zeros() as usize;
                return (bit <= last).then_some(bit);
            }
            from = (index + 1) * 64;
        }
        None
    }

    fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        (0..FAN).filter(|bit| self.get(*bit))
    }
}

impl From<Bits> for String {
    fn from(bits: Bits) -> Self {
        let mut ranges = Vec::new();
        let mut from = 0;
        while let Some(first) = bits.first(true, from, FAN - 1) {
            let end = bits.first(false, first, FAN - 1).unwrap_or(FAN);
            ranges.push(match end - first {
                1 => first.to_string(),
                _ => format!("{first}-{}", end - 1),
            });
            from = end;
        }
        if ranges.len() <= RANGES_LIMIT {
            ranges.join(" ")
        } else {
            let words = bits.0.iter().map(|word| format!("{word:016x}"));
            std::iter::once("#".to_owned()).chain(words).collect()
        }
    }
}

impl TryFrom<String> for Bits {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no list of numbers below {FAN}");
        let mut bits = Self::new();
        if let Some(mut rest) = text.strip_prefix('#') {
            for word in &mut bits.0 {
                let (digits, behind) = rest.split_at_checked(16).ok_or_else(wrong)?;
                *word = u64::from_str_radix(digits, 16).map_err(|_| wrong())?;
                rest = behind;
            }
            return rest.is_empty().then_some(bits).ok_or_else(wrong);
        }
        for range in text.split_ascii_whitespace() {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let first: usize = first.parse().map_err(|_| wrong())?;
            let last: usize = last.parse().map_err(|_| wrong())?;
            if last >= FAN {
                return Err(wrong());
            }
            for bit in first..=last {
                bits.set(bit, true);
            }
        }
        Ok(bits)
    }
}

/// A node above the leaves.
#[derive(Serialize, Deserialize)]
struct Inner {
    /// The children that hold nothing but held addresses.
    full: Bits,
    /// The children that exist: those that hold at least one held address.
    exists: Bits,
}

/// The held addresses of one pool, as offsets.
pub(crate) struct Leases {
    /// What the keys of the nodes begin with.
    prefix: String,
    /// Number of levels; 1 is a single leaf.
    levels: u32,
}

impl Leases {
    /// The leases of a pool whose offsets have `bits` bits.
    pub(crate) fn new(prefix: String, bits: u32) -> Self {
        Self {
            prefix,
            levels: bits.div_ceil(FAN_BITS).max(1),
        }
    }

    /// Takes an address; false if it is held already.
    pub(crate) fn take(&self, offset: u128) -> Result<bool> {
        let (index, bit) = split(offset);
        let known = self.leaf(index)?;
        let created = known.is_none();
        let mut leaf = known.unwrap_or_else(Bits::new);
        if leaf.get(bit) {
            return Ok(false);
        }
        leaf.set(bit, true);
        self.put_leaf(index, &leaf)?;
        self.tell_parents(
            index,
            created.then_some(true),
            leaf.is_full().then_some(true),
        )?;
        Ok(true)
    }

    /// Gives an address back; false if it was not held.
    pub(crate) fn free(&self, offset: u128) -> Result<bool> {
        let (index, bit) = split(offset);
        let Some(mut leaf) = self.leaf(index)? else {
            return Ok(false);
        };
        if !leaf.get(bit) {
            return Ok(false);
        }
        let was_full = leaf.is_full();
        leaf.set(bit, false);
        self.put_leaf(index, &leaf)?;
        self.tell_parents(
            index,
            leaf.is_empty().then_some(false),
            was_full.then_some(false),
        )?;
        Ok(true)
    }

    /// The first address that is not held, from `first` to `last`, both included.
    pub(crate) fn first_free(&self, first: u128, last: u128) -> Result<Option<u128>> {
        // From the leaf upwards: nearly always the leaf itself has room, and then no other key is read.
        let mut from = first;
        for level in 0..self.levels {
            let (index, end) = covering(level, first);
            if from <= end.min(last)
                && let Some(found) = self.search(level, index, from, end.min(last))?
            {
                return Ok(Some(found));
            }
            if end >= last {
                return Ok(None);
            }
            from = from.max(end + 1);
        }
        Ok(None)
    }

    /// Forgets all addresses and removes every key.
    pub(crate) fn clear(&self) -> Result<()> {
        self.clear_node(self.levels - 1, 0)
    }

    /// Shows all held addresses in their order, until it is told to stop by `false`.
    pub(crate) fn visit(&self, see: &mut dyn FnMut(u128) -> Result<bool>) -> Result<()> {
        self.visit_node(self.levels - 1, 0, see).map(drop)
    }

    fn visit_node(
        &self,
        level: u32,
        index: u128,
        see: &mut dyn FnMut(u128) -> Result<bool>,
    ) -> Result<bool> {
        let base = index << FAN_BITS;
        if level == 0 {
            let Some(leaf) = self.leaf(index)? else {
                return Ok(true);
            };
            for bit in leaf.ones() {
                if !see(base + bit as u128)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let Some(node) = self.inner(level, index)? else {
            return Ok(true);
        };
        for child in node.exists.ones() {
            if !self.visit_node(level - 1, base + child as u128, see)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `first` and `last` lie within the node.
    fn search(&self, level: u32, index: u128, first: u128, last: u128) -> Result<Option<u128>> {
        if level == 0 {
            let Some(leaf) = self.leaf(index)? else {
                return Ok(Some(first));
            };
            let found = leaf.first(false, split(first).1, split(last).1);
            return Ok(found.map(|bit| (index << FAN_BITS) + bit as u128));
        }
        let Some(node) = self.inner(level, index)? else {
            return Ok(Some(first));
        };
        let child_of = |offset: u128| split(offset >> (FAN_BITS * level)).1;
        let mut from = child_of(first);
        while let Some(child) = node.full.first(false, from, child_of(last)) {
            let child_index = (index << FAN_BITS) + child as u128;
            let start = (child_index << (FAN_BITS * level)).max(first);
            if !node.exists.get(child) {
                return Ok(Some(start));
            }
            let (_, end) = covering(level - 1, start);
            // A child that is not full may yet have no room between `first` and `last`, if these cut it.
            if let Some(found) = self.search(level - 1, child_index, start, end.min(last))? {
                return Ok(Some(found));
            }
            from = child + 1;
        }
        Ok(None)
    }

    fn clear_node(&self, level: u32, index: u128) -> Result<()> {
        if level > 0
            && let Some(node) = self.inner(level, index)?
        {
            for child in node.exists.ones() {
                self.clear_node(level - 1, (index << FAN_BITS) + child as u128)?;
            }
        }
        state::delete(&self.key(level, index))
    }

    /// Writes into the nodes above what has changed: whether a leaf exists and whether it is full.
    fn tell_parents(
        &self,
        leaf: u128,
        mut exists: Option<bool>,
        mut full: Option<bool>,
    ) -> Result<()> {
        let mut child = leaf;
        for level in 1..self.levels {
            if exists.is_none() && full.is_none() {
                break;
            }
            let (index, bit) = split(child);
            let known = self.inner(level, index)?;
            let created = known.is_none();
            let mut node = known.unwrap_or_else(|| Inner {
                full: Bits::new(),
                exists: Bits::new(),
            });
            let was_full = node.full.is_full();
            if let Some(value) = exists {
                node.exists.set(bit, value);
            }
            if let Some(value) = full {
                node.full.set(bit, value);
            }
            let key = self.key(level, index);
            if node.exists.is_empty() {
                state::delete(&key)?;
                exists = Some(false);
            } else {
                state::set(&key, &node)?;
                exists = created.then_some(true);
            }
            full = (was_full != node.full.is_full()).then_some(!was_full);
            child = index;
        }
        Ok(())
    }

    fn leaf(&self, index: u128) -> Result<Option<Bits>> {
        state::get(&self.key(0, index))
    }

    fn put_leaf(&self, index: u128, leaf: &Bits) -> Result<()> {
        let key = self.key(0, index);
        if leaf.is_empty() {
            state::delete(&key)
        } else {
            state::set(&key, leaf)
        }
    }

    fn inner(&self, level: u32, index: u128) -> Result<Option<Inner>> {
        state::get(&self.key(level, index))
    }

    fn key(&self, level: u32, index: u128) -> String {
        format!("{}{level}/{index:x}", self.prefix)
    }
}

/// The node that a child belongs to, and the child's place in it.
fn split(child: u128) -> (u128, usize) {
    (child >> FAN_BITS, (child & (FAN as u128 - 1)) as usize)
}

/// The node of a level that an offset belongs to, and the last offset of that node.
fn covering(level: u32, offset: u128) -> (u128, u128) {
    // The topmost node of a pool of 120 bits and more spans all numbers.
    let bits = FAN_BITS * (level + 1);
    match 1u128.checked_shl(bits) {
        Some(size) => (offset >> bits, offset | (size - 1)),
        None => (0, u128::MAX),
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use std::collections::BTreeSet;

    use dockside_driver::testing;
    use proptest::prelude::*;

    use super::*;
    use crate::state::cost;

    #[test]
    fn a_full_tree_is_exhausted_and_its_release_leaves_no_key() {
        // Two levels: 14 bits are 4 leaves.
        testing::reset();
        let leases = Leases::new("l/".into(), 14);
        let last = (1 << 14) - 1;
        let mut next = 0;
        while let Some(found) = leases.first_free(next, last).unwrap() {
            assert_eq!(found, next);
            assert!(leases.take(found).unwrap());
            next = found + 1;
        }
        assert_eq!(next, last + 1);
        assert_eq!(leases.first_free(0, last).unwrap(), None);
        leases.free(7_777).unwrap();
        assert_eq!(leases.first_free(0, last).unwrap(), Some(7_777));
        assert_eq!(leases.first_free(7_778, last).unwrap(), None);
        leases.clear().unwrap();
        assert_eq!(cost::keys(), Vec::<String>::new());
    }

    #[test]
    fn taking_an_address_costs_the_same_in_an_empty_and_in_a_crowded_pool() {
        testing::reset();
        let leases = Leases::new("l/".into(), 24);
        let last = (1 << 24) - 1;
        let take = |from: u128| {
            cost::take();
            let found = leases.first_free(from, last).unwrap().unwrap();
            assert!(leases.take(found).unwrap());
            (found, cost::take())
        };
        let (_, (read, _)) = take(1);
        assert!(read <= 2, "{read} keys read in the empty pool");
        // A million leases, then a hole early on.
        let million = 244 << FAN_BITS;
        for leaf in 0..244 {
            leases.put_leaf(leaf, &Bits([u64::MAX; WORDS])).unwrap();
            leases.tell_parents(leaf, Some(true), Some(true)).unwrap();
        }
        leases.free(123_456).unwrap();
        let (found, (read, written)) = take(0);
        assert_eq!(found, 123_456);
        assert!(
            read <= 3 && written < 4096,
            "{read} keys read, {written} bytes written"
        );
        let (found, (read, written)) = take(0);
        assert_eq!(found, million);
        assert!(
            read <= 4 && written < 4096,
            "{read} keys read, {written} bytes written"
        );
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(u128),
        Free(u128),
        Find(u128, u128),
    }

    fn steps(bits: u32) -> impl Strategy<Value = Vec<Step>> {
        let last = 1u128.checked_shl(bits).map_or(u128::MAX, |size| size - 1);
        // Crowded around the edges of nodes, where mistakes live.
        let offset = prop_oneof![
            Just(0),
            Just(last),
            (0u128..20),
            (4085u128..4106),
            ((1u128 << 24) - 3..(1 << 24) + 3),
            0..=last,
        ]
        .prop_map(move |offset| offset & last);
        let step = prop_oneof![
            offset.clone().prop_map(Step::Take),
            offset.clone().prop_map(Step::Free),
            (offset.clone(), offset).prop_map(|(a, b)| Step::Find(a.min(b), a.max(b))),
        ];
        proptest::collection::vec(step, 1..200)
    }

    fn agrees(bits: u32, steps: Vec<Step>) -> Result<(), TestCaseError> {
        testing::reset();
        let leases = Leases::new("l/".into(), bits);
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Take(offset) => {
                    prop_assert_eq!(leases.take(offset).unwrap(), model.insert(offset));
                }
                Step::Free(offset) => {
                    prop_assert_eq!(leases.free(offset).unwrap(), model.remove(&offset));
                }
                Step::Find(first, last) => {
                    let mut expected = first;
                    while model.contains(&expected) && expected < last {
                        expected += 1;
                    }
                    let expected = (!model.contains(&expected)).then_some(expected);
                    prop_assert_eq!(leases.first_free(first, last).unwrap(), expected);
                }
            }
        }
        for offset in model {
            leases.free(offset).unwrap();
        }
        prop_assert_eq!(cost::keys(), Vec::<String>::new());
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_numbers(
            (bits, steps) in prop_oneof![Just(3u32), Just(12), Just(13), Just(24), Just(64), Just(126)]
                .prop_flat_map(|bits| (Just(bits), steps(bits)))
        ) {
            agrees(bits, steps)?;
        }

        #[test]
        fn bits_survive_the_state(set in proptest::collection::btree_set(0usize..FAN, 0..600)) {
            let mut bits = Bits::new();
            for bit in &set {
                bits.set(*bit, true);
            }
            let text = String::from(bits.clone());
            prop_assert!(text.len() <= 1025, "{} bytes", text.len());
            prop_assert_eq!(Bits::try_from(text), Ok(bits));
        }
    }

    #[test]
    fn few_leases_can_be_read_by_people() {
        testing::reset();
        let leases = Leases::new("l/".into(), 16);
        for offset in (1..18).chain([20, 4095]) {
            leases.take(offset).unwrap();
        }
        let state: Vec<_> = testing::state()
            .into_iter()
            .map(|(key, value)| (key, String::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(
            state,
            [
                ("l/0/0".into(), r#""1-17 20 4095""#.into()),
                ("l/1/0".into(), r#"{"full":"","exists":"0"}"#.to_owned())
            ]
        );
    }

    #[test]
    fn a_damaged_value_is_an_error_that_names_the_key() {
        for value in ["x", "1-", "4096", "1-4096", "-1", "#", "#00", "#é"] {
            testing::reset();
            state::set("l/0/0", value).unwrap();
            let error = Leases::new("l/".into(), 8).take(1).unwrap_err();
            assert!(error.to_string().contains("l/0/0"), "{error}");
        }
    }
}
