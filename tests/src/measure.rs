//! Figures for the bars.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Durations of calls.
#[derive(Debug, Default, Clone)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Adds all of another.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value below which this share (0 to 1) of them lies; zero without any.
    pub fn quantile(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.0.get(at.min(last)).copied().unwrap_or_default()
    }

    /// Count, p50, p99, p99.9 and maximum, in words.
    pub fn summary(&mut self) -> String {
        format!(
            "{} calls, p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, max {:.2?}",
            self.count(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.999),
            self.quantile(1.0)
        )
    }
}

/// The anonymous memory of a process that is in RAM, in bytes (proc(5), `smaps_rollup`).
///
/// # Errors
/// The process is gone, or not ours to look at.
pub fn anonymous_memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .with_context(|| format!("{path} has no line `Anonymous`"))?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_hundred() {
        let mut latencies = Latencies((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(latencies.quantile(0.0), Duration::from_millis(1));
        assert_eq!(latencies.quantile(0.99), Duration::from_millis(99));
        assert_eq!(latencies.quantile(1.0), Duration::from_millis(100));
        assert_eq!(Latencies::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn a_process_has_anonymous_memory() {
        assert!(anonymous_memory(std::process::id()).unwrap() > 4096);
    }
}
