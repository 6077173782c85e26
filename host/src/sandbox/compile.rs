//! Compiling components, and the cache of compiled code.
//!
//! Compiling is the one thing that a hostile component can make arbitrarily expensive, and wasmtime does not count that as a fault. So it
//! happens in a child process with limits on memory and processor time, one at a time, and never while a call waits for it.

use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, setrlimit};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::{Settings, code_config};

/// What one compilation may use.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Address space of the worker in bytes.
    pub memory: u64,
    /// Processor time; the wall clock gets four times as much.
    pub time: Duration,
}

/// Why a component was not compiled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompileError {
    /// The compiler refuses it.
    #[error("it does not compile: {0}")]
    Invalid(String),
    /// It needs more than it may.
    #[error(
        "compiling it took more than {limit}; raise limits.compile-time or limits.compile-memory in dockside.toml if you trust the file"
    )]
    TooExpensive {
        /// Which limit, in words.
        limit: String,
    },
    /// The machine failed.
    #[error("it could not be compiled: {0}")]
    Machine(String),
}

pub(super) struct Compiler {
    cache: PathBuf,
    compatibility: String,
    limits: CompileLimits,
    /// One worker at a time: two cores compile one component faster than two, and calls need the rest.
    turn: Semaphore,
}

impl Compiler {
    pub(super) fn new(engine: &Engine, settings: &Settings) -> anyhow::Result<Compiler> {
        let cache = settings.cache.clone();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&cache)
            .with_context(|| format!("cannot create the cache directory {}", cache.display()))?;
        let meta = std::fs::symlink_metadata(&cache)?;
        anyhow::ensure!(
            meta.is_dir()
                && meta.uid() == rustix::process::geteuid().as_raw()
                && meta.mode() & 0o077 == 0,
            "the cache directory {} holds machine code, so it must be a directory that belongs to the daemon's user with mode 0700",
            cache.display()
        );
        Ok(Compiler {
            cache,
            compatibility: compatibility(engine),
            limits: settings.compile,
            turn: Semaphore::new(1),
        })
    }

    /// The compiled form of `bytes`, whose SHA-256 is `digest`.
    pub(super) async fn component(
        &self,
        engine: &Engine,
        bytes: &[u8],
        digest: &str,
    ) -> Result<Component, CompileError> {
        let path = self
            .cache
            .join(format!("{digest}-{}.cwasm", self.compatibility));
        if let Some(component) = load(engine, &path) {
            return Ok(component);
        }
        let _turn = self
            .turn
            .acquire()
            .await
            .map_err(|_| CompileError::Machine("the daemon is stopping".into()))?;
        // Whoever had the turn before may have compiled the same file.
        if let Some(component) = load(engine, &path) {
            return Ok(component);
        }
        self.compile(bytes, &path).await?;
        load(engine, &path).ok_or_else(|| {
            CompileError::Machine(format!(
                "{} was written and cannot be loaded",
                path.display()
            ))
        })
    }

    async fn compile(&self, bytes: &[u8], path: &Path) -> Result<(), CompileError> {
        let machine = |error: std::io::Error| CompileError::Machine(error.to_string());
        let temporary = path.with_extension("tmp");
        let mut worker = tokio::process::Command::new("/proc/self/exe")
            .arg("compile-worker")
            .arg(&temporary)
            .arg(self.limits.memory.to_string())
            .arg(self.limits.time.as_secs().max(1).to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(machine)?;
        let stdin = worker.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A worker that has died says why on its standard error.
                let _ = stdin.write_all(bytes).await;
            }
        };
        let finished = async { tokio::join!(feed, worker.wait_with_output()).1 };
        let Ok(output) = tokio::time::timeout(self.limits.time * 4, finished).await else {
            let _ = std::fs::remove_file(&temporary);
            return Err(CompileError::TooExpensive {
                limit: format!("{} seconds", self.limits.time.as_secs() * 4),
            });
        };
        let output = output.map_err(machine)?;
        if output.status.success() {
            return std::fs::rename(&temporary, path).map_err(machine);
        }
        let _ = std::fs::remove_file(&temporary);
        if output.status.code() == Some(1) {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(CompileError::Invalid(text));
        }
        Err(CompileError::TooExpensive {
            limit: format!(
                "{} MiB of memory or {} s of processor time (the worker ended with {})",
                self.limits.memory >> 20,
                self.limits.time.as_secs(),
                output.status
            ),
        })
    }
}

#[allow(unsafe_code)]
fn load(engine: &Engine, path: &Path) -> Option<Component> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    if !meta.is_file()
        || meta.uid() != rustix::process::geteuid().as_raw()
        || meta.mode() & 0o022 != 0
    {
        tracing::warn!(path = %path.display(), "not a file that this daemon wrote: compiling again");
        let _ = std::fs::remove_file(path);
        return None;
    }
    // SAFETY: the file is machine code and is trusted as such: it lies in a directory of mode 0700 that belongs to this user, it was put
    // there by a rename after this program had written it, and it is never changed in place.
    match unsafe { Component::deserialize_file(engine, path) } {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %format!("{error:#}"), "cached code is not usable: compiling again");
            let _ = std::fs::remove_file(path);
            None
        }
    }
}

/// A short name for everything that compiled code depends on: version, target, settings.
fn compatibility(engine: &Engine) -> String {
    struct Sink(Sha256);
    impl Hasher for Sink {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut sink = Sink(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sink);
    let mut name = hex::encode(sink.0.finalize());
    name.truncate(16);
    name
}

/// The body of the hidden verb `compile-worker`: standard input is the component, `output` gets the code.
///
/// # Errors
/// When the component does not compile; the text goes to the daemon.
pub fn run_compile_worker(output: &Path, memory: u64, seconds: u64) -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_AS, memory, memory)?;
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // The daemon's calls go first.
    let _ = rustix::process::nice(10);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)?;
    let engine = Engine::new(&code_config())?;
    let code = engine.precompile_component(&bytes)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(output)
        .with_context(|| format!("cannot write {}", output.display()))?;
    file.write_all(&code)?;
    file.sync_all()?;
    Ok(())
}
