//! V. Volumes.

mod common;
mod create;
mod get;
mod mount;
mod sessions;

use crate::check::Check;

pub(super) fn checks() -> Vec<Check> {
    let mut all = [get::CHECKS, create::CHECKS, sessions::CHECKS, mount::CHECKS].concat();
    all.sort_by_key(|check| check.id);
    all
}
