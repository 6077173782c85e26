//! X. What holds for every kind: crashes, restarts, swaps, what the machine runs out of.

mod crash;
mod drop_in;
mod resources;
mod swap;

use crate::check::Check;

pub(super) fn checks() -> Vec<Check> {
    [
        crash::CHECKS,
        swap::CHECKS,
        drop_in::CHECKS,
        resources::CHECKS,
    ]
    .concat()
}

/// What a runner cannot check from outside: ID and reason.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "X01",
        "only the service manager can hand a listening socket on; P36 checks that an end loses no call",
    ),
    (
        "X04",
        "writes can only be dropped or torn below the file system, on a disk of the check's own",
    ),
    (
        "X05",
        "single writes and allocations can only be made to fail inside the process",
    ),
    (
        "X07",
        "it takes a driver that exhausts memory beside the one that is checked",
    ),
    (
        "X08",
        "the clock can only be set for the whole machine; time namespaces leave the wall clock alone",
    ),
    (
        "X11",
        "it takes a second version of the driver that says other things of itself",
    ),
    (
        "X15",
        "it takes a driver that traps beside the one that is checked",
    ),
    (
        "X16",
        "it takes a driver that means harm beside the one that is checked",
    ),
    (
        "X17",
        "which of a driver's calls need which grant cannot be seen from outside",
    ),
    (
        "X18",
        "it takes a driver that floods the log beside the one that is checked",
    ),
    (
        "X19",
        "it takes a second version of the driver with state of its own form",
    ),
];
