//! The time of day.

use crate::sys;

/// Seconds since 1970, as [`VolumeInfo::created_at`](crate::VolumeInfo::created_at) wants them.
pub fn unix_seconds() -> u64 {
    sys::now()
}
