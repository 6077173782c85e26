use std::cell::OnceCell;

mod blobs;
mod files;
mod http;
mod images;
mod links;
mod mounts;
mod nat;
mod secrets;

pub(crate) use self::{
    blobs::*, files::*, http::*, images::*, links::*, mounts::*, nat::*, secrets::*,
};

use crate::{
    Error, KeyValues, Result,
    bindings::imports::{
        dockside::host::{directories, machine, outbox},
        wasi::{config, keyvalue, logging::logging, random::random},
    },
    directories::{Attributes, Reason},
    log::Level,
    machine::Refusal,
};

pub(crate) use crate::bindings::imports::dockside::host::directories::Directory;

fn state_error(error: keyvalue::store::Error) -> Error {
    match error {
        keyvalue::store::Error::NoSuchStore => {
            Error::unavailable("the host has no state for this plugin")
        }
        keyvalue::store::Error::AccessDenied => {
            Error::unavailable("the host denies this plugin its state")
        }
        keyvalue::store::Error::Other(text) => Error::other(text),
    }
}

/// Runs an operation on the plugin's bucket, which is opened once in the life of the instance.
fn bucket<T>(
    operation: impl FnOnce(&keyvalue::store::Bucket) -> Result<T, keyvalue::store::Error>,
) -> Result<T> {
    thread_local!(static BUCKET: OnceCell<keyvalue::store::Bucket> = const { OnceCell::new() });
    BUCKET.with(|cell| {
        if cell.get().is_none() {
            let opened = keyvalue::store::open("").map_err(state_error)?;
            // There is one thread, so nobody has set it in between.
            drop(cell.set(opened));
        }
        cell.get().map_or_else(
            || Err(Error::unavailable("the state cannot be opened")),
            |bucket| operation(bucket).map_err(state_error),
        )
    })
}

pub(crate) fn state_get(key: &str) -> Result<Option<Vec<u8>>> {
    bucket(|bucket| bucket.get(key))
}

pub(crate) fn state_set(key: &str, value: &[u8]) -> Result<()> {
    bucket(|bucket| bucket.set(key, value))
}

pub(crate) fn state_delete(key: &str) -> Result<()> {
    bucket(|bucket| bucket.delete(key))
}

pub(crate) fn state_exists(key: &str) -> Result<bool> {
    bucket(|bucket| bucket.exists(key))
}

pub(crate) fn state_keys(cursor: Option<u64>) -> Result<(Vec<String>, Option<u64>)> {
    bucket(|bucket| bucket.list_keys(cursor)).map(|page| (page.keys, page.cursor))
}

pub(crate) fn state_increment(key: &str, delta: u64) -> Result<u64> {
    bucket(|bucket| keyvalue::atomics::increment(bucket, key, delta))
}

pub(crate) fn state_get_many(keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>> {
    Ok(bucket(|bucket| keyvalue::batch::get_many(bucket, &keys))?
        .into_iter()
        .flatten()
        .collect())
}

fn config_error(error: config::store::Error) -> Error {
    let (config::store::Error::Upstream(text) | config::store::Error::Io(text)) = error;
    Error::unavailable(format!("the plugin's configuration cannot be read: {text}"))
}

pub(crate) fn config_get(key: &str) -> Result<Option<String>> {
    config::store::get(key).map_err(config_error)
}

pub(crate) fn config_all() -> Result<KeyValues> {
    Ok(config::store::get_all()
        .map_err(config_error)?
        .into_iter()
        .collect())
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    let level = match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
    };
    logging::log(level, context, message);
}

pub(crate) fn random_bytes(count: usize) -> Vec<u8> {
    random::get_random_bytes(count as u64)
}

pub(crate) fn random_number() -> u64 {
    random::get_random_u64()
}

fn reason(error: directories::Error) -> Reason {
    match error {
        directories::Error::NotFound => Reason::NotFound,
        directories::Error::AlreadyExists => Reason::AlreadyExists,
        directories::Error::InUse => Reason::InUse,
        directories::Error::QuotaExceeded => Reason::QuotaExceeded,
        directories::Error::Other(text) => Reason::Other(text),
    }
}

pub(crate) fn create_directory(key: &str, attributes: Attributes) -> Result<Directory, Reason> {
    let Attributes { uid, gid, mode } = attributes;
    directories::create(key, directories::Attributes { uid, gid, mode }).map_err(reason)
}

pub(crate) fn open_directory(key: &str) -> Result<Directory, Reason> {
    directories::open(key).map_err(reason)
}

pub(crate) fn remove_directory(key: &str) -> Result<(), Reason> {
    directories::remove(key).map_err(reason)
}

pub(crate) fn directory_keys() -> Vec<String> {
    directories::list_keys()
}

fn refused(error: machine::Error) -> Error {
    let refusal = match error.code {
        machine::ErrorCode::NotFound => Refusal::NotFound,
        machine::ErrorCode::AlreadyExists => Refusal::AlreadyExists,
        machine::ErrorCode::InUse => Refusal::InUse,
        machine::ErrorCode::NotGranted => Refusal::NotGranted,
        machine::ErrorCode::Unreachable => Refusal::Unreachable,
        machine::ErrorCode::Exhausted => Refusal::Exhausted,
        machine::ErrorCode::Invalid => Refusal::Invalid,
        machine::ErrorCode::Missing => Refusal::Missing,
        machine::ErrorCode::Other => Refusal::Other,
    };
    Error::refused(refusal, error.message)
}

pub(crate) fn call_key() -> String {
    outbox::call_key()
}

pub(crate) fn note(note: &[u8]) -> Result<()> {
    outbox::note(note).map_err(refused)
}

pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
