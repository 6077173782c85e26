//! V. Volumes.

mod common;
mod create;
mod docker;
mod drift;
mod faults;
mod get;
mod kills;
mod many;
mod model;
mod mount;
mod names;
mod options;
mod sessions;

use crate::check::Check;

pub(super) fn checks() -> Vec<Check> {
    let mut all = [
        get::CHECKS,
        create::CHECKS,
        options::CHECKS,
        many::CHECKS,
        mount::CHECKS,
        names::CHECKS,
        sessions::CHECKS,
        faults::CHECKS,
        drift::CHECKS,
        kills::CHECKS,
        model::CHECKS,
        docker::CHECKS,
    ]
    .concat();
    all.sort_by_key(|check| check.id);
    all
}
