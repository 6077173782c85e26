//! What is promised of rule sets, in network namespaces of their own with real traffic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod foreign;
mod hostile;
mod lifecycle;
mod machine;
mod ports;
mod tools;
mod traffic;
