#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use serde_json::json;

use super::*;

fn text(text: &str) -> Text {
    Text {
        modules: vec![file(INLINE, text)],
        data: vec![],
        rule: RULE.to_owned(),
        builtin_errors: BuiltinErrors::default(),
        revision: None,
    }
}

fn file(name: &str, text: &str) -> Module {
    Module {
        name: name.to_owned(),
        text: text.to_owned(),
        before_1_0: None,
    }
}

fn parse(text: &str) -> Result<Policy> {
    Policy::parse(&self::text(text))
}

fn problem(text: &str) -> String {
    let mut policy = match parse(text) {
        Ok(policy) => policy,
        Err(error) => return error.to_string(),
    };
    policy
        .judge_request(json!({"Method": "GET"}))
        .unwrap_err()
        .to_string()
}

#[test]
fn both_syntaxes_are_read_and_decide_alike() {
    for text in [
        "package docker.authz\nallow { input.Method = \"GET\" }",
        "package docker.authz\ndefault allow = false\nallow = true { input.Method == \"GET\" }",
        "package docker.authz\nimport future.keywords.if\nallow if { input.Method = \"GET\" }",
        "package docker.authz\nimport rego.v1\nallow if { input.Method = \"GET\" }",
        "package docker.authz\nallow if input.Method == \"GET\"",
        "package docker.authz\ndefault allow := false\nallow if { some m in [\"GET\"]; input.Method == m }",
    ] {
        let mut policy = parse(text).unwrap();
        // Several requests in one instance do not see each other.
        for _ in 0..3 {
            for (method, allowed) in [("GET", true), ("POST", false)] {
                let verdict = policy.judge_request(json!({"Method": method})).unwrap();
                assert_eq!(verdict == Verdict::Allow, allowed, "{method}: {text}");
            }
        }
    }
}

#[test]
fn what_is_not_true_is_denied() {
    for text in [
        "package docker.authz\nallow if input.Nothing",
        "package docker.authz\nallow := false",
        "package docker.authz\ndefault allow := false",
    ] {
        let mut policy = parse(text).unwrap();
        assert_eq!(
            policy.judge_request(json!({"Method": "GET"})).unwrap(),
            Verdict::Deny(Vec::new()),
            "{text}"
        );
    }
}

#[test]
fn failures_are_errors_that_say_where() {
    for (text, expected) in [
        (
            "",
            "the policy cannot be read: line 1, column 1: expecting `package` Missing package declaration.; in the syntax before OPA 1.0: line 1",
        ),
        (
            "package docker.authz\nallow if {",
            "the policy cannot be read: line 2",
        ),
        (
            "package docker.authz\nallow { input.Method = }",
            "in the syntax before OPA 1.0: line 2, column 7: ",
        ),
        (
            "package other\nallow := true",
            "the policy has no rule data.docker.authz.allow: its package is other",
        ),
        (
            "package docker.authz\nallowed := true",
            "the policy has no rule data.docker.authz.allow: its package is docker.authz",
        ),
        (
            "package docker.authz\nallow := \"yes\"",
            "the policy's rule data.docker.authz.allow is neither true nor false",
        ),
        (
            "package docker.authz\nallow contains \"GET\"",
            "is neither true nor false",
        ),
        (
            "package docker.authz\nallow if foo(input.x)",
            "the policy cannot be evaluated: line 2: could not find function foo",
        ),
        (
            "package docker.authz\nallow if http.send({\"url\": input.Method})",
            "could not find function http.send",
        ),
        // A built-in function that fails decides nothing.
        (
            "package docker.authz\nallow if not bad\nbad if to_number(input.Method) == 1",
            "could not parse string as number; with builtin-errors = \"undefined\" under [config]",
        ),
        (
            "package docker.authz\nallow := x if x := true\nallow := y if y := input.Method == \"POST\"",
            "rule conflicts",
        ),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{text}\n{problem}");
        assert!(!problem.contains('\n'), "{problem}");
    }
}

#[test]
fn a_policy_that_names_its_syntax_is_read_in_no_other() {
    let problem = problem("package docker.authz\nimport rego.v1\nallow { true }");
    assert_eq!(
        problem,
        "the policy cannot be read: line 3, column 7: `if` keyword is required before rule body"
    );
}

#[test]
fn a_failing_built_in_function_can_be_undefined_as_in_opa() {
    let text = "package docker.authz\nallow { not deny }\ndeny { count(input.Body.CapAdd) > 0 }";
    let input = json!({"Body": {"CapAdd": null}});
    for (builtin_errors, allowed) in [("deny", false), ("undefined", true)] {
        let text = Text {
            builtin_errors: builtin_errors.parse().unwrap(),
            ..self::text(text)
        };
        let verdict = Policy::parse(&text).unwrap().judge_request(input.clone());
        assert_eq!(verdict == Ok(Verdict::Allow), allowed, "{verdict:?}");
    }
    "maybe".parse::<BuiltinErrors>().unwrap_err();
}

#[test]
fn what_is_no_collection_has_no_members() {
    for (body, allowed) in [
        (
            "allow if not bad\nbad if some cap in input.Body.CapAdd",
            true,
        ),
        (
            "allow if count({cap | some cap in input.Body.CapAdd}) == 0",
            true,
        ),
        ("allow if some cap in input.Body.CapAdd", false),
        (
            "allow if not bad\nbad if { some i, cap in input.Body.CapAdd; i >= 0 }",
            true,
        ),
        ("allow if some cap in input.Body.Caps", true),
        (
            "allow if { some key, _ in input.Body; key == \"Caps\" }",
            true,
        ),
        (
            "allow if { some list in input.Body; some cap in list; cap == \"x\" }",
            true,
        ),
        ("allow if some cap in input.Body.List[_].Caps", true),
        ("allow if some \"y\" in input.Body.Caps", false),
        ("allow if some \"x\" in input.Body.Caps", true),
    ] {
        let mut policy = parse(&format!("package docker.authz\n{body}")).unwrap();
        let input = json!({"Body": {"CapAdd": null, "Caps": ["x"], "List": [{"Caps": null}, {}, {"Caps": ["y"]}], "Name": "x"}});
        for _ in 0..2 {
            let verdict = policy.judge_request(input.clone()).unwrap();
            assert_eq!(verdict == Verdict::Allow, allowed, "{body}");
        }
    }
    let mut old = parse("package docker.authz\nimport future.keywords.in\nallow { not bad }\nbad { some cap in input.Body.CapAdd }").unwrap();
    let verdict = old.judge_request(json!({"Body": {"CapAdd": null}}));
    assert_eq!(verdict, Ok(Verdict::Allow));
}

#[test]
fn reasons_come_from_the_rule_deny() {
    for (text, reasons) in [
        (
            "deny contains \"b\" if true\ndeny contains msg if msg := sprintf(\"no %s\", [input.Method])",
            &["b", "no GET"][..],
        ),
        ("deny := \"because\"", &["because"]),
        ("deny := [\"z\", 1, \"a\"]", &["z", "a"]),
        ("deny if true", &[]),
        ("deny contains \"x\" if input.Method == \"PUT\"", &[]),
    ] {
        let mut policy = parse(&format!("package docker.authz\nallow if false\n{text}")).unwrap();
        let verdict = policy.judge_request(json!({"Method": "GET"})).unwrap();
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        assert_eq!(verdict, Verdict::Deny(reasons), "{text}");
    }
    let mut policy = parse("package docker.authz\nallow { count(deny) == 0 }\ndeny[msg] { input.Method == \"POST\"; msg := \"no\" }").unwrap();
    for (method, expected) in [
        ("GET", Verdict::Allow),
        ("POST", Verdict::Deny(vec!["no".into()])),
    ] {
        assert_eq!(
            policy.judge_request(json!({"Method": method})).unwrap(),
            expected
        );
    }
}

#[test]
fn responses_are_allowed_unless_a_rule_judges_them() {
    let mut policy = parse("package docker.authz\nallow := false").unwrap();
    assert!(!policy.judges_responses());
    assert_eq!(policy.judge_response(json!({})).unwrap(), Verdict::Allow);
    let mut policy = parse(
        "package docker.authz\nallow := true\nallow_response if input.Response.StatusCode < 400",
    )
    .unwrap();
    assert!(policy.judges_responses());
    for (status, allowed) in [(json!(200), true), (json!(500), false)] {
        let input = json!({"Response": {"StatusCode": status}});
        assert_eq!(
            policy.judge_response(input).unwrap() == Verdict::Allow,
            allowed
        );
    }
}

#[test]
fn data_and_rule_can_be_set() {
    let text = "package company.docker\nmay { data.users[input.User][_] == input.Method }";
    let with = |data: Option<&str>, rule: Option<&str>| Text {
        data: data
            .map(|data| serde_json::from_str(data).unwrap())
            .into_iter()
            .collect(),
        rule: rule.unwrap_or(RULE).to_owned(),
        ..self::text(text)
    };
    let data = Some(r#"{"users": {"alice": ["GET", "POST"]}}"#);
    let mut policy = Policy::parse(&with(data, Some("data.company.docker.may"))).unwrap();
    for (user, allowed) in [("alice", true), ("bob", false)] {
        let verdict = policy
            .judge_request(json!({"User": user, "Method": "POST"}))
            .unwrap();
        assert_eq!(verdict == Verdict::Allow, allowed, "{user}");
    }
    for (data, rule, expected) in [
        (
            data,
            None,
            "no rule data.docker.authz.allow: its package is company.docker",
        ),
        (data, Some("may"), "no rule may"),
        (
            data,
            Some("data.company.docker"),
            "no rule data.company.docker",
        ),
        (data, Some("data.company.docker.may; true"), "no rule"),
        (
            Some("[1]"),
            Some("data.company.docker.may"),
            "the policy's data is no JSON object",
        ),
        (
            Some(r#"{"company": {"docker": {"may": true}}}"#),
            Some("data.company.docker.may"),
            "the policy's data has a value at data.company.docker",
        ),
    ] {
        let error = Policy::parse(&with(data, rule)).err().unwrap();
        assert!(error.message().contains(expected), "{rule:?}: {error}");
    }
}

#[test]
fn long_policies_are_read() {
    let list: Vec<String> = (0..20_000)
        .map(|number| format!("\"name{number}\""))
        .collect();
    let text = format!(
        "package docker.authz\nallow if input.Method in [{}]",
        list.join(", ")
    );
    let mut policy = parse(&text).unwrap();
    let verdict = policy
        .judge_request(json!({"Method": "name19999"}))
        .unwrap();
    assert_eq!(verdict, Verdict::Allow);
}

#[test]
fn a_policy_can_have_several_files_in_both_syntaxes() {
    let mut policy = Policy::parse(&Text {
        modules: vec![
            file(
                "a.rego",
                "package docker.authz\nallow { data.lib.reads(input) }",
            ),
            file(
                "lib/b.rego",
                "package lib\nimport rego.v1\nreads(request) if request.Method in data.methods",
            ),
            file(
                "c.rego",
                "package docker.authz\nimport rego.v1\ndeny contains m if some m in input.Bad",
            ),
        ],
        data: vec![json!({"methods": ["GET"]}), json!({"more": 1})],
        ..text("")
    })
    .unwrap();
    for (method, expected) in [
        ("GET", Verdict::Allow),
        ("POST", Verdict::Deny(vec!["x".into()])),
    ] {
        let input = json!({"Method": method, "Bad": ["x"]});
        assert_eq!(policy.judge_request(input).unwrap(), expected);
    }
    let broken = Policy::parse(&Text {
        modules: vec![
            file("policies/a.rego", "package docker.authz\nallow := true"),
            file("policies/b.rego", "package docker.authz\nallow if {"),
        ],
        ..text("")
    });
    let error = broken.err().unwrap();
    assert!(
        error
            .message()
            .contains("cannot be read: policies/b.rego: line 2"),
        "{error}"
    );
}

#[test]
fn tests_of_a_policy_are_run_and_are_no_part_of_it() {
    let whole = Text {
        modules: vec![
            file(
                "a.rego",
                "package docker.authz\nallow { input.Method == \"GET\" }\nhelper { data.docker.authz_test.x }",
            ),
            file(
                "a_test.rego",
                "package docker.authz_test\nimport data.docker.authz\nx := 1\ntest_get { authz.allow with input as {\"Method\": \"GET\"} }\ntest_post { authz.allow with input as {\"Method\": \"POST\"} }\ntest_broken { to_number(\"x\") == no_such_function(1) }",
            ),
        ],
        ..text("")
    };
    let outcomes: Vec<_> = Policy::test(&whole)
        .unwrap()
        .into_iter()
        .map(|outcome| (outcome.test, outcome.passed, outcome.error.is_some()))
        .collect();
    let of = |name: &str, passed, error| (format!("data.docker.authz_test.{name}"), passed, error);
    assert_eq!(
        outcomes,
        [
            of("test_broken", false, true),
            of("test_get", true, false),
            of("test_post", false, false),
        ]
    );
    let mut policy = Policy::parse(&whole).unwrap();
    let (rules, _) = policy.explain(json!({"Method": "GET"})).unwrap();
    assert_eq!(rules, json!({"allow": true}));
}
