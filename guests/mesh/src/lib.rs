//! Networks of bridges, and of VXLAN tunnels between the bridges of several hosts, with the addresses for them.

mod cluster;
mod endpoint;
mod ipam;
mod network;
mod options;
mod ports;
mod upkeep;
mod vni;

/// The plugin: networks, addresses, and what keeps both as they should be.
struct Mesh;

dockside_driver::export!(Mesh: network, ipam, options, reconcile, timers);

#[cfg(test)]
mod tests;
