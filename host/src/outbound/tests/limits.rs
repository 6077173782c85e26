//! Bytes, time and number.

use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt;

use super::doubles::{Names, Pieces, Server, client, failure, get, request};
use crate::outbound::{Client, HttpErrorKind, Options};

async fn world(more: &str) -> (Server, Client, String) {
    let server = Server::start("127.0.0.1:0").await;
    let origin = format!("http://{}", server.address);
    let grant = format!("allow = [\"* {origin}\"]\nprivate = [\"127.0.0.1/32\"]\n{more}");
    (server, client(&grant, &Names::new(&[])), origin)
}

#[tokio::test]
async fn a_response_ends_at_its_limit_of_bytes_and_is_never_held_as_a_whole() {
    let (_server, client, origin) = world("max-body = 10240").await;
    for (path, kind) in [
        ("length?10240", None),
        ("chunked?10", None),
        (
            "length?10241",
            Some(HttpErrorKind::ResponseBody(Some(10_241))),
        ),
        ("chunked?11", Some(HttpErrorKind::ResponseBody(None))),
        ("chunked?100000", Some(HttpErrorKind::ResponseBody(None))),
    ] {
        let result = get(&client, &format!("{origin}/{path}")).await;
        assert_eq!(result.err().map(|error| error.kind), kind, "{path}");
    }
    // HEAD says how much it would be, and is nothing.
    let head = request("HEAD", &format!("{origin}/length?99999"));
    let response = client.send(head, Options::default()).await.unwrap();
    assert_eq!(response.headers()["content-length"], "99999");
}

#[tokio::test]
async fn the_headers_of_a_response_are_limited() {
    let (_server, client, origin) = world("").await;
    assert!(get(&client, &format!("{origin}/headers?100")).await.is_ok());
    assert_eq!(
        failure(&client, &format!("{origin}/headers?200")).await,
        HttpErrorKind::ResponseHeaders
    );
}

#[tokio::test]
async fn the_body_of_a_request_is_limited() {
    let (server, client, origin) = world("max-body = 102400").await;
    for (pieces, declared, ok) in [
        (100, false, true),
        (100, true, true),
        (101, false, false),
        (101, true, false),
    ] {
        let body = Pieces {
            left: vec![bytes::Bytes::from(vec![b'x'; 1024]); pieces].into(),
            ends: true,
        };
        let mut request = Request::post(format!("{origin}/echo"));
        if declared {
            request = request.header("content-length", pieces * 1024);
        }
        let result = client
            .send(request.body(body).unwrap(), Options::default())
            .await;
        match result {
            Ok(_) => assert!(ok, "{pieces} {declared}"),
            Err(error) => {
                assert!(
                    matches!(error.kind, HttpErrorKind::RequestBody(_)),
                    "{error}"
                );
                assert!(!ok, "{pieces} {declared}: {error}");
                assert!(error.message.contains("max-body"), "{error}");
            }
        }
        assert!(
            server
                .seen()
                .iter()
                .all(|seen| seen.body.len() <= 100 << 10)
        );
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_by_each_of_the_clocks() {
    let short = Duration::from_millis(30);
    for (path, more, options, kind) in [
        (
            "silent",
            "timeout-ms = 30",
            Options::default(),
            HttpErrorKind::Timeout,
        ),
        (
            "stall",
            "timeout-ms = 30",
            Options::default(),
            HttpErrorKind::Timeout,
        ),
        (
            "silent",
            "",
            Options {
                deadline: Some(Instant::now() + short),
                ..Options::default()
            },
            HttpErrorKind::Timeout,
        ),
        (
            "silent",
            "",
            Options {
                first_byte: Some(short),
                ..Options::default()
            },
            HttpErrorKind::ReadTimeout,
        ),
        (
            "stall",
            "",
            Options {
                between_bytes: Some(short),
                ..Options::default()
            },
            HttpErrorKind::ReadTimeout,
        ),
    ] {
        let (_server, client, origin) = world(more).await;
        let asked = request("GET", &format!("{origin}/{path}"));
        let error = match client.send(asked, options).await {
            Ok(response) => response.into_body().collect().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind, kind, "{path} {more}: {error}");
        assert!(error.message.contains(&origin), "{error}");
    }
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_given_up() {
    struct Silent;
    impl crate::outbound::Resolver for Silent {
        fn addresses<'a>(&'a self, _: &'a str) -> crate::outbound::Addresses<'a> {
            Box::pin(std::future::pending())
        }
    }
    let grant = super::doubles::grant("allow = [\"* http://slow.test\"]");
    let secrets = super::doubles::secrets();
    let client = Client::new(grant, secrets, std::sync::Arc::new(Silent)).unwrap();
    let options = Options {
        connect: Some(Duration::from_millis(30)),
        ..Options::default()
    };
    let error = client
        .send(request("GET", "http://slow.test/"), options)
        .await
        .unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::DnsTimeout);
}

#[tokio::test]
async fn no_more_requests_run_at_once_than_granted() {
    let (server, client, origin) = world("connections = 2").await;
    let asked = || request("GET", &format!("{origin}/stall"));
    let first = client.send(asked(), Options::default()).await.unwrap();
    let second = client.send(asked(), Options::default()).await.unwrap();
    let options = Options {
        deadline: Some(Instant::now() + Duration::from_millis(30)),
        ..Options::default()
    };
    let error = client.send(asked(), options).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::ConnectionLimit, "{error}");
    assert_eq!(server.connections(), 2);
    // Whoever ends makes room.
    drop(first);
    let third = client.send(asked(), Options::default()).await.unwrap();
    drop((second, third));
    for _ in 0..5 {
        get(&client, &format!("{origin}/x")).await.unwrap();
    }
}
