//! Every operation of every capability that changes the machine, as a script.

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
    one("host path", "", "hostpath m OUTSIDE ro"),
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
