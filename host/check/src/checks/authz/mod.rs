//! A. Authorization.

mod bodies;
mod decisions;
mod failures;
mod lab;
mod load;
mod real;
mod streams;
mod targets;

use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome};

pub(super) fn checks() -> Vec<Check> {
    let mut checks = [
        decisions::CHECKS,
        failures::CHECKS,
        bodies::CHECKS,
        targets::CHECKS,
        streams::CHECKS,
        load::CHECKS,
        real::CHECKS,
    ]
    .concat();
    checks.sort_by_key(|check| check.id);
    checks
}

/// What no runner can check, with the reason.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "A07",
        "no request makes a policy use up memory, handles or stack for certain: it takes a policy that is written to do so",
    ),
    (
        "A08",
        "what a policy hands to the plugin around it cannot be seen or changed at the socket",
    ),
    (
        "A45",
        "it is about packaging: the socket has to be there before the engine starts, whatever the plugin answers",
    ),
];

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
        kind: Some(Kind::Authz),
        needs: &[],
        title,
        rule,
        slow: false,
        run,
    }
}
