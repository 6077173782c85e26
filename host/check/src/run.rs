//! A run: which checks apply, each with its invariants, and what came of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::invariants::{Process, World, activate, still_answers};
use crate::bench::{Bench, Target};
use crate::check::{Check, Failure, Kind, Level, Need, Outcome, Stop};
use crate::client::Patience;
use crate::control::Control;
use crate::profile::Profile;
use crate::report::{Report, Tried, Verdict};

/// Which checks run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// IDs, or a section's letter; none: all.
    pub only: Vec<String>,
    /// IDs, or a section's letter, that do not run.
    pub skip: Vec<String>,
    /// Levels that run; none: all.
    pub levels: Vec<Level>,
    /// Leave out the checks that wait for long by their nature.
    pub quick: bool,
}

impl Selection {
    fn takes(&self, check: &Check) -> bool {
        let named = |list: &[String]| {
            list.iter().any(|name| {
                name.eq_ignore_ascii_case(check.id)
                    || check
                        .id
                        .get(..1)
                        .is_some_and(|section| name.eq_ignore_ascii_case(section))
            })
        };
        let spelled = self
            .only
            .iter()
            .any(|name| name.eq_ignore_ascii_case(check.id));
        (self.only.is_empty() || named(&self.only))
            && !named(&self.skip)
            && (self.levels.is_empty() || self.levels.contains(&check.level))
            && (!self.quick || !check.slow || spelled)
    }
}

/// What a run needs to know.
pub struct Options {
    /// The plugin's socket.
    pub socket: PathBuf,
    /// What its author said.
    pub profile: Profile,
    /// Which checks run.
    pub selection: Selection,
    /// How long is waited.
    pub patience: Patience,
    /// How often a call is sent that must bear repetition.
    pub repeat: u32,
    /// Where random choices start from.
    pub seed: u64,
    /// Hands on the plugin's process. It runs already.
    pub control: Option<Box<dyn Control>>,
    /// The command of a process that makes calls ([`crate::engine::serve`]); the socket's path is added.
    pub engine: Vec<OsString>,
    /// A real Docker Engine's socket, which finds the plugin by the name that follows.
    pub docker: Option<(PathBuf, String)>,
    /// Compare the machine before and after. Not on a machine where others change mounts or links meanwhile.
    pub watch_machine: bool,
}

/// Runs the checks. `told` hears of each as it ends.
pub fn run(options: Options, told: &mut dyn FnMut(&Tried)) -> Report {
    let began = Instant::now();
    let greeting = activate(&options.socket, options.patience);
    let kinds = greeting.json().map(kinds_in).unwrap_or_default();
    let mut report = Report::new(&options.socket, &kinds, options.seed);
    let target = Target {
        socket: options.socket,
        kinds,
        profile: options.profile,
        patience: options.patience,
        repeat: options.repeat,
        seed: options.seed,
        control: options.control,
        engine: options.engine,
        docker: options.docker,
    };
    let mut watch = Watch::new(&target, greeting.json().cloned(), options.watch_machine);
    for check in crate::all()
        .iter()
        .filter(|check| options.selection.takes(check))
    {
        let started = Instant::now();
        let verdict = match reason_to_skip(check, &target) {
            Some(reason) => Verdict::Skip { reason },
            None => one(check, &target, &mut watch),
        };
        let verdict = match (verdict, target.profile.allow.get(check.id)) {
            (Verdict::Fail(failure), Some(reason)) => Verdict::Allowed {
                failure,
                reason: reason.clone(),
            },
            (verdict, _) => verdict,
        };
        let tried = Tried::new(check, verdict, started.elapsed());
        told(&tried);
        report.tried.push(tried);
    }
    watch.settle(&mut report, told);
    report.seconds = began.elapsed().as_secs_f64();
    report
}

fn kinds_in(answer: &Value) -> Vec<Kind> {
    let names: Vec<&str> = answer
        .get("Implements")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    Kind::ALL
        .into_iter()
        .filter(|kind| names.contains(&kind.implements()))
        .collect()
}

fn reason_to_skip(check: &Check, target: &Target) -> Option<String> {
    if let Some(kind) = check.kind.filter(|kind| !target.kinds.contains(kind)) {
        return Some(format!("the plugin is no {}", kind.implements()));
    }
    check.needs.iter().find_map(|need| match need {
        Need::Root if !rustix::process::geteuid().is_root() => Some("it needs root".into()),
        Need::Process | Need::Fault if target.control.is_none() => {
            Some("it needs hands on the plugin's process: --start".into())
        }
        Need::Driver
            if target
                .control
                .as_ref()
                .is_none_or(|control| control.driver().is_none()) =>
        {
            Some("it is about drivers that dockside serves: give a .wasm file".into())
        }
        Need::Engine if target.docker.is_none() => {
            Some("it needs a Docker Engine: --docker".into())
        }
        _ => None,
    })
}

fn one(check: &Check, target: &Target, watch: &mut Watch) -> Verdict {
    let bench = Bench::new(target, check.id);
    let pid = || target.control.as_ref().and_then(|control| control.pid());
    let before = pid();
    let outcome = (check.run)(&bench);
    // dockside is started anew with a driver that is broken, and again with the one that works.
    let mut renewed = false;
    if let Some(control) = &target.control {
        let _ = control.mend();
        renewed = control.driver().is_some() && control.pid().is_some() && pid() != before;
        if control.pid().is_none() {
            let _ = control.start();
        }
    }
    bench.clean();
    let expected = check.needs.contains(&Need::Process) || bench.has_restarted() || renewed;
    let after = watch.after(check.id, target, expected);
    if after.is_err()
        && let Some(control) = &target.control
        && still_answers(&target.socket, None, target.patience).is_err()
    {
        // The next check is not to blame.
        let _ = control.kill();
        let _ = control.start();
    }
    match (outcome, after) {
        (Err(Stop::Fail(failure)), _) => Verdict::Fail(*failure),
        (_, Err(Stop::Fail(failure))) => Verdict::Fail(*failure),
        (Err(Stop::Skip(reason)), _) | (_, Err(Stop::Skip(reason))) => Verdict::Skip { reason },
        (Ok(()), Ok(())) => Verdict::Pass,
    }
}

/// What must be as it was.
struct Watch {
    greeting: Option<Value>,
    world: Option<World>,
    process: Option<Process>,
    /// Open files and threads at the start, or after the first whole check of a process that came later; and after each check since.
    load: Option<(usize, usize)>,
    loads: Vec<(&'static str, usize, usize)>,
    patience: Patience,
}

/// A thread or connection more is how servers breathe.
const SLACK: usize = 2;

impl Watch {
    fn new(target: &Target, greeting: Option<Value>, machine: bool) -> Self {
        let process = Process::behind(&target.socket);
        Self {
            greeting,
            world: (machine && rustix::process::geteuid().is_root()).then(World::now),
            process,
            load: process.and_then(|process| process.load()),
            loads: Vec::new(),
            patience: target.patience,
        }
    }

    fn after(&mut self, id: &'static str, target: &Target, may_restart: bool) -> Outcome {
        still_answers(&target.socket, self.greeting.as_ref(), target.patience)
            .map_err(Stop::fail)?;
        let now = Process::behind(&target.socket);
        if now != self.process {
            let before = std::mem::replace(&mut self.process, now);
            // What it opens with its first calls belongs to it, so the next check sets the measure.
            self.load = None;
            self.loads.clear();
            if !may_restart && before.is_some() {
                return Err(Stop::fail(
                    "the plugin's process is another one afterwards: it crashed, or restarted itself",
                ));
            }
        } else if let Some((files, threads)) = now.and_then(|process| process.load()) {
            self.load.get_or_insert((files, threads));
            self.loads.push((id, files, threads));
        }
        self.machine()
    }

    /// What a plugin does behind its answer (an unmount, say) gets some time.
    fn machine(&mut self) -> Outcome {
        let Some(before) = &self.world else {
            return Ok(());
        };
        let end = Instant::now() + self.patience.seconds(10.0);
        loop {
            let now = World::now();
            let changes = now.changes(before);
            if changes.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                // The next check is not to blame.
                self.world = Some(now);
                return Err(Stop::fail(format!(
                    "the machine is not as it was before: {}",
                    changes.join("; ")
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Open files and threads may come down late; those that never do are laid to the check since which they are there.
    fn settle(&self, report: &mut Report, told: &mut dyn FnMut(&Tried)) {
        let (Some(process), Some((files, threads))) = (self.process, self.load) else {
            return;
        };
        let most = (files + SLACK, threads + SLACK);
        // Servers let idle threads end after some seconds of their own, whatever the patience.
        let end = Instant::now() + self.patience.seconds(30.0).max(Duration::from_secs(15));
        let left = loop {
            match process.load() {
                Some(now) if now.0 > most.0 || now.1 > most.1 => {
                    if Instant::now() > end {
                        break now;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                _ => return,
            }
        };
        let since = self
            .loads
            .iter()
            .rposition(|(_, files, threads)| *files <= most.0 && *threads <= most.1)
            .map_or(0, |last| last + 1);
        let Some((id, ..)) = self.loads.get(since).or(self.loads.last()) else {
            return;
        };
        let Some(tried) = report
            .tried
            .iter_mut()
            .find(|tried| tried.id == *id && tried.verdict.is_pass())
        else {
            return;
        };
        tried.verdict = Verdict::Fail(Failure {
            seen: format!(
                "since this check the plugin has {} open files and {} threads, and had {files} and {threads} before",
                left.0, left.1
            ),
            exchange: None,
        });
        told(tried);
    }
}
