//! Mounts on the real kernel, each test in a mount namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod crash;
mod hang;
mod hostile;
mod kinds;
mod namespaces;
mod servers;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use rustix::mount::MountPropagationFlags;
use tempfile::TempDir;

use super::worker::{Worker, worker_main};
use super::*;

/// Makes this test program a worker, or something that performs a mount, when it is started with it.
const ROLE: &str = "DOCKSIDE_TEST_MOUNTS";
const RECORD: &str = "DOCKSIDE_TEST_MOUNT";

/// Far more than any mount takes.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn no_secrets(name: &str) -> Result<Vec<u8>, MachineError> {
    panic!("nobody has a secret {name}");
}

fn this_test(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", "machine::mounts::tests::plays_a_role", "--quiet"])
        .args(["--nocapture"])
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn worker() -> Worker {
    Worker::program(
        "/proc/self/exe",
        [
            "--exact",
            "machine::mounts::tests::plays_a_role",
            "--quiet",
            "--nocapture",
        ],
    )
    .with_variable(ROLE, "worker")
}

#[test]
fn plays_a_role() {
    match std::env::var(ROLE).as_deref() {
        Ok("worker") => {
            worker_main();
        }
        Ok("perform") => {
            let mount = serde_json::from_str(&std::env::var(RECORD).unwrap()).unwrap();
            perform_with(&worker(), &mount, &no_secrets, soon()).unwrap();
        }
        _ => return,
    }
    std::process::exit(0);
}

/// A directory in a mount namespace of this thread's own; everything in it goes with the thread.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Option<Place> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: mounting needs root");
            return None;
        }
        if let Err(error) = nix::sched::unshare(CloneFlags::CLONE_NEWNS) {
            println!("skipped: no mount namespaces here: {error}");
            return None;
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("mounts")).unwrap();
        Some(Place { directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn mount(&self, source: Source) -> Mount {
        let id = hex::encode(rand::random::<[u8; 16]>());
        Mount {
            point: self.path("mounts").join("plugin").join(&id),
            id,
            source,
            flags: Flags::default(),
        }
    }

    fn tmpfs(&self) -> Mount {
        self.mount(Source::Tmpfs {
            size: 1 << 20,
            inodes: None,
            uid: None,
            gid: None,
            mode: None,
        })
    }

    fn bind(&self, root: &str, beneath: &str) -> Mount {
        self.mount(Source::Bind {
            root: self.path(root),
            beneath: beneath.into(),
        })
    }

    /// A formatted image, or none when this machine cannot mount one.
    fn disk(&self, filesystem: Filesystem) -> Option<Mount> {
        self.disk_in("", filesystem)
    }

    fn disk_in(&self, directory: &str, filesystem: Filesystem) -> Option<Mount> {
        let file = format!("{}.img", filesystem.name());
        let file = self.path(directory).join(file);
        let kernel = std::fs::read_to_string("/proc/filesystems").unwrap();
        if !kernel.lines().any(|line| line.trim() == filesystem.name()) {
            println!("skipped: this kernel has no {}", filesystem.name());
            return None;
        }
        if !Path::new("/dev/loop-control").exists() {
            println!("skipped: no loop devices");
            return None;
        }
        std::fs::File::create(&file)
            .unwrap()
            .set_len(320 << 20)
            .unwrap();
        let program = format!("mkfs.{}", filesystem.name());
        match Command::new(&program).arg("-q").arg(&file).output() {
            Err(_) => {
                println!("skipped: no {program}");
                None
            }
            Ok(output) => {
                assert!(output.status.success(), "{output:?}");
                Some(self.mount(Source::Disk { file, filesystem }))
            }
        }
    }

    /// Fails if anything is left of a mount.
    fn assert_nothing_left(&self, mount: &Mount) {
        assert_eq!(look(mount).unwrap(), Presence::Absent);
        assert!(!mount.point.exists(), "{:?} is left", mount.point);
        let mounts = self.path("mounts");
        assert_eq!(mounted_below(&mounts).unwrap(), Vec::new());
        assert_eq!(loop_devices(self.directory.path()), Vec::<String>::new());
    }
}

/// What is attached to loop devices from below a directory.
fn loop_devices(directory: &Path) -> Vec<String> {
    std::fs::read_dir("/sys/block")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("loop/backing_file")).ok())
        .filter(|file| Path::new(file).starts_with(directory))
        .collect()
}

fn make(mount: &Mount) {
    perform_with(&worker(), mount, &no_secrets, soon()).unwrap();
}

fn refusal(mount: &Mount) -> MachineError {
    perform_with(&worker(), mount, &no_secrets, soon()).unwrap_err()
}

fn unmake(mount: &Mount) {
    undo_with(&worker(), mount).unwrap();
}

fn info(mount: &Mount) -> MountInfo {
    let point = Point::find(&mount.point).unwrap().unwrap();
    point.layers().unwrap().pop().expect("nothing is mounted")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
