//! `[record]`: what is kept of a plugin's calls.

use super::units;

/// What is kept of a plugin's calls, and what becomes of a new version that answers them otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// How many calls are kept on the disk: at least the last so many, at most twice that. 0 keeps none.
    #[serde(deserialize_with = "units::count::<_, 0, 100_000>")]
    pub keep: u32,
    /// What becomes of a new version on which the kept calls come out otherwise.
    pub preflight: Preflight,
}

/// What becomes of a new version on which recorded calls come out otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preflight {
    /// It does not serve if it crashes, is too slow or fails where the version before did what it was asked; other differences are reported.
    #[default]
    Refuse,
    /// It serves, and every difference is reported.
    Warn,
    /// Nothing is replayed.
    Off,
}
