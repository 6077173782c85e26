//! `dockside dev`: a driver's project, built and served again with each change, with everything that its calls do in plain view.

mod builder;
mod caller;
mod project;
mod say;
mod show;
mod stream;
mod watch;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use dockside_check::client::Patience;
use dockside_check::{Control, Profile};

use self::builder::Builder;
use self::caller::Caller;
use self::project::Project;
use self::say::Said;
use super::OK;
use super::check::hosted::Hosted;
use super::check::{interrupt, place};
use crate::trace::Event;

pub(super) const AFTER_HELP: &str = "\
The driver is served by a daemon of its own in a temporary directory, as root in mount and network namespaces of its own; nothing of this
machine's dockside is touched, and all of it is gone when dev ends. The build runs outside, as the project's own command. The driver's
settings are NAME.toml in the project; what it imports and that file does not grant is granted, as little as possible, and shown.

While it runs, type calls:

    VolumeDriver.Create {\"Name\": \"v1\", \"Opts\": {}}     any of Docker's methods
    create v1 size=1g | mount v1 | unmount v1 | get v1 | path v1 | list | remove v1
    run VERB KEY=VALUE | inspect | logs | check           as the verbs of dockside
    build | help | quit

Calls go one after another; with & behind it a call does not hold up the next.

With --docker the plugin is where the Docker Engine of this machine finds it: docker volume create -d NAME v1";

/// What is developed, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The project.
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// The component that the build makes [default: the one beside its NAME.toml]
    #[arg(long, value_name = "FILE.wasm")]
    wasm: Option<PathBuf>,
    /// The command that builds it, for the shell [default: ./build; if there is none, somebody else builds]
    #[arg(long, value_name = "COMMAND")]
    build: Option<String>,
    /// Serve it in this machine's own namespaces, where its Docker Engine looks for plugins. What it leaves is taken away at the end.
    #[arg(long)]
    docker: bool,
    /// Print events as JSON, one a line, as the daemon tells them.
    #[arg(long)]
    json: bool,
}

/// What can happen.
enum Message {
    /// Files of the project are others.
    Changed,
    /// The build has ended, well or not.
    Built(bool),
    /// The daemon has told something.
    Told(String),
    /// The author has typed something; nothing: the input has ended.
    Typed(Option<String>),
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let project = Project::find(
        &arguments.directory,
        arguments.wasm.as_deref(),
        arguments.build.as_deref(),
    )?;
    let (sender, messages) = channel();
    // Before the namespaces: a build may have to fetch something.
    let builder = project
        .build
        .as_deref()
        .map(|command| Builder::start(command, &project.directory))
        .transpose()?;
    place::alone(arguments.docker)?;
    let builder = builder.map(|builder| builder.tell(sender.clone()));
    let _watcher = watch::watch(&project, sender.clone())?;
    say::listen(sender.clone());
    let mut session = Session {
        project,
        builder,
        sender,
        docker: arguments.docker,
        json: arguments.json,
        served: None,
        building: false,
        stale: false,
        waiting: VecDeque::new(),
        caller: Caller::start(),
    };
    session.build();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Changed => session.build(),
            Message::Built(well) => session.built(well),
            Message::Told(line) => session.show(&line),
            Message::Typed(Some(line)) => session.waiting.push_back(line),
            // A daemon that is developed against without a terminal goes on until it is stopped.
            Message::Typed(None) => {}
        }
        if session.has_quit() {
            break;
        }
    }
    session.end(&messages);
    Ok(OK)
}

struct Session {
    project: Project,
    builder: Option<builder::Told>,
    sender: Sender<Message>,
    docker: bool,
    json: bool,
    served: Option<Arc<Hosted>>,
    building: bool,
    /// Something changed while it was built.
    stale: bool,
    /// What was typed before there was something to call.
    waiting: VecDeque<String>,
    caller: Caller,
}

impl Session {
    fn build(&mut self) {
        if self.building {
            self.stale = true;
            return;
        }
        let Some(builder) = &mut self.builder else {
            return self.built(true);
        };
        let command = builder.command().to_owned();
        let begun = builder.build();
        self.note(&format!("building: {command}"));
        match begun {
            Ok(()) => self.building = true,
            Err(error) => self.note(&format!("the build cannot be started: {error}")),
        }
    }

    fn built(&mut self, well: bool) {
        self.building = false;
        if std::mem::take(&mut self.stale) {
            return self.build();
        }
        if !well {
            self.note(match self.served {
                Some(_) => "the build failed: the version before goes on serving",
                None => "the build failed: change something, and it is tried again",
            });
            return;
        }
        let loaded = match &self.served {
            Some(hosted) => hosted
                .renew(&self.project.wasm, self.project.settings().as_deref())
                .map(|changed| {
                    if !changed {
                        self.note("built: the component is the same as before");
                    }
                }),
            None => self.serve(),
        };
        if let Err(error) = loaded {
            self.note(&format!("{error:#}"));
        }
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut hosted = Hosted::new(
            &self.project.wasm,
            &Profile::default(),
            None,
            self.project.settings().as_deref(),
            Patience::default(),
            |line| self.note(line),
        )?;
        if self.docker {
            hosted.serve_in(&crate::config::Daemon::default().plugins)?;
        }
        let hosted = Arc::new(hosted);
        let weak: Weak<Hosted> = Arc::downgrade(&hosted);
        interrupt::clear_up(weak, hosted.scratch().to_owned())?;
        hosted.start().map_err(anyhow::Error::msg)?;
        self.note(&format!(
            "{} is served at {}",
            hosted.name(),
            hosted.socket().display()
        ));
        self.note("type a call, or help");
        stream::follow(&hosted.control(), hosted.name(), self.sender.clone())?;
        self.served = Some(hosted);
        Ok(())
    }

    /// Does what was typed, once there is something that it can be done to. `true`: that was all.
    fn has_quit(&mut self) -> bool {
        while self.served.is_some() || !self.building {
            match self.waiting.pop_front() {
                Some(line) if self.asked(&line) => return true,
                Some(_) => {}
                None => break,
            }
        }
        false
    }

    /// What the author typed. `true`: that was all.
    fn asked(&mut self, line: &str) -> bool {
        match say::understand(line) {
            Said::Nothing => {}
            Said::Quit => return true,
            Said::Help => println!("{AFTER_HELP}"),
            Said::Build => self.build(),
            Said::Wrong(why) => self.note(&why),
            Said::Call(call) => match &self.served {
                Some(hosted) => self.caller.call(hosted.socket(), call),
                None => self.note("nothing is served yet"),
            },
            Said::Verb(words) => match &self.served {
                Some(hosted) => {
                    self.caller.settle();
                    self.verb(hosted, &words);
                }
                None => self.note("nothing is served yet"),
            },
        }
        false
    }

    fn verb(&self, hosted: &Hosted, words: &[String]) {
        let Some((verb, rest)) = words.split_first() else {
            return;
        };
        let mut arguments = vec![verb.clone()];
        if verb == "check" {
            arguments.push(self.project.wasm.display().to_string());
            if let Some(settings) = self.project.settings() {
                arguments.extend(["--config".to_owned(), settings.display().to_string()]);
            }
        } else {
            arguments.extend([
                hosted.name().to_owned(),
                "--control".to_owned(),
                hosted.control().display().to_string(),
            ]);
        }
        arguments.extend(rest.iter().cloned());
        let done = std::env::current_exe().and_then(|me| {
            Command::new(me)
                .args(arguments)
                .stdin(Stdio::null())
                .status()
        });
        if let Err(error) = done {
            self.note(&format!("{verb}: {error}"));
        }
    }

    fn show(&self, line: &str) {
        if self.json {
            println!("{line}");
            return;
        }
        match serde_json::from_str::<Event>(line) {
            Ok(event) => show::lines(&event)
                .iter()
                .for_each(|line| println!("{line}")),
            Err(error) => self.note(&format!(
                "an event that this version does not know ({error}): {line}"
            )),
        }
    }

    /// What dev itself has to say, apart from the driver's events.
    fn note(&self, text: &str) {
        eprintln!("-- {text}");
    }

    fn end(&mut self, messages: &Receiver<Message>) {
        self.caller.finish();
        // The events of the last call are on their way.
        while let Ok(message) = messages.recv_timeout(LAST_EVENTS) {
            if let Message::Told(line) = message {
                self.show(&line);
            }
        }
        let Some(hosted) = self.served.take() else {
            return;
        };
        if self.docker {
            forget(&hosted).unwrap_or_else(|error| self.note(&format!("{error:#}")));
        }
    }
}

/// How long events of calls that are over are waited for.
const LAST_EVENTS: Duration = Duration::from_millis(300);

/// How long the daemon may take to notice that the driver is gone.
const NOTICING: Duration = Duration::from_secs(10);

/// Takes away what the driver has made on this machine, volumes included: they are the developer's.
fn forget(hosted: &Hosted) -> anyhow::Result<()> {
    let me = std::env::current_exe()?;
    std::fs::remove_file(hosted.served_file()).context("the driver cannot be taken out")?;
    let end = Instant::now() + NOTICING;
    loop {
        let output = Command::new(&me)
            .args(["forget", hosted.name(), "--force", "--control"])
            .arg(hosted.control())
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        if Instant::now() > end {
            anyhow::bail!(
                "what {} made could not be taken away: {}",
                hosted.name(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Where a path lies, without the working directory's help.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}
