use super::*;

#[test]
fn paths_are_read_as_the_engine_routes_them() {
    let rows: &[(&str, &str)] = &[
        ("/v1.41/containers/json", "1.41 /containers/json"),
        ("/containers/json", "- /containers/json"),
        ("/v1.24/containers/json", "1.24 /containers/json"),
        ("/v1.9/containers/json", "1.9 /containers/json"),
        ("/v2.0/info", "2.0 /info"),
        ("/v1.41./containers/json", "1.41 /containers/json"),
        ("/v1.41/%63ontainers/json", "1.41 /containers/json"),
        ("/v1.41/containers/%6Ason", "1.41 /containers/json"),
        ("/%76%31.41/info", "1.41 /info"),
        ("/v1%2e41/info", "1.41 /info"),
        ("http://evil/v1.41/info", "1.41 /info"),
        ("HTTP://evil:2375/info", "- /info"),
        ("https://[::1]:2376/v1.41/info", "1.41 /info"),
        (
            "/v1.41/images/registry:5000/a/b:latest/json",
            "1.41 /images/registry:5000/a/b:latest/json",
        ),
        ("/v1.41/images/a%3Ab/json", "1.41 /images/a:b/json"),
        ("/v1.41/volumes/a%20b", "1.41 /volumes/a b"),
        ("/v1.41/volumes/a+b", "1.41 /volumes/a+b"),
        ("/v1.41/volumes/%C3%BC", "1.41 /volumes/ü"),
        ("/v1.41/volumes/%25%36%33", "1.41 /volumes/%63"),
        ("/v1.41/volumes/%2563", "1.41 /volumes/%63"),
        ("/v1.41/volumes/a%5cb", "1.41 /volumes/a\\b"),
        ("/v1.41/volumes/a\\b", "1.41 /volumes/a\\b"),
        ("/v1.41/volumes/a%3Fb", "1.41 /volumes/a?b"),
        ("/v1.41/volumes/a%23b", "1.41 /volumes/a#b"),
        ("/v1.41/volumes/a%3bb", "1.41 /volumes/a;b"),
        ("/v1.41/volumes/...", "1.41 /volumes/..."),
        ("/v1.41/containers/create", "1.41 /containers/create"),
        (
            "/v1.41/containers/create/json",
            "1.41 /containers/create/json",
        ),
        ("/v1.41/Containers/json", "1.41 /Containers/json"),
        ("/version", "- /version"),
        ("/volumes", "- /volumes"),
        ("/vars", "- /vars"),
        ("/Version", "- /Version"),
        ("/v1.41/v1.40/info", "1.41 /v1.40/info"),
        ("/auth", "- /auth"),
        ("/v1.41/authx", "1.41 /authx"),
        ("/_ping", "- /_ping"),
        ("/info?x=/auth", "- /info"),
        ("/info?", "- /info"),
        ("/info?a=//&b=/../", "- /info"),
    ];
    for (uri, expected) in rows {
        let request = judge(&bare("GET", uri)).unwrap_or_else(|denial| panic!("{uri}: {denial}"));
        let version = request
            .api_version
            .map_or("-".to_owned(), |(major, minor)| format!("{major}.{minor}"));
        assert_eq!(
            format!("{version} {}", request.plain_path()),
            *expected,
            "{uri}"
        );
        assert_eq!(request.uri, *uri);
    }
}

#[test]
fn paths_with_two_readings_are_denied() {
    let rows: &[(&str, &str)] = &[
        ("", "no request target"),
        ("/", "short form"),
        ("*", "neither a path"),
        ("info", "neither a path"),
        ("//v1.41/info", "short form"),
        ("/v1.41//info", "short form"),
        ("/v1.41/info/", "short form"),
        ("/v1.41/./info", "short form"),
        ("/v1.41/x/../info", "short form"),
        ("/auth/../v1.41/containers/create", "short form"),
        ("/auth/%2e%2e/v1.41/containers/create", "short form"),
        ("/v1.41/%2E/info", "short form"),
        ("/v1.41/%2e./info", "short form"),
        ("/..", "short form"),
        ("/v1.41/containers%2fcreate", "encoded slash"),
        ("/v1.41/images/a%2Fb/json", "encoded slash"),
        ("/%2fv1.41/info", "encoded slash"),
        ("/v1.41/containers/%zz", "hexadecimal"),
        ("/v1.41/containers/%", "hexadecimal"),
        ("/v1.41/containers/%4", "hexadecimal"),
        ("/v1.41/containers/%+1", "hexadecimal"),
        ("/v1.41/volumes/%ff", "not UTF-8"),
        ("/v1.41/volumes/%c0%af", "not UTF-8"),
        ("/v1.41/volumes/%00", "control character"),
        ("/v1.41/volumes/a%0ab", "control character"),
        ("/v1.41/volumes/a%7f", "control character"),
        ("/v1.41/volumes/ü", "percent-encode it"),
        ("/v1.41/volumes/\u{fffd}", "percent-encode it"),
        ("/v1.41/volumes/a b", "percent-encode it"),
        ("/v1.41/volumes/a\tb", "percent-encode it"),
        ("/v1.41/info#x", "%23"),
        ("/v1.41", "no path behind"),
        ("/v1.41/", "short form"),
        ("/V1.41/info", "not an API version"),
        ("/v/info", "not an API version"),
        ("/v./info", "not an API version"),
        ("/v1/info", "not an API version"),
        ("/v1./info", "not an API version"),
        ("/v1.41x/info", "not an API version"),
        ("/v1.41../info", "not an API version"),
        ("/v1..41/info", "not an API version"),
        ("/v1.41.0/info", "not an API version"),
        ("/v1.41.9/info", "not an API version"),
        ("/v01.41/info", "not an API version"),
        ("/v1.041/info", "not an API version"),
        ("/v.1.41/info", "not an API version"),
        ("/v1.99999/info", "not an API version"),
        ("/v99999999999999999999.1/info", "not an API version"),
        ("/v1.٤/info", "percent-encode it"),
        ("/v1.%D9%A4/info", "not an API version"),
        ("ftp://x/v1.41/info", "neither a path"),
        ("http:/v1.41/info", "neither a path"),
        ("http://", "neither a path"),
        ("http:///v1.41/info", "neither a path"),
        ("http://x", "neither a path"),
        ("http://x?/info", "neither a path"),
        ("http://user@x/info", "neither a path"),
        ("http://x\\y/info", "neither a path"),
        ("http://%41/info", "neither a path"),
        ("x:/info", "neither a path"),
        ("?x=/info", "neither a path"),
    ];
    for (uri, part) in rows {
        denied(&bare("GET", uri), part, uri);
    }
}

#[test]
fn queries_are_read_as_the_engine_parses_them() {
    let rows: &[(&str, &str, Pairs)] = &[
        ("POST", "/containers/create?name=a", &[("name", "a")]),
        (
            "POST",
            "/containers/create?name=a&platform=b",
            &[("name", "a"), ("platform", "b")],
        ),
        ("POST", "/containers/create?name=a&name=a", &[("name", "a")]),
        (
            "POST",
            "/containers/create?name=a&Name=b",
            &[("name", "a"), ("Name", "b")],
        ),
        ("POST", "/containers/create?n%61me=%61", &[("name", "a")]),
        ("POST", "/containers/create?name=a+b", &[("name", "a b")]),
        ("POST", "/containers/create?name=a%2Bb", &[("name", "a+b")]),
        (
            "POST",
            "/containers/create?name=a%252Bb",
            &[("name", "a%2Bb")],
        ),
        ("POST", "/containers/create?name", &[("name", "")]),
        ("POST", "/containers/create?name=", &[("name", "")]),
        ("POST", "/containers/create?=x", &[("", "x")]),
        ("POST", "/containers/create?&&name=a&", &[("name", "a")]),
        ("POST", "/containers/create?name=a=b", &[("name", "a=b")]),
        ("POST", "/containers/create?name=a?b", &[("name", "a?b")]),
        ("POST", "/containers/create?name=a%3Bb", &[("name", "a;b")]),
        (
            "POST",
            "/containers/create?name=%26name%3Db",
            &[("name", "&name=b")],
        ),
        ("POST", "/containers/create?x=/auth", &[("x", "/auth")]),
        ("POST", "/build?t=a&t=b", &[("t", "a"), ("t", "b")]),
        ("POST", "/build?t=a&t=a", &[("t", "a"), ("t", "a")]),
        (
            "POST",
            "/build?extrahosts=a&extrahosts=b&q=1",
            &[("extrahosts", "a"), ("extrahosts", "b"), ("q", "1")],
        ),
        (
            "POST",
            "/commit?changes=ENV+a%3Db&changes=USER+x",
            &[("changes", "ENV a=b"), ("changes", "USER x")],
        ),
        (
            "GET",
            "/images/get?names=a&names=b",
            &[("names", "a"), ("names", "b")],
        ),
        (
            "GET",
            "/images/a/b/get?platform=a&platform=b",
            &[("platform", "a"), ("platform", "b")],
        ),
        (
            "DELETE",
            "/images/a?platforms=a&platforms=b",
            &[("platforms", "a"), ("platforms", "b")],
        ),
        (
            "POST",
            "/images/create?fromImage=a&changes=1&changes=2",
            &[("fromImage", "a"), ("changes", "1"), ("changes", "2")],
        ),
        (
            "GET",
            "/containers/json?filters=%7B%22label%22%3A%7B%22a%22%3Atrue%7D%7D",
            &[("filters", "{\"label\":{\"a\":true}}")],
        ),
    ];
    for (method, uri, expected) in rows {
        let request = judge(&bare(method, uri)).unwrap_or_else(|denial| panic!("{uri}: {denial}"));
        let query: Vec<(&str, &str)> = request
            .query
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(query, *expected, "{uri}");
    }
}

#[test]
fn queries_with_two_readings_are_denied() {
    let rows: &[(&str, &str, &str)] = &[
        ("POST", "/containers/create?name=a&name=b", "two values"),
        ("POST", "/containers/create?name=a&n%61me=b", "two values"),
        ("POST", "/containers/create?name&name=b", "two values"),
        ("POST", "/containers/a/rename?name=a&name=b", "two values"),
        ("GET", "/containers/json?t=a&t=b", "two values"),
        ("GET", "/images/json?names=a&names=b", "two values"),
        ("POST", "/build?remote=a&remote=b", "two values"),
        ("POST", "/containers/create?name=a;name=b", "';'"),
        ("GET", "/info?;", "';'"),
        ("POST", "/containers/create?name=%zz", "hexadecimal"),
        ("POST", "/containers/create?%=a", "hexadecimal"),
        ("POST", "/containers/create?name=%ff", "not UTF-8"),
        ("POST", "/containers/create?name=a#b", "%23"),
        ("POST", "/containers/create?name=ü", "percent-encode it"),
    ];
    for (method, uri, part) in rows {
        denied(&bare(method, uri), part, uri);
    }
    let many = format!(
        "/info?{}",
        (0..1001).map(|n| format!("k{n}=&")).collect::<String>()
    );
    denied(&bare("GET", &many), "parameters", "1001 parameters");
}

#[test]
fn only_docker_s_methods_in_capitals_are_read() {
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
        assert_eq!(judge(&bare(method, "/info")).unwrap().method, method);
    }
    for method in [
        "post",
        "Post",
        "POST ",
        " POST",
        "P\u{41e}ST",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "PROPFIND",
        "GET\0",
        "*",
    ] {
        denied(&bare(method, "/info"), "request methods", method);
    }
    denied(&bare("", "/info"), "named no request", "empty");
    denied(
        &Message::default(),
        "named no request",
        "an empty message, as in a repeated call",
    );
}
