//! What the operator set: defaults of options under `[config]`, and what `docker plugin set` lays over it.

use dockside_driver::{Result, config, log};

use crate::options::{Chosen, OWN};

/// Where the plugin that this one replaces finds keys.
const ROOTS: &str = "/root/.ssh/";

/// Keys of the configuration that are no options.
const OTHERS: [&str; 3] = ["known-hosts", "args", "mounts.sshkey"];

/// A text of the configuration.
pub(crate) fn text(key: &str) -> Result<Option<String>> {
    config::get(key)
}

/// The options that volumes have unless their users say otherwise.
pub(crate) fn defaults() -> Result<Chosen> {
    let mut all = Chosen::default();
    for (name, value) in config::all()?.iter() {
        let other = OWN.contains(&name) || OTHERS.contains(&name) || name.contains('.');
        if !other {
            all.add("the option in [config]", name, value)?;
        }
    }
    Ok(all)
}

/// The directory of the machine with keys (`sshkey.source`), if one is set.
pub(crate) fn keys() -> Result<Option<String>> {
    Ok(config::get("mounts.sshkey")?.filter(|path| !path.is_empty()))
}

/// Where a key is on the machine. Users of the plugin that this one replaces write `/root/.ssh/KEY`, and mean KEY in the directory with keys.
pub(crate) fn key_path(path: &str) -> Result<String> {
    let path = match path.strip_prefix("~/") {
        Some(rest) => format!("/root/{rest}"),
        None => path.to_owned(),
    };
    Ok(match (keys()?, path.strip_prefix(ROOTS)) {
        (Some(keys), Some(name)) => format!("{}/{name}", keys.trim_end_matches('/')),
        _ => path,
    })
}

/// Writes a line if the operator wants many (`DEBUG=1`).
pub(crate) fn debug(line: impl FnOnce() -> String) {
    // What Go's ParseBool takes for true.
    let on = |value: String| matches!(&*value, "1" | "t" | "T" | "true" | "TRUE" | "True");
    if config::get("env.DEBUG").ok().flatten().is_some_and(on) {
        log::info!("{}", line());
    }
}
