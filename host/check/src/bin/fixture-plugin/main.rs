//! A plugin of all four kinds that passes every check, and with `--break=ID` fails exactly that one. For the tests of the checks.

mod authz;
mod breaks;
mod ipam;
mod mutate;
mod network;
mod plugin;
mod request;
mod server;
mod store;
mod volume;

use std::path::PathBuf;
use std::process::ExitCode;

use dockside_check::client::Patience;

use crate::breaks::Breaks;

const USAGE: &str = "\
usage: fixture-plugin serve --socket SOCKET --dir DIR [--break ID] [--kinds volume,network,ipam,authz] [--with VARIANT,...]
                    [--neighbour SOCKET] [--peer SOCKET] [--patience N]
       fixture-plugin engine SOCKET
       fixture-plugin mutate [--break ID] [--only ID,...] [--with VARIANT,...] [--quick] [--patience N]

serve   answers as a plugin, with its state in DIR; at the neighbour's socket as another volume driver,
        at the peer's as the same on another machine
engine  makes the calls that it reads from standard input
mutate  in namespaces of its own: serves, runs the checks against itself, and prints the report as JSON";

/// The command line.
#[derive(Debug, Default)]
struct Arguments {
    socket: Option<PathBuf>,
    dir: Option<PathBuf>,
    neighbour: Option<PathBuf>,
    peer: Option<PathBuf>,
    breaks: Breaks,
    kinds: Vec<String>,
    variants: Vec<String>,
    patience: Patience,
    only: Vec<String>,
    quick: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let done = match verb.as_str() {
        "engine" => arguments
            .next()
            .ok_or_else(|| USAGE.to_owned())
            .and_then(|socket| {
                dockside_check::engine::serve(socket.as_ref()).map_err(|error| error.to_string())
            }),
        "serve" => parse(arguments).and_then(|arguments| server::serve(&arguments)),
        "mutate" => parse(arguments).and_then(|arguments| mutate::mutate(&arguments)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = words.flat_map(|word| match word.split_once('=') {
        Some((key, value)) if key.starts_with("--") => vec![key.to_owned(), value.to_owned()],
        _ => vec![word],
    });
    while let Some(word) = words.next() {
        if word == "--quick" {
            arguments.quick = true;
            continue;
        }
        let value = words.next().ok_or_else(|| USAGE.to_owned())?;
        let list = || value.split(',').map(str::to_owned).collect();
        match word.as_str() {
            "--socket" => arguments.socket = Some(value.into()),
            "--neighbour" => arguments.neighbour = Some(value.into()),
            "--dir" => arguments.dir = Some(value.into()),
            "--peer" => arguments.peer = Some(value.into()),
            "--break" => arguments.breaks = Breaks::new(&value),
            "--kinds" => arguments.kinds = list(),
            "--with" => arguments.variants = list(),
            "--only" => arguments.only = list(),
            "--patience" => {
                arguments.patience = Patience::new(value.parse().map_err(|_| USAGE.to_owned())?)
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(arguments)
}
