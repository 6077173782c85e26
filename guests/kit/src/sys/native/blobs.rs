use super::{memory, now, refuse};
use crate::{Refusal, Result, blobs::BlobInfo, testing::BlobOperation};

/// How large a blob may be, in bytes, by the contract.
const MAX_BLOB: usize = 16 << 20;

/// Bytes of a name, by the contract.
const MAX_NAME: usize = 512;

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
        })
}

fn check(text: &str, parts: &str) -> Result<()> {
    if text.len() <= MAX_NAME && parts.split('/').all(is_part) {
        return Ok(());
    }
    refuse(
        Refusal::Invalid,
        format!("{text:?} is no name or prefix of a blob"),
    )
}

/// Asks the test first, which may want a failure.
fn ask(operation: BlobOperation, store: &str, name: &str) -> Result<()> {
    if !memory(|memory| memory.blobs.contains_key(store)) {
        return refuse(
            Refusal::NotGranted,
            format!("the plugin has no blob store {store}"),
        );
    }
    // The test may ask the host for something.
    let Some(mut judge) = memory(|memory| memory.blob_judge.take()) else {
        return Ok(());
    };
    let judged = judge(operation, name);
    memory(|memory| {
        memory.blob_judge.get_or_insert(judge);
    });
    judged
}

pub(crate) fn blob_stores() -> Vec<String> {
    memory(|memory| memory.blobs.keys().cloned().collect())
}

pub(crate) fn put_blob(store: &str, name: &str, data: &[u8]) -> Result<()> {
    check(name, name)?;
    if data.len() > MAX_BLOB {
        return refuse(
            Refusal::Invalid,
            format!(
                "a blob has at most {MAX_BLOB} bytes, and {name} would have {}",
                data.len()
            ),
        );
    }
    ask(BlobOperation::Put, store, name)?;
    let modified = now() * 1000;
    memory(|memory| {
        if let Some(blobs) = memory.blobs.get_mut(store) {
            blobs.insert(name.to_owned(), (data.to_owned(), modified));
        }
    });
    Ok(())
}

pub(crate) fn get_blob(store: &str, name: &str) -> Result<Vec<u8>> {
    check(name, name)?;
    ask(BlobOperation::Get, store, name)?;
    match memory(|memory| memory.blobs.get(store)?.get(name).cloned()) {
        Some((data, _)) => Ok(data),
        None => refuse(Refusal::NotFound, format!("there is no blob {name}")),
    }
}

pub(crate) fn delete_blob(store: &str, name: &str) -> Result<()> {
    check(name, name)?;
    ask(BlobOperation::Delete, store, name)?;
    memory(|memory| memory.blobs.get_mut(store)?.remove(name));
    Ok(())
}

pub(crate) fn list_blobs(store: &str, prefix: &str) -> Result<Vec<BlobInfo>> {
    if !prefix.is_empty() {
        check(prefix, prefix.strip_suffix('/').unwrap_or("/"))?;
    }
    ask(BlobOperation::List, store, prefix)?;
    let info = |(name, (data, modified)): (&String, &(Vec<u8>, u64))| BlobInfo {
        name: name.clone(),
        size: data.len() as u64,
        modified: *modified,
    };
    Ok(memory(|memory| {
        let blobs = memory.blobs.get(store).into_iter().flatten();
        blobs
            .filter(|(name, _)| name.starts_with(prefix))
            .map(info)
            .collect()
    }))
}
