//! Conformance checks for Docker plugins, over any plugin's socket.
