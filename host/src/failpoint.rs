//! Places where tests let the daemon die or the machine say no. They are armed by the program `dockside-failpoints` alone; in `dockside` a visit
//! is one look at a flag that nothing in the program sets. So both are one compilation, which takes minutes.
//!
//! `DOCKSIDE_FAILPOINT=PLACE:NUMBER:WHAT` makes the NUMBERth visit of a place, counted from 1, end in WHAT: `kill` (SIGKILL to itself), `eio`
//! or `enospc`. Several are separated by commas.
//!
//! `DOCKSIDE_FAILPOINT_FILE=FILE` takes them from a file, in the same form, which is read at each visit: when its text changes, counting
//! begins anew. Each visit adds a line with its place to `FILE.visits`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

#[derive(Clone, Copy)]
enum What {
    Kill,
    Error(i32),
}

/// What is wanted, and what was visited since then.
#[derive(Default)]
struct Points {
    text: String,
    wanted: HashMap<String, Vec<(u64, What)>>,
    visits: HashMap<String, u64>,
}

impl Points {
    fn read(text: String) -> Points {
        let mut wanted: HashMap<String, Vec<(u64, What)>> = HashMap::new();
        for point in text
            .split(',')
            .map(str::trim)
            .filter(|point| !point.is_empty())
        {
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
            wanted
                .entry(place.to_owned())
                .or_default()
                .push((number, what));
        }
        Points {
            text,
            wanted,
            visits: HashMap::new(),
        }
    }

    fn visit(&mut self, place: &str) -> Option<What> {
        let count = self.visits.entry(place.to_owned()).or_default();
        *count += 1;
        self.wanted
            .get(place)?
            .iter()
            .find(|(number, _)| number == count)
            .map(|(_, what)| *what)
    }
}

static FILE: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("DOCKSIDE_FAILPOINT_FILE").map(PathBuf::from));

static POINTS: LazyLock<Mutex<Points>> = LazyLock::new(|| {
    let text = std::env::var("DOCKSIDE_FAILPOINT").unwrap_or_default();
    Mutex::new(Points::read(text))
});

static ARMED: AtomicBool = AtomicBool::new(false);

/// From now on visits come to what the environment says.
pub fn arm() {
    ARMED.store(true, Ordering::Relaxed);
}

pub(crate) fn is_armed() -> bool {
    ARMED.load(Ordering::Relaxed)
}

/// A visit.
///
/// # Errors
/// When a test wants one.
#[inline]
pub(crate) fn hit(place: &str) -> io::Result<()> {
    if is_armed() { visit(place) } else { Ok(()) }
}

#[cold]
fn visit(place: &str) -> io::Result<()> {
    let what = {
        let mut points = POINTS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(file) = &*FILE {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if text != points.text {
                *points = Points::read(text);
            }
            let mut visits = file.clone().into_os_string();
            visits.push(".visits");
            let noted = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(visits)
                .and_then(|mut visits| visits.write_all(format!("{place}\n").as_bytes()));
            if let Err(error) = noted {
                tracing::error!(%error, "a visit of a failpoint cannot be noted");
            }
        }
        points.visit(place)
    };
    match what {
        None => Ok(()),
        Some(What::Error(code)) => Err(io::Error::from_raw_os_error(code)),
        Some(What::Kill) => {
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
