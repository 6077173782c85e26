//! Making, looking, removing, in any order and up to any point.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::machine::{CHILD, engine_starts, firewall, on_a_machine, sh, topology};
use crate::machine::nat::{Rule, RuleSet, Transport, list_ours, look, perform, port_free, undo};
use crate::machine::{ErrorKind, Presence};

/// A rule set with every kind of rule.
fn everything(id: &str, link: &str, port: u16) -> RuleSet {
    let mut rules = vec![
        Rule::Masquerade {
            source: "10.9.0.7/24".parse().unwrap(),
            link: link.to_owned(),
        },
        Rule::Masquerade {
            source: "fd09::/64".parse().unwrap(),
            link: link.to_owned(),
        },
        Rule::Forward {
            link: link.to_owned(),
            routed: false,
        },
        Rule::Isolate {
            link: link.to_owned(),
        },
    ];
    for transport in [Transport::Tcp, Transport::Udp, Transport::Sctp] {
        for (host, to) in [
            (None, "10.9.0.2"),
            (None, "fd09::2"),
            (Some("192.0.2.1"), "10.9.0.2"),
            (Some("2001:db8::1"), "fd09::2"),
        ] {
            rules.push(Rule::Publish {
                transport,
                host: host.map(|host| host.parse().unwrap()),
                host_port: port,
                to: to.parse().unwrap(),
                to_port: 80,
                link: link.to_owned(),
                loopback: false,
            });
        }
    }
    RuleSet {
        id: id.to_owned(),
        rules,
    }
}

fn only(id: &str, rule: Rule) -> RuleSet {
    RuleSet {
        id: id.to_owned(),
        rules: vec![rule],
    }
}

#[track_caller]
fn changed(set: &RuleSet) {
    let found = look(set).unwrap();
    assert!(matches!(found, Presence::Changed(_)), "{found:?}");
}

on_a_machine! {
    fn each_verb_is_right_when_it_is_repeated() {
        let set = everything("ab12", "ds0", 80);
        let before = firewall();
        assert_eq!(look(&set).unwrap(), Presence::Absent);
        undo(&set).unwrap();
        assert_eq!(firewall(), before);
        perform(&set).unwrap();
        let made = firewall();
        assert_eq!(look(&set).unwrap(), Presence::Present);
        perform(&set).unwrap();
        assert_eq!(firewall(), made);
        assert_eq!(look(&set).unwrap(), Presence::Present);
        assert_eq!(list_ours().unwrap(), ["ab12"]);
        undo(&set).unwrap();
        assert_eq!(look(&set).unwrap(), Presence::Absent);
        assert_eq!(firewall(), before);
        undo(&set).unwrap();
        assert_eq!(firewall(), before);
        assert!(list_ours().unwrap().is_empty());
    }

    fn a_machine_without_the_names_of_protocols_is_as_good_as_any() {
        if !std::path::Path::new("/etc/protocols").exists() {
            return println!("skipped: every test here shows it");
        }
        sh("mount --bind /dev/null /etc/protocols");
        let set = everything("ab", "ds0", 80);
        perform(&set).unwrap();
        assert_eq!(look(&set).unwrap(), Presence::Present);
        for transport in [Transport::Tcp, Transport::Udp, Transport::Sctp] {
            assert!(!port_free(transport, None, 80));
            assert!(port_free(transport, None, 81));
        }
        sh("nft flush chain inet dockside d_ab");
        undo(&set).unwrap();
        assert_eq!(firewall(), "");
    }

    fn each_ip_version_has_ports_of_its_own() {
        for (to, taken, free) in [("10.9.0.2", "0.0.0.0", "::"), ("fd09::2", "::", "0.0.0.0")] {
            let set = only("ab", Rule::Publish {
                transport: Transport::Tcp,
                host: None,
                host_port: 80,
                to: to.parse().unwrap(),
                to_port: 80,
                link: "ds0".to_owned(),
                loopback: false,
            });
            perform(&set).unwrap();
            let any = |text: &str| Some(text.parse().unwrap());
            assert!(!port_free(Transport::Tcp, any(taken), 80), "{taken}");
            assert!(port_free(Transport::Tcp, any(free), 80), "{free}");
            assert!(!port_free(Transport::Tcp, None, 80));
            undo(&set).unwrap();
        }
    }

    fn a_rule_set_comes_and_goes_without_a_trace_in_the_others() {
        let first = everything("a1", "ds0", 80);
        let second = everything("a2", "ds1", 81);
        perform(&first).unwrap();
        let before = firewall();
        perform(&second).unwrap();
        assert_eq!(look(&first).unwrap(), Presence::Present);
        assert_eq!(look(&second).unwrap(), Presence::Present);
        undo(&second).unwrap();
        assert_eq!(firewall(), before);
    }

    fn what_another_rule_set_has_is_refused_and_stays() {
        let first = everything("a1", "ds0", 80);
        perform(&first).unwrap();
        let before = firewall();
        for second in [everything("a2", "ds0", 81), everything("a2", "ds1", 80)] {
            let error = perform(&second).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Exists, "{error}");
            assert_eq!(look(&second).unwrap(), Presence::Absent);
            assert_eq!(firewall(), before);
            undo(&second).unwrap();
            assert_eq!(firewall(), before);
        }
        let error = perform(&everything("a2", "ds1", 80)).unwrap_err();
        assert!(error.message.contains("port 80/tcp"), "{error}");
    }

    fn a_table_of_the_same_name_that_is_another_ones_stays() {
        sh("nft add table inet dockside; nft add chain inet dockside theirs");
        let before = firewall();
        let set = everything("a1", "ds0", 80);
        assert_eq!(perform(&set).unwrap_err().kind, ErrorKind::Exists);
        assert_eq!(look(&set).unwrap(), Presence::Absent);
        undo(&set).unwrap();
        assert_eq!(firewall(), before);
    }

    fn what_is_lost_is_seen_and_put_back() {
        engine_starts("iptables");
        let set = everything("ab", "ds0", 80);
        let before = firewall();
        for loss in [
            "nft flush chain inet dockside forward",
            "nft delete element inet dockside links '{ \"ds0\" }'",
            "nft delete element inet dockside names '{ \"ds0\" }'",
            "nft delete element inet dockside any4 '{ tcp . 80 }'",
            "nft delete element inet dockside bound6 '{ 2001:db8::1 . sctp . 80 }'",
            "nft flush chain inet dockside f_ab",
            "nft flush chain inet dockside d_ab",
            "nft add rule inet dockside n_ab accept",
            "nft flush map inet dockside any6",
            "iptables -D FORWARD -j DOCKSIDE-FORWARD",
            "iptables -F FORWARD",
            "ip6tables -F DOCKSIDE-FORWARD",
            "iptables -A FORWARD -j DOCKSIDE-FORWARD",
            "iptables -F; ip6tables -F",
        ] {
            perform(&set).unwrap();
            assert_eq!(look(&set).unwrap(), Presence::Present);
            let made = firewall();
            sh(loss);
            changed(&set);
            perform(&set).unwrap();
            assert_eq!(look(&set).unwrap(), Presence::Present, "{loss}");
            if loss.starts_with("nft") {
                assert_eq!(sorted(&firewall()), sorted(&made), "{loss}");
            }
            sh(loss);
            undo(&set).unwrap();
            assert!(!firewall().to_lowercase().contains("dockside"), "{loss}");
            if loss.starts_with("nft") {
                assert_eq!(firewall(), before, "{loss}");
            }
        }
        perform(&set).unwrap();
        sh("nft flush ruleset");
        assert_eq!(look(&set).unwrap(), Presence::Absent);
        undo(&set).unwrap();
        assert_eq!(sh("nft list ruleset"), "");
    }

    fn another_record_of_the_same_identifier_is_told_apart() {
        let set = only("ab", Rule::Internal { link: "ds0".to_owned() });
        let other = everything("ab", "ds1", 80);
        perform(&set).unwrap();
        changed(&other);
        // Even so nothing of the identifier stays.
        undo(&other).unwrap();
        assert_eq!(firewall(), "");
    }

    fn a_port_on_loopback_addresses_needs_the_link() {
        let set = only("ab", Rule::Publish {
            transport: Transport::Tcp,
            host: None,
            host_port: 80,
            to: "10.9.0.2".parse().unwrap(),
            to_port: 80,
            link: "ds0".to_owned(),
            loopback: true,
        });
        let error = perform(&set).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(firewall(), "");
        topology();
        perform(&set).unwrap();
        assert_eq!(look(&set).unwrap(), Presence::Present);
        sh("sysctl -qw net.ipv4.conf.ds0.route_localnet=0");
        changed(&set);
    }

    fn a_kill_at_any_instant_leaves_what_undoing_removes() {
        if let Ok(id) = std::env::var(CHILD) {
            return perform(&everything(&id, "ds0", 80)).unwrap();
        }
        for engine in [false, true] {
            if engine {
                engine_starts("iptables");
            }
            let before = firewall();
            let mut unfinished = 0;
            for instant in 0..60 {
                let id = format!("{instant:x}");
                let mut child = Command::new(std::env::current_exe().unwrap())
                    .args(std::env::args().skip(1))
                    .env(CHILD, &id)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                // Not to wait for anything: the instant is what is tried.
                let end = Instant::now() + Duration::from_micros(700 * instant);
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
                unfinished += usize::from(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
                child.wait().unwrap();
                let set = everything(&id, "ds0", 80);
                undo(&set).unwrap();
                assert_eq!(look(&set).unwrap(), Presence::Absent);
                assert_eq!(firewall(), before, "after {instant}");
            }
            println!("{unfinished} of 60 were killed before their end");
        }
    }

    fn removing_the_last_rule_set_while_another_daemon_makes_one_leaves_that_one() {
        if let Ok(id) = std::env::var(CHILD) {
            let set = everything(&id, &format!("ds{id}"), 1000 + id.parse::<u16>().unwrap());
            for _ in 0..25 {
                perform(&set).unwrap();
                assert_eq!(look(&set).unwrap(), Presence::Present);
                undo(&set).unwrap();
            }
            return perform(&set).unwrap();
        }
        engine_starts("iptables");
        let children: Vec<_> = (0..3)
            .map(|id| {
                Command::new(std::env::current_exe().unwrap())
                    .args(std::env::args().skip(1))
                    .env(CHILD, id.to_string())
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let mut ids = list_ours().unwrap();
        ids.sort();
        assert_eq!(ids, ["0", "1", "2"]);
    }
}

/// Maps keep no order.
fn sorted(rules: &str) -> Vec<String> {
    let mut lines: Vec<String> = rules
        .split(['\n', ','])
        .map(|line| {
            line.trim()
                .trim_start_matches("elements = {")
                .trim_end_matches('}')
                .trim()
                .to_owned()
        })
        .collect();
    lines.sort();
    lines
}
