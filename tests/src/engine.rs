//! Throwaway Docker engines, through `tests/engine/engine`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::daemon::{Daemon, Site};
use crate::files;
use crate::skip;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The one that the distribution packages: 20.10 on Debian 12.
    Distribution,
    /// The newest that Debian has, in a tree of its own that `tests/run` makes.
    Newest,
}

impl Version {
    /// The tree that the engine runs in, or why there is none on this machine.
    fn find(self) -> Result<Option<PathBuf>, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("an engine needs root".to_owned());
        }
        match self {
            Self::Distribution => {
                for program in ["/usr/sbin/dockerd", "/usr/bin/docker"] {
                    if !Path::new(program).exists() {
                        return Err(format!("{program} is not there: install docker.io"));
                    }
                }
                Ok(None)
            }
            Self::Newest => {
                if let Some(reason) = std::env::var("DOCKSIDE_NEWEST_ENGINE_MISSING")
                    .ok()
                    .filter(|reason| !reason.is_empty())
                {
                    return Err(reason);
                }
                let tree = files::workspace().join("target/engines/sid");
                if tree.join(".complete-sid").exists() {
                    Ok(Some(tree))
                } else {
                    Err(format!(
                        "{} is not there: run `tests/engine/tree {} sid`",
                        tree.display(),
                        tree.display()
                    ))
                }
            }
        }
    }
}

/// What a docker command printed.
#[derive(Debug, Clone)]
pub struct Said {
    /// The arguments, for messages.
    pub command: String,
    /// Whether it succeeded.
    pub success: bool,
    /// Its standard output, trimmed.
    pub out: String,
    /// Its standard error, trimmed.
    pub err: String,
}

/// One engine with directories and namespaces of its own. All of it is gone when this value is.
#[derive(Debug)]
pub struct Engine {
    name: String,
    tree: Option<PathBuf>,
    root: TempDir,
    is_down: bool,
}

impl Engine {
    /// Prepares an engine without starting it, so that plugins can be there before it. None if this machine cannot run it: then that has
    /// been reported as a skipped test.
    ///
    /// # Errors
    /// The namespaces could not be made; or there is no engine although this is CI.
    pub fn prepare(version: Version, test: &str) -> Result<Option<Self>> {
        let tree = match version.find() {
            Ok(tree) => tree,
            Err(reason) => {
                // A tree needs a Debian archive within reach, so only the distribution's engine can be insisted on.
                ensure!(
                    !(skip::is_ci() && version == Version::Distribution),
                    "this test must not be skipped in CI: {reason}"
                );
                skip::skipped(&format!("{test} on {version:?}"), &reason);
                return Ok(None);
            }
        };
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Short: the socket's path and the host name are made from it.
        let name = format!(
            "e{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let root = tempfile::Builder::new()
            .prefix("dockside-e2e-")
            .tempdir_in("/tmp")?;
        let engine = Self {
            name,
            tree,
            root,
            is_down: false,
        };
        let mut arguments = vec![];
        if let Some(tree) = engine.tree.as_deref().and_then(Path::to_str) {
            arguments.extend(["--tree", tree]);
        }
        engine.harness("prepare", &arguments)?;
        Ok(Some(engine))
    }

    /// Starts it, or starts it again, and waits until it answers.
    ///
    /// # Errors
    /// It did not start; with the end of its log.
    pub fn up(&self, flags: &[&str]) -> Result<()> {
        let mut arguments = vec!["--wait", "120"];
        if !flags.is_empty() {
            arguments.push("--");
            arguments.extend(flags);
        }
        match self.harness("up", &arguments) {
            // An engine gives its containerd 15 s, which several starting at once on two cores can miss.
            Err(error) if format!("{error:#}").contains("timeout waiting for containerd") => {
                self.harness("up", &arguments).map(drop)
            }
            other => other.map(drop),
        }
    }

    /// Stops the engine as a service manager does.
    ///
    /// # Errors
    /// It did not stop.
    pub fn stop(&self) -> Result<()> {
        self.harness("stop", &[]).map(drop)
    }

    /// Kills the engine with SIGKILL.
    ///
    /// # Errors
    /// It is not there.
    pub fn kill(&self) -> Result<()> {
        self.harness("kill", &[]).map(drop)
    }

    /// Imports the image `busybox:local`.
    ///
    /// # Errors
    /// There is no static busybox.
    pub fn image(&self) -> Result<()> {
        self.harness("image", &[]).map(drop)
    }

    /// What the engine sees as `/run/docker/plugins`.
    pub fn plugins(&self) -> PathBuf {
        self.state().join("run/plugins")
    }

    /// What the engine sees as `/etc/docker/plugins`.
    pub fn specs(&self) -> PathBuf {
        self.state().join("etc/plugins")
    }

    /// A directory with the same path inside the engine and outside.
    pub fn shared(&self) -> PathBuf {
        self.state().join("shared")
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.state().join("docker.sock")
    }

    /// Lays a cable from the engine's network to another's: a link of this name in each, with these addresses. It goes with either network.
    ///
    /// # Errors
    /// There is such a link already.
    pub fn connect(&self, other: &Engine, link: &str, addresses: [&str; 2]) -> Result<()> {
        let network = |engine: &Engine| engine.state().join("ns/net").display().to_string();
        let [own, others] = addresses;
        let script = format!(
            "ip link add {link} type veth peer name {link} netns {far}
             ip addr add {own} dev {link}; ip link set {link} up
             nsenter --net={far} ip addr add {others} dev {link}
             nsenter --net={far} ip link set {link} up",
            far = network(other)
        );
        // Not among the engine's mounts, which do not show where the other one's network is held.
        let output = Command::new("nsenter")
            .arg(format!("--net={}", network(self)))
            .args(["--", "sh", "-ec", &script])
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// A program of this machine on the engine's network. Among the engine's mounts as well, unless that has a tree of its own: then what is
    /// mounted below [`shared`](Engine::shared) reaches the engine by propagation. It dies with the thread that starts it.
    pub fn beside(&self, program: impl AsRef<OsStr>) -> Command {
        let namespaces = self.state().join("ns");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespaces.join("net").display()));
        if self.tree.is_none() {
            command.arg(format!("--mount={}", namespaces.join("mnt").display()));
        }
        command
            .args(["--wd=/", "--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// A program of this machine on the engine's network and among its mounts, also where the engine has a tree of its own: there it finds that
    /// tree's libraries, and nothing else of this machine. It dies with the thread that starts it.
    ///
    /// # Errors
    /// It cannot be copied to where the engine sees it.
    pub fn within(&self, program: &Path) -> Result<Command> {
        let copy = self.shared().join(program.file_name().context("no name")?);
        if !copy.exists() {
            fs::copy(program, &copy).with_context(|| format!("cannot copy {}", copy.display()))?;
        }
        let namespaces = self.state().join("ns");
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", namespaces.join("net").display()))
            .arg(format!("--mount={}", namespaces.join("mnt").display()))
            .args(["--wd=/", "--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(copy)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a shell script [`beside`](Engine::beside) the engine and returns what it printed.
    ///
    /// # Errors
    /// It failed; with what it said.
    pub fn shell_beside(&self, script: &str) -> Result<String> {
        let output = self.beside("sh").args(["-ec", script]).output()?;
        ensure!(
            output.status.success(),
            "{script}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a shell script in the engine's namespaces, with the engine's own programs, and returns what it printed.
    ///
    /// # Errors
    /// It failed; with what it said.
    pub fn shell(&self, script: &str) -> Result<String> {
        let output = self.harness("sh", &["sh", "-ec", script])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a daemon [`beside`](Engine::beside) the engine and waits until it is ready.
    ///
    /// # Errors
    /// It ended instead; with the end of its log.
    pub fn serve_inside(&self, site: &Site) -> Result<Daemon> {
        let mut daemon = site.spawn_as(self.beside(files::daemon()?), &[])?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Starts a daemon [`within`](Engine::within) the engine and waits until it is ready.
    ///
    /// # Errors
    /// It ended instead; with the end of its log.
    pub fn serve_within(&self, site: &Site) -> Result<Daemon> {
        let mut daemon = site.spawn_as(self.within(&files::daemon()?)?, &[])?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// The last warnings and errors in the engine's log.
    pub fn log_end(&self) -> String {
        let text = fs::read_to_string(self.state().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("level=info"))
            .collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(15))
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// A shell script that is the engine's own docker client, for scripts that users would run.
    pub fn client_script(&self) -> String {
        format!(
            "#!/bin/sh\nDOCKSIDE_E2E='{}' exec '{}' docker {} \"$@\"\n",
            self.root.path().display(),
            files::workspace().join("tests/engine/engine").display(),
            self.name
        )
    }

    /// Runs the engine's own docker client, whatever it returns.
    ///
    /// # Errors
    /// The client could not be started.
    pub fn try_docker(&self, arguments: &[&str]) -> Result<Said> {
        let mut all = vec!["docker", self.name.as_str()];
        all.extend(arguments);
        let output = self.run(&all)?;
        Ok(Said {
            command: format!("docker {}", arguments.join(" ")),
            success: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            err: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Runs the engine's own docker client and returns what it printed.
    ///
    /// # Errors
    /// The command failed; with what it said.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        let said = self.try_docker(arguments)?;
        ensure!(
            said.success,
            "`{}` failed: {}\nthe engine's log ends\n{}",
            said.command,
            said.err,
            self.log_end()
        );
        Ok(said.out)
    }

    /// Runs the engine's own docker client, which must fail, and returns what it said to its user.
    ///
    /// # Errors
    /// The command succeeded.
    pub fn docker_fails(&self, arguments: &[&str]) -> Result<String> {
        let said = self.try_docker(arguments)?;
        ensure!(
            !said.success,
            "`{}` succeeded and printed {:?}",
            said.command,
            said.out
        );
        Ok(said.err)
    }

    /// Ends the engine and everything that it started, and checks that nothing is left of it.
    ///
    /// # Errors
    /// Something is left.
    pub fn down(mut self) -> Result<()> {
        self.is_down = true;
        self.harness("down", &[])?;
        let left = self.run(&["leftovers", &self.name])?;
        ensure!(
            left.status.success(),
            "the engine left behind\n{}",
            String::from_utf8_lossy(&left.stdout)
        );
        Ok(())
    }

    fn state(&self) -> PathBuf {
        self.root.path().join(&self.name)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(files::workspace().join("tests/engine/engine"))
            .args(arguments)
            .env("DOCKSIDE_E2E", self.root.path())
            .stdin(Stdio::null())
            .output()
            .context("cannot run tests/engine/engine")
    }

    fn harness(&self, command: &str, arguments: &[&str]) -> Result<Output> {
        let mut all = vec![command, self.name.as_str()];
        all.extend(arguments);
        let output = self.run(&all)?;
        if !output.status.success() {
            bail!(
                "`engine {}`: {}",
                all.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(output)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.is_down {
            // A test has failed already; its message is the one to be read.
            let _ = self.harness("down", &[]);
        }
    }
}
