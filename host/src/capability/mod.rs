//! What a driver can import from the host, one file for each interface.
//!
//! All interfaces are linked for every driver; what a plugin was not granted answers with an error, or keeps the plugin from serving at all.

pub mod blobs;
pub mod config;
pub mod directories;
pub mod files;
mod held;
pub mod http;
pub mod images;
pub mod keyvalue;
pub mod links;
pub mod logging;
pub mod mounts;
pub mod nat;
pub mod outbox;
mod paths;
pub mod secrets;
mod types;
