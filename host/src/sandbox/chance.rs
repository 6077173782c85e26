//! What a guest is told of the time and given of chance: the machine's, noted if the call is recorded, and in a replay what was recorded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngCore as _;
use rand_core::TryRng;
use wasmtime_wasi::HostWallClock;

use crate::plugin::log::CallLog;
use crate::trace::Probe;

/// `wasi:clocks/wall-clock`.
pub(super) struct Clock(pub(super) Arc<CallLog>);

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        let machine = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
        };
        let Some(probe) = self.0.probe() else {
            return machine();
        };
        let now = match &probe.player {
            Some(player) => player.time(),
            None => machine(),
        };
        probe.recorder.told_time(now);
        now
    }
}

/// `wasi:random`.
#[derive(Clone)]
pub(super) struct Chance(pub(super) Arc<CallLog>);

impl Chance {
    /// A seed for a new guest.
    pub(super) fn seed(&self, probe: Option<&Probe>) -> u128 {
        let recorded = probe.and_then(|probe| probe.player.as_ref()?.seed());
        let seed = recorded.unwrap_or_else(rand::random);
        if let Some(probe) = probe {
            probe.recorder.seeded(seed);
        }
        seed
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        rand::rng().fill_bytes(bytes);
        if let Some(probe) = self.0.probe() {
            if let Some(player) = &probe.player {
                player.random(bytes);
            }
            probe.recorder.gave_random(bytes);
        }
        Ok(())
    }
}
