use crate::{
    Error, Result, Settlement,
    sys::{
        Machine,
        faults::{self, What},
        memory,
    },
};

/// A call that is under way. Takes it back when it is dropped.
struct Call {
    /// What the machine was before.
    before: Machine,
    number: u64,
    succeeded: bool,
}

impl Call {
    fn begin() -> Self {
        memory(|memory| {
            memory.calls += 1;
            memory.call = memory.calls;
            memory.sent = 0;
            memory.notes.clear();
            Self {
                before: memory.machine.clone(),
                number: memory.call,
                succeeded: false,
            }
        })
    }

    /// Undoes what was done, lets something else happen, and begins again under the same key.
    fn begin_again(&mut self, other: impl FnOnce()) {
        let notes = memory(|memory| {
            memory.machine = std::mem::take(&mut self.before);
            memory.call = 0;
            std::mem::take(&mut memory.notes)
        });
        other();
        memory(|memory| {
            memory.call = self.number;
            memory.sent = 0;
            memory.notes = notes;
            self.before = memory.machine.clone();
        });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        memory(|memory| {
            memory.call = 0;
            let notes = std::mem::take(&mut memory.notes);
            if self.succeeded {
                return;
            }
            memory.machine = std::mem::take(&mut self.before);
            let key = format!("call-{}", self.number);
            let notes = notes.into_iter().map(|note| (key.clone(), note));
            memory.unsettled.extend(notes);
        });
    }
}

/// Calls a method as the host does: if it fails or panics, state and machine are as they were, and what it noted in the outbox is
/// [`unsettled`](super::unsettled). What was done to blobs, and by HTTP, stays done.
///
/// The method runs again if [`conflict`] was called. A call within a call is a part of it.
pub fn call<T>(mut method: impl FnMut() -> Result<T>) -> Result<T> {
    if memory(|memory| memory.call != 0) {
        return method();
    }
    if !faults::is_armed() {
        faults::count(None);
    }
    let mut call = Call::begin();
    loop {
        let value = faults::instance(&mut method)?;
        match memory(|memory| memory.conflict.take()) {
            None => {
                call.succeeded = true;
                return Ok(value);
            }
            Some(other) => {
                drop(value);
                call.begin_again(other);
            }
        }
    }
}

/// Lets the next [`call`] that succeeds lose against another one which changed what it had read: what it did is undone, `other` happens, and
/// the method runs once more, with the same key of the call. It has to see what the other one left.
///
/// ```
/// use dockside_driver::{Result, state, testing};
///
/// fn next() -> Result<u64> {
///     let number = state::get("number")?.unwrap_or(0) + 1;
///     state::set("number", &number)?;
///     Ok(number)
/// }
///
/// testing::conflict(|| assert_eq!(testing::call(next), Ok(1)));
/// assert_eq!(testing::call(next), Ok(2));
/// ```
pub fn conflict(other: impl FnOnce() + 'static) {
    memory(|memory| memory.conflict = Some(Box::new(other)));
}

/// Lets the `number`th host call from here on, counted from 1, answer this error and do nothing. Host calls that always answer, such as the
/// listing of keys, do so all the same.
///
/// ```
/// use dockside_driver::{Error, state, testing};
///
/// testing::fail_host_call(2, Error::unavailable("the disk is full"));
/// let failed = testing::call(|| {
///     state::set("one", &1)?;
///     state::set("two", &2)
/// });
/// assert_eq!(failed.unwrap_err().message(), "the disk is full");
/// assert!(testing::state().is_empty());
/// ```
pub fn fail_host_call(number: usize, error: Error) {
    faults::count(Some((number, What::Fail(error))));
}

/// Lets the instance end behind the `number`th host call from here on, counted from 1: as if the driver had run out of time there, or the
/// daemon been killed. [`call`] answers an error, and nothing of the call remains but what it did to blobs and by HTTP.
///
/// Nothing of the driver's runs after that, but values that it held are dropped, which a component's are not.
pub fn crash_after_host_call(number: usize) {
    faults::count(Some((number, What::Crash)));
}

/// The host calls of the last [`call`], or since [`fail_host_call`] or [`crash_after_host_call`], by the names of the kit's functions.
pub fn host_calls() -> Vec<&'static str> {
    faults::made().into_iter().map(|made| made.name).collect()
}

/// Settles what failed calls noted in the outbox, as the host does behind them: [`Settlement::compensate`] for each note, in a call of its own.
///
/// # Errors
/// The driver's. The notes behind the one that failed are not tried.
pub fn settle<D: Settlement>() -> Result<()> {
    for (key, note) in super::unsettled() {
        call(|| D::compensate(&key, &note))?;
    }
    Ok(())
}
