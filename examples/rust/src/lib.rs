//! The driver example.

mod volume;
mod authz;

struct Driver;

dockside_driver::export!(Driver: volume, authz, options);
