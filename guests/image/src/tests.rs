#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod backups;
mod model;
mod schedules;
mod snapshots;
mod volumes;

use dockside_driver::{
    ErrorCode, KeyValues, Refusal, Result, Settlement, Volume, images,
    testing::{self, run_verb},
};
use serde_json::Value;

use crate::{ImageDriver, volume::image_key};

/// The length of a piece in most tests: little enough that a volume has many.
const PIECE: u64 = 64 << 10;

fn options(pairs: &[(&str, &str)]) -> KeyValues {
    pairs.iter().copied().collect()
}

fn create(name: &str, pairs: &[(&str, &str)]) -> Result<()> {
    testing::call(|| ImageDriver::create(name, &options(pairs)))
}

/// A volume of 8 MiB.
fn volume(name: &str) {
    create(name, &[("size", "8m")]).unwrap();
}

fn remove(name: &str) -> Result<()> {
    testing::call(|| ImageDriver::remove(name))
}

fn run(verb: &str, arguments: &[(&str, &str)]) -> Result<Value> {
    let answer = run_verb::<ImageDriver>(verb, arguments);
    // What the host does behind a call that failed.
    for (key, note) in testing::unsettled() {
        ImageDriver::compensate(&key, &note).unwrap();
    }
    answer
}

/// A store called `disk`, and small pieces.
fn store() {
    testing::grant_store("disk");
    testing::set_config("chunk-size", "64k");
}

/// Writes as a container does.
fn write(volume: &str, offset: u64, text: &str) {
    testing::write_image(&image_key(volume), offset, text.as_bytes());
}

/// What is at a place of a volume.
fn read(volume: &str, offset: u64, length: u32) -> String {
    let data = images::read(&image_key(volume), offset, length).unwrap();
    String::from_utf8(data).unwrap()
}

/// The names of all blobs of a kind.
fn blobs(prefix: &str) -> Vec<String> {
    let blobs = testing::blobs("disk").into_iter();
    blobs
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// The column of a table.
fn column(table: &Value, name: &str) -> Vec<String> {
    let rows = table.as_array().unwrap().iter();
    rows.map(|row| row[name].as_str().unwrap_or_default().to_owned())
        .collect()
}
