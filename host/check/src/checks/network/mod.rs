//! N. Networks.

mod capabilities;
mod life;
mod networks;
mod options;

use crate::check::Check;

pub(super) fn checks() -> Vec<Check> {
    [capabilities::CHECKS, networks::CHECKS, options::CHECKS].concat()
}
