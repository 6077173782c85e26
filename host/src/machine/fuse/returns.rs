//! Helpers that connect again by themselves.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::place::Places;
use super::{FuseMount, Place, helper};
use crate::machine::MachineError;

/// How long a server may take to accept a connection.
const REACH: Duration = Duration::from_secs(3);

/// Whether a mount that does not answer comes back by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Return {
    /// Its helper is gone, is stopped or does not connect again.
    Never,
    /// Its helper connects again when it is asked for something.
    Now,
    /// Its helper waits for a server that cannot be reached; the text says why. Made again, the mount would be lost to those who use it, and the
    /// new one would not answer either.
    Later(String),
}

/// Says whether a mount that does not answer comes back by itself.
///
/// # Errors
/// When the list of processes cannot be read.
pub fn returns(mount: &FuseMount, place: &Place) -> Result<Return, MachineError> {
    let helper = helper::find(&mount.program)?;
    let chosen = helper.chosen(mount)?;
    let Some((host, port)) = (helper.returns_to)(mount, &chosen) else {
        return Ok(Return::Never);
    };
    if !Places::of(mount, place)?
        .mark()
        .is_at_work(helper.program)?
    {
        return Ok(Return::Never);
    }
    let reached = (host.as_str(), port).to_socket_addrs().and_then(|found| {
        let mut last = std::io::Error::other("it has no address");
        for address in found {
            match TcpStream::connect_timeout(&address, REACH) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    Ok(match reached {
        Ok(()) => Return::Now,
        Err(error) => Return::Later(format!(
            "the server {host} does not answer on port {port} ({error}); {} connects again when it does",
            helper.program
        )),
    })
}
