//! What lies below what, against sets of everything that lies there. `PROPTEST_CASES` sets the number of cases.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::select;

use super::plugin;
use crate::config::grants::{Grants, Refusal, RefusalKind};

fn grants(text: &str) -> Grants {
    plugin(text).unwrap().grants
}

/// Names that are beginnings of each other, differ in case, or look like what they are not.
const NAMES: &[&str] = &["a", "b", "ab", "A", "a.", "..a", "a b", "ü", "\"", "-a"];

fn names(most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(NAMES), 0..=most)
}

/// How a path is written: what is between its names, and at its ends.
fn spelling() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(&["/", "//", "/./", "/.//"][..]), 7)
}

/// A path in one of its spellings. It begins with a slash.
fn spelled(names: &[&str], spelling: &[&str]) -> String {
    let mut path = String::new();
    for (index, name) in names.iter().enumerate() {
        path.push_str(spelling[index]);
        path.push_str(name);
    }
    if names.is_empty() || spelling[6] != "/" {
        path.push_str(spelling[5]);
    }
    path
}

/// Hosts, each in several spellings.
const HOSTS: &[&[&str]] = &[
    &["nas", "NAS", "nas.", "Nas."],
    &["nas2"],
    &["nas.a", "NAS.A."],
    &["10.0.0.5", "::ffff:10.0.0.5", "[::ffff:a00:5]"],
    &["10.0.0.50"],
    &["fd00::1", "[fd00::1]", "FD00:0:0::1", "[fd00:0::0001]"],
    &["fe80::1%eth0", "[fe80:0::1%eth0]"],
    &["fe80::1%eth1"],
];

type Host = (usize, usize);

fn host() -> impl Strategy<Value = Host> {
    (0..HOSTS.len(), 0..4usize)
}

fn name_of((host, spelling): Host) -> &'static str {
    HOSTS[host][spelling % HOSTS[host].len()]
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Whether one of the places is `names` or above it: by looking up each that is above in the set of places.
fn below<H: std::hash::Hash + Eq + Copy>(
    places: &HashSet<(H, Vec<&str>)>,
    host: H,
    names: &[&str],
) -> bool {
    (0..=names.len()).any(|depth| places.contains(&(host, names[..depth].to_vec())))
}

fn list(items: &[String]) -> String {
    let quoted: Vec<String> = items
        .iter()
        .map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("[{}]", quoted.join(", "))
}

/// The answer is as expected, and what a refusal says would grant it grants it.
fn holds(
    rules: &[String],
    expected: bool,
    ask: impl Fn(&str) -> Result<(), Refusal>,
) -> Result<(), TestCaseError> {
    let rules = list(rules);
    let answer = ask(&rules);
    prop_assert_eq!(answer.is_ok(), expected, "{} {:?}", rules, answer);
    if let Err(refusal) = answer {
        prop_assert_eq!(refusal.kind(), RefusalKind::NotGranted, "{}", refusal);
        let more = format!("[{}]", refusal.toml().unwrap());
        prop_assert_eq!(ask(&more), Ok(()));
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_path_of_the_machine_is_granted_with_everything_below(
        rules in prop::collection::vec((names(3), spelling()), 0..4),
        (wanted, spelling) in (names(5), spelling()),
    ) {
        let places = rules.iter().map(|(names, _)| ((), names.clone())).collect();
        let texts: Vec<String> = rules.iter().map(|(names, way)| spelled(names, way)).collect();
        let path = spelled(&wanted, &spelling);
        holds(&texts, below(&places, (), &wanted), |rules| {
            let mounts = grants(&format!("[grants.mounts]\nhost-paths = {rules}")).mounts.unwrap();
            mounts.may_bind_host(Path::new(&path))
        })?;
    }

    #[test]
    fn an_export_is_granted_with_everything_below(
        rules in prop::collection::vec((host(), names(3), spelling()), 0..4),
        (host, wanted, spelling) in (host(), names(4), spelling()),
    ) {
        let places = rules.iter().map(|(host, names, _)| (host.0, names.clone())).collect();
        let texts: Vec<String> = rules
            .iter()
            .map(|(host, names, way)| format!("{}:{}", bracketed(name_of(*host)), spelled(names, way)))
            .collect();
        let path = spelled(&wanted, &spelling);
        holds(&texts, below(&places, host.0, &wanted), |rules| {
            let mounts = grants(&format!("[grants.mounts]\nnfs = {rules}")).mounts.unwrap();
            mounts.may_nfs(name_of(host), &path)
        })?;
    }

    #[test]
    fn a_share_is_granted_with_everything_below(
        rules in prop::collection::vec((host(), select(NAMES), names(2), spelling()), 0..4),
        (host, share, wanted, spelling) in (host(), select(NAMES), names(3), spelling()),
    ) {
        let whole = |share, names: &[&'static str]| [&[share], names].concat();
        let places = rules
            .iter()
            .map(|(host, share, names, _)| (host.0, whole(*share, names)))
            .collect();
        let texts: Vec<String> = rules
            .iter()
            .map(|(host, share, names, way)| format!("//{}/{}", name_of(*host), spelled(&whole(*share, names), way)))
            .collect();
        let wanted = whole(share, &wanted);
        let path = spelled(&wanted, &spelling);
        holds(&texts, below(&places, host.0, &wanted), |rules| {
            let mounts = grants(&format!("[grants.mounts]\ncifs = {rules}")).mounts.unwrap();
            mounts.may_cifs(name_of(host), path.trim_start_matches('/'))
        })?;
    }

    #[test]
    fn a_remote_is_granted_with_everything_below(
        helper in select(&["sshfs", "s3fs", "rclone"][..]),
        rules in prop::collection::vec((select(REMOTES), any::<bool>(), names(3), any::<bool>()), 0..4),
        (remote, absolute, wanted, slash) in (select(REMOTES), any::<bool>(), names(4), any::<bool>()),
    ) {
        // A path in a bucket is always absolute.
        let text = |remote: &str, absolute: bool, names: &[&str], slash: bool| {
            let first = if absolute || (helper == "s3fs" && !names.is_empty()) { "/" } else { "" };
            let last = if slash && !names.is_empty() { "/" } else { "" };
            format!("{remote}:{first}{}{last}", names.join("/"))
        };
        let kind = |absolute: bool, names: &[&str]| absolute || (helper == "s3fs" && !names.is_empty());
        let mut places = HashSet::new();
        for (remote, absolute, names, _) in &rules {
            let absolute = kind(*absolute, names);
            places.insert(((*remote, absolute), names.clone()));
            if names.is_empty() && !absolute {
                places.insert(((*remote, true), Vec::new()));
            }
        }
        let texts: Vec<String> = rules
            .iter()
            .map(|(remote, absolute, names, slash)| text(remote, *absolute, names, *slash))
            .collect();
        let wanted_text = text(remote, absolute, &wanted, slash);
        let expected = below(&places, (remote, kind(absolute, &wanted)), &wanted);
        holds(&texts, expected, |rules| {
            let mounts = grants(&format!("[grants.mounts.helpers]\n{helper} = {rules}")).mounts.unwrap();
            mounts.may_helper(helper, &wanted_text)
        })?;
    }

    #[test]
    fn a_path_that_goes_up_is_granted_by_nothing(
        before in names(3),
        after in names(3),
        spelling in spelling(),
    ) {
        let mut all = before;
        all.push("..");
        all.extend(after);
        let path = spelled(&all[..all.len().min(5)], &spelling);
        let mounts = grants(
            "[grants.mounts]\nhost-paths = [\"/\"]\nnfs = [\"*\"]\ncifs = [\"*\"]\nhelpers = { sshfs = [\"*\"], s3fs = [\"*\"], rclone = [\"*\"] }",
        )
        .mounts
        .unwrap();
        for answer in [
            mounts.may_bind_host(Path::new(&path)),
            mounts.may_nfs("nas", &path),
            mounts.may_cifs("nas", &path),
            mounts.may_helper("sshfs", &format!("nas:{path}")),
            mounts.may_helper("s3fs", &format!("nas:{path}")),
            mounts.may_helper("rclone", &format!("nas:{path}")),
        ] {
            prop_assert_eq!(answer.unwrap_err().kind(), RefusalKind::Invalid);
        }
    }

    #[test]
    fn no_text_is_too_strange_to_be_refused(server in ".{0,12}", path in "[/.a:\\\\@-]{0,12}|.{0,20}") {
        let mounts = grants("[grants.mounts]\nhost-paths = [\"/srv\"]").mounts.unwrap();
        for answer in [
            mounts.may_nfs(&server, &path),
            mounts.may_cifs(&server, &path),
            mounts.may_helper(&server, &path),
            mounts.may_helper("sshfs", &path),
            mounts.may_helper("s3fs", &path),
            mounts.may_helper("rclone", &path),
        ] {
            prop_assert!(!answer.unwrap_err().text("nas", "nas").contains('\n'));
        }
    }

    #[test]
    fn a_port_is_granted_if_a_range_holds_it(
        rules in prop::collection::vec((1..200u16, 0..20u16), 0..4),
        high in any::<bool>(),
        port in 1..220u16,
    ) {
        // At both ends of the numbers that there are.
        let place = |port: u16| if high { 65_535 - 219 + port - 1 } else { port };
        let granted: BTreeSet<u16> = rules
            .iter()
            .flat_map(|(first, more)| (*first..=first + more).map(place))
            .collect();
        let texts: Vec<String> = rules
            .iter()
            .map(|(first, more)| match more {
                0 => place(*first).to_string(),
                _ => format!("{}-{}", place(*first), place(first + more)),
            })
            .collect();
        let port = place(port);
        holds(&texts, granted.contains(&port), |rules| {
            let nat = grants(&format!("[grants.nat]\npublish = {rules}")).nat.unwrap();
            nat.may_publish(port)
        })?;
    }

    #[test]
    fn a_route_is_granted_if_one_network_holds_all_of_its_destination(
        rules in prop::collection::vec(network(), 0..4),
        own in prop::collection::vec(network(), 0..3),
        wanted in network(),
    ) {
        let nets = |nets: &[Network]| nets.iter().map(|net| net.as_net()).collect::<Vec<IpNet>>();
        let all = wanted.addresses();
        let expected = rules.iter().chain(&own).any(|net| net.addresses().is_superset(&all));
        let texts: Vec<String> = rules.iter().map(|net| net.as_net().trunc().to_string()).collect();
        holds(&texts, expected, |rules| {
            let links = grants(&format!("[grants.links]\nroutes = {rules}")).links.unwrap();
            links.may_route(wanted.as_net(), &nets(&own))
        })?;
    }
}

const REMOTES: &[&str] = &[
    "host",
    "Host",
    "me@host",
    "host2",
    "me@[fd00::1]",
    "[fd00::1]",
];

/// A network among the last 256 addresses of 10.0.0.0 or fd00::.
#[derive(Debug, Clone, Copy)]
struct Network {
    v6: bool,
    last: u8,
    /// Bits of the last byte that are in the prefix.
    bits: u8,
}

fn network() -> impl Strategy<Value = Network> {
    (any::<bool>(), any::<u8>(), 0..=8u8).prop_map(|(v6, last, bits)| Network { v6, last, bits })
}

impl Network {
    fn as_net(self) -> IpNet {
        let text = match self.v6 {
            false => format!("10.0.0.{}/{}", self.last, 24 + self.bits),
            true => format!("fd00::{:x}/{}", self.last, 120 + self.bits),
        };
        text.parse().unwrap()
    }

    fn addresses(self) -> BTreeSet<(bool, u8)> {
        let same = |other: &u8| {
            let differ = u16::from(other ^ self.last);
            differ >> (8 - self.bits) == 0
        };
        (0..=255).filter(same).map(|last| (self.v6, last)).collect()
    }
}
