//! A volume that a helper program mounts: sshfs from a real SSH server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::skip::skipped;
use dockside_tests::world::is_installed;

use crate::effects::{GRANTS, PLUGIN, create, down, holds, in_container, machine, nothing_is_left};
use crate::{Setup, inspect};

/// Its port, on the engine's own loopback link.
const PORT: &str = "2222";

/// What these tests need besides the engine's.
fn is_missing(test: &str) -> bool {
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

/// An SSH server that lets root in with a key.
struct Server {
    base: String,
    process: Child,
}

impl Server {
    /// With keys and a directory `remote` in `base`.
    fn new(engine: &Engine, base: &Path) -> Result<Server> {
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
                 StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
            ),
        )?;
        let process = Server::start(engine, &base)?;
        Ok(Server { base, process })
    }

    /// With mounts of its own: it wants a directory in /run, and an account of root that is not locked. With processes of its own: those that
    /// serve connections end with it.
    fn start(engine: &Engine, base: &str) -> Result<Child> {
        let script = format!(
            "mount -t tmpfs -o mode=755 none /run && mkdir /run/sshd &&
             sed 's/^root:[^:]*:/root:*:/' /etc/shadow > /run/shadow && mount --bind /run/shadow /etc/shadow &&
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

    fn log(&self) -> String {
        fs::read_to_string(format!("{}/log", self.base)).unwrap_or_default()
    }

    fn stop(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    fn remote(&self) -> String {
        format!("root@127.0.0.1:{}/remote", self.base)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.stop();
    }
}

/// A driver that may mount what the server has.
fn settings(server: &Server, on_dead: &str) -> String {
    format!(
        r#"{GRANTS}
[grants.mounts]
probe-every = "1s"
on-dead = "{on_dead}"

[grants.mounts.helpers]
sshfs = ["{}"]

[grants.secrets]
use = ["key", "known-hosts"]

[secrets.key]
file = "{base}/key"

[secrets.known-hosts]
file = "{base}/known-hosts"
"#,
        server.remote(),
        base = server.base,
    )
}

/// A running engine with an SSH server on its network and the driver.
fn setup(version: Version, test: &str, on_dead: &str) -> Result<Option<(Setup, Server)>> {
    if is_missing(test) {
        return Ok(None);
    }
    let mut server = None;
    let setup = Setup::serving(version, test, &[machine("")?], |engine, site| {
        let made = Server::new(engine, &engine.shared().join("server"))?;
        site.configure(PLUGIN, &settings(&made, on_dead))?;
        server = Some(made);
        engine.serve_inside(site)
    })?;
    let Some((setup, server)) = setup.zip(server) else {
        return Ok(None);
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    let script = format!(
        "helper files sshfs {} port={PORT} identity=key,known-hosts=known-hosts",
        server.remote()
    );
    create(
        &setup.engine,
        "vol",
        &[("do", &script), ("mounts", "files")],
    )
    .with_context(|| format!("the SSH server says\n{}", server.log()))?;
    Ok(Some((setup, server)))
}

/// The processes of helpers of this daemon: sshfs and the ssh that it runs.
fn helpers(setup: &Setup) -> Result<Vec<i32>> {
    let data = setup.site.data.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().parse::<i32>();
        // Gone in between, or no process.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.starts_with("/usr/bin/sshfs") && line.contains(&data) {
            found.extend(pid.ok());
        }
    }
    Ok(found)
}

fn kill_helper(setup: &Setup) -> Result<()> {
    let helpers = helpers(setup)?;
    ensure!(helpers.len() == 1, "sshfs runs as {helpers:?}");
    for helper in helpers {
        let pid = rustix::process::Pid::from_raw(helper).context("no process ID")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    }
    Ok(())
}

/// What the daemon says of a volume whose mount does not work.
fn trouble(engine: &Engine) -> Result<String> {
    let seen = inspect(engine, "volume", "vol")?;
    Ok(seen["Status"]["dockside"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

pub(crate) fn a_helper_that_dies_is_reported(version: Version) -> Result<()> {
    let test = "a_helper_that_dies_is_reported";
    let Some((setup, server)) = setup(version, test, "alert")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    in_container(engine, "vol", "echo written > /data/file")?;
    assert_eq!(
        fs::read_to_string(format!("{}/remote/file", server.base))?,
        "written\n"
    );
    assert_eq!(trouble(engine)?, "");
    kill_helper(&setup)?;
    until("the volume to be degraded", || {
        trouble(engine).is_ok_and(|said| said.starts_with("degraded: "))
    })
    .with_context(|| format!("{:?}", trouble(engine)))?;
    engine.docker(&["volume", "rm", "vol"])?;
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn a_helper_that_dies_is_started_again(version: Version) -> Result<()> {
    let test = "a_helper_that_dies_is_started_again";
    let Some((setup, mut server)) = setup(version, test, "remount")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    in_container(engine, "vol", "echo written > /data/file")?;
    kill_helper(&setup)?;
    let reads =
        || in_container(engine, "vol", "cat /data/file").is_ok_and(|text| text == "written");
    until("the volume to work again", reads).with_context(|| setup.daemon.log_end())?;
    // The same while the server is away: it is tried until it comes back.
    server.stop()?;
    until("the helper to end with its server", || {
        helpers(&setup).is_ok_and(|helpers| helpers.is_empty())
    })?;
    until("the volume to be degraded", || {
        trouble(engine).is_ok_and(|said| said.starts_with("degraded: "))
    })
    .with_context(|| format!("{:?}", trouble(engine)))?;
    server.process = Server::start(engine, &server.base)?;
    until("the volume to work again after its server came back", reads)
        .with_context(|| setup.daemon.log_end())?;
    assert_eq!(trouble(engine)?, "");
    engine.docker(&["volume", "rm", "vol"])?;
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn a_helper_outlives_the_daemon(version: Version) -> Result<()> {
    let test = "a_helper_outlives_the_daemon";
    let Some((mut setup, _server)) = setup(version, test, "alert")? else {
        return Ok(());
    };
    in_container(&setup.engine, "vol", "echo written > /data/file")?;
    let before = helpers(&setup)?;
    setup.engine.docker(&[
        "run",
        "-d",
        "--name",
        "reader",
        "-v",
        "vol:/data",
        "busybox:local",
        "sleep",
        "100000",
    ])?;
    let reads = |engine: &Engine| -> Result<()> {
        assert_eq!(
            engine.docker(&["exec", "reader", "cat", "/data/file"])?,
            "written"
        );
        Ok(())
    };
    setup.daemon.kill()?;
    reads(&setup.engine)?;
    setup.daemon = setup.engine.serve_inside(&setup.site)?;
    setup.daemon.wait_plugin(PLUGIN)?;
    reads(&setup.engine)?;
    assert_eq!(helpers(&setup)?, before);
    assert_eq!(holds(&setup, "mount")?, ["files"]);
    in_container(&setup.engine, "vol", "echo more >> /data/file")?;
    setup.engine.docker(&["rm", "-f", "reader"])?;
    setup.engine.docker(&["volume", "rm", "vol"])?;
    nothing_is_left(&setup)?;
    down(setup)
}
