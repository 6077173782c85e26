//! What arrives, what does not, and whom the other side sees.

use std::net::{IpAddr, UdpSocket};

use super::machine::{
    engine_starts, engines_network, on_a_machine, serve, sh, tcp, topology, udp, within,
};
use crate::machine::nat::{Family, Rule, RuleSet, Transport, perform, turn_on_forwarding, undo};

fn set(id: &str, rules: Vec<Rule>) -> RuleSet {
    RuleSet {
        id: id.to_owned(),
        rules,
    }
}

fn link(net: u8) -> String {
    format!("ds{net}")
}

fn network(net: u8) -> Vec<Rule> {
    vec![
        Rule::Masquerade {
            source: format!("10.9.{net}.0/24").parse().unwrap(),
            link: link(net),
        },
        Rule::Masquerade {
            source: format!("fd09:{net}::/64").parse().unwrap(),
            link: link(net),
        },
        Rule::Forward {
            link: link(net),
            routed: false,
        },
    ]
}

fn publish(transport: Transport, host: Option<&str>, host_port: u16, to: &str) -> Rule {
    Rule::Publish {
        transport,
        host: host.map(|host| host.parse().unwrap()),
        host_port,
        to: to.parse().unwrap(),
        to_port: 80,
        link: link(0),
        loopback: true,
    }
}

/// From, to, port, and what the server says; none: it must not arrive.
type Case = (&'static str, &'static str, u16, Option<&'static str>);

#[track_caller]
fn expect(cases: &[Case]) {
    for (from, to, port, answer) in cases {
        for (transport, reach) in [
            ("tcp", tcp as fn(&str, IpAddr, u16, bool) -> _),
            ("udp", udp),
        ] {
            let got: Option<String> = reach(from, to.parse().unwrap(), *port, answer.is_some());
            assert_eq!(
                got.as_deref(),
                *answer,
                "{transport} from {from} to {to} port {port}\n{}",
                sh("nft list ruleset; iptables-save -c")
            );
        }
    }
}

fn published(id: &str) -> RuleSet {
    let mut rules = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp, Transport::Sctp] {
        for to in ["10.9.0.2", "fd09:0::2"] {
            rules.push(publish(transport, None, 8080, to));
        }
        rules.push(publish(transport, Some("192.0.2.1"), 8081, "10.9.0.2"));
        rules.push(publish(transport, Some("2001:db8::1"), 8081, "fd09:0::2"));
    }
    set(id, rules)
}

fn servers() {
    serve("a", 80);
    serve("b", 80);
    serve("c", 80);
    serve("out", 80);
    // A way back, for what is not masqueraded and for those who knock at containers' own addresses.
    sh(
        "ip -n out route add 10.9.0.0/16 via 192.0.2.1; ip -n out route add fd09::/16 via 2001:db8::1",
    );
}

const OUTWARD_AND_PUBLISHED: &[Case] = &[
    ("a", "192.0.2.2", 80, Some("out 192.0.2.1")),
    ("a", "2001:db8::2", 80, Some("out 2001:db8::1")),
    ("a", "10.9.0.3", 80, Some("b 10.9.0.2")),
    ("a", "fd09:0::3", 80, Some("b fd09::2")),
    // From outside.
    ("out", "192.0.2.1", 8080, Some("a 192.0.2.2")),
    ("out", "2001:db8::1", 8080, Some("a 2001:db8::2")),
    ("out", "192.0.2.1", 8081, Some("a 192.0.2.2")),
    ("out", "2001:db8::1", 8081, Some("a 2001:db8::2")),
    // From the host.
    ("host", "192.0.2.1", 8080, Some("a 192.0.2.1")),
    ("host", "2001:db8::1", 8080, Some("a 2001:db8::1")),
    ("host", "10.9.0.1", 8080, Some("a 10.9.0.1")),
    ("host", "127.0.0.1", 8080, Some("a 10.9.0.1")),
    ("host", "127.0.0.1", 8081, None),
    // From the same network, by the host's address, and from the container itself.
    ("b", "192.0.2.1", 8080, Some("a 10.9.0.1")),
    ("b", "2001:db8::1", 8080, Some("a fd09::1")),
    ("b", "10.9.0.1", 8080, Some("a 10.9.0.1")),
    ("a", "192.0.2.1", 8080, Some("a 10.9.0.1")),
    ("a", "2001:db8::1", 8080, Some("a fd09::1")),
    // From another network.
    ("c", "192.0.2.1", 8080, Some("a 10.9.0.1")),
    ("c", "10.9.0.2", 80, Some("a 10.9.0.1")),
    ("c", "fd09:0::2", 80, Some("a fd09::1")),
    // Not published.
    ("out", "10.9.0.2", 80, None),
    ("out", "fd09:0::2", 80, None),
    ("out", "192.0.2.1", 8082, None),
    // An address that the port is not bound to.
    ("host", "10.9.0.1", 8081, None),
];

on_a_machine! {
    fn outward_and_published_traffic_passes_and_nothing_else() {
        topology();
        servers();
        turn_on_forwarding(Family::Ipv4).unwrap();
        turn_on_forwarding(Family::Ipv6).unwrap();
        perform(&set("a0", network(0))).unwrap();
        perform(&set("a1", network(1))).unwrap();
        perform(&published("b0")).unwrap();
        expect(OUTWARD_AND_PUBLISHED);
    }

    fn an_engine_that_starts_later_and_drops_what_is_forwarded_changes_nothing() {
        topology();
        servers();
        perform(&set("a0", network(0))).unwrap();
        perform(&set("a1", network(1))).unwrap();
        perform(&published("b0")).unwrap();
        engine_starts("iptables");
        expect(OUTWARD_AND_PUBLISHED);
    }

    fn an_engine_that_has_started_and_drops_what_is_forwarded_changes_nothing() {
        topology();
        servers();
        engine_starts("iptables");
        perform(&set("a0", network(0))).unwrap();
        perform(&set("a1", network(1))).unwrap();
        perform(&published("b0")).unwrap();
        expect(OUTWARD_AND_PUBLISHED);
        // What the user drops comes first.
        sh("iptables -I DOCKER-USER -s 192.0.2.2 -j DROP");
        expect(&[("out", "192.0.2.1", 8080, None)]);
    }

    fn an_engine_with_the_older_iptables_changes_nothing() {
        if crate::machine::nat::program::find("iptables-legacy").is_none() {
            return println!("skipped: there is no iptables-legacy");
        }
        topology();
        servers();
        engine_starts("iptables-legacy");
        let before = sh("iptables-legacy-save; ip6tables-legacy-save");
        perform(&set("a0", network(0))).unwrap();
        perform(&set("a1", network(1))).unwrap();
        perform(&published("b0")).unwrap();
        expect(OUTWARD_AND_PUBLISHED);
        for one in [set("a0", network(0)), set("a1", network(1)), published("b0")] {
            undo(&one).unwrap();
        }
        let strip = |text: String| text.lines().filter(|line| !line.starts_with('#') && !line.starts_with(':')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(strip(sh("iptables-legacy-save; ip6tables-legacy-save")), strip(before));
    }

    fn bridged_traffic_passes_whether_or_not_the_filters_see_it() {
        topology();
        servers();
        engine_starts("iptables");
        perform(&set("a0", network(0))).unwrap();
        perform(&set("a1", network(1))).unwrap();
        perform(&published("b0")).unwrap();
        for seen in [0, 1] {
            let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            if std::fs::write(path, seen.to_string()).is_err() {
                return println!("skipped: the kernel has no bridge netfilter");
            }
            std::fs::write("/proc/sys/net/bridge/bridge-nf-call-ip6tables", seen.to_string()).unwrap();
            expect(OUTWARD_AND_PUBLISHED);
        }
    }

    fn an_isolated_network_reaches_no_other_one_but_the_outside_and_itself() {
        topology();
        servers();
        engine_starts("iptables");
        let mut rules = network(0);
        rules.push(Rule::Isolate { link: link(0) });
        perform(&set("a0", rules)).unwrap();
        perform(&set("a1", network(1))).unwrap();
        perform(&published("b0")).unwrap();
        expect(&[
            ("a", "10.9.1.2", 80, None),
            ("a", "fd09:1::2", 80, None),
            ("c", "10.9.0.2", 80, None),
            ("c", "fd09:0::2", 80, None),
            ("c", "192.0.2.1", 8080, None),
            ("a", "10.9.0.3", 80, Some("b 10.9.0.2")),
            ("a", "192.0.2.2", 80, Some("out 192.0.2.1")),
            ("out", "192.0.2.1", 8080, Some("a 192.0.2.2")),
            ("c", "192.0.2.2", 80, Some("out 192.0.2.1")),
        ]);
    }

    fn the_engines_own_networks_are_reached_only_as_the_engine_allows() {
        topology();
        servers();
        engines_network();
        engine_starts("iptables");
        perform(&set("a0", network(0))).unwrap();
        perform(&published("b0")).unwrap();
        expect(&[
            ("a", "172.17.0.2", 80, None),
            ("d", "10.9.0.2", 80, None),
            ("d", "192.0.2.1", 8080, Some("a 172.17.0.2")),
        ]);
        // As for a port that the engine has published.
        sh("iptables -A DOCKER -d 172.17.0.2 ! -i docker0 -p tcp --dport 80 -j ACCEPT
            iptables -A DOCKER -d 172.17.0.2 ! -i docker0 -p udp --dport 80 -j ACCEPT
            iptables -I FORWARD 2 -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
        expect(&[("a", "172.17.0.2", 80, Some("d 172.17.0.1"))]);
    }

    fn a_bridge_with_a_default_route_leads_outward() {
        topology();
        servers();
        engine_starts("iptables");
        sh("ip link add br0 type bridge
            echo 0 >/proc/sys/net/ipv6/conf/br0/accept_dad
            ip addr flush dev up0
            ip link set up0 master br0
            ip link set br0 up
            ip addr add 192.0.2.1/24 dev br0; ip addr add 2001:db8::1/64 dev br0 nodad");
        perform(&set("a0", network(0))).unwrap();
        expect(&[("a", "192.0.2.2", 80, None)]);
        sh("ip route add default via 192.0.2.2");
        perform(&set("a0", network(0))).unwrap();
        expect(&[
            ("a", "192.0.2.2", 80, Some("out 192.0.2.1")),
            ("a", "2001:db8::2", 80, Some("out 2001:db8::1")),
        ]);
    }

    fn an_internal_network_reaches_only_itself_and_the_host() {
        topology();
        servers();
        serve("host", 81);
        engine_starts("iptables");
        perform(&set("a0", vec![Rule::Internal { link: link(0) }])).unwrap();
        perform(&set("a1", network(1))).unwrap();
        perform(&published("b0")).unwrap();
        expect(&[
            ("a", "10.9.0.3", 80, Some("b 10.9.0.2")),
            ("a", "fd09:0::3", 80, Some("b fd09::2")),
            ("a", "10.9.0.1", 81, Some("host 10.9.0.2")),
            ("a", "192.0.2.2", 80, None),
            ("a", "2001:db8::2", 80, None),
            ("a", "10.9.1.2", 80, None),
            ("c", "10.9.0.2", 80, None),
            ("out", "10.9.0.2", 80, None),
            ("out", "fd09:0::2", 80, None),
            ("out", "192.0.2.1", 8080, None),
        ]);
    }

    fn a_routed_network_is_reached_by_its_own_addresses() {
        topology();
        servers();
        engine_starts("iptables");
        perform(&set("a0", vec![Rule::Forward { link: link(0), routed: true }])).unwrap();
        expect(&[
            ("out", "10.9.0.2", 80, Some("a 192.0.2.2")),
            ("out", "fd09:0::2", 80, Some("a 2001:db8::2")),
            ("a", "192.0.2.2", 80, Some("out 10.9.0.2")),
            // The network without rules is left to the engine's.
            ("out", "10.9.1.2", 80, None),
        ]);
    }

    fn nothing_passes_any_more_when_a_rule_set_is_gone() {
        topology();
        servers();
        engine_starts("iptables");
        perform(&set("a0", network(0))).unwrap();
        perform(&set("a1", network(1))).unwrap();
        perform(&published("b0")).unwrap();
        undo(&published("b0")).unwrap();
        expect(&[
            ("out", "192.0.2.1", 8080, None),
            ("a", "192.0.2.2", 80, Some("out 192.0.2.1")),
        ]);
        undo(&set("a0", network(0))).unwrap();
        expect(&[
            ("a", "192.0.2.2", 80, None),
            ("c", "192.0.2.2", 80, Some("out 192.0.2.1")),
        ]);
    }

    fn a_flow_that_does_not_stop_follows_the_port() {
        if crate::machine::nat::program::find("conntrack").is_none() {
            return println!("skipped: there is no conntrack");
        }
        topology();
        servers();
        engine_starts("iptables");
        perform(&set("a0", network(0))).unwrap();
        let to = |container: &str| set("b0", vec![publish(Transport::Udp, None, 8080, container)]);
        for (host, first, second) in [("192.0.2.1", "10.9.0.2", "10.9.0.3"), ("2001:db8::1", "fd09::2", "fd09::3")] {
            let client = within("out", || UdpSocket::bind("[::]:4000").unwrap());
            let ask = || {
                let address: IpAddr = host.parse().unwrap();
                let address = match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
                    v6 @ IpAddr::V6(_) => v6,
                };
                client.send_to(b"who", (address, 8080)).unwrap();
                client.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
                let mut buffer = [0; 64];
                let length = client.recv(&mut buffer).ok()?;
                Some(buffer[..1].to_vec()).filter(|_| length > 0)
            };
            assert_eq!(ask(), None);
            perform(&to(first)).unwrap();
            assert_eq!(ask().as_deref(), Some(&b"a"[..]));
            undo(&to(first)).unwrap();
            assert_eq!(ask(), None);
            perform(&to(second)).unwrap();
            assert_eq!(ask().as_deref(), Some(&b"b"[..]));
            undo(&to(second)).unwrap();
        }
    }

    fn neighbours_do_not_reach_the_hosts_loopback_addresses() {
        topology();
        engine_starts("iptables");
        serve("host", 81);
        perform(&set("a0", network(0))).unwrap();
        perform(&published("b0")).unwrap();
        // What a neighbour sends to 127.0.0.1 must leave its own machine first.
        sh("ip netns exec a sysctl -qw net.ipv4.conf.all.route_localnet=1
            ip -n a rule add pref 0 from all lookup 100
            ip -n a rule add pref 1 from all lookup local
            ip -n a rule del pref 0 lookup local
            ip -n a route add 127.0.0.0/8 via 10.9.0.1 dev eth0 table 100");
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/ds0/route_localnet").trim(), "1");
        expect(&[("a", "127.0.0.1", 81, None)]);
        sh("nft flush chain inet dockside guard");
        assert_eq!(tcp("a", [127, 0, 0, 1], 81, true).as_deref(), Some("host 10.9.0.2"), "the test has no teeth");
    }
}
