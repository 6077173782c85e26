//! The `dockside` command.
fn main() {}
