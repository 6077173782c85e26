//! Redirects that may be followed, and what goes with them.

use http::{Request, StatusCode};
use http_body_util::Full;

use super::doubles::{Names, Server, client, fetch, get, request};
use crate::outbound::{Client, HttpErrorKind, Options};

struct World {
    one: Server,
    two: Server,
    client: Client,
}

async fn world(more: &str) -> World {
    let one = Server::start("127.0.0.1:0").await;
    let two = Server::start("127.0.0.1:0").await;
    let grant = format!(
        "allow = [\"* http://{}/api\", \"* http://{}\"]\nprivate = [\"127.0.0.1/32\"]\nsecrets = [\"token\"]\n{more}",
        one.address, two.address
    );
    let client = client(&grant, &Names::new(&[]));
    World { one, two, client }
}

#[tokio::test]
async fn redirects_are_followed_wherever_requests_may_go() {
    let World { one, two, client } = world("").await;
    let here = format!("http://{}/api/a/302?", one.address);
    let there = format!("http://{}", two.address);
    for (location, expected) in [
        ("x", "/api/a/x"),
        ("./x", "/api/a/x"),
        ("../x/y", "/api/x/y"),
        ("../b/../c/", "/api/c/"),
        ("..", "/api/"),
        (".", "/api/a/"),
        // From there, the server redirects to what the query says.
        ("?q=1", "/api/a/q=1"),
        ("x?q=1", "/api/a/x?q=1"),
        ("/api/z%23fragment", "/api/z"),
        ("302?302?y", "/api/a/y"),
    ] {
        let (status, _) = get(&client, &format!("{here}{location}")).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        let seen = one.seen();
        assert_eq!(seen.last().unwrap().target, expected, "{location}");
    }
    for status in ["301", "302", "303", "307", "308"] {
        for location in [&format!("{there}/x"), &format!("//{}/x", two.address)] {
            let uri = format!("http://{}/api/{status}?{location}", one.address);
            for method in ["GET", "HEAD"] {
                fetch(&client, request(method, &uri)).await.unwrap();
                let seen = two.seen().remove(0);
                assert_eq!(seen.method, method);
                assert_eq!(seen.target, "/x");
                assert_eq!(seen.header("host"), Some(two.address.to_string().as_str()));
            }
        }
    }
}

#[tokio::test]
async fn what_identifies_the_driver_does_not_follow_to_another_origin() {
    let World { one, two, client } = world("").await;
    let ask = |location: String| {
        Request::get(format!("http://{}/api/302?{location}", one.address))
            .header("authorization", "Bearer {{secret token}}")
            .header("cookie", "session=1")
            .header("x-api-key", "{{secret token}}")
            .header("x-literal-key", "key")
            .header("accept", "application/json")
            .header("range", "bytes=0-1")
            .body(Full::default())
            .unwrap()
    };
    fetch(&client, ask("/api/x".to_owned())).await.unwrap();
    for seen in one.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer s3cr3t"));
        assert_eq!(seen.header("x-api-key"), Some("s3cr3t"));
        assert_eq!(seen.header("cookie"), Some("session=1"));
    }
    fetch(&client, ask(format!("http://{}/x", two.address)))
        .await
        .unwrap();
    let seen = two.seen().remove(0);
    let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "range", "user-agent"]);
    // And it does not come back with a redirect that does.
    let back = format!("http://{}/302?http://{}/api/y", two.address, one.address);
    one.seen();
    fetch(&client, ask(back)).await.unwrap();
    let seen = one.seen().pop().unwrap();
    assert_eq!(seen.target, "/api/y");
    assert_eq!(seen.header("authorization"), None);
}

#[tokio::test]
async fn redirects_that_are_not_followed_are_handed_to_the_driver() {
    for (more, method, path, body) in [
        ("", "POST", "303?/api/x", ""),
        ("", "PUT", "307?/api/x", ""),
        ("", "DELETE", "302?/api/x", ""),
        ("", "GET", "302?/api/x", "a body"),
        ("", "GET", "nowhere", ""),
        ("redirects = 0", "GET", "302?http://elsewhere.test/", ""),
    ] {
        let World { one, client, .. } = world(more).await;
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/api/{path}", one.address))
            .body(Full::from(body))
            .unwrap();
        let response = client.send(request, Options::default()).await.unwrap();
        assert!(response.status().is_redirection(), "{method} {path}");
        assert_eq!(
            response.headers().contains_key("location"),
            path != "nowhere"
        );
        assert_eq!(one.seen().len(), 1);
    }
    let World { one, client, .. } = world("").await;
    let error = get(&client, &format!("http://{}/api/twice", one.address))
        .await
        .unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Protocol);
}

#[tokio::test]
async fn a_refused_redirect_says_from_where_and_what_to_add() {
    let World { one, client, .. } = world("").await;
    let from = format!("http://{}/api/302", one.address);
    let error = get(&client, &format!("{from}?/other?token=1"))
        .await
        .unwrap_err();
    let to = format!("http://{}/other", one.address);
    assert_eq!(
        error.message,
        format!(
            "GET {from}: a redirect of {from}: GET {to}: not allowed by the grant http: add \"GET {to}\" to allow under [grants.http]"
        )
    );
}
