//! `dockside dev`, as an author uses it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dockside_tests::files;

/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A project whose build takes the component that `source` names.
struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    fn new(source: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let fixtures = files::fixture("counter-1")?;
        let fixtures = fixtures
            .parent()
            .context("no directory of fixtures")?
            .to_owned();
        let build = directory.path().join("build");
        std::fs::write(
            &build,
            format!(
                "#!/bin/sh\nset -e\ncp \"{}/$(cat source).wasm\" demo.wasm.new\nmv demo.wasm.new demo.wasm\n",
                fixtures.display()
            ),
        )?;
        std::fs::set_permissions(&build, std::fs::Permissions::from_mode(0o755))?;
        std::fs::write(directory.path().join("demo.toml"), "")?;
        std::fs::write(directory.path().join("source"), source)?;
        Ok(Self { directory })
    }

    fn change(&self, source: &str) -> Result<()> {
        Ok(std::fs::write(
            self.directory.path().join("source"),
            source,
        )?)
    }

    fn dev(&self, scratch: &Path) -> Result<Session> {
        let mut child = Command::new(files::daemon()?)
            .arg("dev")
            .arg(self.directory.path())
            .env("TMPDIR", scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, lines) = channel();
        let (out, err) = (
            child.stdout.take().context("no output")?,
            child.stderr.take().context("no errors")?,
        );
        let second = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(out)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| drop(sender.send(line)))
        });
        std::thread::spawn(move || {
            BufReader::new(err)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| drop(second.send(line)))
        });
        let input = child.stdin.take();
        Ok(Session {
            child,
            input,
            lines,
            seen: Vec::new(),
        })
    }
}

struct Session {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Session {
    fn type_in(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the input is closed")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// Waits for a line with this text, and gives it.
    fn wait_for(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                bail!("no line with {text:?} in:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    fn quit(mut self) -> Result<()> {
        self.type_in("quit")?;
        let end = Instant::now() + LIMIT;
        while self.child.try_wait()?.is_none() {
            ensure!(
                Instant::now() < end,
                "it does not end:\n{}",
                self.seen.join("\n")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        ensure!(self.child.wait()?.success(), "it failed");
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_change_is_built_and_swapped_in_and_calls_are_shown_with_what_they_do() -> Result<()> {
    let scratch = tempfile::tempdir_in("/tmp")?;
    let project = Project::new("counter-1")?;
    let mut session = project.dev(scratch.path())?;
    // Typed before there is anything to call: it is done when there is.
    session.type_in("create v1")?;
    session.wait_for("is served at")?;
    session.wait_for("VolumeDriver.Create {\"Name\":\"v1\"")?;
    session.wait_for("wrote")?;
    session.wait_for("= 200")?;

    project.change("no-such-component")?;
    session.wait_for("the build failed: the version before goes on serving")?;
    session.type_in("get v1")?;
    session.wait_for("VolumeDriver.Get")?;
    session.wait_for("= 200")?;

    project.change("counter-2")?;
    session.wait_for("serves")?;
    session.type_in("get v1")?;
    session.wait_for("VolumeDriver.Get")?;
    session.wait_for("= 200")?;

    session.type_in("frobnicate")?;
    session.wait_for("nothing that can be typed here")?;
    session.type_in("inspect")?;
    session.wait_for("Swaps         2")?;
    session.quit()?;
    let left: Vec<_> = std::fs::read_dir(scratch.path())?.collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn a_directory_that_is_no_project_is_refused_with_what_to_do() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let output = Command::new(files::daemon()?)
        .arg("dev")
        .arg(directory.path())
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{:?}", output.status);
    ensure!(
        said.contains("is no driver's project") && said.contains("dockside new"),
        "{said}"
    );
    Ok(())
}
