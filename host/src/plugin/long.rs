//! Calls that take longer than Docker waits. The call is answered with "still working", goes on, and the same call repeated joins it.

use std::collections::HashMap;
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
    what: String,
}

impl Key {
    /// Of a call that may go on behind its deadline; none for all others.
    pub(super) fn of(method: Method, call: &Call, body: &[u8]) -> Option<Key> {
        let what = match call {
            // Each try has another ID, and they all wait for the same mount.
            Call::Volume(volume::Call::Mount { name, .. }) => name.clone(),
            Call::Volume(volume::Call::Create { .. } | volume::Call::Remove { .. }) => {
                String::from_utf8_lossy(body).into_owned()
            }
            _ => return None,
        };
        Some(Key { method, what })
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
        all.retain(|_, work| {
            let dead = work.done.has_changed().is_err() && work.done.borrow().is_none();
            let stale = work.done.borrow().is_some() && work.began.elapsed() > KEPT;
            !dead && !stale
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

    /// Forgets work whose answer was fetched.
    pub(super) fn leave(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// How many calls go on behind their deadlines.
    pub(super) fn len(&self) -> usize {
        let all = self.0.lock();
        all.values()
            .filter(|work| work.done.borrow().is_none())
            .count()
    }
}
