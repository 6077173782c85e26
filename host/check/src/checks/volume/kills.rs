//! The plugin's process ends when it is least convenient.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};

use super::common::{Place, Volumes};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};
use crate::client::Answer;

const NEEDS: &[Need] = &[Need::Root, Need::Process];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "V43",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: NEEDS,
        title: "the plugin is killed while a volume is mounted",
        rule: "After its start it knows the volume, where it is mounted and for whom: the data is to be seen, there is one kernel mount, and none after Unmount.",
        slow: false,
        run: killed_while_mounted,
    },
    Check {
        id: "V44",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: NEEDS,
        title: "the machine restarts while a volume is mounted",
        rule: "References of the time before are gone: Mount mounts, the Unmount of an old ID succeeds, and the last Unmount leaves no mount.",
        slow: false,
        run: rebooted,
    },
    Check {
        id: "V45",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: NEEDS,
        title: "the plugin is killed in the middle of Create, Mount, Unmount and Remove",
        rule: "After its start the call has happened as a whole or not at all; what was answered has happened; no mount is left over.",
        slow: true,
        run: killed_within,
    },
];

fn restart(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    control.kill().map_err(Stop::skip)?;
    control.start().map_err(Stop::fail)
}

fn killed_while_mounted(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("survivor")?;
    let id = bench.id();
    let place = volumes.mounted(&name, &id)?;
    place.mark("survivor")?;
    let mounts = place.mounts();
    restart(bench)?;
    let answer = volumes.get(&name);
    answer.succeeds()?;
    for (answer, field) in [
        (answer, "/Volume/Mountpoint"),
        (volumes.path(&name), "/Mountpoint"),
    ] {
        answer.succeeds()?;
        answer.ensure(Path::new(&answer.text(field)) == place.path, || {
            format!("it was mounted at {}", place.path.display())
        })?;
    }
    ensure(place.mounts() == mounts, || {
        format!(
            "there were {mounts} kernel mounts at {}, and there are {}",
            place.path.display(),
            place.mounts()
        )
    })?;
    place.stays(bench, "survivor", "after the restart of the plugin")?;
    volumes.unmount(&name, &id).succeeds()?;
    place.goes(bench, "after the Unmount that followed a restart")
}

/// Another number of the machine's start, as after a reboot, for as long as this value lives.
struct OtherBoot(PathBuf);

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl OtherBoot {
    fn begin(bench: &Bench) -> Option<Self> {
        let file = std::env::temp_dir().join(bench.name("boot"));
        fs::write(&file, "2d6b1b2a-0000-4000-8000-000000000000\n").ok()?;
        let own = Self(file);
        mount_bind(&own.0, BOOT_ID).ok()?;
        let _ = mount_remount(BOOT_ID, MountFlags::BIND | MountFlags::RDONLY, "");
        Some(own)
    }
}

impl Drop for OtherBoot {
    fn drop(&mut self) {
        if super::common::mounts_at(Path::new(BOOT_ID)).is_empty() {
            let _ = fs::remove_file(&self.0);
            return;
        }
        let _ = unmount(BOOT_ID, UnmountFlags::DETACH);
        let _ = fs::remove_file(&self.0);
    }
}

fn rebooted(bench: &Bench) -> Outcome {
    let name = Volumes::of(bench).made("rebooted")?;
    let (first, second, third) = (bench.id(), bench.id(), bench.id());
    let engine = bench.engine()?;
    let volumes = Volumes::from(bench, &engine);
    let place = volumes.mounted(&name, &first)?;
    volumes.mounted(&name, &second)?;
    place.mark("on disk")?;
    drop(engine);
    let control = bench.control()?;
    control.kill().map_err(Stop::skip)?;
    while place.mounts() > 0 {
        unmount(&place.path, UnmountFlags::DETACH)
            .map_err(|error| Stop::skip(format!("{}: {error}", place.path.display())))?;
    }
    let boot = OtherBoot::begin(bench);
    let outcome = control
        .start()
        .map_err(Stop::fail)
        .and_then(|()| after_boot(bench, &name, &place, [&first, &third]));
    drop(boot);
    outcome
}

fn after_boot(bench: &Bench, name: &str, place: &Place, [old, new]: [&str; 2]) -> Outcome {
    let engine = bench.engine()?;
    let volumes = Volumes::from(bench, &engine);
    let again = volumes.mounted(name, new)?;
    again.stays(
        bench,
        "on disk",
        "after a restart of the machine and a Mount",
    )?;
    volumes.unmount(name, old).succeeds()?;
    again.stays(
        bench,
        "on disk",
        "after the Unmount of an ID from before the restart of the machine",
    )?;
    volumes.unmount(name, new).succeeds()?;
    again.goes(bench, "after the only Unmount since the machine started")?;
    place.goes(bench, "after the only Unmount since the machine started")?;
    volumes.remove(name).succeeds().map(drop)
}

/// A call that is cut off, and what has to hold before it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Create,
    Mount,
    Unmount,
    Remove,
}

/// One volume that the plugin dies over.
struct Life<'a> {
    volumes: Volumes<'a>,
    name: String,
    id: String,
    place: Option<Place>,
}

impl<'a> Life<'a> {
    fn before(bench: &'a Bench<'a>, cut: Cut) -> Outcome<Self> {
        let mut life = Self {
            volumes: Volumes::of(bench),
            name: bench.name("cut"),
            id: bench.id(),
            place: None,
        };
        if cut != Cut::Create {
            life.volumes.create(&life.name).succeeds()?;
            let place = life.volumes.mounted(&life.name, &life.id)?;
            place.mark("cut")?;
            life.place = Some(place);
        }
        if matches!(cut, Cut::Mount | Cut::Remove) {
            life.volumes.unmount(&life.name, &life.id).succeeds()?;
        }
        Ok(life)
    }

    fn call(&self, cut: Cut) -> Answer {
        match cut {
            Cut::Create => self.volumes.create(&self.name),
            Cut::Mount => self.volumes.mount(&self.name, &self.id),
            Cut::Unmount => self.volumes.unmount(&self.name, &self.id),
            Cut::Remove => self.volumes.remove(&self.name),
        }
    }

    /// After a call that was cut off: what was answered has happened, and a repetition brings everything in order.
    fn judge(&self, cut: Cut, answer: &Answer, repeated: bool) -> Outcome {
        let (volumes, bench) = (&self.volumes, self.volumes.bench);
        let there = volumes.is_there(&self.name);
        if answer.is_success() && matches!(cut, Cut::Create | Cut::Remove) {
            answer.ensure(
                there == (cut == Cut::Create),
                || "the plugin answered this, was killed, and knows nothing of it",
            )?;
        }
        if matches!(cut, Cut::Mount | Cut::Unmount) {
            ensure(there, || "the volume is gone")?;
        }
        if cut == Cut::Mount && !repeated {
            return self.judge_unmounted();
        }
        let again = self.call(cut);
        again.succeeds()?;
        // A volume whose Create was cut off can be there already, and is empty.
        let place = match cut {
            Cut::Remove => {
                volumes.create(&self.name).succeeds()?;
                volumes.mounted(&self.name, &self.id)?
            }
            Cut::Mount => Place::of(&again)?,
            Cut::Create | Cut::Unmount => volumes.mounted(&self.name, &self.id)?,
        };
        let wanted = match cut {
            Cut::Create | Cut::Remove if !bench.profile().volume.shared_data => None,
            Cut::Create | Cut::Remove => place.marked(),
            Cut::Mount | Cut::Unmount => Some("cut".to_owned()),
        };
        ensure(place.marked() == wanted, || match &wanted {
            None => "a volume that was made anew holds what another one held".to_owned(),
            Some(_) => "the volume's data is gone".to_owned(),
        })?;
        // One for the call that was cut off, which may have counted, and one for its repetition.
        volumes.unmount(&self.name, &self.id).succeeds()?;
        volumes.unmount(&self.name, &self.id).succeeds()?;
        for place in self.place.iter().chain([&place]) {
            place.goes(bench, "after every Unmount")?;
        }
        volumes.remove(&self.name).succeeds().map(drop)
    }

    /// An engine whose Mount was cut off mounts no more under that ID. A plugin that did mount is told to unmount, as after a timeout.
    fn judge_unmounted(&self) -> Outcome {
        self.volumes.unmount(&self.name, &self.id).succeeds()?;
        if let Some(place) = &self.place {
            place.goes(self.volumes.bench, "after Unmount")?;
        }
        self.volumes.remove(&self.name).succeeds().map(drop)
    }
}

/// How many moments of each call the plugin is killed at.
const MOMENTS: u32 = 8;

fn killed_within(bench: &Bench) -> Outcome {
    let control = bench.control()?;
    for cut in [Cut::Create, Cut::Mount, Cut::Unmount, Cut::Remove] {
        let life = Life::before(bench, cut)?;
        let began = Instant::now();
        let answer = life.call(cut);
        let usual = began.elapsed().max(Duration::from_micros(400));
        life.judge(cut, &answer, true)?;
        for moment in 0..MOMENTS {
            let life = Life::before(bench, cut)?;
            let answer = std::thread::scope(|scope| {
                let call = scope.spawn(|| life.call(cut));
                std::thread::sleep(usual * moment / (MOMENTS - 2));
                let killed = control.kill();
                let answer = call.join();
                killed
                    .map_err(Stop::skip)
                    .map(|()| answer.map_err(|_| Stop::skip("a thread of the check ended early")))
            });
            control.start().map_err(Stop::fail)?;
            let answer = answer??;
            life.judge(cut, &answer, moment % 2 == 0)
                .map_err(|stop| stop.during(format!("killed in the middle of {cut:?}")))?;
        }
    }
    Ok(())
}
