//! The one thread that talks to the kernel about links.
//!
//! It never leaves its network namespace, so its socket is always of the right one; and what it is asked for happens in the order of
//! asking, so undoing something never overtakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use super::socket::Kernel;
use crate::machine::{ErrorKind, MachineError};

/// How long a caller waits. The kernel does in milliseconds what it does; only its lock on all links can be held long, by somebody else.
const ANSWER: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce(&mut Kernel) + Send>;

static JOBS: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Does something on the thread and waits for what comes of it.
pub(super) fn run<T: Send + 'static>(
    work: impl FnOnce(&mut Kernel) -> Result<T, MachineError> + Send + 'static,
) -> Result<T, MachineError> {
    run_or(work, |_| ())
}

/// The same. Where the caller has stopped waiting when the work is done, `unwanted` follows at once, before anything else.
pub(super) fn run_or<T: Send + 'static>(
    work: impl FnOnce(&mut Kernel) -> Result<T, MachineError> + Send + 'static,
    unwanted: impl FnOnce(&mut Kernel) + Send + 'static,
) -> Result<T, MachineError> {
    run_within(ANSWER, work, unwanted)
}

fn run_within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce(&mut Kernel) -> Result<T, MachineError> + Send + 'static,
    unwanted: impl FnOnce(&mut Kernel) + Send + 'static,
) -> Result<T, MachineError> {
    // Without a buffer: an answer is either received, or known not to be.
    let (answer, result) = sync_channel(0);
    let given_up = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&given_up);
    enqueue(Box::new(move |kernel| {
        if seen.load(Ordering::Acquire) {
            return;
        }
        if answer.send(work(kernel)).is_err() {
            unwanted(kernel);
        }
    }))?;
    let message = match result.recv_timeout(limit) {
        Ok(result) => return result,
        Err(RecvTimeoutError::Timeout) => format!(
            "the kernel did not answer about network links within {} seconds: something else holds them, see the kernel's log",
            limit.as_secs()
        ),
        Err(RecvTimeoutError::Disconnected) => {
            "the thread for network links ended in the middle of its work: please report this, with dockside's log"
                .to_owned()
        }
    };
    given_up.store(true, Ordering::Release);
    Err(MachineError::new(ErrorKind::Unreachable, message))
}

fn enqueue(job: Job) -> Result<(), MachineError> {
    let mut jobs = JOBS.lock();
    let job = match jobs.as_ref() {
        None => job,
        Some(open) => match open.send(job) {
            Ok(()) => return Ok(()),
            Err(unsent) => unsent.0,
        },
    };
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name("links".to_owned())
        .spawn(move || serve(&receiver))
        .map_err(|error| MachineError::io("start the thread for network links", &error))?;
    // The thread has only just begun, so it takes the job.
    let _ = sender.send(job);
    *jobs = Some(sender);
    Ok(())
}

fn serve(jobs: &Receiver<Job>) {
    let mut kernel = Kernel::default();
    while let Ok(job) = jobs.recv() {
        job(&mut kernel);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_any_more_is_taken_back_before_anything_else() {
        // Long enough, sooner or later, for the thread to begin before the caller gives up.
        for limit in (0..).map(|power| Duration::from_micros(1 << power)) {
            let (say, said) = channel();
            let (begun, taken_back, next) = (say.clone(), say.clone(), say);
            let (go, going) = channel::<()>();
            let work = move |_: &mut Kernel| {
                begun.send("begun").unwrap();
                let _ = going.recv();
                Ok(())
            };
            let unwanted = move |_: &mut Kernel| taken_back.send("taken back").unwrap();
            let error = run_within(limit, work, unwanted).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unreachable);
            drop(go);
            run(move |_| next.send("next").map_err(|_| error)).unwrap();
            match said.iter().collect::<Vec<_>>().as_slice() {
                ["next"] => continue,
                order => return assert_eq!(order, ["begun", "taken back", "next"]),
            }
        }
    }

    #[test]
    fn work_that_panics_takes_no_other_work_with_it() {
        let error = run::<()>(|_| panic!("a test wants this")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        while run(|_| Ok(7)).is_err() {
            std::thread::yield_now();
        }
    }
}
