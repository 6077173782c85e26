//! New projects: what `dockside new` writes.
//!
//! A project is made of the files below `templates/common` and `templates/LANG`, which are compiled in together with the WIT contract and
//! the Rust kit. [`template`] has the rules for these files.

mod choice;
mod template;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

pub use choice::{Kind, Lang, UnknownChoice};
pub use template::File;

/// What a new project is to be.
#[derive(Debug, Clone)]
pub struct Project {
    name: String,
    kinds: Vec<Kind>,
    lang: Lang,
}

impl Project {
    /// A project for a driver that is a plugin of this name. The kinds can be in any order and come more than once.
    ///
    /// # Errors
    /// No kind is given, there is no template for one of them in this language, or build tools cannot work with the name. That it is a plugin's name is for the caller to know.
    pub fn new(name: &str, kinds: &[Kind], lang: Lang) -> Result<Self> {
        ensure!(
            !kinds.is_empty(),
            "a driver has at least one kind: say --kind with one or more of {}",
            Kind::choices()
        );
        if let Some(stray) = name
            .chars()
            .find(|character| matches!(character, '/' | ':'))
        {
            bail!(
                "a project cannot be called {name:?}, because build tools do not take {stray:?} in the name of a directory; choose another name here, and give the plugin this one with names = [{name:?}] in its TOML file"
            );
        }
        let known = template::kinds(lang);
        if let Some(other) = kinds.iter().find(|kind| !known.contains(kind)) {
            let with = Lang::ALL
                .iter()
                .filter(|lang| template::kinds(**lang).contains(other));
            let words: Vec<_> = with.map(|lang| lang.word()).collect();
            bail!(
                "there is no template for {} drivers in {}: say --lang {}",
                other.title(),
                lang.title(),
                words.join(" or ")
            );
        }
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        Ok(Self {
            name: name.to_owned(),
            kinds,
            lang,
        })
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kinds, each once.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The language.
    pub fn lang(&self) -> Lang {
        self.lang
    }

    /// All files, sorted by path.
    ///
    /// # Errors
    /// A template has a mistake.
    pub fn files(&self) -> Result<Vec<File>> {
        template::render(self)
    }

    /// Writes the files into a new directory, and returns them.
    ///
    /// # Errors
    /// There is something at that place already, which is left alone; or a file cannot be written, and then nothing is left of the directory.
    pub fn write(&self, directory: &Path) -> Result<Vec<File>> {
        let files = self.files()?;
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        match fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
                "{} exists already and is left as it is; name a directory that does not exist",
                directory.display()
            ),
            made => made.with_context(|| format!("cannot create {}", directory.display()))?,
        }
        for file in &files {
            if let Err(error) = write(directory, file) {
                // The first error is the one to tell.
                let _ = fs::remove_dir_all(directory);
                return Err(error);
            }
        }
        Ok(files)
    }

    /// What to type next, in this order: into the project, build it, check the result.
    pub fn next_commands(&self, directory: &Path) -> [String; 3] {
        [
            format!("cd {}", directory.display()),
            "./build".to_owned(),
            format!("dockside check {}.wasm", self.name),
        ]
    }
}

/// The kinds in words: `volume and IPAM`.
pub fn titles(kinds: &[Kind]) -> String {
    let titles: Vec<_> = kinds.iter().map(|kind| kind.title()).collect();
    match titles.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => titles.concat(),
    }
}

fn write(directory: &Path, file: &File) -> Result<()> {
    let path: PathBuf = directory.join(&file.path);
    let doing = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(doing)?;
    }
    fs::write(&path, &file.content).with_context(doing)?;
    if file.is_executable() {
        let mut permissions = fs::metadata(&path).with_context(doing)?.permissions();
        // Whoever may read it may run it, whatever the umask left.
        permissions.set_mode(permissions.mode() | (permissions.mode() & 0o444) >> 2);
        fs::set_permissions(&path, permissions).with_context(doing)?;
    }
    Ok(())
}

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;
