//! P. What every kind of plugin has in common: the socket, HTTP, the handshake.

mod handshake;

use crate::check::Check;

pub(super) fn checks() -> Vec<Check> {
    [handshake::CHECKS].concat()
}
