//! An SSH server in a world, for mounts by a helper program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::world::{World, is_installed};

/// Programs that it takes.
const PROGRAMS: [&str; 3] = ["sshd", "ssh-keygen", "sshfs"];

/// The port on the world's loopback address.
pub(crate) const PORT: u16 = 2222;

/// A server that ends with this value.
#[derive(Debug)]
pub(crate) struct Server(Child);

/// Whether this machine can have one.
pub(crate) fn is_possible() -> bool {
    PROGRAMS.iter().all(|program| is_installed(program))
        && std::path::Path::new("/dev/fuse").exists()
}

impl Server {
    /// Starts one that lets root in by the secret `key`, and is known by the secret `known`.
    pub(crate) fn start(world: &World) -> Result<Server> {
        let base = world.outside.display();
        for key in ["host", "key"] {
            let _ = fs::remove_file(world.outside.join(key));
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(world.outside.join(key))
                .stdin(Stdio::null())
                .status()?;
            ensure!(made.success(), "ssh-keygen: {made}");
        }
        let host = fs::read_to_string(world.outside.join("host.pub"))?;
        let known = world.outside.join("known");
        fs::write(&known, format!("[127.0.0.1]:{PORT} {host}"))?;
        // Secrets that everybody can read are refused.
        fs::set_permissions(&known, fs::Permissions::from_mode(0o600))?;
        let settings = world.outside.join("sshd_config");
        fs::write(
            &settings,
            format!(
                "Port {PORT}\nListenAddress 127.0.0.1\nHostKey {base}/host\nAuthorizedKeysFile {base}/key.pub\nPidFile none\nStrictModes no\n\
                 UsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
            ),
        )?;
        world.run("mkdir -p /run/sshd")?;
        let child = world
            .command("/usr/sbin/sshd")
            .args(["-D", "-f"])
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Server(child);
        until("the SSH server to listen", || {
            world
                .run(&format!("ss -Hltn sport = :{PORT}"))
                .is_ok_and(|listening| !listening.is_empty())
        })?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
