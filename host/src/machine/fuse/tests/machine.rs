//! Namespaces and servers for tests with real helpers.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "DOCKSIDE_TEST_FUSE";

/// The user that may log in, and its numbers.
pub(super) const USER: &str = "fusetest";
const UID: u32 = 7777;

/// Its password, and what crypt(3) makes of it.
pub(super) const PASSWORD: &str = "s3cret";
const CRYPTED: &str = "$6$dockside$SHhbfXxDMlc/m040Qg9P8BIizaea5MrDj4hacTYs06jGLc1N5teWfbUDP2nck6jyeDfJel.Vp0a.JKKQ8HYKU1";

/// Longest time that anything in these tests may take.
pub(super) const LONG: Duration = Duration::from_secs(180);

/// Runs a test in a process with mounts, processes and a network of its own, which the kernel clears away with it. It is skipped where that
/// does not work or a program is missing.
pub(super) fn alone(test: &str, programs: &[&str], body: impl FnOnce(Machine)) {
    let root = rustix::process::geteuid().is_root();
    let missing = programs
        .iter()
        .chain(&["unshare", "ip"])
        .find(|program| find(program).is_none());
    if !root || missing.is_some() || !Path::new("/dev/fuse").exists() {
        println!("skipped: needs root, /dev/fuse and {programs:?}; missing: {missing:?}");
        return;
    }
    if std::env::var(INSIDE).is_ok() {
        return body(Machine::new());
    }
    let status = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test}: {status}");
}

/// The full name of a test in the calling module, as the test runner wants it.
macro_rules! name {
    ($test:ident) => {
        concat!(module_path!(), "::", stringify!($test))
            .split_once("::")
            .unwrap()
            .1
    };
}
pub(super) use name;

/// The path of a program of the tests.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
}

/// A machine that is ours alone.
pub(super) struct Machine {
    /// An empty directory in memory.
    pub(super) base: PathBuf,
    servers: Vec<Child>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Machine {
    fn new() -> Machine {
        run(&["mount", "--make-rprivate", "/"]);
        run(&["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]);
        run(&["ip", "link", "set", "lo", "up"]);
        let base = PathBuf::from("/run/test");
        for directory in [
            "/run/sshd",
            "/run/test",
            "/run/test/remote",
            "/run/test/state",
        ] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(base.join("remote/hello"), "there").unwrap();
        chown(base.join("remote"), Some(UID), Some(UID)).unwrap();
        Machine {
            base,
            servers: Vec::new(),
        }
    }

    /// A mount of a helper on this machine.
    pub(super) fn mount(&self, program: &str, remote: &str) -> FuseMount {
        super::mount(
            program,
            remote,
            0xfeed,
            &self.base.join("state/mounts/vieux%2Fsshfs%3Av1"),
        )
    }

    pub(super) fn place(&self) -> Place {
        Place {
            runtime: self.base.join("helpers"),
        }
    }

    /// Secrets are the files of the test directory.
    pub(super) fn secret(&self, name: &str) -> Result<Vec<u8>, MachineError> {
        std::fs::read(self.base.join(name)).map_err(|error| MachineError::io(name, &error))
    }

    pub(super) fn perform(&self, mount: &FuseMount) -> Result<(), MachineError> {
        self.perform_until(mount, Instant::now() + LONG)
    }

    pub(super) fn perform_until(
        &self,
        mount: &FuseMount,
        deadline: Instant,
    ) -> Result<(), MachineError> {
        super::perform(mount, &self.place(), &|name| self.secret(name), deadline)
    }

    /// Mounts, looks, and undoes; `inside` sees the mount.
    pub(super) fn round(&self, mount: &FuseMount, inside: impl FnOnce(&Path)) {
        self.perform(mount).unwrap();
        assert_eq!(look(mount, &self.place()).unwrap(), Presence::Present);
        inside(&mount.point);
        undo(mount, &self.place()).unwrap();
        self.assert_nothing_left(mount);
        undo(mount, &self.place()).unwrap();
    }

    /// Nothing of a mount is on the machine.
    pub(super) fn assert_nothing_left(&self, mount: &FuseMount) {
        // A helper that was killed takes a moment to be gone.
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while look(mount, &self.place()).unwrap() != Presence::Absent
            && std::time::Instant::now() < limit
        {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(look(mount, &self.place()).unwrap(), Presence::Absent);
        assert!(
            crate::machine::mounts::mounted_below(&mount.point)
                .unwrap()
                .is_empty()
        );
        for directory in [mount.point.parent().unwrap(), &self.place().runtime] {
            let left: Vec<_> = std::fs::read_dir(directory)
                .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
                .unwrap_or_default();
            assert!(left.is_empty(), "{left:?} in {}", directory.display());
        }
        // One that a killed daemon had just begun to start finds nothing to mount at.
        let until = Instant::now() + LONG;
        loop {
            let helpers = processes(|arguments| {
                ["sshfs", "s3fs", "rclone", "ssh", "fusermount3", "setsid"]
                    .iter()
                    .any(|name| Path::new(&arguments[0]).ends_with(name))
                    && !arguments.iter().any(|argument| argument == "serve")
            });
            if helpers.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "{helpers:?}");
            std::thread::yield_now();
        }
    }

    /// Starts a server that lives as long as the test, and waits until somebody listens.
    pub(super) fn serve(&mut self, mut command: Command, port: u16) -> u32 {
        let mut server = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.base.join(format!("server-{port}"))).unwrap())
            .spawn()
            .unwrap();
        let until = Instant::now() + LONG;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until && server.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        let pid = server.id();
        self.servers.push(server);
        pid
    }

    /// An SSH server on port 2222, and as secrets its key in `known-hosts`, a private key in `key`, and the password in `password`.
    pub(super) fn sshd(&mut self) {
        let base = self.base.clone();
        for (file, line) in [
            (
                "passwd",
                format!("{USER}:x:{UID}:{UID}::{}/remote:/bin/sh\n", base.display()),
            ),
            ("shadow", format!("{USER}:{CRYPTED}:19000:0:99999:7:::\n")),
        ] {
            let real = Path::new("/etc").join(file);
            let ours = base.join(file);
            let mut text = std::fs::read_to_string(&real).unwrap();
            text.push_str(&line);
            std::fs::write(&ours, text).unwrap();
            std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o644)).unwrap();
            run(&[
                "mount",
                "--bind",
                ours.to_str().unwrap(),
                real.to_str().unwrap(),
            ]);
        }
        for name in ["host", "key"] {
            let file = base.join(name);
            run(&[
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-f",
                file.to_str().unwrap(),
            ]);
        }
        let host = std::fs::read_to_string(base.join("host.pub")).unwrap();
        std::fs::write(base.join("known-hosts"), format!("[127.0.0.1]:2222 {host}")).unwrap();
        std::fs::copy(base.join("key.pub"), base.join("authorized")).unwrap();
        std::fs::write(base.join("password"), PASSWORD).unwrap();
        std::fs::write(base.join("wrong"), "wr0ng").unwrap();
        let config = base.join("sshd_config");
        std::fs::write(
            &config,
            format!(
                "Port 2222\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nPidFile none\nStrictModes no\n\
                 UsePAM no\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
                base.display()
            ),
        )
        .unwrap();
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(config);
        self.serve(sshd, 2222);
    }

    /// A server that takes connections and never says a word.
    pub(super) fn mute_server(&self) -> std::net::TcpListener {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap()
    }
}

/// Processes whose arguments fit. Those that have ended have none.
pub(super) fn processes(fits: impl Fn(&[String]) -> bool) -> Vec<(u32, Vec<String>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        if !line.is_empty() && fits(&arguments) {
            found.push((pid, arguments));
        }
    }
    found
}

/// The one process of a program.
pub(super) fn process(program: &str) -> (u32, Vec<String>) {
    let found = processes(|arguments| Path::new(&arguments[0]).ends_with(program));
    let [process] = &found[..] else {
        panic!("one {program}: {found:?}");
    };
    process.clone()
}

/// Kills a process and waits for its end.
pub(super) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL).unwrap();
    let mut events = [PollFd::new(&process, PollFlags::IN)];
    rustix::event::poll(&mut events, Some(&process::left(Instant::now() + LONG))).unwrap();
}

fn run(command: &[&str]) {
    let status = Command::new(command[0])
        .args(&command[1..])
        .status()
        .unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Set in a process that plays the daemon which is killed: the mount to make.
const DAEMON: &str = "DOCKSIDE_TEST_FUSE_DAEMON";

/// In a process that plays the daemon, mounts, says so, and waits for its end; else does nothing.
pub(super) fn play_daemon() {
    let Ok(record) = std::env::var(DAEMON) else {
        return;
    };
    let machine = Machine {
        base: "/run/test".into(),
        servers: Vec::new(),
    };
    println!("\nstarted");
    machine
        .perform(&serde_json::from_str(&record).unwrap())
        .unwrap();
    println!("mounted");
    loop {
        std::thread::park();
    }
}

/// Starts a daemon that makes a mount. The test calls [`play_daemon`] first.
pub(super) fn daemon(test: &str, mount: &FuseMount) -> (Child, impl Iterator<Item = String>) {
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DAEMON, serde_json::to_string(mount).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
    (daemon, lines.map_while(Result::ok))
}
