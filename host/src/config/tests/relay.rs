use super::{daemon, plugin};
use crate::config::Repository;

#[test]
fn what_users_can_set_is_read_in_both_spellings() {
    let read = plugin(
        "[relay]\n\
         names = [\"vieux/sshfs\", \"store/weaveworks/net-plugin\", \"a__b-c---d.e\"]\n\
         args = { name = \"opa-args\" }\n\
         env = { DEBUG = \"0\", LEVEL = { description = \"d\" } }\n\
         mounts = { sshkey = {}, state = \"/srv\", other = { source = \"/x\" } }\n",
    )
    .unwrap()
    .relay;
    assert_eq!(read.names[0].as_str(), "vieux/sshfs");
    assert_eq!(read.args.unwrap().name, "opa-args");
    assert_eq!(read.env["DEBUG"].value.as_deref(), Some("0"));
    assert_eq!(read.env["LEVEL"].value, None);
    assert_eq!(read.env["LEVEL"].description, "d");
    assert_eq!(read.mounts["sshkey"].source, None);
    assert_eq!(read.mounts["state"].source.as_deref(), Some("/srv"));
    assert_eq!(read.mounts["other"].source.as_deref(), Some("/x"));
}

#[test]
fn what_docker_could_not_set_or_find_is_refused() {
    for (text, said) in [
        ("names = [\"vieux/sshfs:latest\"]", "names a tag"),
        (
            "names = [\"Vieux/sshfs\"]",
            "cannot be the name of a repository",
        ),
        (
            "names = [\"vieux//sshfs\"]",
            "cannot be the name of a repository",
        ),
        ("names = [\"\"]", "cannot be the name of a repository"),
        ("names = [\"-a\"]", "cannot be the name of a repository"),
        ("names = [\"a.\"]", "cannot be the name of a repository"),
        ("names = [\"a..b\"]", "cannot be the name of a repository"),
        ("names = [\"a/../b\"]", "cannot be the name of a repository"),
        ("names = [\"a\", \"a\"]", "given twice"),
        ("env = { DEBUG = 1 }", "a variable is its value"),
        (
            "env = { \"A=B\" = \"1\" }",
            "cannot be set with `docker plugin set`",
        ),
        (
            "env = { \"a.value\" = \"1\" }",
            "cannot be set with `docker plugin set`",
        ),
        ("mounts = { a = \"relative\" }", "no absolute path"),
        ("mounts = { dockside = {} }", "the relay's own"),
        (
            "env = { a = \"\" }\nmounts = { a = {} }",
            "is in relay.env too",
        ),
        ("env = { args = \"\" }\nargs = {}", "is in relay.env too"),
        ("capabilities = []", "unknown key `capabilities`"),
    ] {
        let error = plugin(&format!("[relay]\n{text}\n")).unwrap_err();
        assert!(error.to_string().contains(said), "{text}: {error}");
    }
    for part in ["a", "9", "a.b", "a_b", "a__b", "a-----b", "a/b/c"] {
        assert!(part.parse::<Repository>().is_ok(), "{part}");
    }
    for part in ["a___b", "a.-b", "_a", "a/", "/a", "a b", "é"] {
        assert!(part.parse::<Repository>().is_err(), "{part}");
    }
}

#[test]
fn a_registry_for_other_machines_has_to_be_asked_for() {
    for address in ["0.0.0.0:5081", "192.0.2.1:5081", "[::]:5081"] {
        let text = format!("registry = \"{address}\"\n");
        let error = daemon(&text).unwrap_err().to_string();
        assert!(error.contains("registry-for-others = true"), "{error}");
        let text = format!("{text}registry-for-others = true\n");
        assert!(daemon(&text).is_ok(), "{address}");
    }
    for address in ["127.0.0.1:5081", "127.8.8.8:80", "[::1]:5081"] {
        assert!(daemon(&format!("registry = \"{address}\"\n")).is_ok());
    }
    let error = daemon("relay = \"/run/docker/plugins/relay\"\n").unwrap_err();
    assert!(error.to_string().contains("move it"), "{error}");
}
