//! What the operator writes.

use std::path::Path;
use std::time::Duration;

use http::{Method, Uri};

use super::doubles::grant;
use crate::outbound::{Allowed, not_granted};

fn error(toml: &str) -> String {
    match toml::from_str::<Allowed>(toml) {
        Ok(grant) => panic!("{toml} is read as {grant:?}"),
        Err(error) => error.message().to_owned(),
    }
}

#[test]
fn every_key_is_read_and_has_a_default() {
    let default = grant("");
    assert_eq!(default, Allowed::default());
    assert_eq!(default.max_body, 10 << 20);
    assert_eq!(default.timeout, Duration::from_secs(10));
    assert_eq!(default.redirects, 5);
    let mut full = grant(
        r#"
        allow = ["GET https://api.example.com/wapi/", "* http://10.0.0.5:8080/", "POST https://*.example.org"]
        private = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"]
        secrets = { token = ["https://api.example.com"], other = ["http://10.0.0.5:8080"] }
        max-body = "1MiB"
        max-request-body = "2MiB"
        timeout = "30s"
        redirects = 0
        connections = 4
        ca = "ca.pem"
        client-certificate = "/etc/client.pem"
        client-key = "key"
        "#,
    );
    full.rooted(Path::new("/etc/dockside"));
    assert!(full.check().is_ok());
    assert_eq!(full.max_body, 1 << 20);
    assert_eq!(full.max_request_body, 2 << 20);
    assert_eq!(full.timeout, Duration::from_secs(30));
    assert_eq!((full.redirects, full.connections), (0, 4));
    let shown: Vec<String> = full.allow.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "GET https://api.example.com/wapi/",
            "* http://10.0.0.5:8080/",
            "POST https://*.example.org"
        ]
    );
    let files: Vec<&Path> = full.files().collect();
    assert_eq!(
        files,
        [
            Path::new("/etc/dockside/ca.pem"),
            Path::new("/etc/client.pem")
        ]
    );
    let names: Vec<&str> = full.secret_names().collect();
    assert_eq!(names, ["other", "token", "key"]);
    for half in ["client-certificate = \"x\"", "client-key = \"x\""] {
        assert!(grant(half).check().is_err(), "{half}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    for (toml, expected) in [
        ("allow = [\"https://x.test\"]", "needs a method, or *"),
        (
            "allow = [\"GET\"]",
            "needs a method, or * for any, and a place",
        ),
        (
            "allow = [\"get https://x.test\"]",
            "is no method such as GET",
        ),
        ("allow = [\"CONNECT https://x.test\"]", "is never allowed"),
        ("allow = [\"GET  https://x.test\"]", "no place such as"),
        ("allow = [\"GET x.test\"]", "scheme must be http or https"),
        ("allow = [\"GET /path\"]", "scheme must be http or https"),
        (
            "allow = [\"GET ftp://x.test\"]",
            "scheme must be http or https",
        ),
        ("allow = [\"GET https://*\"]", "no place such as"),
        ("allow = [\"GET https://*/\"]", "no place such as"),
        ("allow = [\"GET https://a.*.test/\"]", "no place such as"),
        ("allow = [\"GET https://*.10.0.0.1/\"]", "no names below it"),
        ("allow = [\"GET https://x.test:0/\"]", "port must be"),
        ("allow = [\"GET https://x.test:*/\"]", "no place such as"),
        ("allow = [\"GET https://u:p@x.test/\"]", "user name"),
        ("allow = [\"GET https://x.test/a/../b\"]", "segment of dots"),
        ("allow = [\"GET https://x.test/a//b\"]", "two slashes"),
        ("allow = [\"GET https://x.test/?a=b\"]", "without query"),
        ("allow = [\"GET https://x.test/#a\"]", "without query"),
        ("allow = [\"GET https://127.1/\"]", "four decimal numbers"),
        ("allow = [\"GET https://bücher.test/\"]", "xn--"),
        ("private = [\"10.0.0.0/33\"]", "no range of addresses"),
        ("private = [\"10.0.0\"]", "no range of addresses"),
        ("private = [\"x.test\"]", "no range of addresses"),
        ("secrets = \"token\"", "names of secrets such as"),
        ("secrets = [\"a b\"]", "cannot be the name of a secret"),
        ("secrets = { token = [\"x.test\"] }", "no place such as"),
        ("timeout = \"0s\"", "too short"),
        ("timeout = 5", "duration in quotes"),
        ("redirects = 100", "from 0 to 20"),
        ("connections = 0", "from 1 to 1000"),
        ("max-body = \"5GiB\"", "too large"),
        ("alow = []", "unknown field"),
    ] {
        let error = error(toml);
        assert!(error.contains(expected), "{toml}: {error}");
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
