//! What is refused before any tool hears of it.

use crate::machine::ErrorKind;
use crate::machine::nat::{Rule, RuleSet, Transport, check, undo};

fn refused(set: &RuleSet) {
    let error = check::rule_set(set).expect_err(&format!("{set:?}"));
    assert_eq!(error.kind, ErrorKind::Invalid, "{set:?}");
    assert!(error.message.len() < 300, "{}", error.message);
    assert!(!error.message.contains('\n'), "{}", error.message);
}

fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        " ",
        "a b",
        "a\"b",
        "a'b",
        "a\nb",
        "a\0b",
        "a;b",
        "a#b",
        "a{b",
        "a}b",
        "a*",
        "*",
        "$a",
        "@names",
        "a,b",
        "../x",
        "/",
        ".",
        "..",
        "a/b",
        "-w",
        "--noflush",
        "lo",
        "all",
        "default",
        "ä",
        "a\\",
        "a\t",
        "a\r",
        "a:b",
        "sixteen-letters0",
        "\" drop\nadd table inet evil\n",
        "br0\"; flush ruleset; add table inet x",
    ]
    .iter()
    .map(|name| (*name).to_owned())
    .collect();
    names.push("a".repeat(5000));
    names.push("ä".repeat(5000));
    names
}

#[test]
fn hostile_link_names_are_refused() {
    for link in hostile_names() {
        for rule in [
            Rule::Forward {
                link: link.clone(),
                routed: false,
            },
            Rule::Internal { link: link.clone() },
            Rule::Isolate { link: link.clone() },
            Rule::Masquerade {
                source: "10.0.0.0/24".parse().unwrap(),
                link: link.clone(),
            },
            publish(None, "10.0.0.2", link.clone()),
        ] {
            refused(&RuleSet {
                id: "ab".into(),
                rules: vec![rule],
            });
        }
    }
}

#[test]
fn hostile_identifiers_are_refused() {
    for id in hostile_names()
        .into_iter()
        .chain(["AB".into(), "x".into(), "a".repeat(65)])
    {
        if id != "a" {
            refused(&RuleSet {
                id,
                rules: Vec::new(),
            });
        }
    }
}

fn publish(host: Option<&str>, to: &str, link: String) -> Rule {
    Rule::Publish {
        transport: Transport::Tcp,
        host: host.map(|host| host.parse().unwrap()),
        host_port: 80,
        to: to.parse().unwrap(),
        to_port: 80,
        link,
        loopback: false,
    }
}

#[test]
fn addresses_that_cannot_have_published_ports_are_refused() {
    for (host, to) in [
        (None, "0.0.0.0"),
        (None, "127.0.0.1"),
        (None, "::1"),
        (None, "::"),
        (None, "224.0.0.1"),
        (None, "255.255.255.255"),
        (None, "ff02::1"),
        (None, "fe80::1"),
        (None, "::ffff:10.0.0.2"),
        (Some("127.0.0.1"), "10.0.0.2"),
        (Some("::1"), "fd00::2"),
        (Some("192.0.2.1"), "fd00::2"),
        (Some("2001:db8::1"), "10.0.0.2"),
        (Some("224.0.0.1"), "10.0.0.2"),
        (Some("::ffff:192.0.2.1"), "10.0.0.2"),
    ] {
        let rules = vec![publish(host, to, "br0".into())];
        refused(&RuleSet {
            id: "ab".into(),
            rules,
        });
    }
}

#[test]
fn undoing_what_was_refused_asks_nobody_and_is_right() {
    let rules = vec![Rule::Internal { link: "a b".into() }];
    undo(&RuleSet {
        id: "ab".into(),
        rules,
    })
    .unwrap();
}

#[test]
fn one_port_twice_in_a_rule_set_is_refused() {
    let rules = vec![
        publish(None, "10.0.0.2", "br0".into()),
        publish(Some("0.0.0.0"), "10.0.0.3", "br0".into()),
    ];
    let error = check::rule_set(&RuleSet {
        id: "ab".into(),
        rules,
    })
    .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists);
}
