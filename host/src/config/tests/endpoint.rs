use std::path::Path;

use super::plugin;
use crate::config::{Endpoint, Key, Plugin, SecretSource};

fn endpoint(lines: &str) -> Endpoint {
    plugin(&format!("[endpoint]\n{lines}\n"))
        .unwrap()
        .endpoint
        .unwrap()
}

const TLS: &str = "tls = { certificate = \"s.pem\", key = { file = \"s.key\" } }";
const ASKING: &str =
    "tls = { certificate = \"s.pem\", key = { file = \"s.key\" }, client-ca = \"ca.pem\" }";
const CLIENT: &str =
    "client = { ca-file = \"/c/ca.pem\", cert-file = \"/c/cert.pem\", key-file = \"/c/key.pem\" }";

#[test]
fn docker_is_told_an_address_that_it_can_connect_to() {
    for (lines, address) in [
        ("listen = \"tcp://127.0.0.1:0\"", "tcp://127.0.0.1:99"),
        ("listen = \"tcp://localhost:99\"", "tcp://localhost:99"),
        ("listen = \"tcp://[::1]:99\"", "tcp://[::1]:99"),
        (
            "listen = \"tcp://0.0.0.0:99\"\ninsecure = true",
            "tcp://127.0.0.1:99",
        ),
        (
            "listen = \"tcp://[::]:99\"\ninsecure = true",
            "tcp://[::1]:99",
        ),
        (
            "listen = \"tcp://127.0.0.1:99\"\nadvertise = \"Host.example.\"",
            "tcp://host.example:99",
        ),
        (
            &format!("listen = \"tcp://127.0.0.1:99\"\n{TLS}"),
            "https://127.0.0.1:99",
        ),
        (
            &format!("listen = \"tcp://10.0.0.1:99\"\nadvertise = \"fd00::1\"\n{ASKING}\n{CLIENT}"),
            "https://[fd00::1]:99",
        ),
        ("listen = \"unix:///run/x.sock\"", "unix:///run/x.sock"),
    ] {
        assert_eq!(endpoint(lines).address(99), address, "{lines}");
    }
}

#[test]
fn strangers_are_let_in_only_where_it_says_so() {
    for (lines, private) in [
        ("listen = \"tcp://127.0.0.1:0\"".to_owned(), true),
        (format!("listen = \"tcp://127.0.0.1:0\"\n{TLS}"), true),
        (
            "listen = \"tcp://127.0.0.1:0\"\ninsecure = true".to_owned(),
            false,
        ),
        (
            format!("listen = \"tcp://127.0.0.1:0\"\n{ASKING}\n{CLIENT}"),
            false,
        ),
    ] {
        assert_eq!(endpoint(&lines).is_private(), private, "{lines}");
    }
}

#[test]
fn endpoints_that_cannot_be_meant_are_refused_with_what_would_be_right() {
    let open = "insecure = true";
    for (lines, expected) in [
        ("", "the key `listen` is missing"),
        ("listen = \"127.0.0.1:7070\"", "is no address to listen on"),
        ("listen = \"tcp://127.0.0.1\"", "is no address to listen on"),
        ("listen = \"tcp://::1:80\"", "is no address to listen on"),
        (
            "listen = \"tcp://host.example:80\"",
            "is no address to listen on",
        ),
        (
            "listen = \"tcp://127.0.0.1:65536\"",
            "is no address to listen on",
        ),
        ("listen = \"unix://run/x.sock\"", "three slashes"),
        ("listen = \"tcp://0.0.0.0:1\"", open),
        ("listen = \"tcp://192.0.2.1:1\"", open),
        (&format!("listen = \"tcp://[::]:1\"\n{TLS}"), open),
        (
            &format!("listen = \"tcp://127.0.0.1:1\"\n{CLIENT}"),
            "endpoint.tls is not",
        ),
        (
            &format!("listen = \"tcp://127.0.0.1:1\"\n{ASKING}"),
            "does not say which",
        ),
        (
            &format!("listen = \"tcp://127.0.0.1:1\"\n{ASKING}\nclient = {{ ca-file = \"/c\" }}"),
            "does not say which",
        ),
        (
            &format!("listen = \"tcp://127.0.0.1:1\"\n{TLS}\nclient = {{ ca-file = \"ca.pem\" }}"),
            "endpoint.client.ca-file must be an absolute path",
        ),
        (
            &format!(
                "listen = \"tcp://127.0.0.1:1\"\n{TLS}\nclient = {{ ca-file = \"/c\", key-file = \"/k\" }}"
            ),
            "cert-file and key-file go together",
        ),
        (
            &format!("listen = \"unix:///run/x.sock\"\n{TLS}"),
            "this is a unix socket",
        ),
        (
            "listen = \"tcp://127.0.0.1:1\"\nadvertise = \"a b\"",
            "is no host to connect to",
        ),
        (
            "listen = \"tcp://127.0.0.1:1\"\ntls = { certificate = \"a\", key = \"-----BEGIN PRIVATE KEY-----\" }",
            "key is the name of a secret",
        ),
        (
            "listen = \"tcp://127.0.0.1:1\"\ntls = { certificate = \"a\", key = \"b\" }",
            "endpoint.tls.key: there is no secret b",
        ),
    ] {
        let error = plugin(&format!("[endpoint]\n{lines}"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{lines}\n{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
}

#[test]
fn names_share_no_address() {
    let named = |listen: &str| {
        plugin(&format!(
            "names = [\"a\", \"b\"]\nendpoint = {{ listen = {listen:?} }}"
        ))
    };
    assert!(named("tcp://127.0.0.1:0").is_ok());
    for listen in ["tcp://127.0.0.1:7070", "unix:///run/x.sock"] {
        let error = named(listen).unwrap_err().to_string();
        assert!(error.contains("write port 0"), "{error}");
    }
}

#[test]
fn the_files_of_an_endpoint_are_watched_and_those_of_the_engine_are_not() {
    let text = format!("[endpoint]\nlisten = \"tcp://127.0.0.1:1\"\n{ASKING}\n{CLIENT}");
    let plugin = Plugin::parse(&text, Path::new("/drivers")).unwrap();
    assert_eq!(
        plugin.files(),
        ["/drivers/s.pem", "/drivers/s.key", "/drivers/ca.pem"].map(std::path::PathBuf::from)
    );
    let tls = plugin.endpoint.unwrap().tls.unwrap();
    assert_eq!(
        tls.key,
        Key::Source(SecretSource::File("/drivers/s.key".into()))
    );
}
