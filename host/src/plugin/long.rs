//! Calls that take longer than Docker waits. The call is answered with "still working", goes on, and the same call repeated joins it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Reply;
use crate::protocol::{Call, Method, volume};

/// How long an answer that nobody waited for is kept for whoever asks again.
const KEPT: Duration = Duration::from_secs(300);

/// What makes two calls the same work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    method: Method,
    volume: String,
    what: String,
}

impl Key {
    /// Of a call that may go on behind its deadline; none for all others.
    pub(super) fn of(method: Method, call: &Call, body: &[u8]) -> Option<Key> {
        let (volume, what) = match call {
            // Each try has another ID, and they all wait for the same mount.
            Call::Volume(volume::Call::Mount { name, .. }) => (name, String::new()),
            Call::Volume(volume::Call::Create { name, .. } | volume::Call::Remove { name }) => {
                (name, String::from_utf8_lossy(body).into_owned())
            }
            _ => return None,
        };
        Some(Key {
            method,
            volume: volume.clone(),
            what,
        })
    }
}

/// Whether the call that began work still waits for it. Its end and its answer can come at the same instant, and only one of the two may win.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<AtomicU8>);

const WAITS: u8 = 0;
const LEFT: u8 = 1;
const ANSWERED: u8 = 2;

impl Waiting {
    /// The work has its answer. False if nobody waits for it any more.
    pub(super) fn answered(&self) -> bool {
        self.turn(ANSWERED)
    }

    /// Nobody waits any more. False if the answer is there already.
    pub(super) fn left(&self) -> bool {
        self.turn(LEFT)
    }

    fn turn(&self, to: u8) -> bool {
        self.0
            .compare_exchange(WAITS, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

/// Held by the call that began work: a client that goes away leaves too.
#[derive(Debug)]
pub(super) struct Waiter(pub(super) Waiting);

impl Drop for Waiter {
    fn drop(&mut self) {
        let _ = self.0.left();
    }
}

/// Work that is under way, or done and not yet fetched.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// When it began.
    pub(super) began: Instant,
    done: watch::Receiver<Option<Reply>>,
}

impl Work {
    /// Waits for the answer. None when it takes longer than `patience`, or the work died.
    pub(super) async fn wait(&mut self, patience: Duration) -> Option<Reply> {
        let done = self.done.wait_for(Option::is_some);
        match tokio::time::timeout(patience, done).await {
            Ok(Ok(reply)) => reply.clone(),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// The long work of one plugin.
#[derive(Debug, Default)]
pub(super) struct LongWork(Mutex<HashMap<Key, Work>>);

impl LongWork {
    /// Work of this key that is under way or done; or else the place where to put the answer of work that the caller begins now.
    pub(super) fn enter(&self, key: &Key) -> Result<Work, (watch::Sender<Option<Reply>>, Work)> {
        let mut all = self.0.lock();
        all.retain(|of, work| {
            let dead = work.done.has_changed().is_err() && work.done.borrow().is_none();
            let over = work.done.borrow().is_some();
            // What the volume was made by says nothing any more once it was asked to go, and the other way round.
            let outdated = over && of != key && of.volume == key.volume;
            let stale = over && work.began.elapsed() > KEPT;
            !dead && !stale && !outdated
        });
        if let Some(work) = all.get(key) {
            return Ok(work.clone());
        }
        let (answer, done) = watch::channel(None);
        let work = Work {
            began: Instant::now(),
            done,
        };
        all.insert(key.clone(), work.clone());
        Err((answer, work))
    }

    /// Forgets work whose answer was fetched. New work of the same key stays.
    pub(super) fn leave(&self, key: &Key, fetched: &Work) {
        let mut all = self.0.lock();
        if all
            .get(key)
            .is_some_and(|work| work.done.same_channel(&fetched.done))
        {
            all.remove(key);
        }
    }

    /// How many calls go on behind their deadlines.
    pub(super) fn len(&self) -> usize {
        let all = self.0.lock();
        all.values()
            .filter(|work| work.done.borrow().is_none())
            .count()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn key(method: Method, volume: &str) -> Key {
        Key {
            method,
            volume: volume.to_owned(),
            what: String::new(),
        }
    }

    fn begin(all: &LongWork, key: &Key) -> (watch::Sender<Option<Reply>>, Work) {
        match all.enter(key) {
            Err(begun) => begun,
            Ok(_) => panic!("there is work of that key already"),
        }
    }

    #[test]
    fn an_answer_of_before_a_volume_was_removed_is_no_answer_for_the_next_one() {
        let all = LongWork::default();
        let create = key(Method::VolumeCreate, "v");
        let (done, _work) = begin(&all, &create);
        done.send(Some(Reply::Close)).unwrap();
        let (_other, _) = begin(&all, &key(Method::VolumeRemove, "w"));
        assert!(all.enter(&create).is_ok(), "another volume's removal");
        let (_removing, _) = begin(&all, &key(Method::VolumeRemove, "v"));
        assert!(all.enter(&create).is_err());
    }

    #[test]
    fn whoever_fetches_an_answer_late_leaves_newer_work_alone() {
        let all = LongWork::default();
        let create = key(Method::VolumeCreate, "v");
        let (_first, old) = begin(&all, &create);
        all.leave(&create, &old);
        let (_second, _new) = begin(&all, &create);
        all.leave(&create, &old);
        assert!(all.enter(&create).is_ok());
    }

    #[test]
    fn a_call_that_leaves_and_the_answer_to_it_never_both_win() {
        let waiting = Waiting::default();
        let waiter = Waiter(waiting.clone());
        drop(waiter);
        assert!(!waiting.answered());
        let waiting = Waiting::default();
        assert!(waiting.answered());
        assert!(!waiting.left());
    }
}
