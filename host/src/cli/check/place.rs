//! Whether there is a plugin at a socket, and namespaces of a run's own.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

/// That a plugin accepts connections at `socket`.
///
/// # Errors
///
/// What there is instead, and what to do.
pub(super) fn answers(socket: &Path) -> anyhow::Result<()> {
    let shown = socket.display();
    let kind = match std::fs::metadata(socket) {
        Ok(meta) => meta.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let advice = if socket.components().count() == 1 {
                format!(
                    "Give the path of the plugin's socket, for example /run/docker/plugins/{}.sock, or a .wasm file.",
                    shown
                )
            } else {
                "Start the plugin first, or let `--start COMMAND` start it.".to_owned()
            };
            bail!("there is no socket {shown}. {advice}")
        }
        Err(error) => bail!("{shown} cannot be looked at: {error}"),
    };
    if !kind.is_socket() {
        bail!(
            "{shown} is {}, not a socket. Give the plugin's Unix socket, or a driver as a .wasm file.",
            if kind.is_dir() {
                "a directory"
            } else {
                "a file"
            }
        );
    }
    match UnixStream::connect(socket) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => bail!(
            "nobody listens at {shown}: the socket is a leftover of a plugin that has ended. Start the plugin, or let `--start COMMAND` start it."
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => bail!(
            "you may not connect to {shown}. Run the checks as the user that the Docker Engine runs as, usually root."
        ),
        Err(error) => bail!("{shown} cannot be connected to: {error}"),
    }
}

/// That nobody answers at `socket` yet.
///
/// # Errors
///
/// Somebody does.
pub(super) fn is_free(socket: &Path) -> anyhow::Result<()> {
    if UnixStream::connect(socket).is_ok() {
        bail!(
            "a plugin serves {} already. Stop it, or leave out --start to check it as it is.",
            socket.display()
        );
    }
    Ok(())
}

/// Moves this process, and what it starts, into mount and network namespaces of its own. Only root can, and others need not: without
/// root nothing on the machine can be changed. To be called before any thread is started.
///
/// # Errors
///
/// The kernel does not let it.
pub(in crate::cli) fn alone(shared: bool) -> anyhow::Result<()> {
    if shared || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let advice = "namespaces of its own cannot be made for the driver; --shared does without";
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context(advice)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .context(advice)?;
    // Drivers that reach a server on this machine need it, and a container's network always has it.
    let _ = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // As on every machine with a Docker Engine, which turns both on when it starts.
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let _ = std::fs::write(format!("/proc/sys/net/{setting}"), "1");
    }
    Ok(())
}
