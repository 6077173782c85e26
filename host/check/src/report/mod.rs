//! What came of a run: lines for people, JSON and JUnit for machines.

mod junit;
mod lines;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::check::{Check, Failure, Kind, Level};

/// What came of one check.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    /// The check's ID.
    pub id: &'static str,
    /// How bad its failure is.
    pub level: Level,
    /// What was done.
    pub title: &'static str,
    /// What was expected and why.
    pub rule: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took, its clean-up included.
    pub seconds: f64,
}

/// How a check ended.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// As expected.
    Pass,
    /// Not as expected.
    Fail(Failure),
    /// Not as expected, and the profile says why that is so.
    Allowed {
        /// What was seen.
        failure: Failure,
        /// The profile's reason.
        reason: String,
    },
    /// It did not apply, or something was missing.
    Skip {
        /// What.
        reason: String,
    },
}

impl Verdict {
    /// Whether it ended as expected.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Pass)
    }

    /// Whether it failed and nothing excuses it.
    #[must_use]
    pub fn is_fail(&self) -> bool {
        matches!(self, Self::Fail(_))
    }
}

impl Tried {
    pub(crate) fn new(check: &Check, verdict: Verdict, took: Duration) -> Self {
        Self {
            id: check.id,
            level: check.level,
            title: check.title,
            rule: check.rule,
            verdict,
            seconds: took.as_secs_f64(),
        }
    }

    /// One line, and for a failure the request, the answer and the rule.
    #[must_use]
    pub fn lines(&self) -> String {
        lines::of(self)
    }
}

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The plugin's socket.
    pub socket: String,
    /// What it said it is.
    pub kinds: Vec<Kind>,
    /// The seed of the random choices.
    pub seed: u64,
    /// The checks, in order.
    pub tried: Vec<Tried>,
    /// How long all of it took.
    pub seconds: f64,
}

impl Report {
    pub(crate) fn new(socket: &Path, kinds: &[Kind], seed: u64) -> Self {
        Self {
            socket: socket.display().to_string(),
            kinds: kinds.to_vec(),
            seed,
            tried: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Whether no check of the levels E and S failed, and at least one passed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let bad = |tried: &Tried| tried.verdict.is_fail() && tried.level != Level::Robustness;
        self.tried.iter().any(|tried| tried.verdict.is_pass()) && !self.tried.iter().any(bad)
    }

    /// The last line.
    #[must_use]
    pub fn summary(&self) -> String {
        lines::summary(self)
    }

    /// As JUnit's XML.
    #[must_use]
    pub fn junit(&self) -> String {
        junit::of(self)
    }
}
