//! How long is waited.

use std::time::Duration;

/// Multiplies every wait and every deadline. 1 is what the engine does; less is for tests of the checks themselves, against a plugin
/// whose own limits are shortened in the same way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience(f64);

impl Default for Patience {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Patience {
    /// A multiple of full patience, between 0.001 and 100.
    #[must_use]
    pub fn new(multiple: f64) -> Self {
        Self(multiple.clamp(0.001, 100.0))
    }

    /// So much of a time.
    #[must_use]
    pub fn of(self, time: Duration) -> Duration {
        time.mul_f64(self.0)
    }

    /// So many seconds.
    #[must_use]
    pub fn seconds(self, seconds: f64) -> Duration {
        self.of(Duration::from_secs_f64(seconds))
    }

    /// So many of something that is only done often: as many with full patience, fewer with less, some at least.
    #[must_use]
    pub fn times(self, count: u32) -> u32 {
        // Not more with more patience: that is for slow plugins.
        let part = f64::from(count) * self.0.min(1.0);
        part.round()
            .clamp(f64::from(count.min(20)), f64::from(count)) as u32
    }

    /// How long a call may take, a little less than the engine waits where it has a limit (120 s for the slow volume calls, 60 s for
    /// the others, moby's `volume/drivers/proxy.go`), and what users put up with where it has none. Never so little that a busy machine is
    /// too slow.
    #[must_use]
    pub fn for_call(self, method: &str) -> Duration {
        let time = self.seconds(match method {
            "VolumeDriver.Create" | "VolumeDriver.Mount" => 110.0,
            other if other.starts_with("VolumeDriver.") => 55.0,
            other if other.starts_with("Plugin.") => 5.0,
            _ => 30.0,
        });
        time.max(Duration::from_secs(5))
    }
}
