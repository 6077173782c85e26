//! A. Authorization.

use crate::check::Check;

pub(super) fn checks() -> Vec<Check> {
    Vec::new()
}
