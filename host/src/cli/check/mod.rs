//! `dockside check`: the conformance checks, against any plugin's socket or against a driver file.

mod broken;
pub(super) mod hosted;
pub(super) mod interrupt;
pub(super) mod place;
mod settings;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use anyhow::Context as _;
use clap::Args;
use dockside_check::client::Patience;
use dockside_check::control::Started;
use dockside_check::report::{Report, Verdict};
use dockside_check::{Control, Level, Options, Profile, Selection};

use self::hosted::Hosted;
use super::{ATTENTION, FAILED, OK, USAGE};

pub(super) const AFTER_HELP: &str = "\
A socket is checked as it is: any plugin, in any language. Checks that need more are skipped with the reason; --start gives the checks
hands on the plugin's process, and a profile says what cannot be found out over the socket.

A .wasm file is served by a daemon of its own in a temporary directory, as root in mount and network namespaces of its own, and nothing
of this machine's dockside is touched. Its settings are NAME.toml beside it; without one it is granted what it asks for, as little as
possible, and that is shown.

Exit status: 0 every check passed that fails a run, 1 one of level E or S failed, 2 wrong usage, 3 only checks of level R failed.";

/// What is checked, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The plugin's socket, or a driver: a .wasm file.
    #[arg(value_name = "SOCKET|FILE.wasm", required_unless_present = "list")]
    subject: Option<PathBuf>,
    /// What the plugin's author says about it (TOML): options that it takes, checks that it cannot pass and why.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Settings of a .wasm file, as NAME.toml in the drivers directory [default: NAME.toml beside it]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The command that starts the plugin at SOCKET; {socket} in it stands for the path.
    #[arg(long, value_name = "COMMAND")]
    start: Option<String>,
    /// Only these checks: IDs such as V10, or sections by their letter.
    #[arg(long, value_name = "ID|SECTION", value_delimiter = ',')]
    only: Vec<String>,
    /// Not these checks.
    #[arg(long, value_name = "ID|SECTION", value_delimiter = ',')]
    skip: Vec<String>,
    /// Only checks of these levels: e (the engine misbehaves), s (security), r (robustness).
    #[arg(long, value_name = "LEVEL", value_delimiter = ',', value_parser = level)]
    level: Vec<Level>,
    /// Leave out the checks that wait for long by their nature.
    #[arg(long)]
    quick: bool,
    /// How often a call is sent that must bear repetition.
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: u32,
    /// Where random choices start from [default: a random one, which is shown]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as JUnit XML, too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The API socket of a Docker Engine that finds the plugin, for the checks that need one.
    #[arg(long, value_name = "SOCKET", requires = "docker_name")]
    docker: Option<PathBuf>,
    /// The name by which that engine finds the plugin.
    #[arg(long, value_name = "NAME", requires = "docker")]
    docker_name: Option<String>,
    /// Do not compare mounts, links and packet rules before and after: others change them meanwhile.
    #[arg(long)]
    no_watch: bool,
    /// Serve a .wasm file in this machine's mount and network namespaces.
    #[arg(long)]
    shared: bool,
    /// List the checks.
    #[arg(long)]
    list: bool,
    /// Multiplies every wait and every deadline, and those of a .wasm file's daemon with them.
    #[arg(long, value_name = "N", default_value_t = 1.0, hide = true)]
    patience: f64,
}

fn level(text: &str) -> Result<Level, String> {
    match text.to_ascii_lowercase().as_str() {
        "e" | "engine" => Ok(Level::Engine),
        "s" | "security" => Ok(Level::Security),
        "r" | "robustness" => Ok(Level::Robustness),
        _ => Err("the levels are e, s and r".into()),
    }
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    if arguments.list {
        return table::print(arguments.json);
    }
    if let Some(wrong) = arguments
        .only
        .iter()
        .chain(&arguments.skip)
        .find(|name| !known(name))
    {
        eprintln!(
            "dockside: there is no check and no section {wrong:?}: `dockside check --list` shows them"
        );
        return Ok(USAGE);
    }
    let subject = arguments.subject.as_deref().unwrap_or(Path::new(""));
    let profile = match &arguments.profile {
        Some(file) => Profile::read(file).map_err(anyhow::Error::msg)?,
        None => Profile::default(),
    };
    let patience = Patience::new(arguments.patience);
    let is_driver = subject
        .extension()
        .is_some_and(|extension| extension == "wasm");
    if is_driver && arguments.start.is_some() {
        eprintln!("dockside: a .wasm file is served by dockside itself: leave out --start");
        return Ok(USAGE);
    }
    if !is_driver && (arguments.config.is_some() || arguments.shared) {
        eprintln!("dockside: --config and --shared are for a .wasm file");
        return Ok(USAGE);
    }
    let mut scratch = None;
    let (socket, control): (PathBuf, Option<Box<dyn Control>>) = if is_driver {
        let shared = arguments.shared || arguments.docker.is_some();
        place::alone(shared)?;
        let hosted = Arc::new(Hosted::new(
            subject,
            &profile,
            arguments.profile.as_deref(),
            arguments.config.as_deref(),
            patience,
            |line| eprintln!("{line}"),
        )?);
        let weak: Weak<Hosted> = Arc::downgrade(&hosted);
        interrupt::clear_up(weak, hosted.scratch().to_owned())?;
        hosted.start().map_err(anyhow::Error::msg)?;
        (hosted.socket().to_owned(), Some(Box::new(hosted)))
    } else if let Some(command) = &arguments.start {
        place::is_free(subject)?;
        let directory = tempfile::Builder::new()
            .prefix("dockside-check-")
            .tempdir()
            .context("no temporary directory could be made")?;
        let log = directory.path().join("log");
        let started = Arc::new(Started::new(command, subject, profile.hooks.clone(), &log));
        let weak: Weak<Started> = Arc::downgrade(&started);
        interrupt::clear_up(weak, directory.path().to_owned())?;
        scratch = Some(directory);
        started.start().map_err(anyhow::Error::msg)?;
        (subject.to_owned(), Some(Box::new(started)))
    } else {
        place::answers(subject)?;
        (subject.to_owned(), None)
    };
    let report = dockside_check::run(
        Options {
            socket,
            profile,
            selection: Selection {
                only: arguments.only,
                skip: arguments.skip,
                levels: arguments.level,
                quick: arguments.quick,
            },
            patience,
            repeat: arguments.repeat,
            seed: arguments.seed.unwrap_or_else(rand::random),
            control,
            engine: caller()?,
            docker: arguments.docker.zip(arguments.docker_name),
            watch_machine: !arguments.no_watch,
        },
        &mut |tried| {
            if !arguments.json {
                say!("{}", tried.lines());
            }
        },
    );
    if let Some(file) = &arguments.junit {
        std::fs::write(file, report.junit())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if arguments.json {
        super::print_json(&report)?;
    } else {
        say!("{}", report.summary());
    }
    drop(scratch);
    Ok(status(&report))
}

/// The command of a process that makes calls.
fn caller() -> anyhow::Result<Vec<OsString>> {
    let me = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(vec![me.into(), "check-caller".into()])
}

fn known(name: &str) -> bool {
    dockside_check::all().iter().any(|check| {
        name.eq_ignore_ascii_case(check.id)
            || check
                .id
                .get(..1)
                .is_some_and(|section| name.eq_ignore_ascii_case(section))
    })
}

fn status(report: &Report) -> u8 {
    let any_failed = report
        .tried
        .iter()
        .any(|tried| matches!(tried.verdict, Verdict::Fail(_)));
    match (report.is_good(), any_failed) {
        (true, false) => OK,
        (true, true) => ATTENTION,
        (false, _) => FAILED,
    }
}
