//! The table's fixed part: what every rule set stands on.

use super::script::Script;
use super::uplinks;

/// The table.
pub(super) const TABLE: &str = "inet dockside";

/// The bits that a packet which this table accepts has on its way through FORWARD. Several, so that it does not look like anyone else's mark.
pub const MARK: u32 = 0x0d0c_51de;

/// Maps and sets. What is in a map leads to a chain of the rule set that put it there, so the kernel refuses a key that another has, and
/// takes the same one twice. A name must get another type only together with another name: a daemon may find the table of an older one.
const SETS: [(&str, &str); 8] = [
    ("map links", "type ifname : verdict"),
    ("map leaving", "type ifname : verdict"),
    ("set names", "type ifname"),
    ("set uplinks", "type ifname"),
    ("map any4", "type inet_proto . inet_service : verdict"),
    ("map any6", "type inet_proto . inet_service : verdict"),
    (
        "map bound4",
        "type ipv4_addr . inet_proto . inet_service : verdict",
    ),
    (
        "map bound6",
        "type ipv6_addr . inet_proto . inet_service : verdict",
    ),
];

/// The name of a map or set of the table.
pub(super) fn set_name(name: &str) -> Option<&'static str> {
    SETS.iter()
        .filter_map(|(set, _)| set.split_once(' '))
        .map(|(_, known)| known)
        .find(|known| *known == name)
}

/// Each chain with its hook and its rules.
///
/// `held` is empty: every rule set has a jump to it that is never taken, so the kernel refuses to remove it, and in the same transaction the
/// table, while there is one.
fn chains() -> [(&'static str, &'static str, Vec<String>); 8] {
    let rules = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
    [
        ("held", "", Vec::new()),
        (
            "publish",
            "",
            rules(&[
                "ip daddr . meta l4proto . th dport vmap @bound4",
                "meta nfproto ipv4 meta l4proto . th dport vmap @any4",
                "ip6 daddr . meta l4proto . th dport vmap @bound6",
                "meta nfproto ipv6 meta l4proto . th dport vmap @any6",
            ]),
        ),
        (
            // Where a link takes loopback addresses, for ports that are published on them, its neighbours must not reach what listens
            // on the host's own.
            "guard",
            "{ type filter hook prerouting priority raw; policy accept; }",
            rules(&["iifname != \"lo\" ip daddr 127.0.0.0/8 drop"]),
        ),
        (
            "prerouting",
            "{ type nat hook prerouting priority dstnat; policy accept; }",
            rules(&["fib daddr type local jump publish"]),
        ),
        (
            "output",
            "{ type nat hook output priority -100; policy accept; }",
            rules(&["fib daddr type local jump publish"]),
        ),
        (
            "postrouting",
            "{ type nat hook postrouting priority srcnat; policy accept; }",
            rules(&[
                "iifname vmap @leaving",
                "oifname vmap @leaving",
                // Nobody else can answer to a loopback address.
                "ip saddr 127.0.0.0/8 oifname != \"lo\" ct status dnat masquerade",
            ]),
        ),
        (
            // Before the filters of others, which see the mark.
            "forward",
            "{ type filter hook forward priority -5; policy accept; }",
            rules(&["iifname vmap @links", "oifname vmap @links"]),
        ),
        (
            "unmark",
            "{ type filter hook postrouting priority 300; policy accept; }",
            vec![format!(
                "meta mark & {MARK:#010x} == {MARK:#010x} meta mark set meta mark & {:#010x}",
                !MARK
            )],
        ),
    ]
}

/// Makes what is missing, and puts the fixed chains right.
pub(super) fn ensure(script: &mut Script) {
    let what = "make dockside's table";
    script.line(what, format!("add table {TABLE}"));
    for (set, kind) in SETS {
        let (word, name) = set.split_once(' ').unwrap_or_default();
        script.line(what, format!("add {word} {TABLE} {name} {{ {kind}; }}"));
    }
    script.line(what, format!("flush set {TABLE} uplinks"));
    for link in uplinks::links() {
        script.line(
            what,
            format!("add element {TABLE} uplinks {{ \"{link}\" }}"),
        );
    }
    let chains = chains();
    for (name, hook, _) in &chains {
        script.line(what, format!("add chain {TABLE} {name} {hook}"));
    }
    for (name, _, rules) in chains {
        script.chain(what, name, rules);
    }
}

/// Takes the table away, unless a rule set holds it.
pub(super) fn remove() -> Script {
    let what = "remove dockside's table";
    let mut script = Script::default();
    script.line(what, format!("delete chain {TABLE} held"));
    script.line(what, format!("delete table {TABLE}"));
    script
}
