//! Programs that are missing, that hang, and that complain.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::machine::{engine_starts, firewall, on_a_machine, sh};
use crate::machine::nat::{Rule, RuleSet, list_ours, look, perform, program, script, undo};
use crate::machine::{ErrorKind, Presence};

fn network() -> RuleSet {
    RuleSet {
        id: "ab".to_owned(),
        rules: vec![Rule::Forward {
            link: "ds0".to_owned(),
            routed: false,
        }],
    }
}

/// What is not a file is not a program.
/// `ip6tables` is the same file as `iptables`.
fn hide(program: &str) {
    let path = program::find(program).unwrap();
    sh(&format!("mount --bind /dev/null {}", path.display()));
    assert!(program::find(program).is_none());
}

on_a_machine! {
    fn without_nft_errors_name_its_package() {
        hide("nft");
        for error in [perform(&network()).err(), undo(&network()).err(), look(&network()).err(), list_ours().err()] {
            let error = error.unwrap();
            assert_eq!(error.kind, ErrorKind::Missing);
            assert!(error.message.contains("package nftables"), "{error}");
        }
    }

    fn without_iptables_rules_are_made_where_nothing_drops() {
        hide("iptables");
        perform(&network()).unwrap();
        assert_eq!(look(&network()).unwrap(), Presence::Present);
        undo(&network()).unwrap();
        assert_eq!(sh("nft list ruleset"), "");
    }

    fn without_iptables_a_policy_that_drops_is_an_error_and_nothing_is_left() {
        engine_starts("iptables");
        let before = sh("nft list ruleset");
        hide("iptables");
        let error = perform(&network()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Missing);
        assert!(error.message.contains("package iptables"), "{error}");
        assert_eq!(sh("nft list ruleset"), before);
    }

    fn an_engine_without_ipv6_rules_is_no_obstacle() {
        sh("iptables -P FORWARD DROP");
        let before = firewall();
        perform(&network()).unwrap();
        assert_eq!(look(&network()).unwrap(), Presence::Present);
        undo(&network()).unwrap();
        assert_eq!(firewall(), before);
    }
}

#[test]
fn a_program_that_hangs_is_killed_and_reaped() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = child.id();
    let soon = Instant::now() + Duration::from_millis(5);
    assert!(program::wait(&mut child, soon).unwrap().is_none());
    program::end(child);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn complaints_are_told_with_what_was_tried() {
    for (said, line, words, kind) in [
        (
            "/proc/1/fd/3:12:1-9: Error: Could not process rule: File exists\nadd x\n^^^\n",
            Some(12),
            "File exists",
            ErrorKind::Exists,
        ),
        (
            "netlink: Error: cache initialization failed: Operation not permitted\n",
            None,
            "cache initialization failed: Operation not permitted",
            ErrorKind::Other,
        ),
        (
            "/proc/1/fd/3:1:1-9: Error: No such file or directory; did you mean map 'a'?\n",
            Some(1),
            "No such file or directory; did you mean map 'a'?",
            ErrorKind::NotFound,
        ),
        ("", None, "", ErrorKind::Other),
        (
            "/proc/1/fd/3:1:1-9: Error: Could not process rule: Operation not supported\n",
            Some(1),
            "Operation not supported",
            ErrorKind::Missing,
        ),
    ] {
        assert_eq!(script::first_error(said), (line, words));
        assert_eq!(script::refusal("publish", words).kind, kind);
    }
}
