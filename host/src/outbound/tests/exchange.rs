//! What goes out and what comes back.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};

use super::doubles::{Names, Pieces, Server, client, failure, fetch, get, raw, request};
use crate::outbound::{Client, HttpErrorKind, Options};

async fn world() -> (Server, Client, String) {
    let server = Server::start("127.0.0.1:0").await;
    let origin = format!("http://{}", server.address);
    let grant = format!("allow = [\"* {origin}\"]\nprivate = [\"127.0.0.1/32\"]\nconnections = 2");
    (server, client(&grant, &Names::new(&[])), origin)
}

#[tokio::test]
async fn a_body_arrives_whole_with_its_length_if_that_is_known_or_small() {
    let (server, client, origin) = world().await;
    for (size, declared, length) in [
        (0, false, Some("0")),
        (10, false, Some("10")),
        (10, true, Some("10")),
        (64 << 10, false, Some("65536")),
        (1 << 20, true, Some("1048576")),
        (1 << 20, false, None),
    ] {
        let left = vec![b'y'; size]
            .chunks(10_000)
            .map(Bytes::copy_from_slice)
            .collect();
        let mut request = Request::post(format!("{origin}/echo"));
        if declared {
            request = request.header("content-length", size);
        }
        // Nothing but the header says how long it is.
        let request = request.body(Pieces { left, ends: true }).unwrap();
        let response = client.send(request, Options::default()).await.unwrap();
        let back = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(back, vec![b'y'; size]);
        let seen = server.seen().remove(0);
        assert_eq!(seen.header("content-length"), length, "{size} {declared}");
        assert_eq!(
            seen.header("transfer-encoding"),
            length.is_none().then_some("chunked")
        );
        assert_eq!(seen.body.len(), size);
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_never_arrives_as_a_whole_one() {
    let (server, client, origin) = world().await;
    for (said, is) in [(5, 4), (4, 5), (100_000, 99_999), (100_000, 100_001)] {
        let left = vec![b'y'; is]
            .chunks(999)
            .map(Bytes::copy_from_slice)
            .collect();
        let request = Request::post(format!("{origin}/echo"))
            .header("content-length", said)
            .body(Pieces { left, ends: true })
            .unwrap();
        let error = client.send(request, Options::default()).await.unwrap_err();
        assert!(
            matches!(error.kind, HttpErrorKind::RequestBody(_)),
            "{said} {is}: {error}"
        );
        assert!(server.seen().iter().all(|seen| seen.body.len() < said));
    }
}

#[tokio::test]
async fn connections_are_used_again_and_broken_ones_are_not() {
    let (server, client, origin) = world().await;
    for _ in 0..20 {
        get(&client, &format!("{origin}/length?100000"))
            .await
            .unwrap();
        get(&client, &format!("{origin}/chunked?5")).await.unwrap();
        get(&client, &format!("{origin}/302?/x")).await.unwrap();
        let head = request("HEAD", &format!("{origin}/length?100000"));
        let (_, body) = fetch(&client, head).await.unwrap();
        assert!(body.is_empty());
    }
    assert_eq!(server.connections(), 1);
    for _ in 0..3 {
        get(&client, &format!("{origin}/close")).await.unwrap();
    }
    assert_eq!(server.connections(), 3);
    // Half a response is no reason to trust the connection with another.
    let before = server.connections();
    let stalled = request("GET", &format!("{origin}/stall"));
    let response = client.send(stalled, Options::default()).await.unwrap();
    drop(response);
    get(&client, &format!("{origin}/x")).await.unwrap();
    get(&client, &format!("{origin}/x")).await.unwrap();
    assert_eq!(server.connections(), before + 2);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_in_between_costs_no_request() {
    for size in [0, 10, 1 << 20] {
        let (server, client, origin) = world().await;
        get(&client, &format!("{origin}/x")).await.unwrap();
        let address = server.address.to_string();
        drop(server);
        let server = loop {
            if let Ok(server) = Server::try_start(&address, None).await {
                break server;
            }
            tokio::task::yield_now().await;
        };
        let left = vec![b'y'; size]
            .chunks(10_000)
            .map(Bytes::copy_from_slice)
            .collect();
        let post = Request::post(format!("{origin}/echo"))
            .body(Pieces { left, ends: true })
            .unwrap();
        let response = client.send(post, Options::default()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), size);
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn what_is_about_the_connection_stays_here_and_the_rest_is_handed_on() {
    let (server, client, origin) = world().await;
    let response = client
        .send(request("GET", &format!("{origin}/hop")), Options::default())
        .await
        .unwrap();
    let mut names: Vec<_> = response
        .headers()
        .keys()
        .map(|name| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date", "x-that"]);
    response.into_body().collect().await.unwrap();

    // Nothing is decoded and no cookie is kept.
    let (_, body) = get(&client, &format!("{origin}/gzip")).await.unwrap();
    assert_eq!(body, "not decoded");
    get(&client, &format!("{origin}/cookie")).await.unwrap();
    server.seen();
    get(&client, &format!("{origin}/x")).await.unwrap();
    let seen = server.seen().remove(0);
    assert_eq!(seen.header("cookie"), None);
    assert!(seen.header("user-agent").unwrap().starts_with("dockside/"));
}

#[tokio::test]
async fn requests_that_change_something_carry_the_key_of_their_call() {
    let (server, client, origin) = world().await;
    for (method, own, expected) in [
        ("POST", None, Some("call-1")),
        ("PUT", None, Some("call-1")),
        ("PATCH", None, Some("call-1")),
        ("DELETE", None, Some("call-1")),
        ("GET", None, None),
        ("HEAD", None, None),
        ("POST", Some("mine"), Some("mine")),
        ("GET", Some("mine"), Some("mine")),
    ] {
        let mut builder = Request::builder().method(method).uri(format!("{origin}/x"));
        if let Some(own) = own {
            builder = builder.header("idempotency-key", own);
        }
        let options = Options {
            idempotency_key: Some("call-1".to_owned()),
            ..Options::default()
        };
        let request = builder.body(Full::<Bytes>::default()).unwrap();
        client.send(request, options).await.unwrap();
        let seen = server.seen().remove(0);
        assert_eq!(seen.header("idempotency-key"), expected, "{method} {own:?}");
    }
}

#[tokio::test]
async fn what_is_no_proper_response_is_an_error_of_its_own_kind() {
    use HttpErrorKind::*;
    for (bytes, kind) in [
        (&b""[..], ConnectionTerminated),
        (b"HTTP/1.1 200 OK\r\nContent-", ConnectionTerminated),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Protocol),
        (b"HTTP/1.1 999999 OK\r\n\r\n", Protocol),
        (b"HTTP/2.0 200 OK\r\n\r\n", Protocol),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            Protocol,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            ResponseIncomplete,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort",
            ResponseIncomplete,
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Upgrade,
        ),
    ] {
        let (port, _server) = raw(bytes).await;
        let grant =
            format!("allow = [\"* http://127.0.0.1:{port}\"]\nprivate = [\"127.0.0.1/32\"]");
        let client = client(&grant, &Names::new(&[]));
        let uri = format!("http://127.0.0.1:{port}/");
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(failure(&client, &uri).await, kind, "{text:?}");
    }
}

#[tokio::test]
async fn where_nothing_listens_the_next_address_is_tried() {
    let (server, _, _) = world().await;
    let port = server.port();
    let grant = format!(
        "allow = [\"* http://two.test:{port}\", \"* http://none.test:{port}\"]\nprivate = [\"127.0.0.0/8\"]"
    );
    let names = Names::new(&[
        ("two.test", &[&["127.3.2.1", "127.0.0.1"]]),
        ("none.test", &[&["127.3.2.1", "127.3.2.2"]]),
    ]);
    let client = client(&grant, &names);
    let (status, _) = get(&client, &format!("http://two.test:{port}/x"))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        failure(&client, &format!("http://none.test:{port}/")).await,
        HttpErrorKind::ConnectionRefused
    );
}

#[test]
fn a_request_can_be_sent_from_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let client = client("", &Names::new(&[]));
    is_send(&client.send(request("GET", "http://a.test/"), Options::default()));
}

#[tokio::test]
async fn a_server_that_hangs_up_on_a_body_in_pieces_is_explained() {
    let (port, _server) = raw(b"").await;
    let origin = format!("http://127.0.0.1:{port}");
    let grant = format!("allow = [\"* {origin}\"]\nprivate = [\"127.0.0.1/32\"]");
    let client = client(&grant, &Names::new(&[]));
    for declared in [false, true] {
        let mut request = Request::post(&origin);
        if declared {
            request = request.header("content-length", 1 << 20);
        }
        let left = vec![Bytes::from(vec![b'y'; 1 << 16]); 16].into();
        let request = request.body(Pieces { left, ends: true }).unwrap();
        let error = client.send(request, Options::default()).await.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::ConnectionTerminated, "{error}");
        assert_eq!(error.message.contains("can set content-length"), !declared);
    }
}
