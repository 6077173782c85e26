//! Pools of IPv4 and IPv6 addresses in a driver's state, in which no address is ever given twice.

mod config;
mod held;
mod leases;
pub mod pools;
mod state;
pub mod subnet;
