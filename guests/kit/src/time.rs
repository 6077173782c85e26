//! The time of day.
//!
//! ```
//! use dockside_driver::{testing, time};
//!
//! testing::set_time(1_800_000_000);
//! assert_eq!(time::unix_seconds(), 1_800_000_000);
//! ```

use crate::sys;

/// Seconds since 1970, as [`VolumeInfo::created_at`](crate::VolumeInfo::created_at) wants them.
pub fn unix_seconds() -> u64 {
    sys::now()
}
