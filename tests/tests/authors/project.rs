//! A project that `dockside new` wrote.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use dockside_tests::files;

use crate::language::Language;

/// The plugin's name.
pub(crate) const NAME: &str = "example";

/// A project of some kinds. It is gone with this value.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) directory: PathBuf,
    pub(crate) kinds: Vec<&'static str>,
    language: &'static str,
    environment: Vec<(&'static str, PathBuf)>,
    test: &'static [&'static str],
}

impl Project {
    /// Writes it. The projects of a language have the same place one after the other, so that what was compiled for one is there for the next.
    pub(crate) fn new(language: &Language, kinds: &[&'static str]) -> Result<Self> {
        let places = files::workspace().join("target/authors/projects");
        fs::create_dir_all(&places)?;
        let directory = places.join(language.word);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        let output = Command::new(files::daemon()?)
            .args(["new", NAME, "--kind", &kinds.join(",")])
            .args(["--lang", language.word])
            .arg(&directory)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for shown in ["    README.md", "    ./build", "    example.toml"] {
            ensure!(said.contains(shown), "no {shown:?} in {said}");
        }
        let project = Self {
            directory,
            kinds: kinds.to_vec(),
            language: language.word,
            environment: language.environment(),
            test: language.test,
        };
        project.age_kit()?;
        Ok(project)
    }

    /// Gives the copy of the kit the times of its original, for cargo to see that it has compiled that.
    fn age_kit(&self) -> Result<()> {
        let copy = self.directory.join("vendor/dockside-driver");
        if copy.exists() {
            age(&copy, &files::workspace().join("guests/kit"))?;
        }
        Ok(())
    }

    /// The component.
    pub(crate) fn component(&self) -> PathBuf {
        self.directory.join(format!("{NAME}.wasm"))
    }

    /// The grants.
    pub(crate) fn grants(&self) -> Result<String> {
        Ok(fs::read_to_string(
            self.directory.join(format!("{NAME}.toml")),
        )?)
    }

    /// Builds it, as its README says.
    pub(crate) fn build(&self) -> Result<()> {
        let lock = self.directory.join("Cargo.lock");
        let locked = fs::read(&lock).ok();
        self.run("./build", &[])?;
        ensure!(
            fs::read(&lock).ok() == locked,
            "the build changed Cargo.lock: bring the one of the template up to date"
        );
        let component = self.component();
        ensure!(
            component.is_file(),
            "the build made no {}",
            component.display()
        );
        Ok(())
    }

    /// Runs its unit tests, as its README says.
    pub(crate) fn test(&self) -> Result<()> {
        let (program, arguments) = self.test.split_first().context("no test command")?;
        let said = self.run(program, arguments)?;
        let passes =
            |said: &str| said.contains("pass") || said.contains("ok") || said.contains("OK");
        ensure!(passes(&said), "no test passed: {said}");
        Ok(())
    }

    /// Has `dockside check` look at it: what makes an engine misbehave and what is dangerous, without the checks that wait for long.
    pub(crate) fn check(&self) -> Result<()> {
        let program = files::daemon()?;
        let component = self.component();
        self.run(
            &program.to_string_lossy(),
            &[
                "check",
                "--quick",
                "--level",
                "e,s",
                &component.to_string_lossy(),
            ],
        )
        .map(drop)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.directory)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("DOCKSIDE", files::daemon()?)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{}: cannot run {program}", self.language))?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(
            output.status.success(),
            "{} {:?}: {program} {}: {}\n{said}",
            self.language,
            self.kinds,
            arguments.join(" "),
            output.status
        );
        Ok(said)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // A test that failed leaves it to be looked at; the next one removes it.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Gives each file below a directory the time of the file at the same place below another.
fn age(copy: &Path, original: &Path) -> Result<()> {
    for entry in fs::read_dir(copy)? {
        let entry = entry?;
        let original = original.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            age(&entry.path(), &original)?;
        } else {
            let (old, new) = (fs::read(&original)?, fs::read(entry.path())?);
            ensure!(
                old == new,
                "{} is not what dockside was built with: run `cargo build --release`",
                original.display()
            );
            let time = fs::metadata(&original)?.modified()?;
            File::options()
                .write(true)
                .open(entry.path())?
                .set_modified(time)?;
        }
    }
    Ok(())
}
