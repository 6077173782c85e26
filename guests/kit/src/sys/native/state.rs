use super::memory;
use crate::{Error, Result};

/// How many keys one page holds: few enough that a test can fill several.
const PAGE: usize = 1000;

pub(crate) fn state_get(key: &str) -> Result<Option<Vec<u8>>> {
    memory(|memory| Ok(memory.machine.state.get(key).cloned()))
}

pub(crate) fn state_set(key: &str, value: &[u8]) -> Result<()> {
    memory(|memory| {
        memory
            .machine
            .state
            .insert(key.to_owned(), value.to_owned())
    });
    Ok(())
}

pub(crate) fn state_delete(key: &str) -> Result<()> {
    memory(|memory| memory.machine.state.remove(key));
    Ok(())
}

pub(crate) fn state_exists(key: &str) -> Result<bool> {
    memory(|memory| Ok(memory.machine.state.contains_key(key)))
}

pub(crate) fn state_keys(cursor: Option<u64>) -> Result<(Vec<String>, Option<u64>)> {
    memory(|memory| {
        let start = cursor.unwrap_or(0);
        let skipped = usize::try_from(start).unwrap_or(usize::MAX);
        let page: Vec<String> = memory
            .machine
            .state
            .keys()
            .skip(skipped)
            .take(PAGE)
            .cloned()
            .collect();
        let next = (page.len() == PAGE).then_some(start + PAGE as u64);
        Ok((page, next))
    })
}

pub(crate) fn state_increment(key: &str, delta: u64) -> Result<u64> {
    let old = match state_get(key)? {
        None => 0,
        Some(bytes) => serde_json::from_slice::<u64>(&bytes)
            .map_err(|_| Error::other(format!("{key:?} is no number")))?,
    };
    let sum = old
        .checked_add(delta)
        .ok_or_else(|| Error::other(format!("{key:?} grows too large")))?;
    state_set(key, sum.to_string().as_bytes())?;
    Ok(sum)
}

pub(crate) fn state_get_many(keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>> {
    memory(|memory| {
        Ok(keys
            .into_iter()
            .filter_map(|key| {
                memory
                    .machine
                    .state
                    .get(&key)
                    .cloned()
                    .map(|value| (key, value))
            })
            .collect())
    })
}
