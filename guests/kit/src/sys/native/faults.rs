//! Host calls that a test counts, lets fail, or lets be the instance's last.

use std::{cell::RefCell, panic};

use crate::{Error, ErrorCode, directories::Reason};

/// What happens at a host call.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// It does nothing, and answers this.
    Fail(Error),
    /// It does what it does, and answers this all the same: the answer from another machine was lost.
    Lose(Error),
    /// It does what it does, and the instance is gone.
    Crash,
}

/// How a host call can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It can answer an error.
    Fallible,
    /// It can answer an error after it has done something on another machine.
    Outside,
    /// It always answers.
    Infallible,
}

/// A host call that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostCall {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
}

/// What unwinds an instance that is gone.
struct Crash(Error);

#[derive(Default)]
struct Faults {
    /// Host calls since the last [`count`].
    made: Vec<HostCall>,
    /// What happens at which of them, counted from 1.
    wanted: Option<(usize, What)>,
    /// The instance is gone: what its values do when they are dropped, they would not do in a component.
    gone: bool,
    /// A host call is being answered. What the test's own code asks the host for meanwhile is none of the driver's calls.
    inside: bool,
}

thread_local!(static FAULTS: RefCell<Faults> = RefCell::default());

fn faults<T>(operation: impl FnOnce(&mut Faults) -> T) -> T {
    FAULTS.with_borrow_mut(operation)
}

/// Counts from here on, and lets this happen at that host call, once.
pub(crate) fn count(wanted: Option<(usize, What)>) {
    faults(|faults| {
        faults.made.clear();
        faults.wanted = wanted;
    });
}

/// Whether what was wanted has not happened yet.
pub(crate) fn is_armed() -> bool {
    faults(|faults| faults.wanted.is_some())
}

/// The host calls since the last [`count`].
pub(crate) fn made() -> Vec<HostCall> {
    faults(|faults| faults.made.clone())
}

/// Runs a method in an instance of its own: an error if the instance was to end.
pub(crate) fn instance<T>(method: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let ended = panic::catch_unwind(panic::AssertUnwindSafe(method));
    faults(|faults| (faults.gone, faults.inside) = (false, false));
    match ended {
        Ok(answer) => answer,
        Err(payload) => match payload.downcast::<Crash>() {
            Ok(crash) => Err(crash.0),
            Err(payload) => panic::resume_unwind(payload),
        },
    }
}

/// Ends a host call's answer, also if it panics.
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        faults(|faults| faults.inside = false);
    }
}

/// What is to happen at this host call, with its number; none if it is not one of the driver's.
fn begin(name: &'static str, way: Way) -> Option<(usize, Option<What>)> {
    faults(|faults| {
        if faults.inside {
            return None;
        }
        if faults.gone {
            let error = Error::unavailable("the instance is gone");
            return Some((0, Some(What::Fail(error))));
        }
        faults.made.push(HostCall { name, way });
        let number = faults.made.len();
        let wanted = faults.wanted.take_if(|(wanted, _)| *wanted == number);
        Some((number, wanted.map(|(_, what)| what)))
    })
}

fn perform<T>(operation: impl FnOnce() -> T) -> T {
    faults(|faults| faults.inside = true);
    let _inside = Inside;
    operation()
}

fn crash(number: usize, name: &str) -> ! {
    faults(|faults| faults.gone = true);
    let text =
        format!("the driver's instance ended behind host call {number} ({name}), as a test wanted");
    // No message of a panic: nothing is wrong with the test.
    panic::resume_unwind(Box::new(Crash(Error::unavailable(text))))
}

pub(super) fn fallible<T, E: From<Error>>(
    name: &'static str,
    operation: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    answer(name, Way::Fallible, operation)
}

/// As [`fallible`], for what is done on another machine.
pub(super) fn outside<T, E: From<Error>>(
    name: &'static str,
    operation: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    answer(name, Way::Outside, operation)
}

fn answer<T, E: From<Error>>(
    name: &'static str,
    way: Way,
    operation: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    match begin(name, way) {
        None => operation(),
        Some((_, Some(What::Fail(error)))) => Err(error.into()),
        Some((_, Some(What::Lose(error)))) => {
            let _ = perform(operation);
            Err(error.into())
        }
        Some((number, Some(What::Crash))) => {
            let _ = perform(operation);
            crash(number, name)
        }
        Some((_, None)) => perform(operation),
    }
}

pub(super) fn infallible<T>(name: &'static str, operation: impl FnOnce() -> T) -> T {
    match begin(name, Way::Infallible) {
        None => operation(),
        Some((number, Some(What::Crash))) => {
            let _ = perform(operation);
            crash(number, name)
        }
        Some(_) => perform(operation),
    }
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        match error.code() {
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::AlreadyExists => Self::AlreadyExists,
            ErrorCode::InUse => Self::InUse,
            ErrorCode::Exhausted => Self::QuotaExceeded,
            _ => Self::Other(error.into_message()),
        }
    }
}
