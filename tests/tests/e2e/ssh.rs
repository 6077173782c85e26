//! An SSH server on an engine's network, which lets root in with a key and with a password.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::Engine;
use dockside_tests::skip::skipped;
use dockside_tests::world::is_installed;

/// Its port, on the engine's own loopback link.
pub(crate) const PORT: &str = "2222";

/// What these tests need besides the engine's.
pub(crate) fn is_missing(test: &str) -> bool {
    let tools = [
        ("sshfs", "sshfs"),
        ("fusermount3", "fuse3"),
        ("sshd", "openssh-server"),
        ("ssh-keygen", "openssh-client"),
        ("unshare", "util-linux"),
    ];
    let missing = tools.into_iter().find(|(tool, _)| !is_installed(tool));
    if let Some((tool, package)) = missing {
        skipped(test, &format!("{tool} is not there: install {package}"));
    } else if !Path::new("/dev/fuse").exists() {
        skipped(test, "/dev/fuse is not there: modprobe fuse");
        return true;
    }
    missing.is_some()
}

/// The password of root on the server.
pub(crate) const PASSWORD: &str = "open-sesame";

/// The same, as `/etc/shadow` has it.
const HASH: &str = "$6$dockside$Hoyjk9pS0SnLZF94F/aKzFrRb54kziPCeiqdXR0B4RbCIb2xIgJczoKtFN1FLCRDopat0Ajs5mvmTU/zcdxxn/";

/// An SSH server.
pub(crate) struct Server {
    /// The directory with its keys, and with the directory `remote` that is to be mounted.
    pub(crate) base: String,
    pub(crate) process: Child,
}

impl Server {
    /// With keys and a directory `remote` in `base`.
    pub(crate) fn new(engine: &Engine, base: &Path) -> Result<Server> {
        fs::create_dir_all(base.join("remote"))?;
        let base = base.display().to_string();
        for name in ["host", "key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(format!("{base}/{name}"))
                .status()?;
            ensure!(made.success(), "ssh-keygen: {made}");
        }
        let host = fs::read_to_string(format!("{base}/host.pub"))?;
        let hosts = format!("{base}/known-hosts");
        fs::write(&hosts, format!("[127.0.0.1]:{PORT} {host}"))?;
        // What everybody can read is no secret.
        fs::set_permissions(&hosts, fs::Permissions::from_mode(0o600))?;
        fs::write(
            format!("{base}/config"),
            format!(
                "Port {PORT}\nListenAddress 127.0.0.1\nHostKey {base}/host\nAuthorizedKeysFile {base}/key.pub\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication yes\n\
                 KbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
            ),
        )?;
        let process = Server::start(engine, &base)?;
        Ok(Server { base, process })
    }

    /// With mounts of its own: it wants a directory in /run, and an account of root that is not locked. With processes of its own: those that
    /// serve connections end with it.
    pub(crate) fn start(engine: &Engine, base: &str) -> Result<Child> {
        let script = format!(
            "mount -t tmpfs -o mode=755 none /run && mkdir /run/sshd &&
             sed 's|^root:[^:]*:|root:{HASH}:|' /etc/shadow > /run/shadow && mount --bind /run/shadow /etc/shadow &&
             exec /usr/sbin/sshd -D -e -f {base}/config"
        );
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(format!("{base}/log"))?;
        let mut process = engine
            .beside("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh"])
            .args(["-ec", &script])
            .stderr(log)
            .spawn()?;
        let listens = until("the SSH server to listen", || {
            engine
                .shell_beside(&format!("ssh-keyscan -T 5 -p {PORT} 127.0.0.1 2>&1"))
                .is_ok_and(|said| said.contains("ssh-ed25519"))
        });
        if listens.is_err() {
            process.kill()?;
            process.wait()?;
        }
        listens.with_context(|| fs::read_to_string(format!("{base}/log")).unwrap_or_default())?;
        Ok(process)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(format!("{}/log", self.base)).unwrap_or_default()
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    pub(crate) fn remote(&self) -> String {
        format!("root@127.0.0.1:{}/remote", self.base)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.stop();
    }
}
