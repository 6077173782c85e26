//! The models find what is wrong with a driver, and nothing in one that is right.

#![cfg(feature = "model")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "model/ipam.rs"]
mod ipam;
#[path = "model/network.rs"]
mod network;
#[path = "model/volume.rs"]
mod volume;
