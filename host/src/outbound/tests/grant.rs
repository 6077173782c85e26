//! What the operator writes.

use http::{Method, Uri};

use crate::outbound::{Place, Rule, Target, not_granted};

#[test]
fn a_rule_is_shown_as_it_was_written() {
    for text in [
        "GET https://api.example.com/wapi/",
        "* http://10.0.0.5:8080/",
        "POST https://*.example.org",
        "M-SEARCH http://[fd00::1]:8080/x",
    ] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
}

#[test]
fn a_rule_allows_its_method_its_host_and_all_below_its_path() {
    for (rule, method, uri, allowed) in [
        ("GET https://x.test/a", "GET", "https://x.test/a", true),
        ("GET https://x.test/a", "GET", "https://x.test/a/b?c", true),
        ("GET https://x.test/a/", "GET", "https://x.test/a", true),
        ("GET https://x.test/a", "GET", "https://x.test/ab", false),
        ("GET https://x.test/a", "GET", "https://x.test/A", false),
        ("GET https://x.test/a", "HEAD", "https://x.test/a", true),
        ("GET https://x.test/a", "POST", "https://x.test/a", false),
        ("HEAD https://x.test/a", "GET", "https://x.test/a", false),
        ("* https://x.test", "DELETE", "https://x.test/a", true),
        ("* https://x.test", "GET", "http://x.test/", false),
        ("* https://x.test", "GET", "https://x.test:443/", true),
        ("* https://x.test:443", "GET", "https://x.test/", true),
        ("* https://x.test", "GET", "https://x.test:80/", false),
        ("* http://x.test:8080", "GET", "http://x.test/", false),
        ("* https://X.test", "GET", "https://x.TEST/", true),
        ("* https://*.x.test", "GET", "https://a.x.test/", true),
        ("* https://*.x.test", "GET", "https://a.b.x.test/", true),
        ("* https://*.x.test", "GET", "https://x.test/", false),
        ("* https://*.x.test", "GET", "https://ax.test/", false),
        ("* https://x.test", "GET", "https://a.x.test/", false),
        ("* http://10.0.0.1", "GET", "http://10.0.0.1/", true),
        (
            "* http://10.0.0.1",
            "GET",
            "http://[::ffff:10.0.0.1]/",
            false,
        ),
        ("* http://[fd00::1]", "GET", "http://[fd00:0::1]/", true),
        (
            "* http://x.test/a%2Fb",
            "GET",
            "http://x.test/a%2fb/c",
            true,
        ),
        ("* http://x.test/a%2Fb", "GET", "http://x.test/a/b/c", false),
        ("* http://x.test/%61", "GET", "http://x.test/a", true),
    ] {
        let rule: Rule = rule.parse().unwrap();
        let target = Target::of(&uri.parse().unwrap()).unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(
            rule.allows(&method, &target),
            allowed,
            "{rule}: {method} {uri}"
        );
    }
}

#[test]
fn a_rule_that_makes_no_sense_is_refused_with_what_would() {
    for (rule, expected) in [
        ("https://x.test", "needs a method, or *"),
        ("GET", "needs a method, or * for any, and a place"),
        ("get https://x.test", "is no method such as GET"),
        ("G/T https://x.test", "is no method such as GET"),
        ("CONNECT https://x.test", "is never allowed"),
        ("GET  https://x.test", "no place such as"),
        ("GET x.test", "scheme must be http or https"),
        ("GET /path", "scheme must be http or https"),
        ("GET ftp://x.test", "scheme must be http or https"),
        ("GET https://*", "no place such as"),
        ("GET https://*/", "no place such as"),
        ("GET https://a.*.test/", "no place such as"),
        ("GET https://*.10.0.0.1/", "no names below it"),
        ("GET https://x.test:0/", "port must be"),
        ("GET https://x.test:*/", "no place such as"),
        ("GET https://u:p@x.test/", "user name"),
        ("GET https://x.test/a/../b", "segment of dots"),
        ("GET https://x.test/a//b", "two slashes"),
        ("GET https://x.test/?a=b", "without query"),
        ("GET https://x.test/#a", "without query"),
        ("GET https://127.1/", "four decimal numbers"),
        ("GET https://b\u{fc}cher.test/", "xn--"),
    ] {
        let error = rule.parse::<Rule>().unwrap_err();
        assert!(error.contains(expected), "{rule}: {error}");
        if let Some((_, place)) = rule.split_once(' ')
            && !rule.starts_with("get")
            && !rule.starts_with("G/T")
            && !rule.starts_with("CONNECT")
        {
            assert!(place.parse::<Place>().is_err(), "{place}");
        }
    }
}

#[test]
fn a_plugin_without_the_grant_is_told_what_to_write() {
    let uri: Uri = "https://api.example.com/x?secret=1".parse().unwrap();
    assert_eq!(
        not_granted(&Method::GET, &uri).message,
        "GET https://api.example.com/x: http is not granted: add http = { allow = [\"GET https://api.example.com/x\"] } under [grants]"
    );
}
