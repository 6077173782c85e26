//! Where the project's component, settings and build are.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Files of tools, which lie beside a plugin's NAME.toml.
const TOOLS: &[&str] = &[
    "Cargo",
    "pyproject",
    "rust-toolchain",
    "rustfmt",
    "clippy",
    "deny",
    "check",
];

/// A driver's project.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Project {
    /// The project's directory.
    pub(super) directory: PathBuf,
    /// The component that its build makes.
    pub(super) wasm: PathBuf,
    /// The command of the build. None: somebody else builds.
    pub(super) build: Option<String>,
}

impl Project {
    /// Finds out what is not said.
    ///
    /// # Errors
    /// There is no such directory, or it is not clear which component is meant.
    pub(super) fn find(
        directory: &Path,
        wasm: Option<&Path>,
        build: Option<&str>,
    ) -> anyhow::Result<Self> {
        let directory = std::fs::canonicalize(directory)
            .with_context(|| format!("there is no project {}", directory.display()))?;
        let wasm = match wasm {
            Some(wasm) => super::absolute(wasm)?,
            None => directory.join(format!("{}.wasm", name(&directory)?)),
        };
        let script = directory.join("build");
        let has_script = script
            .metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        let build = build
            .map(str::to_owned)
            .or_else(|| has_script.then(|| "./build".to_owned()));
        if build.is_none() && !wasm.exists() {
            bail!(
                "{} has no ./build, and there is no {}: say how it is built (--build COMMAND) and what comes of it (--wasm FILE)",
                directory.display(),
                wasm.display()
            );
        }
        Ok(Self {
            directory,
            wasm,
            build,
        })
    }

    /// The plugin's settings, if there are any.
    pub(super) fn settings(&self) -> Option<PathBuf> {
        let beside = self.wasm.with_extension("toml");
        let inside = self.directory.join(beside.file_name()?);
        [inside, beside].into_iter().find(|file| file.exists())
    }
}

fn name(directory: &Path) -> anyhow::Result<String> {
    for extension in ["toml", "wasm"] {
        let mut stems: Vec<String> = std::fs::read_dir(directory)
            .with_context(|| format!("{} cannot be read", directory.display()))?
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let stem = path.file_stem()?.to_str()?.to_owned();
                (path.extension()? == extension
                    && !TOOLS.contains(&stem.as_str())
                    && !stem.starts_with('.'))
                .then_some(stem)
            })
            .collect();
        stems.sort_unstable();
        match stems.as_slice() {
            [] => {}
            [only] => return Ok(only.clone()),
            several => bail!(
                "{} has several .{extension} files ({}): say which component is meant with --wasm FILE",
                directory.display(),
                several.join(", ")
            ),
        }
    }
    bail!(
        "{} is no driver's project: there is neither a NAME.toml nor a NAME.wasm in it. `dockside new` writes one; --wasm FILE names the component of another",
        directory.display()
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_found_by_the_settings_or_has_to_be_named() {
        for (files, found) in [
            (
                &["Cargo.toml", "demo.toml", "build"] as &[&str],
                Ok("demo.wasm"),
            ),
            (&["pyproject.toml", "demo.wasm"], Ok("demo.wasm")),
            (&["a.toml", "b.toml"], Err("--wasm FILE")),
            (&["Cargo.toml"], Err("dockside new")),
        ] {
            let directory = tempfile::tempdir().unwrap();
            for file in files {
                std::fs::write(directory.path().join(file), "").unwrap();
            }
            let project = Project::find(directory.path(), None, Some("true"));
            match (project, found) {
                (Ok(project), Ok(name)) => assert_eq!(project.wasm.file_name().unwrap(), name),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (other, _) => panic!("{files:?}: {other:?}"),
            }
        }
    }
}
