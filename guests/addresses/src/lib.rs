//! Pools of IPv4 and IPv6 addresses in a driver's state, in which no address is ever given twice.

pub mod addresses;
pub mod admin;
mod config;
mod held;
mod leases;
#[cfg(test)]
mod model_tests;
mod offer;
mod owners;
pub mod pools;
pub mod record;
mod reserved;
mod state;
pub mod subnet;
