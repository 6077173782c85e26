#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod directory;
mod names;
mod s3;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BlobInfo, Name, Prefix, Store};
use crate::machine::MachineError;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn put(store: &Arc<Store>, text: &str, data: &[u8]) -> Result<(), MachineError> {
    store.put(name(text), data.to_vec(), soon()).await
}

async fn get(store: &Arc<Store>, text: &str) -> Result<Vec<u8>, MachineError> {
    store.get(name(text), soon()).await
}

async fn names(store: &Arc<Store>, below: &str) -> Vec<String> {
    let found = store.list(prefix(below), soon()).await.unwrap();
    found
        .into_iter()
        .map(|BlobInfo { name, .. }| name)
        .collect()
}
