//! Where built things are.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The daemon's executable: `DOCKSIDE_BIN`, or `target/release/dockside`.
///
/// # Errors
/// It has not been built.
pub fn daemon() -> Result<PathBuf> {
    let path = std::env::var_os("DOCKSIDE_BIN").map_or_else(
        || workspace().join("target/release/dockside"),
        PathBuf::from,
    );
    ensure!(
        path.is_file(),
        "{} is not there: run `cargo build --release`",
        path.display()
    );
    Ok(path)
}

/// The daemon with the places in it where tests let it die: `DOCKSIDE_FAILPOINTS_BIN`, or `target/release/dockside-failpoints`.
///
/// # Errors
/// It has not been built.
pub fn daemon_with_failpoints() -> Result<PathBuf> {
    let path = std::env::var_os("DOCKSIDE_FAILPOINTS_BIN").map_or_else(
        || workspace().join("target/release/dockside-failpoints"),
        PathBuf::from,
    );
    ensure!(
        path.is_file(),
        "{} is not there: run `cargo build --release -p dockside`",
        path.display()
    );
    Ok(path)
}

/// A driver that ships with dockside: `local`, `pool`, `null`, `rego`.
///
/// # Errors
/// It has not been built.
pub fn driver(name: &str) -> Result<PathBuf> {
    built(&format!("target/drivers/{name}.wasm"))
}

/// A component made for tests: `counter-1`, `counter-broken`, `hostile`.
///
/// # Errors
/// It has not been built.
pub fn fixture(name: &str) -> Result<PathBuf> {
    built(&format!("target/fixtures/{name}.wasm"))
}

fn built(path: &str) -> Result<PathBuf> {
    let path = workspace().join(path);
    ensure!(
        path.is_file(),
        "{} is not there: run `guests/build --fixtures`",
        path.display()
    );
    Ok(path)
}

/// The same component in other bytes, so that it counts as another version: with a custom section at its end.
pub fn another_version(component: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = component.to_vec();
    // Section 0, its size, and its name with the name's length (component model, binary format).
    bytes.extend([0, 9, 4]);
    bytes.extend(b"test");
    bytes.extend(number.to_le_bytes());
    bytes
}
