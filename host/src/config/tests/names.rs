use std::path::Path;

use super::plugin;
use crate::config::PluginName;
use crate::protocol::Kind;

#[test]
fn names_stay_below_the_sockets_directory() {
    let long = "a".repeat(100);
    for good in [
        "local",
        "a",
        "9",
        "vieux/sshfs",
        "opa-docker-authz:readonly",
        "A_b.c:d-e/f/g",
        "x.sock",
        long.as_str(),
    ] {
        let name: PluginName = good.parse().unwrap();
        assert_eq!(name.to_string(), good);
    }
    let longer = "a".repeat(101);
    let bad = [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/./b",
        ".a",
        "-a",
        "_a",
        ":a",
        "a b",
        "a\\b",
        "a\0",
        "a\nb",
        "é",
        "a%2fb",
        "a@1",
        "a.sock/b",
        longer.as_str(),
    ];
    for bad in bad {
        assert!(bad.parse::<PluginName>().is_err(), "{bad:?}");
    }
    let name: PluginName = "vieux/sshfs".parse().unwrap();
    let plugins = Path::new("/run/docker/plugins");
    assert_eq!(
        name.socket_path(plugins).unwrap(),
        plugins.join("vieux/sshfs.sock")
    );
    for (length, fits) in [(82, true), (83, false)] {
        let name: PluginName = "n".repeat(length).parse().unwrap();
        assert_eq!(name.socket_path(plugins).is_ok(), fits, "{length}");
    }
}

#[test]
fn names_that_docker_keeps_are_known_by_kind() {
    let reserved = [
        ("local", Kind::Volume),
        ("null", Kind::Network),
        ("none", Kind::Network),
        ("host", Kind::Network),
        ("bridge", Kind::Network),
        ("overlay", Kind::Network),
        ("macvlan", Kind::Network),
        ("ipvlan", Kind::Network),
        ("default", Kind::Network),
        ("container:x", Kind::Network),
        ("default", Kind::Ipam),
        ("null", Kind::Ipam),
        ("windowsipam", Kind::Ipam),
    ];
    for name in [
        "local",
        "null",
        "none",
        "host",
        "bridge",
        "overlay",
        "macvlan",
        "ipvlan",
        "default",
        "windowsipam",
        "container:x",
        "files",
    ] {
        let parsed: PluginName = name.parse().unwrap();
        for kind in Kind::ALL {
            let text = parsed.reserved_for(kind);
            assert_eq!(
                text.is_some(),
                reserved.contains(&(name, kind)),
                "{name} {kind}"
            );
            assert!(text.is_none_or(|text| text.contains("names = [")));
        }
    }
}

#[test]
fn one_driver_serves_the_names_that_its_file_lists() {
    let names = |text: &str, stem: &str| -> Vec<String> {
        let names = plugin(text).unwrap().names(stem);
        names.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names("", "files"), ["files"]);
    assert_eq!(names("names = []", "files"), [""; 0]);
    assert_eq!(
        names(
            "names = [\"vieux/sshfs\", \"opa-docker-authz:readonly\"]",
            "files"
        ),
        ["vieux/sshfs", "opa-docker-authz:readonly"]
    );
    assert_eq!(names("", "not a name"), [""; 0]);
    assert_eq!(
        plugin("driver = \"sshfs\"").unwrap().driver.as_deref(),
        Some("sshfs")
    );
}
