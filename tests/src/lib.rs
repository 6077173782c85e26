//! What the tests from outside share: the daemon as a child process, a client that behaves like the Docker Engine's, throwaway
//! engines, and where built drivers are.
//!
//! Nothing here links the `dockside` crate: a test sees what an operator or an engine sees.

pub mod authz_variants;
pub mod bar;
pub mod certificates;
pub mod client;
pub mod daemon;
pub mod engine;
pub mod files;
pub mod measure;
pub mod skip;
pub mod volume_model;
pub mod wapi;
pub mod world;
