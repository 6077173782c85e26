//! The slow lane: guests that compute for long take turns, so that the others' calls find a free worker.

use std::time::Instant;

use tokio::sync::Mutex;

use super::TICK;

/// One guest at a time may compute for one tick; then the next gets its turn.
///
/// Without it 32 spinning calls of one plugin each take a worker for a tick before they yield, and on two cores a neighbour's call waits for
/// them for 160 ms. The lane hands out slices of time and not permits, so that a guest that leaves the lane to wait for the host blocks nobody.
#[derive(Debug)]
pub(super) struct Lane(Mutex<Instant>);

impl Lane {
    pub(super) fn new() -> Lane {
        Lane(Mutex::new(Instant::now()))
    }

    /// Waits for a slice of its own.
    pub(super) async fn turn(&self) {
        let mut free = self.0.lock().await;
        tokio::time::sleep_until((*free).into()).await;
        *free = Instant::now() + TICK;
    }
}
