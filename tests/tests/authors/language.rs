//! What differs between the languages.

use std::path::PathBuf;

use dockside_tests::files;
use dockside_tests::world::is_installed;

/// A language of `dockside new`.
#[derive(Debug)]
pub(crate) struct Language {
    /// Its word on the command line.
    pub(crate) word: &'static str,
    /// The kinds that it has templates for.
    pub(crate) kinds: &'static [&'static str],
    /// The command of the unit tests, as the README has it.
    pub(crate) test: &'static [&'static str],
    /// Programs that the build needs.
    tools: &'static [&'static str],
    /// Variables that let the projects share what they fetch and compile: each a directory below `target/authors`.
    shared: &'static [(&'static str, &'static str)],
}

const ALL: &[&str] = &["volume", "network", "ipam", "authz"];
const FIRST: &[&str] = &["volume", "authz"];

pub(crate) const RUST: Language = Language {
    word: "rust",
    kinds: ALL,
    test: &["cargo", "test", "--quiet", "--locked"],
    tools: &["cargo"],
    shared: &[("CARGO_TARGET_DIR", "rust")],
};
pub(crate) const JS: Language = Language {
    word: "js",
    kinds: ALL,
    test: &["npm", "test"],
    tools: &["node", "npm"],
    shared: &[("npm_config_cache", "npm")],
};
pub(crate) const PYTHON: Language = Language {
    word: "python",
    kinds: FIRST,
    test: &["python3", "-m", "unittest"],
    tools: &["python3"],
    shared: &[("PIP_CACHE_DIR", "pip")],
};
pub(crate) const C: Language = Language {
    word: "c",
    kinds: FIRST,
    test: &["./test"],
    tools: &["clang-19", "wasm-ld-19", "cc"],
    shared: &[],
};
pub(crate) const GO: Language = Language {
    word: "go",
    kinds: FIRST,
    test: &["./tools/go", "test", "./driver"],
    tools: &[],
    shared: &[("GOCACHE", "go")],
};

impl Language {
    /// Why projects cannot be built here.
    pub(crate) fn missing(&self) -> Option<String> {
        let tool = self.tools.iter().find(|tool| !is_installed(tool))?;
        Some(format!("{tool} is not installed"))
    }

    /// The environment of its commands.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let base = files::workspace().join("target/authors");
        self.shared
            .iter()
            .map(|(variable, directory)| (*variable, base.join(directory)))
            .collect()
    }
}
