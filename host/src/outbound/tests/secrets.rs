//! Secrets that requests name.

use std::sync::Arc;

use http::Request;
use http_body_util::Full;

use super::doubles::{Names, Seen, Server, client, grant, secrets};
use crate::outbound::{Client, HttpError, HttpErrorKind, Options};

async fn send(client: &Client, server: &Server, uri: &str, value: &str) -> Result<Seen, HttpError> {
    let request = Request::get(uri)
        .header("authorization", value)
        .body(Full::<bytes::Bytes>::default())
        .unwrap();
    client.send(request, Options::default()).await?;
    Ok(server.seen().remove(0))
}

#[tokio::test]
async fn a_reference_becomes_the_secret_on_its_way() {
    let server = Server::start("127.0.0.1:0").await;
    let uri = format!("http://{}/x", server.address);
    let grant = format!(
        "allow = [\"* {uri}\"]\nprivate = [\"127.0.0.1/32\"]\nsecrets = [\"token\", \"other\", \"broken\"]"
    );
    let client = client(&grant, &Names::new(&[]));
    for (value, expected) in [
        ("Bearer {{secret token}}", Ok("Bearer s3cr3t")),
        ("{{secret token}}", Ok("s3cr3t")),
        ("{{secret token}}:{{secret other}}", Ok("s3cr3t:0th3r")),
        // admin:s3cr3t
        ("{{basic admin token}}", Ok("Basic YWRtaW46czNjcjN0")),
        ("{{not ours}} {{ }}", Ok("{{not ours}} {{ }}")),
        ("{\"a\":{\"b\":1}}", Ok("{\"a\":{\"b\":1}}")),
        ("{{secret token", Err(HttpErrorKind::RequestHeaders)),
        ("{{secret }}", Err(HttpErrorKind::RequestHeaders)),
        ("{{secret a b}}", Err(HttpErrorKind::RequestHeaders)),
        ("{{secret ../token}}", Err(HttpErrorKind::RequestHeaders)),
        ("{{basic token}}", Err(HttpErrorKind::RequestHeaders)),
        ("{{basic a:b token}}", Err(HttpErrorKind::RequestHeaders)),
        ("{{secret unknown}}", Err(HttpErrorKind::Denied)),
        ("{{secret broken}}", Err(HttpErrorKind::Configuration)),
        // What a secret says is no reference.
        (
            "{{secret {{secret token}}}}",
            Err(HttpErrorKind::RequestHeaders),
        ),
    ] {
        let result = send(&client, &server, &uri, value).await;
        match (result, expected) {
            (Ok(seen), Ok(expected)) => assert_eq!(seen.header("authorization"), Some(expected)),
            (Err(error), Err(kind)) => {
                assert_eq!(error.kind, kind, "{value}: {error}");
                for secret in ["s3cr3t", "0th3r", "X-Evil"] {
                    assert!(!error.message.contains(secret), "{error}");
                }
            }
            (result, _) => panic!("{value}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn a_secret_goes_only_where_it_may() {
    let one = Server::start("127.0.0.1:0").await;
    let two = Server::start("127.0.0.1:0").await;
    // An address of the machine's own that is not loopback cannot be had in a test; a name of it can be judged as one.
    for (uses, to_one, to_two) in [
        ("", false, false),
        ("secrets = [\"other\"]", false, false),
        ("secrets = [\"token\"]", true, true),
        ("secrets = { token = [] }", false, false),
        ("secrets = { token = [\"http://{1}\"] }", true, false),
        ("secrets = { token = [\"http://{1}/x/y\"] }", false, false),
        ("secrets = { token = [\"https://{1}\"] }", false, false),
        (
            "secrets = { token = [\"http://{1}\", \"http://{2}/\"] }",
            true,
            true,
        ),
    ] {
        let grant = format!(
            "allow = [\"* http://{{1}}\", \"* http://{{2}}\"]\nprivate = [\"127.0.0.1/32\"]\n{uses}"
        );
        let grant = grant
            .replace("{1}", &one.address.to_string())
            .replace("{2}", &two.address.to_string());
        let client = client(&grant, &Names::new(&[]));
        for (server, may) in [(&one, to_one), (&two, to_two)] {
            let uri = format!("http://{}/x", server.address);
            let before = server.connections();
            let result = send(&client, server, &uri, "{{secret token}}").await;
            match result {
                Ok(seen) => {
                    assert!(may, "{uses}");
                    assert_eq!(seen.header("authorization"), Some("s3cr3t"));
                }
                Err(error) => {
                    assert!(!may, "{uses}: {error}");
                    assert_eq!(error.kind, HttpErrorKind::Denied);
                    assert!(error.message.contains("[grants.http]"), "{error}");
                    assert_eq!(server.connections(), before);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_secret_goes_without_tls_only_to_this_machine_or_where_the_grant_says_so() {
    // Nothing listens there: the refusal comes before the connection.
    let names = Names::new(&[
        ("far.test", &[&["192.0.2.1"]]),
        ("both.test", &[&["127.0.0.1", "192.0.2.1"]]),
    ]);
    let client = client(
        "allow = [\"* http://far.test\", \"* http://both.test\"]\nprivate = [\"127.0.0.1/32\", \"192.0.2.1/32\"]\nsecrets = [\"token\"]",
        &names,
    );
    let server = Server::start("127.0.0.1:0").await;
    for uri in ["http://far.test/", "http://both.test/"] {
        let error = send(&client, &server, uri, "{{secret token}}")
            .await
            .unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::Denied, "{error}");
        assert!(error.message.contains("use https"), "{error}");
    }
}

#[test]
fn nothing_that_can_be_printed_has_a_secret() {
    let grant = grant("allow = [\"* http://127.0.0.1/\"]\nsecrets = [\"token\"]");
    let client = Client::new(grant, secrets(), Arc::new(crate::outbound::System)).unwrap();
    assert!(!format!("{client:?}").contains("s3cr3t"));
}
