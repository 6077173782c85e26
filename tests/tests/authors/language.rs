//! What differs between the languages.

use std::path::PathBuf;

use dockside_tests::files;
use dockside_tests::world::is_installed;

/// A language of `dockside new`.
#[derive(Debug)]
pub(crate) struct Language {
    /// Its word on the command line.
    pub(crate) word: &'static str,
    /// Whether projects of one kind are built, too: not where each build takes long.
    pub(crate) one_by_one: bool,
    /// The command of the unit tests, as the README has it.
    pub(crate) test: &'static [&'static str],
    /// Programs that the build needs.
    tools: &'static [&'static str],
    /// Variables that let the projects share what they fetch and compile: each a directory below `target/authors`.
    shared: &'static [(&'static str, &'static str)],
}

/// The kinds that there are templates for.
pub(crate) const KINDS: &[&str] = &["volume", "network", "ipam", "authz"];

pub(crate) const RUST: Language = Language {
    word: "rust",
    one_by_one: false,
    test: &["cargo", "test", "--quiet", "--locked"],
    tools: &["cargo"],
    shared: &[("CARGO_TARGET_DIR", "rust")],
};
pub(crate) const JS: Language = Language {
    word: "js",
    one_by_one: true,
    test: &["npm", "test"],
    tools: &["node", "npm"],
    shared: &[("npm_config_cache", "npm")],
};
pub(crate) const PYTHON: Language = Language {
    word: "python",
    one_by_one: false,
    test: &["python3", "-m", "unittest"],
    tools: &["python3"],
    shared: &[("PIP_CACHE_DIR", "pip")],
};
pub(crate) const C: Language = Language {
    word: "c",
    one_by_one: true,
    test: &["./test"],
    tools: &["clang-19", "wasm-ld-19", "cc"],
    shared: &[],
};
pub(crate) const GO: Language = Language {
    word: "go",
    one_by_one: false,
    test: &["./tools/go", "test", "./driver"],
    tools: &[],
    shared: &[("GOCACHE", "go"), ("XDG_CACHE_HOME", "cache")],
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
