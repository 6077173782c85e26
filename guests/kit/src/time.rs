//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as [`VolumeInfo::created_at`](crate::VolumeInfo::created_at) wants them.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
