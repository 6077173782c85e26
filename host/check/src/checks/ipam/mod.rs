//! I. Address management.

mod addresses;
mod engines;
mod lab;
mod many;
mod pools;
mod spaces;

use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome};

pub(super) fn checks() -> Vec<Check> {
    let mut checks = [
        spaces::CHECKS,
        pools::CHECKS,
        addresses::CHECKS,
        engines::CHECKS,
        many::CHECKS,
    ]
    .concat();
    checks.sort_by_key(|check| check.id);
    checks
}

/// A quick check that needs only the socket.
const fn check(
    id: &'static str,
    level: Level,
    title: &'static str,
    rule: &'static str,
    run: fn(&Bench) -> Outcome,
) -> Check {
    Check {
        id,
        level,
        kind: Some(Kind::Ipam),
        needs: &[],
        title,
        rule,
        slow: false,
        run,
    }
}
