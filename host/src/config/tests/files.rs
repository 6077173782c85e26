use std::path::Path;

use super::plugin;
use crate::config::grants::{Files, RefusalKind};

fn files(lines: &str) -> Files {
    let text = format!("[grants.files]\n{lines}");
    plugin(&text).unwrap().grants.files.unwrap()
}

#[test]
fn a_set_is_a_path_or_a_table_and_starts_where_the_file_is() {
    let files = files(
        "read = { a = \"/etc/a\", b = \"beside/b\", c = { path = \"c\", root-only = true } }\nmax-bytes = \"1k\"",
    );
    for (name, path, root_only) in [
        ("a", "/etc/a", false),
        ("b", "/drivers/beside/b", false),
        ("c", "/drivers/c", true),
    ] {
        let set = files.set(name).unwrap();
        assert_eq!(set.path, Path::new(path));
        assert_eq!(set.root_only, root_only, "{name}");
    }
    assert_eq!(files.max_bytes, 1024);
    assert!(!files.resolve);
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (lines, expected) in [
        ("read = [\"/etc\"]", "read = { policies = "),
        ("read = { a = \"\" }", "the path is empty"),
        ("read = { a = 1 }", "a path, or a table"),
        ("read = { a = { root-only = true } }", "path"),
        (
            "read = { a = { path = \"/a\", rootonly = true } }",
            "root-only",
        ),
        ("read = { \"a b\" = \"/a\" }", "name of a set of files"),
        ("read = { \"a.b\" = \"/a\" }", "name of a set of files"),
        ("max-bytes = \"1g\"", "at most 256MiB"),
        ("write = {}", "unknown key `write`"),
    ] {
        let error = plugin(&format!("[grants.files]\n{lines}")).unwrap_err();
        assert!(error.to_string().contains(expected), "{lines}: {error}");
    }
}

#[test]
fn a_refusal_is_a_line_that_grants() {
    let none = files("");
    let some = files("read = { a = \"/etc/a\" }");
    let refused = none.set("policies").unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::NotGranted);
    let pasted = files(refused.toml().unwrap());
    assert!(pasted.set("policies").is_ok());
    let refused = some.set("policies").unwrap_err();
    assert_eq!(
        refused.text("opa", "rego"),
        "plugin opa may not read the files policies: add policies = \"/etc/dockside/policies\" to read under [grants.files] in rego.toml"
    );
    let both = format!("read = {{ a = \"/etc/a\", {} }}", refused.toml().unwrap());
    assert!(files(&both).set("policies").is_ok());
    for odd in ["", "../a", "a b", "a.b", "a\n"] {
        assert_eq!(some.set(odd).unwrap_err().kind(), RefusalKind::Invalid);
    }
    let refused = none.may_resolve().unwrap_err();
    assert!(files(refused.toml().unwrap()).may_resolve().is_ok());
    let size = 16 << 20;
    assert!(none.may_read("a", size).is_ok());
    let refused = none.may_read("a", size + 1).unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::Exhausted);
    assert!(
        files(refused.toml().unwrap())
            .may_read("a", size + 1)
            .is_ok()
    );
    let refused = none.may_read("a", 1 << 40).unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::Invalid);
}
