//! P. What every kind of plugin has in common: the socket, HTTP, the handshake.

mod bodies;
mod common;
mod errors;
mod framing;
mod handshake;
mod life;
mod methods;
mod socket;
mod waiting;

use crate::check::{Check, Level};

pub(super) fn checks() -> Vec<Check> {
    let mut all = [
        handshake::CHECKS,
        methods::CHECKS,
        bodies::CHECKS,
        errors::CHECKS,
        framing::CHECKS,
        waiting::CHECKS,
        socket::CHECKS,
        life::CHECKS,
    ]
    .concat();
    // What fails a run comes first.
    all.sort_by_key(|check| (check.level == Level::Robustness, number(check.id)));
    all
}

/// The number in an ID, and the letter behind it.
fn number(id: &str) -> (u32, &str) {
    let rest = id.get(1..).unwrap_or_default();
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    (
        digits.parse().unwrap_or_default(),
        rest.get(digits.len()..).unwrap_or_default(),
    )
}
