//! Permits: how many calls of a plugin run at once, and how many may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::call::Fault;

/// A queue with two doors: the plugin's own, so that one plugin cannot take all instances, and the daemon's.
#[derive(Debug)]
pub struct Gate {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    concurrency: u32,
    queue: u32,
    waiting: AtomicU32,
}

/// The right to run one call.
#[derive(Debug)]
pub struct Permit {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// `concurrency` calls run, `queue` more wait; `all` is shared by all plugins.
    pub fn new(concurrency: u32, queue: u32, all: Arc<Semaphore>) -> Gate {
        Gate {
            own: Arc::new(Semaphore::new(concurrency as usize)),
            all,
            concurrency,
            queue,
            waiting: AtomicU32::new(0),
        }
    }

    /// Waits for a permit until `deadline`.
    ///
    /// # Errors
    /// When the queue is full, or the deadline passes.
    pub async fn enter(&self, deadline: Instant) -> Result<Permit, Fault> {
        let own = match Arc::clone(&self.own).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => self.wait(deadline).await?,
            Err(TryAcquireError::Closed) => return Err(stopping()),
        };
        let all = Arc::clone(&self.all).acquire_owned();
        match tokio::time::timeout_at(deadline.into(), all).await {
            Ok(Ok(all)) => Ok(Permit {
                _own: own,
                _all: all,
            }),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Fault::Crowded(
                "the daemon was too busy to run this call in time (limits.max-calls in dockside.toml)".into(),
            )),
        }
    }

    async fn wait(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Fault> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if ahead >= self.queue {
            return Err(Fault::Crowded(format!(
                "{} calls are running and {} are waiting already (limits.concurrency and limits.queue in its TOML file)",
                self.concurrency, self.queue
            )));
        }
        match tokio::time::timeout_at(deadline.into(), Arc::clone(&self.own).acquire_owned()).await
        {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Fault::Crowded(format!(
                "the calls before it took too long: {} were running (limits.concurrency in its TOML file)",
                self.concurrency
            ))),
        }
    }
}

fn stopping() -> Fault {
    Fault::Crowded("dockside is stopping".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_queue_is_bounded_and_what_is_beyond_it_is_refused_at_once() {
        let gate = Arc::new(Gate::new(1, 1, Arc::new(Semaphore::new(8))));
        let far = Instant::now() + Duration::from_secs(3600);
        let running = gate.enter(far).await.unwrap();
        let queued = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(far).await.map(drop) }
        });
        while gate.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let refused = gate.enter(far).await.unwrap_err();
        assert!(refused.to_string().contains("limits.queue"), "{refused}");
        drop(running);
        queued.await.unwrap().unwrap();
    }
}
