//! dockside
