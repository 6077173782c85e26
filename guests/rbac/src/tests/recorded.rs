//! Requests of Docker's clients to every route, what they are, and who may make them.

use super::*;

/// On each line: `l` if the local user may, `a` if alice, a developer, may, `r` if an administrator may; the method; the target; the action; its
/// object; the body.
const RECORDED: &str = include_str!("recorded.txt");

#[test]
fn recorded_requests_are_the_actions_that_they_are_and_allowed_to_whom_they_should_be() {
    with_policy_text(POLICY);
    let mut seen = std::collections::BTreeSet::new();
    for line in RECORDED.lines() {
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        let [who, method, target, action, object] = fields[..5] else {
            panic!("{line}");
        };
        let body = fields.get(5).copied().unwrap_or_default();
        let query_decoded = target
            .replace("%2F", "/")
            .replace("%3A", ":")
            .replace("%7B%7D", "{}");
        let request = request("", method, &query_decoded, body);
        let route = routes::route(&request);
        assert_eq!(
            route.as_ref().map_or("none", |route| route.action),
            action,
            "{line}"
        );
        assert_eq!(
            route
                .and_then(|route| route.object)
                .as_deref()
                .unwrap_or("-"),
            object,
            "{line}"
        );
        for (letter, user) in [('l', ""), ('a', "alice"), ('r', "root-admin")] {
            let allowed = ask(user, method, &query_decoded, body);
            assert_eq!(
                allowed.is_ok(),
                who.contains(letter),
                "{user:?}: {line}\n{allowed:?}"
            );
        }
        seen.insert(action);
    }
    assert!(RECORDED.lines().count() >= 200);
    let actions = routes::actions();
    let missing: Vec<_> = actions
        .iter()
        .filter(|action| !seen.contains(*action))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
