#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod doubles;
mod exchange;
mod grant;
mod limits;
mod paths;
mod redirects;
mod secrets;
mod ssrf;
mod tls;
