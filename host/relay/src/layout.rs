//! What is where in the file system of a relay. Docker's configuration of the plugin and the relay have to agree on it.

/// The relay itself.
pub(crate) const PROGRAM: &str = "/relay";

/// Where Docker looks for the plugin's socket.
pub(crate) const SOCKET: &str = "/run/docker/plugins/relay.sock";

/// Where dockside's directory of the same purpose is mounted.
pub(crate) const DOCKSIDE: &str = "/dockside";

/// The socket in that directory.
pub(crate) const DOCKSIDE_SOCKET: &str = "/dockside/relay.sock";

/// What Docker shows to containers of what is mounted in it.
pub(crate) const VOLUMES: &str = "/volumes";

/// Directories of the machine that the user chose with `docker plugin set`, by their names.
pub(crate) const MOUNTS: &str = "/mounts";

/// The version of what a relay and dockside say to each other.
pub(crate) const VERSION: u32 = 1;
