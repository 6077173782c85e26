//! The host in memory runs verbs and shows files as the real one does.
#![allow(clippy::unwrap_used)]

use dockside_driver::{
    Admin, ErrorCode, KeyValues, Refusal, Result,
    admin::{self, Verb, argument, verb},
    files, state, testing,
};
use serde_json::json;

struct Counting;

impl Admin for Counting {
    fn verbs() -> Vec<Verb> {
        vec![
            verb("add")
                .argument(argument("by").integer(1..=9).default("1"))
                .argument(argument("why").required()),
        ]
    }

    fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
        if verb != "add" {
            return Err(admin::unknown(verb));
        }
        let count = state::increment("count", arguments.parse("by")?.unwrap_or(0))?;
        match arguments.get("why") {
            Some("fail") => Err("no".into()),
            why => admin::answer(&json!({"count": count, "why": why})),
        }
    }
}

#[test]
fn a_verb_gets_its_defaults_and_leaves_nothing_when_it_fails() {
    let run = |arguments: &[(&str, &str)]| testing::run_verb::<Counting>("add", arguments);
    assert_eq!(
        run(&[("why", "a")]).unwrap(),
        json!({"count": 1, "why": "a"})
    );
    assert!(run(&[("why", "fail"), ("by", "5")]).is_err());
    assert_eq!(run(&[("why", "a"), ("by", "2")]).unwrap()["count"], 3);
    for wrong in [&[][..], &[("why", "a"), ("who", "b")]] {
        assert_eq!(run(wrong).unwrap_err().code(), ErrorCode::InvalidArgument);
    }
    assert!(testing::run_verb::<Counting>("subtract", &[]).is_err());
}

#[test]
fn a_set_of_files_is_granted_there_and_changing() {
    let refusal = |set: &str| files::list(set).unwrap_err().refusal().unwrap();
    assert_eq!(refusal("policies"), Refusal::NotGranted);
    testing::grant_files("policies");
    assert_eq!(refusal("policies"), Refusal::NotFound);
    testing::put_file("policies", "b/c.rego", b"package c");
    testing::put_file("policies", "a.rego", b"package a");
    let names: Vec<String> = files::list("policies")
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .collect();
    assert_eq!(names, ["a.rego", "b/c.rego"]);
    assert_eq!(files::read_text("policies", "a.rego").unwrap(), "package a");
    let mut stamps = vec![files::stamp("policies").unwrap()];
    testing::put_file("policies", "a.rego", b"package A");
    stamps.push(files::stamp("policies").unwrap());
    testing::remove_file("policies", "a.rego");
    stamps.push(files::stamp("policies").unwrap());
    stamps.dedup();
    assert_eq!(stamps.len(), 3);
    let gone = files::read("policies", "a.rego").unwrap_err();
    assert_eq!(gone.code(), ErrorCode::NotFound);
}

#[test]
fn paths_are_followed_through_links_and_kept_where_nothing_is() {
    testing::link_path("/data", "/srv/real");
    testing::link_path("/srv/real/up", "../other");
    testing::link_path("/round", "/round");
    for (path, expected) in [
        ("/data/x/y", "/srv/real/x/y"),
        ("/data/up/x", "/srv/other/x"),
        ("/data/../x//./y/", "/srv/x/y"),
        ("/../..", "/"),
    ] {
        assert_eq!(files::resolve_path(path).unwrap(), expected, "{path}");
    }
    assert!(files::resolve_path("/round").is_err());
    assert!(files::resolve_path("data").is_err());
}
