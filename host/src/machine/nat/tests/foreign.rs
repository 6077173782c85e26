//! Other people's rules stay as they are.

use super::machine::{engine_starts, firewall, on_a_machine, sh};
use crate::machine::nat::{Rule, RuleSet, perform, undo};

fn network() -> RuleSet {
    RuleSet {
        id: "ab".to_owned(),
        rules: vec![
            Rule::Forward {
                link: "ds0".to_owned(),
                routed: false,
            },
            Rule::Masquerade {
                source: "10.9.0.0/24".parse().unwrap(),
                link: "ds0".to_owned(),
            },
        ],
    }
}

on_a_machine! {
    fn what_others_have_is_the_same_before_and_after() {
        for others in [
            ":",
            "nft add table ip filter",
            "nft add table ip filter; nft add table ip6 filter; nft add table inet filter; nft add table ip dockside",
            // What is left when the last rule has gone.
            "iptables -A FORWARD -j DROP; iptables -D FORWARD -j DROP; ip6tables -A INPUT -j DROP; ip6tables -D INPUT -j DROP",
            "iptables -P FORWARD DROP",
            "iptables -A FORWARD -s 192.0.2.7 -j REJECT; iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
            "ENGINE",
            "nft add table inet mine; nft 'add chain inet mine forward { type filter hook forward priority 0; policy drop; }'
             nft 'add rule inet mine forward meta mark & 0x0d0c51de == 0x0d0c51de accept'",
        ] {
            sh("nft flush ruleset");
            match others {
                "ENGINE" => engine_starts("iptables"),
                others => drop(sh(others)),
            }
            let before = firewall();
            perform(&network()).unwrap();
            let added: Vec<String> = sh("iptables-save; ip6tables-save")
                .lines()
                .filter(|line| !line.starts_with('#') && !before.contains(line))
                .map(str::to_owned)
                .collect();
            for line in &added {
                let builtin = line.starts_with(':') && line.contains(" ACCEPT ");
                assert!(
                    line.contains("DOCKSIDE-FORWARD") || builtin || line == "*filter" || line == "COMMIT",
                    "{others}: {line}"
                );
            }
            undo(&network()).unwrap();
            assert_eq!(firewall(), before, "{others}");
        }
    }

    fn what_others_add_meanwhile_stays() {
        perform(&network()).unwrap();
        engine_starts("iptables");
        undo(&network()).unwrap();
        let after = sh("iptables-save; ip6tables-save").replace("FORWARD DROP", "");
        assert!(!after.contains("DOCKSIDE"), "{after}");
        let rules = |text: &str| text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect::<Vec<_>>();
        sh("nft flush ruleset");
        engine_starts("iptables");
        assert_eq!(rules(&after), rules(&sh("iptables-save; ip6tables-save")));
    }

    fn the_jump_stands_behind_the_users_chain_and_before_the_rest() {
        engine_starts("iptables");
        sh("iptables -A FORWARD -j REJECT");
        perform(&network()).unwrap();
        let forward = sh("iptables -S FORWARD");
        assert_eq!(
            forward.lines().skip(1).collect::<Vec<_>>(),
            ["-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKSIDE-FORWARD", "-A FORWARD -o docker0 -j DOCKER", "-A FORWARD -j REJECT --reject-with icmp-port-unreachable"]
        );
    }
}
