//! The checks: one folder for each section.

mod across;
mod authz;
mod ipam;
mod network;
mod transport;
mod volume;

use crate::check::Check;

pub(crate) fn all() -> Vec<Check> {
    [
        transport::checks(),
        volume::checks(),
        network::checks(),
        ipam::checks(),
        authz::checks(),
        across::checks(),
    ]
    .concat()
}

/// What no runner can check, with the reason.
pub(crate) fn left_out() -> Vec<(&'static str, &'static str)> {
    [authz::LEFT_OUT, across::LEFT_OUT].concat()
}
