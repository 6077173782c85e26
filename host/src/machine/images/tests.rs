#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
//! Every test works in a mount namespace of its own thread, on a small file system in memory: what a failed one leaves goes with the thread.

mod clones;
mod content;
mod growth;
mod kills;
mod making;
mod parts;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1 << 20;

/// A size that suits a file system, small.
fn size(filesystem: Filesystem) -> u64 {
    match filesystem {
        Filesystem::Ext4 => 64 * MIB,
        Filesystem::Xfs => 320 * MIB,
        Filesystem::Btrfs => 160 * MIB,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(300)
}

/// A directory for one test.
struct Place {
    directory: TempDir,
}

impl Place {
    /// One in memory, with room for `megabytes`. `None`, with a line that says so, where the machine has not what it takes.
    fn new(megabytes: u64) -> Option<Place> {
        let place = Place::on_disk()?;
        let data = std::ffi::CString::new(format!("size={megabytes}m,mode=700")).unwrap();
        mount(
            "tmpfs",
            place.path(),
            "tmpfs",
            MountFlags::empty(),
            Some(data.as_c_str()),
        )
        .unwrap();
        Some(place)
    }

    /// One where the temporary directory is.
    fn on_disk() -> Option<Place> {
        let tools = [
            "mke2fs",
            "mkfs.xfs",
            "mkfs.btrfs",
            "xfs_repair",
            "losetup",
            "fsfreeze",
        ];
        if let Some(missing) = tools.into_iter().find(|tool| {
            !Path::new("/usr/sbin").join(tool).exists() && !Path::new("/sbin").join(tool).exists()
        }) {
            println!("skipped: there is no {missing}");
            return None;
        }
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
            println!("skipped: this needs root and loop devices");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        Some(Place {
            directory: tempfile::Builder::new()
                .prefix("dockside-images-")
                .tempdir()
                .unwrap(),
        })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn image(&self, id: &str, filesystem: Filesystem) -> Image {
        Image {
            id: id.to_owned(),
            file: self.path().join("images").join(format!("{id}.img")),
            size: size(filesystem),
            filesystem,
            from: None,
            owner: Owner::default(),
            blank: false,
        }
    }

    fn copy(&self, id: &str, source: &Image) -> Image {
        Image {
            id: id.to_owned(),
            file: self.path().join("images").join(format!("{id}.img")),
            from: Some(source.file.clone()),
            ..source.clone()
        }
    }

    /// Mounts an image.
    fn mount(&self, image: &Image) -> Mounted {
        let path = self.path().join(format!("{}.mounted", image.id));
        fs::create_dir_all(&path).unwrap();
        let options = format!("loop,{}", image.filesystem.options());
        ran([
            "mount".as_ref(),
            "-t".as_ref(),
            image.filesystem.name().as_ref(),
            "-o".as_ref(),
            options.trim_end_matches(',').as_ref(),
            image.file.as_os_str(),
            path.as_os_str(),
        ]);
        Mounted {
            path,
            file: image.file.clone(),
        }
    }

    /// What is in the directory of the images.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<_> = match fs::read_dir(self.path().join("images")) {
            Ok(entries) => entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect(),
            Err(_) => Vec::new(),
        };
        left.sort();
        left
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let path = self.path().to_owned();
        let devices = || -> Vec<String> {
            fs::read_dir("/sys/block")
                .unwrap()
                .filter_map(|entry| {
                    fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok()
                })
                .filter(|file| Path::new(file).starts_with(&path))
                .collect()
        };
        if !thread::panicking() {
            // Those of a killed process go a moment after it.
            until("no loop device is left", || devices().is_empty());
        }
        let _ = unmount(&path, UnmountFlags::DETACH);
    }
}

/// A mounted image.
struct Mounted {
    path: PathBuf,
    file: PathBuf,
}

impl Mounted {
    fn device(&self) -> PathBuf {
        attached(&self.file).unwrap().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = unmount(&self.path, UnmountFlags::DETACH);
        } else {
            // A process that another test just starts has copies of this one's descriptors for a moment.
            until("the image is unmounted", || {
                unmount(&self.path, UnmountFlags::empty()).is_ok()
            });
            free(&self.file);
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// Waits until the kernel has given a loop device free, which it does a moment after the last user.
fn free(file: &Path) {
    until("the loop device is free", || {
        attached(file).unwrap().is_none()
    });
}

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "it did not come that {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn run<A: AsRef<OsStr>>(command: impl IntoIterator<Item = A>) -> Output {
    let mut command = command.into_iter();
    Command::new(command.next().unwrap())
        .args(command)
        .output()
        .unwrap()
}

fn ran<A: AsRef<OsStr>>(command: impl IntoIterator<Item = A>) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Says what is wrong with a file system that is not mounted.
fn sound(image: &Image) {
    let file = image.file.as_os_str();
    match image.filesystem {
        Filesystem::Ext4 => ran(["e2fsck".as_ref(), "-f".as_ref(), "-n".as_ref(), file]),
        Filesystem::Xfs => ran(["xfs_repair".as_ref(), "-n".as_ref(), "-f".as_ref(), file]),
        Filesystem::Btrfs => ran([
            "btrfs".as_ref(),
            "check".as_ref(),
            "--readonly".as_ref(),
            file,
        ]),
    };
}

/// Runs this test again in a process of its own, in this mount namespace, with a variable set.
fn again(test: &str, variable: &str, value: &OsStr) -> std::process::Child {
    let module = module_path!().split_once("::").unwrap().1;
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .env(variable, value)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

fn killed(mut child: std::process::Child) -> bool {
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}
