//! A host in memory, for drivers' own tests: there only when a driver is compiled for the machine itself.
//!
//! State, configuration, directories and log belong to the thread that calls, so each `#[test]` begins with none. Unlike the
//! real host it undoes nothing when a method fails.

use crate::{directories::Attributes, log::Level, sys::memory};

/// Forgets everything.
pub fn reset() {
    memory(|memory| *memory = Default::default());
}

/// Sets a value of the plugin's configuration.
pub fn set_config(key: &str, value: &str) {
    memory(|memory| memory.config.insert(key, value));
}

/// All state: keys and raw values.
pub fn state() -> Vec<(String, Vec<u8>)> {
    memory(|memory| memory.state.clone().into_iter().collect())
}

/// All directories: keys and the attributes that they were made with.
pub fn directories() -> Vec<(String, Attributes)> {
    memory(|memory| memory.directories.clone().into_iter().collect())
}

/// The lines logged so far.
pub fn log() -> Vec<(Level, String)> {
    memory(|memory| memory.log.clone())
}
