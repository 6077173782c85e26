use std::fmt::{self, Debug};

use crate::{
    Error, Refusal, Result, Settlement,
    sys::{
        self, Machine,
        faults::{self, HostCall, Way, What},
        memory,
    },
};

use super::call::{call, conflict};

/// When a scenario that sets no time takes place, in seconds since 1970.
const TIME: u64 = 1_800_000_000;

/// What goes wrong in one run of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The host call answers an error.
    Fail,
    /// It does what it does, and answers an error.
    Lose,
    /// The instance ends behind it.
    Crash,
    /// The call loses against another one, and runs again.
    Conflict,
}

/// A fault and its place.
#[derive(Clone, Copy)]
struct Plan {
    fault: Fault,
    /// Which of the scenario's calls.
    call: usize,
    /// Which of its host calls, from 1.
    number: usize,
    /// Its name.
    name: &'static str,
}

impl Plan {
    fn describe(&self, call: &str) -> String {
        let Self { number, name, .. } = self;
        match self.fault {
            Fault::Fail => format!("host call {number} of `{call}`, {name}, fails"),
            Fault::Lose => {
                format!("the answer to host call {number} of `{call}`, {name}, is lost")
            }
            Fault::Crash => {
                format!("the instance ends behind host call {number} of `{call}`, {name}")
            }
            Fault::Conflict => format!("`{call}` loses against another call and runs again"),
        }
    }
}

/// A call of the scenario without a fault.
struct Record {
    name: String,
    answer: String,
    machine: Machine,
    made: Vec<HostCall>,
}

/// One run of a scenario: [`call`](Self::call) makes the calls that are to be looked at.
pub struct Run {
    plan: Option<Plan>,
    faults: Faults,
    records: Vec<Record>,
    calls: usize,
    finding: Option<String>,
}

impl Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// Makes the scenario's call of this index with random data of its own. Its key is the one of this attempt.
fn attempt<T>(index: usize, attempt: u64, mut method: impl FnMut() -> Result<T>) -> Result<T> {
    let seed = index as u64;
    memory(|memory| memory.calls = (seed + 1) * 1000 + attempt);
    call(|| {
        sys::set_random(Some(seed));
        method()
    })
}

impl Run {
    /// Makes a call, as [`testing::call`](super::call()) does. `name` is what reports call it.
    ///
    /// Its answer has to be the same each time, as its `Debug` shows it: random data are, and the time, which stands still.
    ///
    /// # Errors
    /// The driver's, after the repetition of a call in which something was made to go wrong.
    pub fn call<T: Debug>(
        &mut self,
        name: &str,
        mut method: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let index = self.calls;
        self.calls += 1;
        match self.plan {
            Some(plan) if plan.call == index => self.disturb(plan, method),
            Some(_) => {
                let answer = attempt(index, 1, method);
                self.compare(
                    index,
                    &answer,
                    "in a run in which another call was disturbed",
                );
                answer
            }
            None => {
                let answer = attempt(index, 1, &mut method);
                self.records.push(Record {
                    name: name.to_owned(),
                    answer: format!("{answer:?}"),
                    machine: memory(|memory| memory.machine.clone()),
                    made: faults::made(),
                });
                answer
            }
        }
    }

    fn disturb<T: Debug>(
        &mut self,
        plan: Plan,
        mut method: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let Plan {
            call: index,
            number,
            name,
            ..
        } = plan;
        let text = format!("host call {number}, {name}, fails, as a test wants");
        let error = Error::refused(self.faults.refusal, text);
        let what = match plan.fault {
            Fault::Fail => What::Fail(error),
            Fault::Lose => What::Lose(error),
            Fault::Crash => What::Crash,
            Fault::Conflict => {
                conflict(self.faults.forget);
                let answer = attempt(index, 1, method);
                memory(|memory| memory.conflict = None);
                self.compare(index, &answer, "when it runs again");
                return answer;
            }
        };
        faults::count(Some((number, what)));
        let first = attempt(index, 0, &mut method);
        if faults::is_armed() {
            faults::count(None);
            self.find("the call does not make the host calls that it made before".into());
        }
        if first.is_ok() {
            self.compare(index, &first, "when it succeeds all the same");
            return first;
        }
        (self.faults.forget)();
        if let Some(settle) = self.faults.settle
            && let Err(error) = settle()
        {
            self.find(format!(
                "what it noted in the outbox cannot be settled: {error}"
            ));
        }
        let again = attempt(index, 1, method);
        self.compare(index, &again, "when it is repeated after that");
        again
    }

    /// Keeps what was found first.
    fn find(&mut self, text: String) {
        self.finding.get_or_insert(text);
    }

    /// Notes what is not as it was when nothing was disturbed.
    fn compare<T: Debug>(&mut self, index: usize, answer: &Result<T>, when: &str) {
        let Some(record) = self.records.get(index) else {
            return self.find(format!("the scenario makes another call {when}"));
        };
        let name = &record.name;
        let shown = format!("{answer:?}");
        let text = if shown == record.answer {
            let left = memory(|memory| record.machine.difference(&memory.machine));
            if left.is_empty() {
                return;
            }
            format!("`{name}` leaves something else {when}:\n{left}")
        } else {
            format!(
                "`{name}` answers something else {when}:\n  was {}\n  is  {shown}",
                record.answer
            )
        };
        self.find(text);
    }
}

/// What a check by [`each_fault`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Calls of the scenario.
    pub calls: usize,
    /// Host calls that they made when nothing was disturbed.
    pub host_calls: usize,
    /// How often the scenario was run in all.
    pub runs: usize,
}

/// Says what was disturbed when a driver panics.
struct Watch(String);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was when {}", self.0);
        }
    }
}

/// A check of what a driver does when its host calls go wrong: see [`each_fault`].
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    refusal: Refusal,
    settle: Option<fn() -> Result<()>>,
    forget: fn(),
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Faults {
    /// One in which host calls fail with [`Refusal::Other`].
    pub const fn new() -> Self {
        Self {
            refusal: Refusal::Other,
            settle: None,
            forget: || (),
        }
    }

    /// Runs where an instance ends: before each run of the scenario, and behind each call that fails or loses. A driver that keeps something
    /// in a `static`, as a kept instance lets it, empties it here.
    #[must_use]
    pub const fn forgetting(self, forget: fn()) -> Self {
        Self { forget, ..self }
    }

    /// Host calls fail with this.
    #[must_use]
    pub const fn failing_with(self, refusal: Refusal) -> Self {
        Self { refusal, ..self }
    }

    /// The driver settles what a failed call noted in the outbox before the call is repeated.
    #[must_use]
    pub fn settled_by<D: Settlement>(self) -> Self {
        Self {
            settle: Some(super::settle::<D>),
            ..self
        }
    }

    fn begin(self) {
        super::reset();
        super::set_time(TIME);
        (self.forget)();
    }

    /// Checks a scenario.
    ///
    /// # Errors
    /// The first that was found, in words.
    pub fn check(
        self,
        mut scenario: impl FnMut(&mut Run) -> Result<()>,
    ) -> std::result::Result<Report, String> {
        let mut run = Run {
            plan: None,
            faults: self,
            records: Vec::new(),
            calls: 0,
            finding: None,
        };
        self.begin();
        if let Err(error) = scenario(&mut run) {
            return Err(format!(
                "the scenario fails when nothing is disturbed: {error}"
            ));
        }
        let plans: Vec<Plan> = run.records.iter().enumerate().flat_map(plans).collect();
        for plan in &plans {
            (run.plan, run.calls) = (Some(*plan), 0);
            let name = run.records.get(plan.call).map(|record| &record.name);
            let watch = Watch(plan.describe(name.map_or("", String::as_str)));
            self.begin();
            let ended = scenario(&mut run);
            let found = run.finding.take().or(match ended {
                Ok(()) if run.calls < run.records.len() => {
                    Some("the scenario makes fewer calls".to_owned())
                }
                Ok(()) => None,
                Err(error) => Some(format!("the scenario fails then: {error}")),
            });
            if let Some(found) = found {
                return Err(format!("{}: {found}", watch.0));
            }
        }
        super::reset();
        Ok(Report {
            calls: run.records.len(),
            host_calls: run.records.iter().map(|record| record.made.len()).sum(),
            runs: plans.len() + 1,
        })
    }
}

/// All that can go wrong in a call.
fn plans((call, record): (usize, &Record)) -> Vec<Plan> {
    let at = |fault, number, name| Plan {
        fault,
        call,
        number,
        name,
    };
    let mut plans = vec![at(Fault::Conflict, 0, "")];
    for (number, made) in (1..).zip(&record.made) {
        let kinds: &[Fault] = match made.way {
            Way::Infallible => &[Fault::Crash],
            Way::Fallible => &[Fault::Fail, Fault::Crash],
            Way::Outside => &[Fault::Fail, Fault::Lose, Fault::Crash],
        };
        plans.extend(kinds.iter().map(|fault| at(*fault, number, made.name)));
    }
    plans
}

/// Checks what a driver does when its host calls go wrong.
///
/// The scenario makes calls by [`Run::call`]. It is run once as it is, and its host calls are counted. Then it is run once for each of
/// them that fails, for each behind which the instance ends, for each answer from another machine that is lost, and for each call that
/// loses against another and runs again. Each run begins on an empty host, at a time that stands still. What is looked at each time:
///
/// - The call in which something went wrong answers an error, or it succeeds with the same answer as before and has done the same.
/// - After an error, the same call succeeds when it is repeated, again with the same answer, and the state and the machine are as they
///   were without the fault. As [`call`](super::call()) takes everything back, what shows here is what a driver keeps elsewhere: in a
///   `static`, in blobs, on other machines.
/// - All other calls answer and do what they did before.
///
/// An answer that is made of [`outbox::call_key`](crate::outbox::call_key) differs when a call is repeated: leave that out of what the scenario's call returns.
///
/// ```
/// use dockside_driver::{Result, Table, directories, testing};
///
/// static VOLUMES: Table<u64> = Table::new("volumes/");
///
/// fn create(name: &str) -> Result<()> {
///     directories::create(name, Default::default())?;
///     VOLUMES.put(name, &1)
/// }
///
/// let report = testing::each_fault(|run| run.call("create", || create("v")));
/// assert_eq!(report.host_calls, 2);
///
/// // This one forgets to say that it could not do it.
/// let finding = testing::Faults::new().check(|run| {
///     run.call("create", || {
///         let _ = directories::create("v", Default::default());
///         VOLUMES.put("v", &1)
///     })
/// });
/// assert!(finding.unwrap_err().contains("directories::create, fails"));
/// ```
///
/// # Panics
/// With what was found.
#[track_caller]
#[allow(clippy::panic)]
pub fn each_fault(scenario: impl FnMut(&mut Run) -> Result<()>) -> Report {
    match Faults::new().check(scenario) {
        Ok(report) => report,
        Err(found) => panic!("{found}"),
    }
}
