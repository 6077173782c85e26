//! Every operation of every capability that changes the machine, as a script.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use dockside_tests::skip;
use dockside_tests::world::{Snapshot, World};

use crate::server::{self, Server};
use crate::{created, is_empty, removed, world};

/// Worlds side by side.
const WORLDS: usize = 2;

/// The volume that makes what an operation needs.
pub(crate) const BEFORE: &str = "before";

/// The volume that is the operation.
pub(crate) const VOLUME: &str = "v";

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// What it does.
    pub(crate) name: &'static str,
    /// What was made before it, by a call of its own.
    pub(crate) before: &'static str,
    /// The operation.
    pub(crate) script: &'static str,
    /// What takes it away again, if that is not what removing the volume does by itself.
    pub(crate) undo: Option<&'static str>,
}

const fn one(name: &'static str, before: &'static str, script: &'static str) -> Operation {
    Operation {
        name,
        before,
        script,
        undo: None,
    }
}

/// All of them.
pub(crate) const ALL: &[Operation] = &[
    one("directory", "", "mkdir d uid=7 gid=8 mode=0750"),
    one("directory removed", "mkdir d", "rmdir d"),
    one("tmpfs", "", "tmpfs m 4m inodes=100 mode=0700 noexec"),
    one("bind", "mkdir d", "bind m d ro"),
    one(
        "overlay",
        "mkdir low; mkdir up; mkdir work",
        "overlay m low up work",
    ),
    one(
        "overlay with its directories",
        "",
        "mkdir low; mkdir up; mkdir work; overlay m low up work",
    ),
    one("host path", "", "hostpath m OUTSIDE ro"),
    one(
        "helper",
        "",
        "helper m sshfs root@127.0.0.1:OUTSIDE port=2222 identity=key,known-hosts=known ro",
    ),
    one(
        "unmount helper",
        "helper m sshfs root@127.0.0.1:OUTSIDE port=2222 identity=key,known-hosts=known",
        "unmount m",
    ),
    one("unmount tmpfs", "tmpfs m 4m", "unmount m"),
    one("unmount bind", "mkdir d; bind m d", "unmount m"),
    one("image ext4", "", "image i 16m ext4 uid=5 mode=0711"),
    one("image xfs", "", "image i 300m xfs"),
    one("image mount", "image i 16m ext4", "imgmount m i"),
    one(
        "image unmount",
        "image i 16m ext4; imgmount m i",
        "unmount m",
    ),
    one("image clone", "image i 16m ext4", "imgclone i c"),
    one(
        "image clone while mounted",
        "image i 16m ext4; imgmount m i",
        "imgclone i c",
    ),
    one(
        "image restore",
        "image i 16m ext4; imgclone i c; imgrestore i c",
        "imgrestore i c",
    ),
    one("image grow", "image i 16m ext4", "imggrow i 32m"),
    one(
        "image grow while mounted",
        "image i 16m ext4; imgmount m i",
        "imggrow i 32m",
    ),
    one("image delete", "image i 16m ext4", "imgdelete i"),
    one("bridge", "", "bridge b mtu=1400 mac=02:00:00:00:00:09"),
    one("bridge with options", "", "bridge b stp snooping down"),
    one("pair", "", "pair a b mtu=1300"),
    one("vxlan", "", "vxlan x 77 device=wire0 port=4790 learning"),
    one("macvlan", "", "macvlan v wire0 bridge"),
    one("delete bridge", "bridge b; addr b 10.9.0.1/24", "linkdel b"),
    one("delete pair", "pair a p", "linkdel a"),
    one(
        "delete port",
        "bridge b; pair a p; master p b; isolate p",
        "linkdel p",
    ),
    one("address", "bridge b", "addr b 10.9.0.1/24"),
    one("address of IPv6", "bridge b", "addr b fd09::1/64"),
    one(
        "address removed",
        "bridge b; addr b 10.9.0.1/24",
        "deladdr b 10.9.0.1/24",
    ),
    one(
        "route",
        "bridge b; addr b 10.9.0.1/24",
        "route b 10.77.0.0/16 10.9.0.2",
    ),
    one(
        "route removed",
        "bridge b; addr b 10.9.0.1/24; route b 10.77.0.0/16 10.9.0.2",
        "delroute b 10.77.0.0/16 10.9.0.2",
    ),
    one(
        "fdb",
        "vxlan x 78 device=wire0",
        "fdb x 06:00:00:00:00:55 10.1.2.3",
    ),
    one(
        "fdb removed",
        "vxlan x 78 device=wire0; fdb x 06:00:00:00:00:55 10.1.2.3",
        "delfdb x 06:00:00:00:00:55 10.1.2.3",
    ),
    one(
        "neighbour",
        "bridge b; addr b 10.9.0.1/24",
        "neigh b 10.9.0.7 06:00:00:00:00:66",
    ),
    one(
        "neighbour removed",
        "bridge b; addr b 10.9.0.1/24; neigh b 10.9.0.7 06:00:00:00:00:66",
        "delneigh b 10.9.0.7",
    ),
    one("mtu", "bridge b", "mtu b 1280"),
    one("up", "bridge b down", "up b"),
    one("down", "bridge b", "down b"),
    one("master", "bridge b; pair a p", "master p b"),
    one("no master", "bridge b; pair a p; master p b", "nomaster p"),
    one("isolate", "bridge b; pair a p; master p b", "isolate p"),
    one(
        "no isolation",
        "bridge b; pair a p; master p b; isolate p",
        "noisolate p",
    ),
    one("hairpin", "bridge b; pair a p; master p b", "hairpin p"),
    one(
        "masquerade",
        "bridge b; addr b 10.9.0.1/24",
        "nat n masq=10.9.0.0/24@b",
    ),
    one("forward", "bridge b", "nat n forward@b"),
    one("internal", "bridge b", "nat n internal@b"),
    one("isolate a network", "bridge b", "nat n isolate@b"),
    one(
        "publish",
        "bridge b; addr b 10.9.0.1/24",
        "nat n publish=tcp:18080:10.9.0.2:80@b,publish=udp:127.0.0.1:18081:10.9.0.2:81@b",
    ),
    one(
        "rules removed",
        "bridge b; addr b 10.9.0.1/24; nat n masq=10.9.0.0/24@b,forward@b",
        "natdel n",
    ),
    one("secret kept", "", "keep s hunter2"),
    one("secret forgotten", "keep s hunter2", "forget s"),
    Operation {
        name: "state",
        before: "",
        script: "set k some text",
        undo: Some("unset k"),
    },
    Operation {
        name: "note",
        before: "",
        script: "note what would settle it",
        undo: Some(""),
    },
    one(
        "a network",
        "tmpfs other 1m",
        "bridge b; addr b 10.9.0.1/24; pair a p; master p b; nat n masq=10.9.0.0/24@b,forward@b",
    ),
    one(
        "a disk",
        "image i 16m ext4",
        "imgclone i c; imgmount m c; mkdir d; bind n mount:m; tmpfs t 1m",
    ),
    one(
        "all goes",
        "mkdir d; image i 16m ext4; imgmount m i; bind n d; bridge b; pair a p; master p b; nat r forward@b",
        "natdel r; linkdel a; linkdel b; unmount n; unmount m; imgdelete i; rmdir d",
    ),
];

/// How a killed call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Nothing,
    Committed,
}

/// What an operation leads from and to.
pub(crate) struct Expected {
    /// What was there before it, in this very world.
    pub(crate) before: Snapshot,
    /// What it makes, of another time.
    pub(crate) after: Snapshot,
}

fn in_world(script: &str, world: &World) -> String {
    script.replace("OUTSIDE", &world.outside.display().to_string())
}

impl Operation {
    pub(crate) fn script_in(&self, world: &World) -> String {
        in_world(self.script, world)
    }

    pub(crate) fn prepare(&self, world: &World) -> Result<Snapshot> {
        created(world, BEFORE, &[("do", &in_world(self.before, world))])
            .with_context(|| format!("what {:?} needs", self.name))?;
        self.look(world)
    }

    pub(crate) fn look(&self, world: &World) -> Result<Snapshot> {
        // Notes stay until a driver has settled them, and one that cannot is not asked.
        let snapshot = world.settled()?.without("row note");
        // Mounting a file system changes what is in it.
        let mounts = [self.before, self.script]
            .iter()
            .any(|script| script.contains("imgmount"));
        Ok(if mounts {
            snapshot.without("content")
        } else {
            snapshot
        })
    }

    pub(crate) fn options<'a>(&self, script: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut options = vec![("do", script)];
        options.extend(self.undo.map(|undo| ("undo", undo)));
        options
    }

    /// Why this machine cannot do it, if it cannot.
    fn not_here(&self) -> Option<&'static str> {
        if self.name == "image grow while mounted" && !has_capability(CAP_SYS_RESOURCE) {
            return Some("ext4 does not grow while it is mounted without CAP_SYS_RESOURCE");
        }
        if self.name.contains("helper") && !server::is_possible() {
            return Some("it needs sshfs, openssh-server and /dev/fuse");
        }
        None
    }

    /// Takes everything away and prepares anew.
    pub(crate) fn again(&self, world: &World, expected: &mut Expected) -> Result<()> {
        self.back(world)?;
        is_empty(&self.look(world)?)?;
        expected.before = self.prepare(world)?;
        Ok(())
    }

    /// Does it once, undisturbed, and prepares it again. Returns what it leads to, and the failpoints that it visits.
    pub(crate) fn expected(&self, world: &World) -> Result<(Expected, Vec<(String, usize)>)> {
        let script = self.script_in(world);
        let before = self.prepare(world)?;
        world.arm("")?;
        created(world, VOLUME, &self.options(&script))?;
        let after = self.look(world)?;
        let visits = world.visits()?;
        ensure!(
            !before.difference(&after).is_empty(),
            "the operation does nothing"
        );
        let mut expected = Expected { before, after };
        self.again(world, &mut expected)?;
        Ok((expected, visits))
    }

    /// Takes away what was made before it.
    pub(crate) fn back_before(&self, world: &World) -> Result<()> {
        removed(world, BEFORE)
    }

    /// Takes everything away.
    pub(crate) fn back(&self, world: &World) -> Result<()> {
        removed(world, VOLUME)?;
        removed(world, BEFORE)
    }
}

pub(crate) fn judge(now: &Snapshot, expected: &Expected) -> Result<End> {
    let from_before = expected.before.difference(now);
    if from_before.is_empty() {
        return Ok(End::Nothing);
    }
    let from_after = expected.after.unlikeness(now);
    if from_after.is_empty() {
        return Ok(End::Committed);
    }
    bail!(
        "something between:\n  against nothing:\n{from_before}  against everything:\n{from_after}"
    )
}

/// Bit of `CapEff` (capabilities(7)).
const CAP_SYS_RESOURCE: u64 = 1 << 24;

fn has_capability(bit: u64) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & bit != 0)
}

/// Does something with each operation, or with the one that `DOCKSIDE_OPERATION` names, in worlds of their own, and adds up what it counted.
pub(crate) fn each(
    test: &str,
    what: &str,
    work: impl Fn(&World, &Operation) -> Result<usize> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let count = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let only = std::env::var("DOCKSIDE_OPERATION").ok();
    thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| {
                let mut place: Option<World> = None;
                let mut server = None;
                while let Some(one) = ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if only.as_deref().is_some_and(|only| one.name != only) {
                        continue;
                    }
                    if let Some(reason) = one.not_here() {
                        skip::skipped(&format!("{test}: {}", one.name), reason);
                        continue;
                    }
                    let result = (|| {
                        if place.is_none() {
                            place = world(test, "machine", "")?;
                            server = match &place {
                                Some(world) if server::is_possible() => Some(Server::start(world)?),
                                _ => None,
                            };
                        }
                        match &place {
                            Some(world) => work(world, one),
                            None => Ok(0),
                        }
                    })();
                    match result {
                        Ok(done) => {
                            count.fetch_add(done, Ordering::Relaxed);
                        }
                        Err(error) => {
                            let log = place.as_ref().map(|world| world.site.log_end());
                            wrong.lock().unwrap().push(format!(
                                "{}: {error:#}\n  the daemon's log ends\n{}",
                                one.name,
                                log.unwrap_or_default()
                            ));
                            drop(server.take());
                            // What is wrong with it must not be counted against the next operation.
                            place = None;
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    eprintln!(
        "{test}: {} operations, {} {what}, {} wrong",
        ALL.len(),
        count.into_inner(),
        wrong.len()
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}
