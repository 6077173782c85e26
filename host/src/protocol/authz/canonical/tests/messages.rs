use super::*;

/// How the body is shown: not at all, or this text.
type Shown = Option<&'static str>;

const STREAM: &str = "stream";
const NONE: &str = "none";

fn message(method: &str, uri: &str, pairs: &[(&str, &str)], body: Shown) -> Message {
    Message {
        request_method: method.into(),
        request_uri: uri.into(),
        request_headers: headers(pairs),
        request_body: body.map(|text| text.as_bytes().to_vec()),
        ..Message::default()
    }
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const TAR: (&str, &str) = ("Content-Type", "application/x-tar");
const TEXT: (&str, &str) = ("Content-Type", "text/plain");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const EMPTY: (&str, &str) = ("Content-Length", "0");

#[test]
fn an_absent_body_is_told_from_a_withheld_one() {
    let rows: &[(&str, &str, Pairs, Shown, &str)] = &[
        ("POST", "/containers/a/start", &[EMPTY], None, NONE),
        ("POST", "/containers/a/kill", &[EMPTY], Some(""), NONE),
        ("POST", "/containers/create", &[EMPTY], None, NONE),
        ("POST", "/containers/create", &[JSON, EMPTY], None, NONE),
        ("PUT", "/volumes/a", &[EMPTY], None, NONE),
        ("POST", "/containers/a/attach", &[TEXT, EMPTY], None, STREAM),
        ("POST", "/session", &[EMPTY], None, STREAM),
        ("POST", "/grpc", &[EMPTY], None, STREAM),
        ("POST", "/build", &[EMPTY], None, NONE),
        (
            "POST",
            "/build?remote=client-session",
            &[TEXT, EMPTY],
            None,
            NONE,
        ),
        (
            "POST",
            "/images/create?fromImage=a",
            &[TEXT, EMPTY],
            None,
            NONE,
        ),
        ("POST", "/images/load", &[TAR], None, STREAM),
        ("POST", "/images/load", &[], None, STREAM),
        (
            "POST",
            "/images/load",
            &[("Content-Length", "99")],
            None,
            STREAM,
        ),
        ("POST", "/images/load", &[EMPTY], None, NONE),
        ("PUT", "/containers/a/archive?path=/", &[TAR], None, STREAM),
        (
            "PUT",
            "/containers/a/b/archive?path=/",
            &[TEXT],
            None,
            STREAM,
        ),
        ("POST", "/plugins/create?name=a", &[TAR], None, STREAM),
        ("POST", "/images/load", &[JSON], Some("not a tar"), STREAM),
        ("POST", "/build", &[JSON], Some("not a tar"), STREAM),
        (
            "POST",
            "/auth",
            &[JSON, ("Content-Length", "80")],
            None,
            STREAM,
        ),
        (
            "POST",
            "/v1.41/auth",
            &[JSON, ("Content-Length", "80")],
            None,
            STREAM,
        ),
        ("GET", "/containers/json", &[], None, NONE),
        ("GET", "/containers/json", &[JSON], Some("{\"a\":1}"), NONE),
        (
            "GET",
            "/containers/json",
            &[("Content-Length", "7")],
            None,
            NONE,
        ),
        ("HEAD", "/_ping", &[], None, NONE),
        ("DELETE", "/containers/a", &[], None, NONE),
        ("DELETE", "/containers/a", &[JSON], Some("{"), NONE),
        ("GET", "/containers/a/attach/ws", &[], None, NONE),
        // A route that no table knows: JSON when it is shown.
        ("POST", "/containers/a/kill", &[JSON], Some("{}"), "{}"),
        (
            "POST",
            "/future/thing",
            &[JSON],
            Some("{\"a\":1}"),
            "{\"a\":1}",
        ),
        ("POST", "/containers/create", &[TEXT], Some("{}"), "{}"),
    ];
    for (method, uri, pairs, body, expected) in rows {
        let row = format!("{method} {uri} {pairs:?} {body:?}");
        let request = judge(&message(method, uri, pairs, *body))
            .unwrap_or_else(|denial| panic!("{row}: {denial}"));
        let shown = match request.body {
            Body::None => NONE.to_owned(),
            Body::Stream => STREAM.to_owned(),
            Body::Json(text) => text,
        };
        assert_eq!(shown, *expected, "{row}");
    }
}

#[test]
fn withheld_bodies_are_denied() {
    let rows: &[(&str, &str, Pairs, &str)] = &[
        (
            "POST",
            "/containers/create",
            &[JSON, ("Content-Length", "1200000")],
            "did not show",
        ),
        ("POST", "/containers/create", &[JSON], "did not show"),
        ("POST", "/containers/create", &[], "did not show"),
        (
            "POST",
            "/containers/create?x=/auth",
            &[JSON, ("Content-Length", "30")],
            "did not show",
        ),
        (
            "POST",
            "/containers/create",
            &[TEXT, ("Content-Length", "30")],
            "did not show",
        ),
        (
            "POST",
            "/containers/create",
            &[("Content-Length", "00")],
            "did not show",
        ),
        (
            "POST",
            "/containers/create",
            &[("Content-Length", "+0")],
            "did not show",
        ),
        (
            "POST",
            "/containers/create",
            &[("Content-Length", "")],
            "did not show",
        ),
        (
            "POST",
            "/containers/create",
            &[("Transfer-Encoding", "chunked")],
            "did not show",
        ),
        (
            "POST",
            "/containers/a/rename?name=nice",
            &[],
            "did not show",
        ),
        (
            "POST",
            "/containers/a/rename?name=nice",
            &[TEXT, ("Content-Length", "9")],
            "did not show",
        ),
        ("POST", "/containers/a/attach", &[], "did not show"),
        (
            "POST",
            "/session",
            &[("Content-Length", "9")],
            "did not show",
        ),
        (
            "POST",
            "/swarm/init",
            &[("Content-Length", "9")],
            "did not show",
        ),
        (
            "POST",
            "/services/create",
            &[TEXT, ("Content-Length", "9")],
            "did not show",
        ),
        (
            "POST",
            "/plugins/pull?remote=a",
            &[TEXT, ("Content-Length", "9")],
            "did not show",
        ),
        (
            "POST",
            "/plugins/a/set",
            &[("Content-Length", "9")],
            "did not show",
        ),
        ("POST", "/containers/a/checkpoints", &[], "did not show"),
        (
            "POST",
            "/exec/a/start",
            &[TEXT, ("Content-Length", "9")],
            "did not show",
        ),
        (
            "POST",
            "/images/a/push",
            &[("Content-Length", "9")],
            "did not show",
        ),
        ("POST", "/future/thing", &[], "did not show"),
        (
            "PUT",
            "/volumes/a",
            &[("Content-Length", "9")],
            "did not show",
        ),
        (
            "POST",
            "/images/create?fromImage=a",
            &[TAR],
            "pull does not need",
        ),
        (
            "POST",
            "/images/create",
            &[("Content-Length", "9")],
            "pull does not need",
        ),
        (
            "POST",
            "/images/create?fromSrc=http://x",
            &[TAR],
            "pull does not need",
        ),
        (
            "POST",
            "/images/create?fromSrc=-",
            &[TAR],
            "overrides its URL",
        ),
        ("POST", "/build?t=a", &[TAR], "overrides its URL"),
        (
            "POST",
            "/containers/create",
            &[JSON, ("content-length", "0"), EMPTY],
            "two spellings",
        ),
    ];
    for (method, uri, pairs, part) in rows {
        denied(
            &message(method, uri, pairs, None),
            part,
            &format!("{method} {uri} {pairs:?}"),
        );
    }
}

#[test]
fn forms_are_denied_wherever_they_go() {
    let types = [
        "application/x-www-form-urlencoded",
        "APPLICATION/X-WWW-FORM-URLENCODED",
        "application/x-www-form-urlencoded; charset=utf-8",
        " application/x-www-form-urlencoded ",
        "application/x-www-form-urlencoded;broken",
        "multipart/form-data; boundary=x",
        "Multipart/Mixed; boundary=x",
        "multipart/form-data",
    ];
    for content_type in types {
        for (method, uri) in [
            ("POST", "/containers/a/rename?name=nice"),
            ("POST", "/images/create?fromSrc=-"),
            ("POST", "/build"),
            ("POST", "/images/load"),
            ("POST", "/auth"),
            ("PUT", "/containers/a/archive?path=/"),
            ("GET", "/containers/a/json"),
            ("DELETE", "/containers/a"),
        ] {
            let row = format!("{method} {uri} {content_type}");
            denied(
                &message(
                    method,
                    uri,
                    &[("Content-Type", content_type), ("Content-Length", "9")],
                    None,
                ),
                "is a form",
                &row,
            );
        }
    }
    denied(
        &message("POST", "/containers/a/rename", &[FORM, EMPTY], None),
        "is a form",
        "an empty form",
    );
}

#[test]
fn streamed_sources_pass_when_the_operator_vouches_for_their_query() {
    let trust = Trust { source_query: true };
    for uri in ["/build?t=a", "/images/create?fromSrc=-&repo=a"] {
        assert_eq!(
            canonicalise(&message("POST", uri, &[TAR], None), trust)
                .unwrap()
                .body,
            Body::Stream,
            "{uri}"
        );
    }
    for (uri, pairs) in [
        ("/images/create?fromImage=a", TAR),
        ("/build", FORM),
        ("/containers/create", TAR),
    ] {
        assert!(
            canonicalise(&message("POST", uri, &[pairs], None), trust).is_err(),
            "{uri}"
        );
    }
}

#[test]
fn the_engine_s_message_is_decoded_with_every_field_optional() {
    let empty = Message::default();
    for text in [
        "{}",
        r#"{"User":null,"RequestMethod":null,"RequestUri":null,"RequestBody":null,"RequestHeaders":null,"RequestPeerCertificates":null}"#,
        r#"{"ResponseStatusCode":200,"ResponseBody":"e30=","Unknown":{"a":[1]}}"#,
    ] {
        assert_eq!(
            serde_json::from_str::<Message>(text).unwrap(),
            empty,
            "{text}"
        );
    }
    let text = r#"{"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"POST","RequestUri":"/v1.41/containers/create?name=z1",
        "RequestBody":"eyJJbWFnZSI6ICJhIn0K","RequestHeaders":{"Content-Length":"15","Content-Type":"application/json"},
        "RequestPeerCertificates":["LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="]}"#;
    let request = judge(&serde_json::from_str(text).unwrap()).unwrap();
    assert_eq!(
        request,
        Request {
            user: Some("alice".into()),
            user_authn_method: Some("TLS".into()),
            method: "POST".into(),
            uri: "/v1.41/containers/create?name=z1".into(),
            api_version: Some((1, 41)),
            path: vec!["containers".into(), "create".into()],
            query: vec![("name".into(), "z1".into())],
            headers: vec![
                ("Content-Length".into(), "15".into()),
                ("Content-Type".into(), "application/json".into())
            ],
            body: Body::Json(r#"{"Image":"a"}"#.into()),
            peer_certificates: vec!["-----BEGIN CERTIFICATE-----\n".into()],
        }
    );
    for text in [
        r#"{"RequestBody":"%"}"#,
        r#"{"RequestBody":7}"#,
        r#"{"RequestHeaders":[]}"#,
        r#"{"RequestPeerCertificates":["%"]}"#,
        "",
    ] {
        assert!(serde_json::from_str::<Message>(text).is_err(), "{text}");
    }
}

#[test]
fn an_anonymous_client_has_no_user_and_a_broken_certificate_is_denied() {
    let mut message = bare("GET", "/info");
    message.user = Some(String::new());
    message.user_authn_method = Some(String::new());
    let request = judge(&message).unwrap();
    assert_eq!((request.user, request.user_authn_method), (None, None));
    for user in ["admin\0x", "ADMIN", " admin "] {
        message.user = Some(user.into());
        assert_eq!(judge(&message).unwrap().user.as_deref(), Some(user));
    }
    for broken in [&b""[..], b"\xff", b"junk"] {
        message.request_peer_certificates = vec![broken.to_vec()];
        denied(&message, "not PEM", "a broken certificate");
    }
}
