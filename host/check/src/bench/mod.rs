//! What a check works with.

mod clean;
pub mod invariants;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::check::{Kind, Outcome, Stop};
use crate::client::{Answer, Broken, Connection, Patience, as_engine};
use crate::control::Control;
use crate::engine::Engine;
use crate::profile::Profile;

pub(crate) use clean::Made;

/// What is checked, and with what.
pub struct Target {
    /// The plugin's socket.
    pub socket: PathBuf,
    /// The kinds that it said it is.
    pub kinds: Vec<Kind>,
    /// What its author said.
    pub profile: Profile,
    /// How long is waited.
    pub patience: Patience,
    /// How often a call is sent that must bear repetition.
    pub repeat: u32,
    /// Where random choices start from.
    pub seed: u64,
    /// Hands on its process.
    pub control: Option<Box<dyn Control>>,
    /// The command of a process that makes calls ([`crate::engine::serve`]).
    pub engine: Vec<OsString>,
    /// A real Docker Engine's socket, and the name by which it finds the plugin.
    pub docker: Option<(PathBuf, String)>,
}

/// What one check works with. Everything that is called through it is noted, and taken away at the check's end.
pub struct Bench<'a> {
    target: &'a Target,
    id: &'static str,
    made: Made,
    names: AtomicU32,
    restarts: AtomicBool,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(target: &'a Target, id: &'static str) -> Self {
        Self {
            target,
            id,
            made: Made::default(),
            names: AtomicU32::new(0),
            restarts: AtomicBool::new(false),
        }
    }

    /// The check that this is for.
    #[must_use]
    pub fn id_of_check(&self) -> &'static str {
        self.id
    }

    /// The plugin's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.target.socket
    }

    /// The kinds that the plugin said it is.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.target.kinds
    }

    /// Whether the plugin said that it is of that kind.
    #[must_use]
    pub fn is(&self, kind: Kind) -> bool {
        self.target.kinds.contains(&kind)
    }

    /// What the plugin's author said.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.target.profile
    }

    /// How long is waited.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.target.patience
    }

    /// How often a call is sent that must bear repetition; at least 2.
    #[must_use]
    pub fn repeat(&self) -> u32 {
        self.target.repeat.max(2)
    }

    /// Random numbers that are the same for the same seed and check.
    #[must_use]
    pub fn random(&self) -> StdRng {
        let own = self.id.bytes().fold(0u64, |sum, byte| {
            sum.wrapping_mul(257).wrapping_add(u64::from(byte))
        });
        StdRng::seed_from_u64(self.target.seed ^ own)
    }

    /// A name that nothing else has: of a volume, say. Starts with the same text for all checks of a run.
    pub fn name(&self, hint: &str) -> String {
        let count = self.names.fetch_add(1, Ordering::Relaxed);
        format!(
            "dkc{:08x}-{}-{count}-{hint}",
            self.target.seed & 0xffff_ffff,
            self.id
        )
    }

    /// An ID as the engine makes them for networks, endpoints and mounts: 64 hexadecimal digits.
    pub fn id(&self) -> String {
        let count = self.names.fetch_add(1, Ordering::Relaxed);
        let mut random = self.random();
        let mut id = String::with_capacity(64);
        for _ in 0..7 {
            id.push_str(&format!(
                "{:08x}",
                random.random::<u32>() ^ count.wrapping_mul(0x9e37_79b9)
            ));
        }
        id + &format!("{count:08x}")
    }

    /// Calls the plugin as the engine does. What the call makes is noted and taken away at the check's end.
    pub fn call(&self, method: &str, body: &Value) -> Answer {
        self.noted(method, body, |bytes| self.exchange(method, bytes))
    }

    /// The same from another engine's process.
    pub fn call_from(&self, engine: &Engine, method: &str, body: &Value) -> Answer {
        self.noted(method, body, |bytes| engine.send(method, bytes))
    }

    /// Sends a body as it is, as the engine would. Nothing is noted: a check that makes something so has to [`Bench::note`] it.
    pub fn send(&self, method: &str, body: &[u8]) -> Answer {
        self.exchange(method, body)
    }

    /// Notes what a call makes that is not sent by [`Bench::call`].
    pub fn note(&self, method: &str, body: &Value) {
        self.made.before(method, body);
    }

    /// Notes a call that takes something away at the check's end.
    pub fn note_undo(&self, method: &str, body: Value) {
        self.made.push((method.to_owned(), body));
    }

    /// A connection of its own.
    ///
    /// # Errors
    ///
    /// The check fails: the plugin does not accept one.
    pub fn connect(&self) -> Outcome<Connection> {
        Connection::open(self.socket()).map_err(Stop::fail)
    }

    /// Another engine.
    ///
    /// # Errors
    ///
    /// The check is skipped: there is no process for it; or fails: the plugin does not greet it.
    pub fn engine(&self) -> Outcome<Engine> {
        Engine::start(
            &self.target.engine,
            &self.target.socket,
            self.target.patience,
        )
    }

    /// Hands on the plugin's process.
    ///
    /// # Errors
    ///
    /// The check is skipped.
    pub fn control(&self) -> Outcome<&dyn Control> {
        self.target
            .control
            .as_deref()
            .ok_or_else(|| Stop::skip("it needs hands on the plugin's process: --start"))
    }

    /// The same, by a check that ends and starts the process where it can, and does not insist on it.
    #[must_use]
    pub fn may_restart(&self) -> Option<&dyn Control> {
        let control = self.target.control.as_deref()?;
        self.restarts.store(true, Ordering::Relaxed);
        Some(control)
    }

    pub(crate) fn has_restarted(&self) -> bool {
        self.restarts.load(Ordering::Relaxed)
    }

    /// A real engine's socket, and the name by which it finds the plugin.
    ///
    /// # Errors
    ///
    /// The check is skipped.
    pub fn docker(&self) -> Outcome<(&Path, &str)> {
        let (socket, name) = self
            .target
            .docker
            .as_ref()
            .ok_or_else(|| Stop::skip("it needs a Docker Engine: --docker"))?;
        Ok((socket, name))
    }

    /// Asks again until it is well, for what a plugin does behind its answer; at most ten seconds of patience.
    ///
    /// # Errors
    ///
    /// The last that was not well.
    pub fn until(&self, mut well: impl FnMut() -> Outcome) -> Outcome {
        let end = Instant::now() + self.patience().seconds(10.0);
        loop {
            match well() {
                Err(Stop::Fail(_)) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
    }

    /// So much of a large number of repetitions as there is patience for, and at least 50. With a twentieth of the patience it is a
    /// hundredth of them.
    #[must_use]
    pub fn many(&self, count: usize) -> usize {
        let times = self
            .patience()
            .seconds(1.0)
            .as_secs_f64()
            .min(1.0)
            .powf(1.5);
        ((count as f64 * times) as usize).clamp(count.min(50), count)
    }

    /// Does something `count` times at once, each time with its number.
    pub fn at_once<T: Send>(&self, count: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let f = &f;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|number| scope.spawn(move || f(number)))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        })
    }

    /// Takes away what the check made. The plugin's answers are not judged.
    pub(crate) fn clean(&self) {
        for (method, body) in self.made.undo() {
            let _ = self.exchange(&method, body.to_string().as_bytes());
        }
    }

    fn noted(&self, method: &str, body: &Value, send: impl FnOnce(&[u8]) -> Answer) -> Answer {
        self.made.before(method, body);
        let answer = send(body.to_string().as_bytes());
        self.made.after(method, body, &answer);
        answer
    }

    fn exchange(&self, method: &str, body: &[u8]) -> Answer {
        let got = Connection::open(self.socket()).and_then(|mut connection| {
            // A plugin may answer without reading what it refuses.
            let written = connection.write(&as_engine(method, body));
            match connection.read(self.target.patience.for_call(method)) {
                Err(Broken::Closed) => written.and(Err(Broken::Closed)),
                other => other,
            }
        });
        Answer::new(method, body, got)
    }
}
