//! `dockside bindings`: what a driver in another language calls and is called by, generated from its world.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wit_bindgen_core::Files;

use crate::world;

/// A language that bindings can be generated for. The others have generators of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// A header, a source file and an object file with the world in it.
    C,
    /// A module, with the package that its generated code imports.
    Go,
}

impl Language {
    /// The language with this name, as `--lang` has it.
    ///
    /// # Errors
    ///
    /// No bindings are generated for it: the text says what takes their place.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        match name {
            "c" | "c++" => Ok(Self::C),
            "go" => Ok(Self::Go),
            "rust" => anyhow::bail!(
                "Rust needs no generated files: depend on the crate dockside-driver, which has the bindings"
            ),
            "js" | "javascript" => anyhow::bail!(
                "JavaScript needs no generated files: componentize-qjs reads the WIT itself when it builds the driver"
            ),
            "python" => anyhow::bail!(
                "Python's bindings come from `componentize-py -d wit -w WORLD bindings DIR`; a build needs none"
            ),
            other => {
                anyhow::bail!("no bindings for {other}: the languages are c (also for C++) and go")
            }
        }
    }
}

/// Files of [`GO_RUNTIME`], by their paths.
macro_rules! runtime {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../go-runtime/", $path)))),*]
    };
}

/// The module that Go's generated code imports, as the crate that generates it has it. With it beside the bindings, no module proxy is asked.
const GO_RUNTIME: &[(&str, &str)] = runtime![
    "LICENSE",
    "wit/async/async.go",
    "wit/async/empty.s",
    "wit/runtime/empty.s",
    "wit/runtime/runtime.go",
    "wit/types/future.go",
    "wit/types/option.go",
    "wit/types/result.go",
    "wit/types/stream.go",
    "wit/types/tuple.go",
    "wit/types/unit.go",
];

/// The module files of the bindings and of what they import. 1.24 is the first Go with `go:wasmexport`; what is generated asks for the newest.
const GO_MOD: &str = "module wit_component\n\ngo 1.24\n\nreplace go.bytecodealliance.org/pkg => ./pkg\n\nrequire go.bytecodealliance.org/pkg v0.0.0\n";
const GO_RUNTIME_MOD: &str = "module go.bytecodealliance.org/pkg\n\ngo 1.24\n";

/// Generates the bindings of a world, and returns the files that it wrote.
///
/// For Go they are packages below `package`, the import path of the directory `out`; without one they are a module of their own.
///
/// # Errors
///
/// A package is given for another language, the WIT has a mistake or no such world, or a file cannot be written.
pub fn generate(
    language: Language,
    wit: &Path,
    world: Option<&str>,
    package: Option<&str>,
    out: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    if package.is_some() && language != Language::Go {
        anyhow::bail!("--package is for Go, which alone has import paths");
    }
    let (mut resolve, world) = world::load(wit, world)?;
    let mut generator = match language {
        Language::C => wit_bindgen_c::Opts::default().build(),
        Language::Go => wit_bindgen_go::Opts {
            pkg_name: package.map(str::to_owned),
            quiet: true,
            ..Default::default()
        }
        .build(),
    };
    let mut files = Files::default();
    generator
        .generate(&mut resolve, world, &mut files)
        .with_context(|| format!("cannot generate bindings from {}", wit.display()))?;
    if language == Language::Go {
        for (path, text) in GO_RUNTIME {
            files.push(&format!("pkg/{path}"), text.as_bytes());
        }
        files.push("pkg/go.mod", GO_RUNTIME_MOD.as_bytes());
    }
    let mut written = Vec::new();
    for (name, contents) in files.iter() {
        let contents = match (language, name) {
            (Language::Go, "go.mod") => GO_MOD.as_bytes(),
            _ => contents,
        };
        let path = out.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        std::fs::write(&path, contents)
            .with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn wit() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
    }

    #[test]
    fn each_language_gets_what_its_compiler_needs() {
        for (language, expected) in [
            (Language::C, ["imports.h", "imports.c"].as_slice()),
            (
                Language::Go,
                &["go.mod", "pkg/go.mod", "pkg/wit/types/option.go"],
            ),
        ] {
            let out = tempfile::tempdir().unwrap();
            let written = generate(language, &wit(), Some("imports"), None, out.path()).unwrap();
            for path in &written {
                assert!(path.is_file(), "{}", path.display());
            }
            for name in expected {
                assert!(
                    written.contains(&out.path().join(name)),
                    "{name} is not in {written:?}"
                );
            }
        }
    }

    #[test]
    fn a_mistake_in_the_wit_is_shown_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("a.wit"),
            "package a:b;\nworld w { export nothing; }\n",
        )
        .unwrap();
        let error =
            generate(Language::C, directory.path(), None, None, directory.path()).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("a.wit:2:") && text.contains("nothing"),
            "{text}"
        );
    }

    #[test]
    fn languages_without_generated_files_are_told_what_they_have() {
        for (name, says) in [
            ("rust", "dockside-driver"),
            ("js", "componentize-qjs"),
            ("python", "componentize-py"),
            ("cobol", "c (also for C++) and go"),
        ] {
            let text = Language::named(name).unwrap_err().to_string();
            assert!(text.contains(says), "{text}");
        }
    }

    /// A module that fits another generator's code compiles and misbehaves.
    #[test]
    fn gos_module_is_the_one_of_the_generator_in_use() {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--offline"])
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .output()
            .unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let manifest = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|package| package["name"] == "wit-bindgen-go")
            .unwrap()["manifest_path"]
            .as_str()
            .unwrap();
        let source = Path::new(manifest).parent().unwrap().join("src/pkg");
        for (path, text) in GO_RUNTIME {
            assert_eq!(
                std::fs::read_to_string(source.join(path)).unwrap(),
                *text,
                "go-runtime/{path}: copy it again from {}",
                source.display()
            );
        }
        let is_go = |path: &Path| {
            path.extension()
                .is_some_and(|end| end == "go" || end == "s")
        };
        let mut there = 0;
        for package in std::fs::read_dir(source.join("wit")).unwrap() {
            there += std::fs::read_dir(package.unwrap().path())
                .unwrap()
                .filter(|file| is_go(&file.as_ref().unwrap().path()))
                .count();
        }
        assert_eq!(
            there,
            GO_RUNTIME
                .iter()
                .filter(|(path, _)| is_go(Path::new(path)))
                .count()
        );
    }
}
