//! Socket files: made with their final mode, replaced only when nobody listens behind them.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

/// Connections that the kernel queues. Docker opens one for each volume at its start, and a full queue refuses the next at once.
const BACKLOG: i32 = 4_096;

/// Linux cuts a socket's path at this length.
const MAX_PATH: usize = 107;

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Only the daemon's own user: mode 0600.
    User,
    /// Also this group: mode 0660.
    Group(u32),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path is too long for a socket.
    #[error("the socket path {} has {} bytes and Linux takes {MAX_PATH}: choose a shorter name", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    /// Somebody listens there.
    #[error("another program listens on {}: stop it, or serve this plugin under another name", .0.display())]
    Taken(PathBuf),
    /// Something else is there.
    #[error("{} exists and is no socket: move it away", .0.display())]
    NoSocket(PathBuf),
    /// Somebody listens on that port.
    #[error("another program listens on {0}: stop it, or write another port into endpoint.listen")]
    AddressTaken(String),
    /// The machine says no to an address.
    #[error("cannot listen on {address}: {error}")]
    Address {
        /// As it was written.
        address: String,
        /// What the machine says.
        error: io::Error,
    },
    /// The machine says no.
    #[error("cannot listen on {}: {error}", .path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What the machine says.
        error: io::Error,
    },
}

/// Listens on `path`. A socket file that nobody listens behind is replaced.
///
/// # Errors
/// When the path is taken or the machine says no.
pub fn bind(path: &Path, owner: Owner) -> Result<UnixListener, BindError> {
    if path.as_os_str().len() > MAX_PATH {
        return Err(BindError::TooLong(path.to_owned()));
    }
    clear(path)?;
    let failed = |error: io::Error| BindError::Io {
        path: path.to_owned(),
        error,
    };
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(failed)?;
    }
    let listen = || -> io::Result<UnixListener> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        // On Linux the file gets the socket's own mode, so there is no moment at which it is open to others.
        rustix::fs::fchmod(socket.as_fd(), Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        if let Owner::Group(group) = owner {
            std::os::unix::fs::lchown(path, None, Some(group))?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        }
        rustix::net::listen(&socket, BACKLOG)?;
        UnixListener::from_std(socket.into())
    };
    listen().map_err(failed)
}

/// Removes a socket file that nobody listens behind.
///
/// # Errors
/// When somebody does, or it is something else.
pub fn clear(path: &Path) -> Result<(), BindError> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(BindError::Io {
                path: path.to_owned(),
                error,
            });
        }
    };
    if !meta.file_type().is_socket() {
        return Err(BindError::NoSocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(BindError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| BindError::Io {
                path: path.to_owned(),
                error,
            })
        }
        Err(error) => Err(BindError::Io {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Removes a socket file.
pub fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/p.sock");
        let first = bind(&path, Owner::User).unwrap();
        assert!(matches!(bind(&path, Owner::User), Err(BindError::Taken(_))));
        drop(first);
        let _second = bind(&path, Owner::User).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let file = dir.path().join("file.sock");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(
            bind(&file, Owner::User),
            Err(BindError::NoSocket(_))
        ));
        let long = dir.path().join("x".repeat(120));
        assert!(matches!(
            bind(&long, Owner::User),
            Err(BindError::TooLong(_))
        ));
    }
}
