//! The command line: one file for each verb.

/// Prints a line, and ends quietly when nobody reads any more (`dockside logs x | head`).
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        if writeln!(std::io::stdout().lock(), $($text)*).is_err() {
            std::process::exit(i32::from(crate::cli::OK));
        }
    }};
}

mod bindings;
mod call;
mod check;
mod check_config;
mod component;
mod dev;
mod forget;
mod inspect;
mod logs;
mod ls;
mod new;
mod reconcile;
mod record;
mod relay;
mod replay;
mod run;
mod scratch;
mod serve;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dockside_author::component::World;
use dockside_author::new::{Kind, Lang};

use crate::config::{Daemon, Overrides};

/// Exit status when the command did what it was asked.
pub const OK: u8 = 0;
/// Exit status when it could not: no daemon, a bad file, an error of the plugin.
pub const FAILED: u8 = 1;
/// Exit status when the command line itself makes no sense.
pub const USAGE: u8 = 2;
/// Exit status of `ls`, `inspect` and `check-config` when they worked and found something that needs the operator.
pub const ATTENTION: u8 = 3;

const AFTER_HELP: &str = "\
Exit status: 0 done; 1 failed (the text says why); 2 wrong usage; 3 done, and something needs your attention
(a plugin that does not serve, a file that is not used).

A driver is a WebAssembly component. Drop NAME.wasm or NAME@1.2.3.wasm into the drivers directory, with NAME.toml beside it
for grants and settings, and Docker finds a plugin named NAME.";

/// One daemon that serves many Docker plugins, each a sandboxed WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "dockside", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// Where the daemon's files are. Flags go over environment variables, and those over the configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct Places {
    /// Configuration file [default: /etc/dockside/dockside.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "DOCKSIDE_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Directory of the drivers [default: /var/lib/dockside/drivers]
    #[arg(long, value_name = "DIR", env = "DOCKSIDE_DRIVERS", global = true)]
    drivers: Option<PathBuf>,
    /// Directory of Docker's plugin sockets [default: /run/docker/plugins]
    #[arg(long, value_name = "DIR", env = "DOCKSIDE_PLUGINS", global = true)]
    plugins: Option<PathBuf>,
    /// Directory of Docker's .spec and .json files of plugins [default: /etc/docker/plugins]
    #[arg(long, value_name = "DIR", env = "DOCKSIDE_SPECS", global = true)]
    specs: Option<PathBuf>,
    /// Directory of state, volumes and compiled code [default: /var/lib/dockside]
    #[arg(long, value_name = "DIR", env = "DOCKSIDE_DATA", global = true)]
    data: Option<PathBuf>,
    /// Control socket of the daemon [default: /run/dockside/control.sock]
    #[arg(long, value_name = "SOCKET", env = "DOCKSIDE_CONTROL", global = true)]
    control: Option<PathBuf>,
}

impl Places {
    fn load(&self) -> anyhow::Result<Daemon> {
        let mut daemon = Daemon::load(self.config.as_deref())?;
        daemon.apply(Overrides {
            drivers: self.drivers.clone(),
            plugins: self.plugins.clone(),
            specs: self.specs.clone(),
            data: self.data.clone(),
            control: self.control.clone(),
        });
        Ok(daemon)
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon.
    Serve {
        #[command(flatten)]
        places: Places,
    },
    /// List the plugins and the files that are not used.
    Ls {
        #[command(flatten)]
        places: Places,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show everything about a plugin, or about a driver file.
    Inspect {
        #[command(flatten)]
        places: Places,
        /// A plugin's name, or the path of a .wasm file.
        subject: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Call a plugin as Docker would.
    Call {
        #[command(flatten)]
        places: Places,
        /// The plugin's name.
        name: String,
        /// Docker's method, for example VolumeDriver.Create.
        method: String,
        /// The request: one JSON object. None sends an empty body.
        request: Option<String>,
        /// Print status and answer as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Ask a driver for what Docker has no command for: run one of its verbs.
    #[command(after_help = run::AFTER_HELP)]
    Run {
        #[command(flatten)]
        places: Places,
        /// The plugin's name.
        plugin: String,
        /// The verb [default: list the verbs]
        verb: Option<String>,
        /// Its arguments: KEY=VALUE, KEY=@FILE for the content of a file, KEY=- for standard input.
        #[arg(value_name = "KEY=VALUE")]
        arguments: Vec<String>,
        /// Print the driver's answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a plugin's driver and the daemon said about it.
    Logs {
        #[command(flatten)]
        places: Places,
        /// The plugin's name.
        name: String,
        /// Only the last N lines.
        #[arg(short = 'n', long, value_name = "N")]
        lines: Option<usize>,
        /// Print one JSON object for each line.
        #[arg(long)]
        json: bool,
    },
    /// Check a plugin, in any language, against what Docker relies on.
    #[command(after_help = check::AFTER_HELP)]
    Check(Box<check::Arguments>),
    /// Check the configuration file and the drivers directory without a daemon.
    CheckConfig {
        #[command(flatten)]
        places: Places,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a removed plugin: close its socket, and what Docker was told of it.
    Forget {
        #[command(flatten)]
        places: Places,
        /// The plugin's name.
        name: String,
        /// Take away what it holds on the machine: mounts, disk images with the data in them, links, packet rules.
        #[arg(long)]
        force: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare what plugins hold on the machine with what is there, and repair it.
    Reconcile {
        #[command(flatten)]
        places: Places,
        /// The plugin's name [default: all plugins]
        name: Option<String>,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the relay of a plugin for `docker plugin create`: then Docker's own plugin commands know the plugin.
    Relay {
        #[command(flatten)]
        places: Places,
        /// The plugin's name.
        name: String,
        /// Where to write it [default: NAME-relay]
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Record a plugin's calls, with what they read of the state and asked of the host, without secrets.
    Record {
        #[command(flatten)]
        places: Places,
        /// The plugin's name.
        name: String,
        /// The file to write, with mode 0600; must not exist [default: NAME.recording]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// End after N calls.
        #[arg(long, value_name = "N")]
        calls: Option<u64>,
        /// End after this time, for example 10m.
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        span: Option<std::time::Duration>,
        /// Print what became of it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run recorded calls against a version of a driver, without a daemon, and show what comes out otherwise.
    #[command(after_help = "\
Nothing of this machine is touched: the state and the host's answers are those of the recording.
Exit status: 0 all the same, 3 something differs, 1 the replay failed.")]
    Replay {
        /// The recording, as `dockside record` writes it.
        file: PathBuf,
        /// The driver.
        #[arg(value_name = "DRIVER.wasm")]
        driver: PathBuf,
        /// The name of a field that is meant to differ, in answers, in the state and in arguments. May be repeated.
        #[arg(long, value_name = "FIELD")]
        ignore: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Generate what a driver in C or Go calls and is called by.
    Bindings {
        /// The language: c (also for C++) or go.
        #[arg(long, value_name = "LANGUAGE")]
        lang: String,
        /// The directory with the driver's WIT.
        #[arg(long, value_name = "DIR", default_value = "wit")]
        wit: PathBuf,
        /// The world in it [default: its only one]
        #[arg(long, value_name = "NAME")]
        world: Option<String>,
        /// For Go: the import path of the directory to write to [default: a module of its own]
        #[arg(long, value_name = "PATH")]
        package: Option<String>,
        /// The directory to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make a component, which is what a driver is, of a core module for WASI preview 1.
    Component {
        /// The module that the compiler wrote.
        #[arg(value_name = "CORE.wasm")]
        module: PathBuf,
        /// The directory with the driver's WIT, unless the module carries its world, as with C bindings.
        #[arg(long, value_name = "DIR")]
        wit: Option<PathBuf>,
        /// The world in it [default: its only one]
        #[arg(long, value_name = "NAME", requires = "wit")]
        world: Option<String>,
        /// The file to write.
        #[arg(short, long, value_name = "FILE.wasm")]
        output: PathBuf,
    },
    /// Write a project for a new driver.
    #[command(after_help = new::AFTER_HELP)]
    New {
        /// The plugin's name.
        name: String,
        /// What it is to be: volume, network, ipam, authz, or several of them with commas between.
        #[arg(
            long,
            value_name = "KIND[,KIND...]",
            value_delimiter = ',',
            required = true
        )]
        kind: Vec<Kind>,
        /// The language: rust, js, python, c or go.
        #[arg(long)]
        lang: Lang,
        /// Where to write it; must not exist [default: NAME]
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Develop a driver: build and serve it again with each change, and show everything that its calls do.
    #[command(after_help = dev::AFTER_HELP)]
    Dev(dev::Arguments),
    /// Mount what may hang. Only the daemon calls this.
    #[command(hide = true)]
    MountWorker,
    /// Call a plugin as an engine of its own. Only `check` calls this.
    #[command(hide = true)]
    CheckCaller { socket: PathBuf },
    /// Compile standard input to a file. Only the daemon calls this.
    #[command(hide = true)]
    CompileWorker {
        output: PathBuf,
        memory: u64,
        seconds: u64,
    },
}

/// Runs the command line and returns the exit status.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::MountWorker => return crate::machine::mounts::worker::worker_main(),
        Verb::CompileWorker {
            output,
            memory,
            seconds,
        } => crate::sandbox::run_compile_worker(&output, memory, seconds).map(|()| OK),
        Verb::CheckCaller { socket } => dockside_check::engine::serve(&socket)
            .map(|()| OK)
            .map_err(anyhow::Error::from),
        Verb::Check(arguments) => check::run(*arguments),
        Verb::Dev(arguments) => dev::run(&arguments),
        Verb::Serve { places } => places.load().and_then(serve::run),
        Verb::CheckConfig { places, json } => check_config::run(&places, json),
        Verb::Bindings {
            lang,
            wit,
            world,
            package,
            out,
        } => bindings::run(&lang, &wit, world.as_deref(), package.as_deref(), &out),
        Verb::Component {
            module,
            wit,
            world,
            output,
        } => {
            let world = wit.as_deref().map(|wit| World {
                wit,
                name: world.as_deref(),
            });
            component::run(&module, world, &output)
        }
        Verb::New {
            name,
            kind,
            lang,
            directory,
            json,
        } => new::run(&name, &kind, lang, directory, json),
        verb => asking(verb),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("dockside: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn asking(verb: Verb) -> anyhow::Result<u8> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            match verb {
                Verb::Ls { places, json } => ls::run(&places.load()?, json).await,
                Verb::Inspect {
                    places,
                    subject,
                    json,
                } => inspect::run(&places, &subject, json).await,
                Verb::Call {
                    places,
                    name,
                    method,
                    request,
                    json,
                } => call::run(&places.load()?, &name, &method, request, json).await,
                Verb::Run {
                    places,
                    plugin,
                    verb,
                    arguments,
                    json,
                } => run::run(&places.load()?, &plugin, verb.as_deref(), &arguments, json).await,
                Verb::Logs {
                    places,
                    name,
                    lines,
                    json,
                } => logs::run(&places.load()?, &name, lines, json).await,
                Verb::Forget {
                    places,
                    name,
                    force,
                    json,
                } => forget::run(&places.load()?, &name, force, json).await,
                Verb::Reconcile {
                    places,
                    name,
                    dry_run,
                    json,
                } => reconcile::run(&places.load()?, name.as_deref(), dry_run, json).await,
                Verb::Relay {
                    places,
                    name,
                    output,
                    json,
                } => relay::run(&places.load()?, &name, output, json).await,
                Verb::Record {
                    places,
                    name,
                    out,
                    calls,
                    span,
                    json,
                } => {
                    let until = record::Until { calls, span };
                    record::run(&places.load()?, &name, out, until, json).await
                }
                Verb::Replay {
                    file,
                    driver,
                    ignore,
                    json,
                } => replay::run(&file, &driver, ignore, json).await,
                Verb::Serve { .. }
                | Verb::Check { .. }
                | Verb::CheckCaller { .. }
                | Verb::CheckConfig { .. }
                | Verb::Bindings { .. }
                | Verb::Component { .. }
                | Verb::New { .. }
                | Verb::Dev(..)
                | Verb::CompileWorker { .. }
                | Verb::MountWorker => Ok(USAGE),
            }
        })
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
