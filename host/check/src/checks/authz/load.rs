//! What each call of a client costs.

use std::time::{Duration, Instant};

use super::check;
use super::lab::Lab;
use crate::Bench;
use crate::check::{Check, Level, Outcome, ensure};

pub(super) const CHECKS: &[Check] = &[Check {
    slow: true,
    ..check(
        "A43",
        Level::Robustness,
        "500 requests a second",
        "99 of 100 within 5 ms, none without a decision: each call to the engine waits for it twice.",
        is_quick,
    )
}];

fn is_quick(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let first = lab.own.allowed.first().map_or("GET /_ping", String::as_str);
    let ask = lab.plain(first);
    let pace = Duration::from_millis(2);
    // With less patience fewer requests are a worse measure.
    let limit =
        Duration::from_secs_f64(0.005 / bench.patience().seconds(1.0).as_secs_f64().min(1.0));
    let mut took = Vec::new();
    for _ in 0..bench.patience().times(1000) {
        let began = Instant::now();
        lab.judge(&ask)?;
        took.push(began.elapsed());
        std::thread::sleep(pace.saturating_sub(began.elapsed()));
    }
    took.sort_unstable();
    let slow = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    ensure(slow < limit, || {
        format!(
            "one of 100 takes {:.1} ms and more",
            slow.as_secs_f64() * 1e3
        )
    })
}
