//! A driver against random sequences of Docker's calls, with a model that says what each has to answer. Needs the kit's feature `model`.
//!
//! ```
//! # use dockside_driver::{Directory, KeyValues, Result, Volume, VolumeInfo, directories};
//! # struct Plain;
//! # impl Volume for Plain {
//! #     fn create(name: &str, _options: &KeyValues) -> Result<()> {
//! #         match directories::open(name) {
//! #             Ok(_) => Ok(()),
//! #             Err(_) => directories::create(name, Default::default()).map(drop),
//! #         }
//! #     }
//! #     fn remove(name: &str) -> Result<()> {
//! #         match directories::keys()?.iter().any(|key| key == name) {
//! #             true => directories::remove(name),
//! #             false => Ok(()),
//! #         }
//! #     }
//! #     fn mount(name: &str, _id: &str) -> Result<Directory> {
//! #         directories::open(name)
//! #     }
//! #     fn get(name: &str) -> Result<VolumeInfo> {
//! #         Ok(VolumeInfo::new(name).at(directories::open(name)?))
//! #     }
//! #     fn list() -> Result<Vec<VolumeInfo>> {
//! #         directories::keys()?.iter().map(|name| Self::get(name)).collect()
//! #     }
//! # }
//! use dockside_driver::testing::model;
//!
//! model::volume::<Plain>().run();
//! ```
//!
//! Calls come as they come to a driver in dockside, which counts the uses of a volume and asks for the first mount and the last unmount
//! only. Engines end and start again, the machine does, host calls fail, instances end, and calls lose against others and run again.
//!
//! A sequence that finds something is made as short as can be before it is shown, with the seed that leads to it:
//! `DOCKSIDE_SEED=NUMBER cargo test NAME` tests it again. `DOCKSIDE_CASES=NUMBER` says how many sequences there are.

/// The methods that all kinds have.
macro_rules! common {
    ($model:ident) => {
        impl $model {
            /// Runs before each sequence, on an empty host: settings, secrets, stores, an answer to requests.
            #[must_use]
            pub fn setup(mut self, setup: fn()) -> Self {
                self.common.setup = setup;
                self
            }

            /// The driver is told when it starts.
            #[must_use]
            pub fn lifecycle<D: $crate::Lifecycle>(mut self) -> Self {
                self.common.start = Some(D::start);
                self
            }

            /// The driver is told what a reboot took.
            #[must_use]
            pub fn reconcile<D: $crate::Reconcile>(mut self) -> Self {
                self.common.reconcile = Some(D::reconcile);
                self
            }

            /// The driver settles what failed calls noted in the outbox.
            #[must_use]
            pub fn settlement<D: $crate::Settlement>(mut self) -> Self {
                self.common.settle = Some($crate::testing::settle::<D>);
                self
            }

            /// The driver keeps something in its state when everything has been removed. Otherwise that is a finding.
            #[must_use]
            pub fn keeps_state(mut self) -> Self {
                self.common.keeps_state = true;
                self
            }

            /// How many sequences there are, unless `DOCKSIDE_CASES` says it.
            #[must_use]
            pub fn cases(mut self, cases: u32) -> Self {
                self.common.cases = cases;
                self
            }

            /// Which sequences there are, unless `DOCKSIDE_SEED` says it: the same ones each time. Otherwise they are others each time.
            #[must_use]
            pub fn seed(mut self, seed: u64) -> Self {
                self.common.seed = Some(seed);
                self
            }

            /// Runs it.
            ///
            /// # Panics
            /// With what was found.
            #[track_caller]
            #[allow(clippy::panic)]
            pub fn run(self) {
                if let Err(found) = self.check() {
                    panic!("{found}");
                }
            }
        }
    };
}

mod ipam;
mod network;
mod volume;

pub use ipam::{IpamModel, ipam};
pub use network::{NetworkModel, network};
pub use volume::{VolumeModel, volume};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use std::fmt::{self, Debug, Display};

use crate::{
    Error, Result, StartReason,
    reconcile::Fact,
    sys::{
        Machine,
        faults::{self, What},
        memory,
    },
    testing,
};

/// Sequences, if nobody says how many: a second of them, or two.
const CASES: u32 = 200;

/// Steps of a sequence, at most.
const STEPS: usize = 40;

/// Host calls that can be disturbed in one call: more than most calls make.
const HOST_CALLS: usize = 12;

type Reconciler = fn(&[Fact]) -> Result<()>;

/// What all kinds have.
#[derive(Clone, Copy, Debug)]
struct Common {
    setup: fn(),
    start: Option<fn(StartReason) -> Result<()>>,
    reconcile: Option<Reconciler>,
    settle: Option<fn() -> Result<()>>,
    keeps_state: bool,
    cases: u32,
    seed: Option<u64>,
}

impl Common {
    const fn new() -> Self {
        Self {
            setup: || (),
            start: None,
            reconcile: None,
            settle: None,
            keeps_state: false,
            cases: CASES,
            seed: None,
        }
    }

    /// An empty host, with what the driver needs.
    fn begin(&self) -> Result<Machine, String> {
        testing::reset();
        (self.setup)();
        if let Some(start) = self.start {
            testing::call(|| start(StartReason::Installed))
                .map_err(|error| format!("the driver does not start: {error}"))?;
        }
        Ok(memory(|memory| memory.machine.clone()))
    }

    /// The machine starts again.
    fn reboot(&self) -> Result<(), String> {
        let facts = testing::reboot();
        if let Some(reconcile) = self.reconcile
            && !facts.is_empty()
        {
            testing::call(|| reconcile(&facts))
                .map_err(|error| format!("reconcile fails after a reboot: {error}"))?;
        }
        if let Some(start) = self.start {
            testing::call(|| start(StartReason::Rebooted))
                .map_err(|error| format!("start fails after a reboot: {error}"))?;
        }
        Ok(())
    }

    /// What is left when all has been removed.
    fn nothing_is_left(&self, before: &Machine) -> Result<(), String> {
        let left = memory(|memory| {
            let mut now = memory.machine.clone();
            if self.keeps_state {
                now.state.clone_from(&before.state);
            }
            now.forget_numbers(before);
            before.difference(&now)
        });
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "everything was removed, and something is left:\n{left}"
            )),
        }
    }

    /// Makes a call in which something goes wrong, or nothing.
    fn ask<T>(&self, trouble: Trouble, method: impl FnMut() -> Result<T>) -> Result<T, Failed> {
        match trouble {
            Trouble::None => faults::count(None),
            Trouble::Fail(number) => {
                let error = Error::other("a host call fails, as the test wants");
                faults::count(Some((number, What::Fail(error))));
            }
            Trouble::Crash(number) => faults::count(Some((number, What::Crash))),
            Trouble::Conflict => testing::conflict(|| ()),
        }
        let armed = faults::is_armed();
        let answer = testing::call(method);
        let was_wanted = armed && !faults::is_armed();
        faults::count(None);
        memory(|memory| memory.conflict = None);
        answer.map_err(|error| {
            if let Some(settle) = self.settle {
                // What cannot be settled is a finding of a model's, which sees what it leaves.
                let _ = settle();
            }
            Failed { error, was_wanted }
        })
    }
}

/// Why a call failed.
#[derive(Debug)]
struct Failed {
    error: Error,
    /// Something was made to go wrong in it.
    was_wanted: bool,
}

impl Failed {
    /// That it failed is all right if something was made to go wrong.
    fn expect(self, what: impl Display) -> Result<(), String> {
        match self.was_wanted {
            true => Ok(()),
            false => Err(format!("{what} fails: {}", self.error)),
        }
    }
}

/// What goes wrong in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    Fail(usize),
    Crash(usize),
    Conflict,
}

impl Trouble {
    fn strategy() -> impl Strategy<Value = Self> {
        // Most calls make few.
        let host_call = || prop_oneof![3 => 1..=4_usize, 1 => 5..=HOST_CALLS];
        prop_oneof![
            7 => Just(Self::None),
            2 => host_call().prop_map(Self::Fail),
            1 => host_call().prop_map(Self::Crash),
            1 => Just(Self::Conflict),
        ]
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Fail(number) => write!(f, ", host call {number} fails"),
            Self::Crash(number) => write!(f, ", the instance ends behind host call {number}"),
            Self::Conflict => f.write_str(", loses against another call and runs again"),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Plays random sequences of steps until one finds something, and makes that one short.
fn explore<S: Debug + Clone + Display>(
    kind: &str,
    common: &Common,
    step: impl Strategy<Value = S>,
    play: impl Fn(&[(S, Trouble)]) -> Result<(), String>,
) -> Result<(), String> {
    testing::reset();
    let seed = number("DOCKSIDE_SEED")
        .or(common.seed)
        .unwrap_or_else(|| crate::random::number() >> 32);
    let cases = number("DOCKSIDE_CASES").and_then(|cases| cases.try_into().ok());
    let cases = cases.unwrap_or(common.cases);
    println!("{cases} sequences with DOCKSIDE_SEED={seed}");
    let mut bytes = [0; 32];
    bytes
        .iter_mut()
        .zip(seed.to_le_bytes())
        .for_each(|(to, from)| *to = from);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 5000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let steps = proptest::collection::vec((step, Trouble::strategy()), 1..=STEPS);
    let found = runner.run(&steps, |steps| play(&steps).map_err(TestCaseError::fail));
    testing::reset();
    match found {
        Ok(()) => Ok(()),
        Err(TestError::Abort(reason)) => Err(reason.to_string()),
        Err(TestError::Fail(reason, steps)) => {
            let steps: String = (1..)
                .zip(&steps)
                .map(|(number, (step, trouble))| format!("  {number}. {step}{trouble}\n"))
                .collect();
            Err(format!(
                "{reason}\nafter these calls of a driver of {kind} (DOCKSIDE_SEED={seed} makes them again):\n{steps}"
            ))
        }
    }
}
