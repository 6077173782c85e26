//! Blobs in a bucket, against a server that answers as told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{get, name, names, prefix, put, soon};
use crate::blobs::Store;
use crate::blobs::s3::S3;
use crate::config::Plugin;
use crate::machine::{ErrorKind, MachineError};
use crate::outbound::{HttpError, Secret, Secrets, System};

/// What was asked for: method, path, query, length of the body.
type Seen = (Method, String, String, usize);

/// What to answer; none: nothing, without end.
type Told = Option<(u16, String)>;

#[derive(Default)]
struct Counts {
    seen: Mutex<Vec<Seen>>,
    told: Mutex<VecDeque<Told>>,
}

/// A server that gives the answers that it was told, and 200 without a body when there are none left.
struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(told: impl IntoIterator<Item = Told>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let counts = Arc::new(Counts {
            seen: Mutex::default(),
            told: Mutex::new(told.into_iter().collect()),
        });
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(serve(listener, Arc::clone(&counts)));
        Server {
            address,
            counts,
            task,
        }
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.counts.seen.lock())
    }
}

async fn serve(listener: TcpListener, counts: Arc<Counts>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let counts = Arc::clone(&counts);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let counts = Arc::clone(&counts);
                async move { Ok::<_, Infallible>(answer(request, &counts).await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, counts: &Counts) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let length = body.collect().await.map(|body| body.to_bytes().len());
    counts.seen.lock().push((
        parts.method,
        parts.uri.path().to_owned(),
        parts.uri.query().unwrap_or_default().to_owned(),
        length.unwrap_or(0),
    ));
    let told = counts.told.lock().pop_front();
    match told {
        Some(None) => std::future::pending().await,
        Some(Some((status, text))) => Response::builder()
            .status(status)
            .body(Full::new(Bytes::from(text)))
            .unwrap(),
        None => Response::new(Full::default()),
    }
}

struct Keeper;

impl Secrets for Keeper {
    fn secret(&self, name: &str) -> Result<Secret, String> {
        match name {
            "id" => Ok(b"AKIDEXAMPLE\n".to_vec().into()),
            "key" => Ok(b"topsecretkey".to_vec().into()),
            _ => Err(format!("there is no secret {name}")),
        }
    }
}

fn open(url: &str, more: &str) -> Result<Arc<Store>, HttpError> {
    let text = format!(
        "[grants.blobs.b.s3]\nurl = \"{url}\"\nbucket = \"bucket\"\nprefix = \"a/b\"\nregion = \"eu-north-1\"\naccess-key = \"id\"\nsecret-key = \"key\"\n{more}\n[secrets]\nid = {{ env = \"A\" }}\nkey = {{ env = \"B\" }}\n"
    );
    let settings = Plugin::parse(&text, "/".as_ref()).unwrap();
    let blobs = settings.grants.blobs.unwrap();
    match blobs.store("b").unwrap() {
        crate::config::BlobStore::S3(place) => {
            let s3 = S3::new(place, Arc::new(Keeper), Arc::new(System))?;
            Ok(Arc::new(Store::S3(Box::new(s3))))
        }
        crate::config::BlobStore::Directory(_) => panic!("it is a bucket"),
    }
}

fn store(server: &Server) -> Arc<Store> {
    open(
        &format!("http://{}", server.address),
        "private = [\"127.0.0.0/8\"]",
    )
    .unwrap()
}

fn told(status: u16, code: &str) -> Told {
    let text = match code {
        "" => String::new(),
        code => format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>the server's words</Message><StringToSign>secret stuff</StringToSign></Error>"
        ),
    };
    Some((status, text))
}

fn failed<T: std::fmt::Debug>(result: Result<T, MachineError>) -> MachineError {
    let error = result.unwrap_err();
    for secret in ["topsecretkey", "AKIDEXAMPLE", "Signature=", "secret stuff"] {
        assert!(!error.message.contains(secret), "{error}");
    }
    error
}

#[tokio::test]
async fn requests_are_signed_and_go_to_the_bucket_by_its_path() {
    let server = Server::start([None; 0]).await;
    let store = store(&server);
    put(&store, "x/1", &[7; 100_000]).await.unwrap();
    put(&store, "x/2", b"").await.unwrap();
    get(&store, "x/1").await.unwrap();
    store.delete(name("x/1"), soon()).await.unwrap();
    let seen = server.seen();
    let asked: Vec<(&str, &str, usize)> = seen
        .iter()
        .map(|(method, path, _, length)| (method.as_str(), path.as_str(), *length))
        .collect();
    assert_eq!(
        asked,
        [
            ("PUT", "/bucket/a/b/x/1", 100_000),
            ("PUT", "/bucket/a/b/x/2", 0),
            ("GET", "/bucket/a/b/x/1", 0),
            ("DELETE", "/bucket/a/b/x/1", 0),
        ]
    );
    for (_, _, query, _) in seen {
        assert!(
            query.contains("X-Amz-Algorithm=AWS4-HMAC-SHA256"),
            "{query}"
        );
        assert!(query.contains("X-Amz-Credential=AKIDEXAMPLE%2F"), "{query}");
        assert!(
            query.contains("%2Feu-north-1%2Fs3%2Faws4_request"),
            "{query}"
        );
        assert!(query.contains("X-Amz-Signature="), "{query}");
        assert!(!query.contains("topsecretkey"), "{query}");
    }
}

fn page(names: &[&str], next: Option<&str>) -> Told {
    let contents: String = names
        .iter()
        .map(|name| format!("<Contents><Key>{name}</Key><LastModified>2020-12-01T20:43:11.794Z</LastModified><ETag>\"e\"</ETag><Size>5</Size></Contents>"))
        .collect();
    let next = match next {
        Some(token) => format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
        ),
        None => "<IsTruncated>false</IsTruncated>".to_owned(),
    };
    Some((
        200,
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix>a/b/</Prefix>{contents}{next}</ListBucketResult>"
        ),
    ))
}

#[tokio::test]
async fn listings_have_all_pages_and_only_blobs() {
    let hostile = [
        "a/b/../../etc",
        "a/b/",
        "elsewhere",
        "a/b/UPPER",
        "a/b/x/ok",
    ];
    let server = Server::start([
        page(&["a/b/x/2", "a/b/x/1"], Some("to/ken+1=")),
        page(&hostile, Some("t2")),
        page(&[], None),
    ])
    .await;
    let store = store(&server);
    let found = store.list(prefix("x/"), soon()).await.unwrap();
    let names: Vec<&str> = found.iter().map(|blob| blob.name.as_str()).collect();
    assert_eq!(names, ["x/1", "x/2", "x/ok"]);
    assert_eq!((found[0].size, found[0].modified), (5, 1_606_855_391_794));
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].2.contains("prefix=a%2Fb%2Fx%2F"), "{}", seen[0].2);
    assert!(
        seen[1].2.contains("continuation-token=to%2Fken%2B1%3D"),
        "{}",
        seen[1].2
    );
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    for (status, code, kind, advice) in [
        (
            403,
            "AccessDenied",
            ErrorKind::Unreachable,
            "the key in the secret id has no right",
        ),
        (
            403,
            "InvalidAccessKeyId",
            ErrorKind::Unreachable,
            "look at the secrets id and key",
        ),
        (
            403,
            "SignatureDoesNotMatch",
            ErrorKind::Unreachable,
            "look at the secrets id and key",
        ),
        (
            403,
            "RequestTimeTooSkewed",
            ErrorKind::Unreachable,
            "set this machine's clock",
        ),
        (403, "", ErrorKind::Unreachable, "HTTP status 403"),
        (
            404,
            "NoSuchBucket",
            ErrorKind::Missing,
            "make the bucket bucket",
        ),
        (
            301,
            "PermanentRedirect",
            ErrorKind::Unreachable,
            "correct url and region",
        ),
        (
            400,
            "EntityTooLarge",
            ErrorKind::Unreachable,
            "EntityTooLarge: the server's words",
        ),
        (
            501,
            "NotImplemented",
            ErrorKind::Unreachable,
            "NotImplemented",
        ),
        (507, "", ErrorKind::Exhausted, "507"),
    ] {
        let server = Server::start(vec![told(status, code); 5]).await;
        let store = store(&server);
        let error = failed(put(&store, "x", b"1").await);
        assert_eq!(error.kind, kind, "{status} {code}");
        assert!(error.message.contains(advice), "{error}");
        assert!(
            error
                .message
                .starts_with("cannot write x in the bucket bucket of http://"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_can_be_deleted() {
    let gone = told(404, "NoSuchKey");
    let server = Server::start(vec![gone; 3]).await;
    let store = store(&server);
    assert_eq!(failed(get(&store, "x").await).kind, ErrorKind::NotFound);
    store.delete(name("x"), soon()).await.unwrap();
    let error = failed(store.list(prefix("x/"), soon()).await);
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn trouble_that_passes_is_tried_again_and_lasting_trouble_is_told() {
    let down = told(500, "InternalError");
    let slow = told(503, "SlowDown");
    let server = Server::start([down.clone(), slow.clone(), told(429, "")]).await;
    let once = store(&server);
    put(&once, "x", &[1; 70_000]).await.unwrap();
    let lengths: Vec<usize> = server.seen().iter().map(|seen| seen.3).collect();
    assert_eq!(lengths, [70_000; 4]);

    let server = Server::start(vec![slow; 20]).await;
    let error = failed(put(&store(&server), "x", b"1").await);
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(
        error.message.contains("SlowDown: the server's words"),
        "{error}"
    );
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let server = Server::start(vec![told(403, "AccessDenied"); 5]).await;
    failed(put(&store(&server), "x", b"1").await);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_when_the_time_is_over() {
    let server = Server::start([None, None, None, None, None, None]).await;
    let more = "private = [\"127.0.0.0/8\"]\ntimeout = \"100ms\"";
    let store = open(&format!("http://{}", server.address), more).unwrap();
    let error = failed(get(&store, "x").await);
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(
        error
            .message
            .contains("timeout under [grants.blobs.NAME.s3]"),
        "{error}"
    );
    assert_eq!(server.seen().len(), 5);

    let deadline = Instant::now() + Duration::from_millis(300);
    let error = failed(store.get(name("x"), deadline).await);
    assert_eq!(error.kind, ErrorKind::Unreachable);
}

#[tokio::test]
async fn addresses_that_are_not_granted_are_not_reached() {
    let server = Server::start([None; 0]).await;
    let store = open(&format!("http://{}", server.address), "").unwrap();
    let error = failed(put(&store, "x", b"1").await);
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(
        error
            .message
            .contains("private under [grants.blobs.NAME.s3]"),
        "{error}"
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_no_listing_is_an_error() {
    let server = Server::start([Some((200, "<html>welcome</html>".to_owned()))]).await;
    let error = failed(store(&server).list(prefix(""), soon()).await);
    assert!(error.message.contains("no listing"), "{error}");
    let server = Server::start([page(&["a/b/x"], None)]).await;
    assert_eq!(names(&store(&server), "").await, ["x"]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let trap = Server::start([None; 0]).await;
    let server = Server::start([told(StatusCode::TEMPORARY_REDIRECT.as_u16(), "")]).await;
    failed(get(&store(&server), "x").await);
    assert!(trap.seen().is_empty());
    assert_eq!(server.seen().len(), 1);
}
