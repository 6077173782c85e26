//! Before a new version serves: the calls of the recording, off to the side.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::Level;

use super::{Plugin, Standing, Version};
use crate::catalog::plugin_root;
use crate::config::Preflight;
use crate::trace::file::Header;
use crate::trace::replay::{Replay, Replayed, environment};
use crate::trace::ring::{Ring, last_calls, remove};
use crate::trace::{Compared, Ignore};

/// Recorded calls that are replayed.
const MOST: usize = 200;

/// How long all of them may take together. Nobody waits but the new version; the one that serves goes on.
const BUDGET: Duration = Duration::from_secs(2);

/// Before the reason for which a version was refused that never served.
pub(super) const REFUSED: &str = "preflight: ";

/// What came of the last version that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// What people call it.
    pub label: String,
    /// One sentence for people.
    pub text: String,
    /// Why it must not serve, if it must not.
    pub refusal: Option<String>,
}

impl Plugin {
    /// What the replay of recorded calls has shown of the last version that came.
    pub fn preflight(&self) -> Option<Tried> {
        self.tried.lock().clone()
    }

    fn recordings(&self) -> PathBuf {
        plugin_root(self.shared.store.directory(), "recordings", &self.name)
    }

    /// Keeps as many calls from now on as the settings say.
    pub(super) fn keep_calls(&self, version: &Version) {
        let keep = version.settings.record.keep;
        self.tracer.hide_settings(version);
        let mut ring = self.ring.lock();
        match (&*ring, keep) {
            (_, 0) => {
                *ring = None;
                remove(&self.recordings());
            }
            (Some(running), keep) if running.keep() == keep => {}
            (_, keep) => {
                // The one of before must not write any more.
                drop(ring.take());
                let header = Header::new(&self.name, version);
                *ring = Some(Ring::begin(&self.tracer, self.recordings(), keep, header));
            }
        }
    }

    /// Forgets the calls that are kept.
    pub fn forget_calls(&self) {
        self.ring.lock().take();
        remove(&self.recordings());
    }

    /// Replays the recorded calls to a version that is to serve in place of another.
    ///
    /// # Errors
    /// Why it must not serve.
    pub(super) async fn try_calls(&self, version: &Version) -> Result<(), String> {
        let mode = version.settings.record.preflight;
        let before = match &*self.standing() {
            Standing::Serving(serving) => serving.version.clone(),
            _ => return Ok(()),
        };
        if mode == Preflight::Off
            || before.driver.digest() == version.driver.digest()
            || goes_back(&before.label, &version.label)
        {
            return Ok(());
        }
        let directory = self.recordings();
        let calls = tokio::task::spawn_blocking(move || last_calls(&directory, MOST)).await;
        let calls = calls.unwrap_or_default();
        if calls.is_empty() {
            return Ok(());
        }
        let header = Header::new(&self.name, version);
        let environment = environment(&self.name, version.environment.memory);
        let driver = version.driver.clone();
        let work = self.shared.guests.spawn(async move {
            let mut replay = Replay::new(driver, environment, header.config, Ignore::default());
            let until = Instant::now() + BUDGET;
            let mut replayed = Vec::new();
            for call in &calls {
                if Instant::now() >= until {
                    break;
                }
                replayed.push(replay.play(call, Some(until)).await);
            }
            (replayed, calls.len())
        });
        let Ok((replayed, of)) = work.await else {
            return Ok(());
        };
        let tried = self.judge(&before, version, &replayed, of);
        let level = match &tried.refusal {
            Some(_) => Level::ERROR,
            None if replayed.iter().any(|one| !one.differences().is_empty()) => Level::WARN,
            None => Level::INFO,
        };
        self.log.host(level, &version.label, &tried.text);
        let refusal = tried.refusal.clone();
        if let Some(refusal) = &refusal {
            // Not again at every look at the directory, and not by a restart either.
            self.rejections
                .taken_back(version.identity(), format!("{REFUSED}{refusal}"));
            if let Err(error) = self.rejections.write(&self.shared.store, &self.name).await {
                tracing::warn!(plugin = self.name, version = &*version.label, %error, "after a restart this version serves");
            }
        }
        *self.tried.lock() = Some(tried);
        refusal.map_or(Ok(()), Err)
    }

    fn judge(
        &self,
        before: &Version,
        version: &Version,
        replayed: &[Replayed],
        of: usize,
    ) -> Tried {
        let run = replayed
            .iter()
            .filter(|one| !matches!(one.result, Compared::Skipped(_)))
            .count();
        let differing = replayed
            .iter()
            .filter(|one| !one.differences().is_empty())
            .count();
        let failing: Vec<&Replayed> = replayed.iter().filter(|one| one.fails()).collect();
        let first = failing.first().copied().or_else(|| {
            let mut all = replayed.iter();
            all.find(|one| !one.differences().is_empty())
        });
        let example = first.map(shown).unwrap_or_default();
        let new = &version.label;
        let old = &before.label;
        let text = match (failing.len(), differing) {
            (0, 0) => format!(
                "{run} of {of} recorded calls were replayed to version {new}: all come out as on version {old}"
            ),
            (0, differing) => format!(
                "{run} of {of} recorded calls were replayed to version {new}: {differing} come out otherwise than on version {old}, first {example}"
            ),
            (failing, _) => format!(
                "{run} of {of} recorded calls were replayed to version {new}: {failing} fail that did not fail on version {old}, first {example}"
            ),
        };
        let refuses = version.settings.record.preflight == Preflight::Refuse;
        let refusal = (refuses && !failing.is_empty()).then(|| {
            format!(
                "{text}. `dockside replay` shows all of them; to let it serve all the same, set preflight = \"warn\" under [record] in {}.toml",
                version.environment.stem
            )
        });
        Tried {
            label: version.label.to_string(),
            text,
            refusal,
        }
    }
}

/// Whether the step from one version to the other is back to a lower one. Calls that only the higher one could answer must not be in the way
/// of an operator who wants to be rid of it.
fn goes_back(from: &str, to: &str) -> bool {
    let parse = |label| semver::Version::parse(label).ok();
    match (parse(from), parse(to)) {
        (Some(from), Some(to)) => to.cmp_precedence(&from).is_lt(),
        _ => false,
    }
}

/// A call with its first difference, in a line.
fn shown(replayed: &Replayed) -> String {
    let difference = replayed.differences().iter();
    let worst = difference.max_by_key(|difference| difference.is_failure());
    let told = worst.map(|difference| {
        let line = difference.lines().iter().find(|line| line.starts_with('+'));
        let line = line.or(difference.lines().first());
        let line = line.map(|line| line.trim_start_matches(['+', '-', ' ']));
        format!("{} ({})", difference.word(), line.unwrap_or_default())
    });
    format!(
        "{} {} of {}: {}",
        replayed.method,
        replayed.about,
        replayed.time,
        told.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lower_version_goes_back() {
        for (from, to, back) in [
            ("1.1.0", "1.0.0", true),
            ("1.1.0", "1.1.0-rc.1", true),
            ("1.1.0", "1.2.0", false),
            ("0.1.0+aa", "0.1.0+bb", false),
            ("0.1.0+bb", "0.1.0+aa", false),
            ("0123456789ab", "1.0.0", false),
        ] {
            assert_eq!(goes_back(from, to), back, "{from} {to}");
        }
    }
}
