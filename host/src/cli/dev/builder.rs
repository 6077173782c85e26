//! The project's build, run by a shell that was started before dev went into namespaces of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::Sender;

use anyhow::Context as _;

use super::Message;

/// For each line of its input: a build, and a line with its exit status.
const LOOP: &str = r#"while read -r _; do (sh -c "$1") </dev/null 1>&2; echo $?; done"#;

/// The shell.
pub(super) struct Builder {
    command: String,
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Builder {
    /// Starts the shell; nothing is built yet.
    ///
    /// # Errors
    /// There is no shell.
    pub(super) fn start(command: &str, directory: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", LOOP, "build", command])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("/bin/sh cannot be started for the build")?;
        let input = child.stdin.take().context("the build has no input")?;
        let output = child.stdout.take().context("the build has no output")?;
        Ok(Self {
            command: command.to_owned(),
            child,
            input,
            output,
        })
    }

    /// From now on the end of each build is told.
    pub(super) fn tell(self, sender: Sender<Message>) -> Told {
        let output = BufReader::new(self.output);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(Message::Built(line.trim() == "0")).is_err() {
                    return;
                }
            }
        });
        Told {
            command: self.command,
            input: Some(self.input),
            child: self.child,
        }
    }
}

/// A builder whose builds are told of.
pub(super) struct Told {
    command: String,
    input: Option<ChildStdin>,
    child: Child,
}

impl Told {
    /// The project's command.
    pub(super) fn command(&self) -> &str {
        &self.command
    }

    /// Begins a build.
    ///
    /// # Errors
    /// The shell is gone.
    pub(super) fn build(&mut self) -> std::io::Result<()> {
        match &mut self.input {
            Some(input) => input.write_all(b"build\n"),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Its loop ends with its input.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
