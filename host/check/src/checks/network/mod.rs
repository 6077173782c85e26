//! N. Networks.

mod capabilities;
mod crowd;
mod end;
mod endpoints;
mod external;
mod faults;
mod join;
mod life;
mod networks;
mod options;
mod restarts;
mod texts;

use crate::check::Check;

pub(super) fn checks() -> Vec<Check> {
    let mut all = [
        capabilities::CHECKS,
        networks::CHECKS,
        options::CHECKS,
        endpoints::CHECKS,
        join::CHECKS,
        end::CHECKS,
        external::CHECKS,
        faults::CHECKS,
        crowd::CHECKS,
        restarts::CHECKS,
        texts::CHECKS,
    ]
    .concat();
    all.sort_by_key(|check| check.id);
    all
}
