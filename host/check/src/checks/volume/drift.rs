//! What others do behind the plugin's back.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::mount::{UnmountFlags, unmount};

use super::common::{Volumes, has_volume, mounts_at};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "V40",
        level: Level::Security,
        kind: Some(Kind::Volume),
        needs: &[Need::Root],
        title: "an unprivileged user plants links, files and pipes at the mount point",
        rule: "It cannot, or Mount refuses: a plugin that follows what others can write mounts a volume over any directory of the machine.",
        slow: true,
        run: planted,
    },
    Check {
        id: "V41",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[Need::Root],
        title: "Mount after somebody unmounted the volume by hand",
        rule: "It is mounted again: the next container must not write into the empty directory below.",
        slow: false,
        run: unmounted,
    },
    Check {
        id: "V42",
        level: Level::Robustness,
        kind: Some(Kind::Volume),
        needs: &[Need::Root],
        title: "Get, Mount and Remove after the data was deleted behind the plugin",
        rule: "Get does not find it, Mount fails, Remove succeeds: `docker volume rm` is how users clean up.",
        slow: false,
        run: lost,
    },
];

/// An unprivileged user: `nobody` on most systems.
const NOBODY: u32 = 65534;

/// A user who plants things at one path for as long as this value lives.
struct Planter(Child);

impl Planter {
    fn start(at: &Path, bait: &Path) -> Outcome<Self> {
        // Each turn takes away what is there, if it may, and puts something else there.
        let script = r#"
            while :; do
                for what in link file fifo directory; do
                    rm -rf "$1" 2>/dev/null || mv "$1" "$1.moved" 2>/dev/null
                    case $what in
                        link) ln -s "$2" "$1" ;;
                        file) : > "$1" ;;
                        fifo) mkfifo "$1" ;;
                        directory) mkdir "$1" ;;
                    esac 2>/dev/null
                done
                ln -sfn "$2" "$1" 2>/dev/null
            done"#;
        Command::new("/bin/sh")
            .args(["-c", script, "planter"])
            .args([at, bait])
            .uid(NOBODY)
            .gid(NOBODY)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .map_err(|error| Stop::skip(format!("no process of another user: {error}")))
    }
}

impl Drop for Planter {
    fn drop(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that only root may change, with a file in it.
struct Bait(PathBuf);

impl Bait {
    fn new(bench: &Bench) -> Outcome<Self> {
        let path = std::env::temp_dir().join(bench.name("bait"));
        let make = || {
            fs::create_dir(&path)?;
            fs::write(path.join("bait"), "untouched")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        };
        make().map_err(|error| Stop::skip(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn is_untouched(&self) -> bool {
        let entries = fs::read_dir(&self.0).map(|entries| entries.flatten().count());
        mounts_at(&self.0).is_empty()
            && matches!(entries, Ok(1))
            && fs::read_to_string(self.0.join("bait")).is_ok_and(|text| text == "untouched")
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        while !mounts_at(&self.0).is_empty() && unmount(&self.0, UnmountFlags::DETACH).is_ok() {}
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Mounts that another user's links meet at least.
const TRIES: usize = 200;

fn planted(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("planted")?;
    let id = bench.id();
    let place = volumes.mounted(&name, &id)?;
    volumes.unmount(&name, &id).succeeds()?;
    place.goes(bench, "after Unmount")?;
    let bait = Bait::new(bench)?;
    let planter = Planter::start(&place.path, &bait.0)?;
    let (began, time) = (Instant::now(), bench.patience().seconds(30.0));
    let mut outcome = Ok(());
    let mut tries = 0;
    // A machine that is busy, or little patience, leaves time for few of them.
    while outcome.is_ok()
        && (began.elapsed() < time || (tries < TRIES && began.elapsed() < 10 * time))
    {
        tries += 1;
        let id = bench.id();
        let answer = volumes.mount(&name, &id);
        outcome = answer.ensure(bait.is_untouched(), || {
            format!(
                "another user's link at {} has led the plugin to {}",
                place.path.display(),
                bait.0.display()
            )
        });
        if answer.is_success() {
            let _ = volumes.unmount(&name, &id);
        }
    }
    drop(planter);
    outcome?;
    ensure(bait.is_untouched(), || {
        format!(
            "another user's link at {} has led the plugin to {}",
            place.path.display(),
            bait.0.display()
        )
    })?;
    clear(&place.path);
    clear(&place.path.with_extension("moved"));
    volumes.remove(&name).succeeds().map(drop)
}

/// Takes away what the planter left, if it was able to leave anything.
fn clear(path: &Path) {
    let Ok(found) = fs::symlink_metadata(path) else {
        return;
    };
    use std::os::unix::fs::MetadataExt;
    if found.uid() != NOBODY {
        return;
    }
    let _ = match found.file_type() {
        kind if kind.is_dir() => fs::remove_dir(path),
        kind if kind.is_symlink() || kind.is_fifo() || kind.is_file() => fs::remove_file(path),
        _ => Ok(()),
    };
}

fn unmounted(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("unmounted")?;
    let (first, second) = (bench.id(), bench.id());
    let place = volumes.mounted(&name, &first)?;
    place.mark("below")?;
    let mounts = place.mounts();
    if mounts == 0 {
        return Err(Stop::skip(
            "the volume is a plain directory: there is nothing to unmount",
        ));
    }
    while place.mounts() > 0 {
        unmount(&place.path, UnmountFlags::DETACH)
            .map_err(|error| Stop::skip(format!("{}: {error}", place.path.display())))?;
    }
    let answer = volumes.mount(&name, &second);
    answer.succeeds()?;
    answer.ensure(
        place.mounts() == mounts && place.marked().as_deref() == Some("below"),
        || "Mount says that the volume is there, and it is not",
    )?;
    volumes.unmount(&name, &second).succeeds()?;
    // What the first one had was lost with the mount: a plugin that says so is right, too.
    let _ = volumes.unmount(&name, &first);
    place.goes(bench, "after the Unmount of both IDs")
}

fn lost(bench: &Bench) -> Outcome {
    let Some(lose) = &bench.profile().volume.lose else {
        return Err(Stop::skip(
            "it is not known how to delete a volume's data: lose under [volume] in the profile",
        ));
    };
    let volumes = Volumes::of(bench);
    let name = volumes.made("lost")?;
    let status = Command::new("/bin/sh")
        .args(["-c", lose])
        .env("NAME", &name)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Err(Stop::skip(format!("the command `lose`: {status:?}")));
    }
    let found = volumes.get(&name);
    found.ensure(
        !has_volume(&found),
        || "Get gives a volume whose data is gone",
    )?;
    volumes.mount(&name, &bench.id()).errs()?;
    volumes.remove(&name).succeeds()?;
    ensure(
        !volumes.is_there(&name),
        || "Get still gives the volume that was removed",
    )
}
