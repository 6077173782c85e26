//! What every program has: settings, a log, the time and random data.

use std::{
    cell::Cell,
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

use super::memory;
use crate::{KeyValues, Result, log::Level};

pub(crate) fn config_get(key: &str) -> Result<Option<String>> {
    memory(|memory| Ok(memory.config.get(key).map(str::to_owned)))
}

pub(crate) fn config_all() -> Result<KeyValues> {
    memory(|memory| Ok(memory.config.clone()))
}

pub(crate) fn log(level: Level, _context: &str, message: &str) {
    memory(|memory| memory.log.push((level, message.to_owned())));
}

pub(crate) fn now() -> u64 {
    memory(|memory| memory.time).unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    })
}

pub(crate) fn random_bytes(count: usize) -> Vec<u8> {
    std::iter::repeat_with(random_number)
        .flat_map(u64::to_be_bytes)
        .take(count)
        .collect()
}

thread_local!(static RANDOM: Cell<Option<u64>> = const { Cell::new(None) });

/// Makes what follows the same each time; none makes it random again.
pub(crate) fn set_random(seed: Option<u64>) {
    RANDOM.set(seed);
}

pub(crate) fn random_number() -> u64 {
    match RANDOM.get() {
        // Each of them has keys of its own.
        None => RandomState::new().build_hasher().finish(),
        // SplitMix64.
        Some(seed) => {
            let next = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            RANDOM.set(Some(next));
            let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }
}
