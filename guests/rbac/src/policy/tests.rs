use super::*;

fn problem(text: &str) -> String {
    Policy::parse(text)
        .and_then(Compiled::new)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

const GRANT: &str = "\n[[grants]]\nusers = [\"a\"]\nroles = [\"r\"]\n";

#[test]
fn mistakes_are_named() {
    for (text, expected) in [
        ("", "no [[grants]]"),
        ("[roles.r]\nactions = [\"container_*\"]", "no [[grants]]"),
        ("[roles.r]\nacts = []", "line 2: unknown field `acts`"),
        ("x", "line 1"),
        ("{\"roles\": 1}", "the policy cannot be read"),
        (
            "{\"name\":\"p\",\"users\":[\"a\"],\"actions\":[\"\"]}\nnonsense",
            "line 2",
        ),
        (
            "{\"name\":\"p\",\"users\":[\"a\"],\"actions\":[\"(\"]}",
            "action \"(\"",
        ),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{text}: {problem}");
    }
    for (role, expected) in [
        (
            "actions = [\"container_crate\"]",
            "no action container_crate",
        ),
        ("actions = [\"*\"]\nexcept = [\"x\"]", "no action x"),
        ("host-namespaces = [\"net\"]", "no namespace net"),
        ("mounts = [\"srv\"]", "no absolute path"),
        ("ports = [\"9-8\"]", "no range of ports"),
    ] {
        let problem = problem(&format!("[roles.r]\n{role}\n{GRANT}"));
        assert!(problem.contains(expected), "{role}: {problem}");
    }
    for (grant, expected) in [
        ("roles = [\"r\"]", "is for nobody"),
        ("users = [\"a\"]\nroles = [\"s\"]", "no role s"),
        ("groups = [\"g\"]\nroles = [\"r\"]", "no group g"),
    ] {
        let problem = problem(&format!(
            "[roles.r]\nactions = [\"*\"]\n[[grants]]\n{grant}"
        ));
        assert!(problem.contains(expected), "{grant}: {problem}");
    }
}

#[test]
fn toml_and_json_say_the_same() {
    let toml = Policy::parse(&format!(
        "[roles.r]\nactions = [\"*\"]\nown-containers = true\n{GRANT}"
    ))
    .unwrap();
    let json = Policy::parse(
        r#"{"roles": {"r": {"actions": ["*"], "own-containers": true}}, "grants": [{"users": ["a"], "roles": ["r"]}]}"#,
    )
    .unwrap();
    assert_eq!(toml, json);
    assert_eq!(Compiled::new(toml), Compiled::new(json));
}
