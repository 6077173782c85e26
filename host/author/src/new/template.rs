//! The files of a project, made from the templates.
//!
//! The rules for a file below `templates/common` or `templates/LANG`:
//!
//! - It lands at the same path in the project. `NAME` in its file name becomes the plugin's name.
//! - If one of the words of its file name is a kind (`volume.rs`, `test_volume.py`), it is there only for drivers of that kind.
//! - Its text is rendered by minijinja, with delimiters that none of the languages uses: `{% if volume %}`, `{= name =}`, `{=# comment #=}`.
//! - If nothing but white space is left of it, it is not written.
//! - It is executable if it begins with `#!`.
//! - Nothing below a directory whose name begins with `_` is written: such files are there to be included, as
//!   `{% include "common/_readme/install.md" %}`.
//! - A file of the language takes the place of one of `common` at the same path.
//!
//! What a template can use: `name`; `package`, a name that every package manager takes; `lang` and `language`; the list `kinds`, each kind as
//! a boolean, and all of them in words, `kinds_title`; `test`, the command of the unit tests; `wit`, where the contract is; `version`, dockside's own.
//!
//! The contract comes along unrendered: for Rust within the kit, below `vendor/dockside-driver`, and for other languages below `wit/deps`, where
//! `wit/world.wit` finds it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use include_dir::{Dir, DirEntry, include_dir};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::{Kind, Lang, Project};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
static KIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guests/kit/src");
const KIT_MANIFEST: &[u8] = include_bytes!("../../../../guests/kit/Cargo.toml");

/// Where the kit lies in a Rust project.
const VENDORED_KIT: &str = "vendor/dockside-driver";
/// Where the contract lies in other projects.
const VENDORED_WIT: &str = "wit/deps";

impl Lang {
    /// The command of the unit tests.
    pub fn test_command(self) -> &'static str {
        match self {
            Self::Rust => "cargo test",
            Self::Js => "npm test",
            Self::Python => "python3 -m unittest",
            Self::C => "./test",
            Self::Go => "./tools/go test ./driver",
        }
    }

    /// Where the contract lies in a project.
    fn contract(self) -> String {
        match self {
            Self::Rust => format!("{VENDORED_KIT}/wit"),
            Self::Js | Self::Python | Self::C | Self::Go => VENDORED_WIT.to_owned(),
        }
    }
}

/// A file of a new project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the project.
    pub path: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
}

impl File {
    /// Whether it is a program.
    pub fn is_executable(&self) -> bool {
        self.content.starts_with(b"#!")
    }

    /// The directory of other people's files that it belongs to: the kit or the contract. None for the author's own.
    pub fn vendored(&self) -> Option<&'static str> {
        [VENDORED_KIT, VENDORED_WIT]
            .into_iter()
            .find(|directory| self.path.starts_with(directory))
    }
}

/// All files of a project, sorted by path.
pub(super) fn render(project: &Project) -> Result<Vec<File>> {
    let environment = environment()?;
    let context = context(project);
    let mut files = BTreeMap::new();
    for layer in ["common", project.lang.word()] {
        for (path, _) in contents(&TEMPLATES).filter(|(path, _)| path.starts_with(layer)) {
            let Some(target) = target(path.strip_prefix(layer)?, project) else {
                continue;
            };
            let name = path.to_string_lossy();
            let text = environment
                .get_template(&name)
                .and_then(|template| template.render(&context))
                .with_context(|| format!("the template {name}"))?;
            if !text.trim().is_empty() {
                files.insert(target, text.into_bytes());
            }
        }
    }
    vendor(project.lang, &mut files);
    Ok(files
        .into_iter()
        .map(|(path, content)| File { path, content })
        .collect())
}

/// Adds what is not the author's.
fn vendor(lang: Lang, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    if lang == Lang::Rust {
        let kit = Path::new(VENDORED_KIT);
        files.insert(kit.join("Cargo.toml"), KIT_MANIFEST.to_vec());
        for (place, directory) in [("src", &KIT), ("wit", &WIT)] {
            for (path, content) in contents(directory) {
                files.insert(kit.join(place).join(path), content.to_vec());
            }
        }
        return;
    }
    for (path, content) in contents(&WIT) {
        // A package that others depend on lies beside them here, and not above them.
        let path = path
            .strip_prefix("deps")
            .map_or_else(|_| Path::new("driver").join(path), Path::to_path_buf);
        files.insert(Path::new(VENDORED_WIT).join(path), content.to_vec());
    }
}

/// The kinds that a language has templates for.
pub(super) fn kinds(lang: Lang) -> Vec<Kind> {
    let is_for = |kind: &Kind, path: &Path| {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        path.starts_with(lang.word()) && words(&file_name).any(|word| word == kind.word())
    };
    let has = |kind: &&Kind| contents(&TEMPLATES).any(|(path, _)| is_for(kind, path));
    Kind::ALL.iter().filter(has).copied().collect()
}

fn words(file_name: &str) -> impl Iterator<Item = &str> {
    file_name.split(['.', '_', '-'])
}

/// Where a template's file lands; none if it is not one of this project's.
fn target(path: &Path, project: &Project) -> Option<PathBuf> {
    let file_name = path.file_name()?.to_str()?;
    let is_for_including = path.parent().is_some_and(|parent| {
        parent
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with('_'))
    });
    let is_of_another_kind = words(file_name).any(|word| {
        word.parse::<Kind>()
            .is_ok_and(|kind| !project.kinds.contains(&kind))
    });
    if is_for_including || is_of_another_kind {
        return None;
    }
    Some(path.with_file_name(file_name.replace("NAME", &project.name)))
}

fn environment() -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .variable_delimiters("{=", "=}")
            .comment_delimiters("{=#", "#=}")
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()?,
    );
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    for (path, content) in contents(&TEMPLATES) {
        let text =
            str::from_utf8(content).with_context(|| format!("the template {}", path.display()))?;
        environment.add_template_owned(path.to_string_lossy(), text)?;
    }
    Ok(environment)
}

fn context(project: &Project) -> Value {
    let kinds: Vec<&str> = project.kinds.iter().map(|kind| kind.word()).collect();
    let mut context: BTreeMap<&str, Value> = Kind::ALL
        .iter()
        .map(|kind| (kind.word(), project.kinds.contains(kind).into()))
        .collect();
    context.extend([
        ("name", project.name.as_str().into()),
        ("package", package(&project.name).into()),
        ("lang", project.lang.word().into()),
        ("language", project.lang.title().into()),
        ("kinds", kinds.into()),
        ("kinds_title", super::titles(&project.kinds).into()),
        ("test", project.lang.test_command().into()),
        ("wit", project.lang.contract().into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
    ]);
    Value::from_pairs(context)
}

/// A name for package managers, which want lower-case letters first, and none that a language or another package has.
pub(super) fn package(name: &str) -> String {
    let plain = name.chars().map(|character| match character {
        'a'..='z' | '0'..='9' => character,
        'A'..='Z' => character.to_ascii_lowercase(),
        _ => '-',
    });
    "driver-".chars().chain(plain).collect()
}

/// The files below a directory, with their paths in it.
fn contents(
    directory: &'static Dir<'static>,
) -> Box<dyn Iterator<Item = (&'static Path, &'static [u8])>> {
    Box::new(directory.entries().iter().flat_map(|entry| match entry {
        DirEntry::Dir(directory) => contents(directory),
        DirEntry::File(file) => Box::new(std::iter::once((file.path(), file.contents()))),
    }))
}
