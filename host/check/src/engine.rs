//! Calls that come from a process of their own, as those of an engine that can be replaced.
//!
//! A plugin can tell engines apart by the process at the other end of the socket, by connections that end, and by
//! `Plugin.Activate`, which a new engine sends. [`Engine`] gives it all three.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Outcome, Stop};
use crate::client::{Answer, Broken, Connection, Patience, Response, as_engine};

#[derive(Serialize, Deserialize)]
struct Ask {
    method: String,
    body: Vec<u8>,
    limit: Duration,
}

#[derive(Serialize, Deserialize)]
enum Told {
    Answered {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    Closed,
    Late,
    Broken(String),
}

/// The part that runs in the process of its own: reads calls from standard input, makes them over one connection, and writes the
/// answers to standard output, until its input ends.
///
/// # Errors
///
/// Standard input or output break.
pub fn serve(socket: &Path) -> std::io::Result<()> {
    let mut connection: Option<Connection> = None;
    for line in std::io::stdin().lock().lines() {
        let ask: Ask = serde_json::from_str(&line?)?;
        let told = match make(socket, &mut connection, &ask) {
            Ok(Response {
                status,
                headers,
                body,
            }) => Told::Answered {
                status,
                headers,
                body,
            },
            Err(Broken::Closed) => Told::Closed,
            Err(Broken::Late(_)) => Told::Late,
            Err(broken) => Told::Broken(broken.to_string()),
        };
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &told)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

fn make(socket: &Path, kept: &mut Option<Connection>, ask: &Ask) -> Result<Response, Broken> {
    // Long before any idle limit: a broken connection is another check's subject.
    let mut connection = match kept
        .take()
        .filter(|connection| connection.idle() < Duration::from_secs(1))
    {
        Some(connection) => connection,
        None => Connection::open(socket)?,
    };
    connection.write(&as_engine(&ask.method, &ask.body))?;
    let response = connection.read(ask.limit)?;
    if !response.closes() {
        *kept = Some(connection);
    }
    Ok(response)
}

/// An engine: a process that calls the plugin. Ends with its drop, as an engine that is killed: without a word.
pub struct Engine {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    patience: Patience,
}

impl Engine {
    /// Starts one with `command`, which has to end in [`serve`], and lets it greet the plugin.
    ///
    /// # Errors
    ///
    /// It cannot be started, or the plugin does not answer the greeting.
    pub fn start(command: &[OsString], socket: &PathBuf, patience: Patience) -> Outcome<Self> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(Stop::skip(
                "it needs calls from a process of its own, and no command for that was given",
            ));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Stop::skip(format!(
                    "no process of its own could be started for calls: {error}"
                ))
            })?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Stop::skip("a process for calls has no pipes"));
        };
        let engine = Self {
            child,
            pipes: Mutex::new((input, BufReader::new(output))),
            patience,
        };
        engine.send("Plugin.Activate", b"").succeeds()?;
        Ok(engine)
    }

    /// The process that calls.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&self, method: &str, body: &[u8]) -> Answer {
        let ask = Ask {
            method: method.to_owned(),
            body: body.to_vec(),
            limit: self.patience.for_call(method),
        };
        let limit = ask.limit;
        Answer::new(
            method,
            body,
            self.exchange(&ask)
                .unwrap_or_else(|error| Err(Broken::Io(error)))
                .map_err(|broken| match broken {
                    Broken::Late(_) => Broken::Late(limit),
                    other => other,
                }),
        )
    }

    fn exchange(&self, ask: &Ask) -> std::io::Result<Result<Response, Broken>> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_string(ask)?;
        line.push('\n');
        pipes.0.write_all(line.as_bytes())?;
        pipes.0.flush()?;
        line.clear();
        pipes.1.read_line(&mut line)?;
        Ok(match serde_json::from_str(&line)? {
            Told::Answered {
                status,
                headers,
                body,
            } => Ok(Response {
                status,
                headers,
                body,
            }),
            Told::Closed => Err(Broken::Closed),
            Told::Late => Err(Broken::Late(Duration::ZERO)),
            Told::Broken(text) => Err(Broken::Io(std::io::Error::other(text))),
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
