//! `dockside run`: what a driver does beside Docker's methods.

mod show;

use std::io::Read as _;

use anyhow::Context as _;
use http::Method;

use super::{ATTENTION, FAILED, OK, USAGE, print_json};
use crate::admin::client::ask;
use crate::admin::report::{PluginDetail, RunRequest, RunResult};
use crate::config::Daemon;
use crate::protocol::KeyValue;
use crate::protocol::describe::Verb;

/// Bytes of an argument.
const MAX_VALUE: u64 = 4 << 20;

pub(super) const AFTER_HELP: &str = "\
Without a verb this lists the plugin's verbs with their arguments.

A verb is one call: it is done as a whole or not at all. It ends at the plugin's limits.run (10 minutes if that is not set), and when this command is interrupted.

Secret arguments are not taken from the command line, which everybody on the machine can read: give KEY=@FILE or KEY=-. What is read in this way loses one final newline. A value that begins with @ is written with a second @ before it.

Exit status: 0 done; 1 failed, and nothing of it remains; 2 the verb or an argument makes no sense.";

pub(super) async fn run(
    daemon: &Daemon,
    plugin: &str,
    verb: Option<&str>,
    arguments: &[String],
    json: bool,
) -> anyhow::Result<u8> {
    let query = [("name", plugin)];
    let path = "/v1/plugin";
    let detail: PluginDetail = ask(&daemon.control, Method::GET, path, &query, Vec::new()).await?;
    let verbs = &detail.summary.verbs;
    let Some(verb) = verb else {
        if json {
            print_json(verbs)?;
        } else {
            show::verbs(plugin, verbs);
        }
        if let Some(note) = detail.summary.note.filter(|_| verbs.is_empty()) {
            eprintln!("dockside: {plugin}: {note}");
            return Ok(ATTENTION);
        }
        return Ok(OK);
    };
    let declared = verbs.iter().find(|known| known.name == verb);
    let arguments = match read(declared, arguments)? {
        Ok(arguments) => arguments,
        Err(usage) => {
            eprintln!("dockside: {usage}");
            return Ok(USAGE);
        }
    };
    let request = serde_json::to_vec(&RunRequest {
        verb: verb.to_owned(),
        arguments,
    })?;
    match ask(&daemon.control, Method::POST, "/v1/run", &query, request).await? {
        RunResult::Answer(answer) => {
            show::answer(&answer, json)?;
            Ok(OK)
        }
        RunResult::Usage(text) => {
            eprintln!("dockside: {text}");
            Ok(USAGE)
        }
        RunResult::Failed(text) => {
            eprintln!("dockside: {text}");
            Ok(FAILED)
        }
    }
}

/// The arguments with their values, read from where they are. The inner error is for wrong usage.
fn read(
    verb: Option<&Verb>,
    arguments: &[String],
) -> anyhow::Result<Result<Vec<KeyValue>, String>> {
    let mut read = Vec::with_capacity(arguments.len());
    let mut stdin = None;
    for argument in arguments {
        let Some((key, value)) = argument.split_once('=') else {
            return Ok(Err(format!("{argument:?} is no argument: write KEY=VALUE")));
        };
        let source = match value.strip_prefix('@') {
            Some(literal) if literal.starts_with('@') => Source::Literal(literal),
            Some(file) => Source::File(file),
            None if value == "-" => Source::Input,
            None => Source::Literal(value),
        };
        let value = match source {
            Source::Literal(value) => {
                let secret = |verb: &Verb| {
                    let mut all = verb.arguments.iter();
                    all.any(|argument| argument.name == key && argument.secret)
                };
                if verb.is_some_and(secret) {
                    return Ok(Err(format!(
                        "{key} is secret, and everybody on the machine can read command lines: write {key}=@FILE or {key}=-"
                    )));
                }
                value.to_owned()
            }
            Source::File(path) => {
                let opened = std::fs::File::open(path);
                let file = opened.with_context(|| format!("{key}: cannot open {path}"))?;
                text(key, file)?
            }
            Source::Input => {
                if let Some(other) = stdin.replace(key) {
                    return Ok(Err(format!(
                        "{other} and {key} cannot both be read from standard input"
                    )));
                }
                text(key, std::io::stdin().lock())?
            }
        };
        read.push((key.to_owned(), value));
    }
    Ok(Ok(read))
}

/// Where a value is.
enum Source<'a> {
    Literal(&'a str),
    File(&'a str),
    Input,
}

/// Text without one final newline.
fn text(key: &str, from: impl std::io::Read) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(MAX_VALUE + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("{key}: the value cannot be read"))?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_VALUE,
        "{key}: the value has more than {} MiB",
        MAX_VALUE >> 20
    );
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
