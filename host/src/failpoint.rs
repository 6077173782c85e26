//! Places where tests let the daemon die or the machine say no. Without the feature `failpoints` they cost nothing and cannot be reached.
//!
//! `DOCKSIDE_FAILPOINT=PLACE:NUMBER:WHAT` makes the NUMBERth visit of a place, counted from 1, end in WHAT: `kill` (SIGKILL to itself), `eio`
//! or `enospc`. Several are separated by commas.

#[cfg(feature = "failpoints")]
mod active {
    use std::collections::HashMap;
    use std::io;
    use std::sync::{LazyLock, Mutex};

    #[derive(Clone, Copy)]
    enum What {
        Kill,
        Error(i32),
    }

    static POINTS: LazyLock<HashMap<String, Vec<(u64, What)>>> = LazyLock::new(|| {
        let text = std::env::var("DOCKSIDE_FAILPOINT").unwrap_or_default();
        let mut points: HashMap<String, Vec<(u64, What)>> = HashMap::new();
        for point in text.split(',').filter(|point| !point.is_empty()) {
            let mut parts = point.split(':');
            let (Some(place), Some(number), Some(what)) =
                (parts.next(), parts.next(), parts.next())
            else {
                tracing::error!(point, "not PLACE:NUMBER:WHAT");
                continue;
            };
            let what = match what {
                "kill" => What::Kill,
                "enospc" => What::Error(28),
                _ => What::Error(5),
            };
            let number = number.parse().unwrap_or(1);
            points
                .entry(place.to_owned())
                .or_default()
                .push((number, what));
        }
        points
    });

    static VISITS: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

    /// A visit.
    ///
    /// # Errors
    /// When a test wants one.
    pub(crate) fn hit(place: &str) -> io::Result<()> {
        let Some(wanted) = POINTS.get(place) else {
            return Ok(());
        };
        let visit = {
            let mut visits = VISITS
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let count = visits
                .get_or_insert_default()
                .entry(place.to_owned())
                .or_default();
            *count += 1;
            *count
        };
        match wanted.iter().find(|(number, _)| *number == visit) {
            None => Ok(()),
            Some((_, What::Error(code))) => Err(io::Error::from_raw_os_error(*code)),
            Some((_, What::Kill)) => {
                let _ = rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                );
                loop {
                    std::thread::park();
                }
            }
        }
    }
}

#[cfg(feature = "failpoints")]
pub(crate) use active::hit;

/// A visit, of which nothing comes.
///
/// # Errors
/// None without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_place: &str) -> std::io::Result<()> {
    Ok(())
}
