//! A server that counts who comes, and a name server that changes its mind.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::outbound::{
    Addresses, Allowed, Client, HttpError, HttpErrorKind, Options, Resolver, Secret, SecretUse,
    Secrets,
};

/// What a server saw of a request.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
}

/// A server on one address. What it answers is in the path: see `answer`.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(address: &str) -> Server {
        Server::try_start(address, None).await.unwrap()
    }

    pub(super) async fn start_tls(address: &str, tls: TlsAcceptor) -> Server {
        Server::try_start(address, Some(tls)).await.unwrap()
    }

    pub(super) async fn try_start(address: &str, tls: Option<TlsAcceptor>) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let counts = Arc::<Counts>::default();
        Ok(Server {
            address: listener.local_addr()?,
            task: tokio::spawn(serve(listener, tls, Arc::clone(&counts))),
            counts,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// What came since the last time.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.counts.seen.lock())
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, counts: Arc<Counts>) {
    // Connections end with their server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        counts.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, counts) = (tls.clone(), Arc::clone(&counts));
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let counts = Arc::clone(&counts);
                async move { Ok::<_, Infallible>(answer(request, &counts).await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            match tls {
                None => {
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                }
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                }
            }
        });
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(text.into()).boxed_unsync())
}

/// Pieces without a length, and then the end or silence.
pub(super) struct Pieces {
    pub(super) left: VecDeque<Bytes>,
    pub(super) ends: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.left.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn pieces(left: VecDeque<Bytes>, ends: bool) -> Answer {
    Response::new(Pieces { left, ends }.boxed_unsync())
}

/// The last segment of the path says what to answer, and the query with what.
async fn answer(request: Request<Incoming>, counts: &Counts) -> Answer {
    let (parts, body) = request.into_parts();
    let seen = Seen {
        method: parts.method,
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default(),
    };
    counts.seen.lock().push(seen.clone());
    let argument = parts.uri.query().unwrap_or_default();
    let number = || argument.parse::<usize>().unwrap();
    let verb = parts.uri.path().rsplit('/').next().unwrap_or_default();
    match verb {
        "301" | "302" | "303" | "307" | "308" => {
            let mut response = text("elsewhere");
            *response.status_mut() = verb.parse().unwrap();
            let location = percent_encoding::percent_decode_str(argument).collect::<Vec<_>>();
            let location = HeaderValue::from_bytes(&location).unwrap();
            response.headers_mut().insert(LOCATION, location);
            response
        }
        "twice" => {
            let mut response = text("elsewhere");
            *response.status_mut() = StatusCode::FOUND;
            for place in ["/wapi/a", "/wapi/b"] {
                let place = HeaderValue::from_static(place);
                response.headers_mut().append(LOCATION, place);
            }
            response
        }
        "nowhere" => {
            let mut response = text("nowhere");
            *response.status_mut() = StatusCode::FOUND;
            response
        }
        "echo" => text(seen.body),
        "length" => text(vec![b'x'; number()]),
        "chunked" => pieces(
            vec![Bytes::from_static(&[b'x'; 1024]); number()].into(),
            true,
        ),
        "stall" => pieces([Bytes::from_static(b"some")].into(), false),
        "silent" => std::future::pending().await,
        "headers" => {
            let mut response = text("headers");
            for index in 0..number() {
                let name = HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap();
                let value = HeaderValue::from_static("some value");
                response.headers_mut().insert(name, value);
            }
            response
        }
        "hop" => {
            let mut response = text("hop");
            for (name, value) in [
                ("connection", "x-this"),
                ("x-this", "a"),
                ("keep-alive", "timeout=5"),
                ("proxy-authenticate", "Basic"),
                ("upgrade", "h2c"),
                ("x-that", "b"),
            ] {
                response
                    .headers_mut()
                    .append(name, HeaderValue::from_static(value));
            }
            response
        }
        "close" => {
            let mut response = text("close");
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert("connection", close);
            response
        }
        "gzip" => {
            let mut response = text("not decoded");
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert("content-encoding", gzip);
            response
        }
        "cookie" => {
            let mut response = text("cookie");
            let cookie = HeaderValue::from_static("session=1");
            response.headers_mut().insert("set-cookie", cookie);
            response
        }
        _ => text("hello"),
    }
}

/// A server that reads the beginning of each request and answers it with these bytes, and closes.
pub(super) async fn raw(bytes: &'static [u8]) -> (u16, AbortOnDrop) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, AbortOnDrop(task))
}

pub(super) struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A name server. Each question takes the next of a name's answers, round and round.
#[derive(Default)]
pub(super) struct Names {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    questions: AtomicUsize,
}

impl Names {
    pub(super) fn new(names: &[(&str, &[&[&str]])]) -> Arc<Names> {
        let answers = names.iter().map(|(name, answers)| {
            let answers = answers.iter().map(|addresses| {
                addresses
                    .iter()
                    .map(|address| address.parse().unwrap())
                    .collect()
            });
            ((*name).to_owned(), answers.collect())
        });
        Arc::new(Names {
            answers: Mutex::new(answers.collect()),
            questions: AtomicUsize::new(0),
        })
    }

    pub(super) fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

impl Resolver for Names {
    fn addresses<'a>(&'a self, name: &'a str) -> Addresses<'a> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock();
        let answer = match answers.get_mut(name) {
            Some(answers) => {
                answers.rotate_left(1);
                Ok(answers.back().cloned().unwrap_or_default())
            }
            None => Err(io::Error::other("no such name")),
        };
        Box::pin(async move { answer })
    }
}

/// A grant, written much as the operator would.
pub(super) fn grant(text: &str) -> Allowed {
    let table: toml::Table = text.parse().unwrap();
    let mut allowed = Allowed::default();
    let strings = |value: &toml::Value| -> Vec<String> { value.clone().try_into().unwrap() };
    let places = |value: &toml::Value| {
        let places = strings(value).into_iter();
        SecretUse::Only(places.map(|place| place.parse().unwrap()).collect())
    };
    for (key, value) in &table {
        let number = || u32::try_from(value.as_integer().unwrap()).unwrap();
        match key.as_str() {
            "allow" => {
                let rules = strings(value).into_iter();
                allowed.allow = rules.map(|rule| rule.parse().unwrap()).collect();
            }
            "private" => {
                let nets = strings(value).into_iter();
                allowed.private = nets.map(|net| net.parse().unwrap()).collect();
            }
            "secrets" => {
                allowed.secrets = match value.as_table() {
                    Some(table) => table
                        .iter()
                        .map(|(name, value)| (name.clone(), places(value)))
                        .collect(),
                    None => strings(value)
                        .into_iter()
                        .map(|name| (name, SecretUse::Allowed))
                        .collect(),
                };
            }
            "max-body" => allowed.max_body = number().into(),
            "timeout-ms" => allowed.timeout = Duration::from_millis(number().into()),
            "redirects" => allowed.redirects = number(),
            "connections" => allowed.connections = number(),
            other => panic!("{other}"),
        }
    }
    allowed
}

/// Secrets in memory.
pub(super) struct Keeper(BTreeMap<String, String>);

impl Secrets for Keeper {
    fn secret(&self, name: &str) -> Result<Secret, String> {
        match self.0.get(name) {
            Some(secret) => Ok(secret.clone().into_bytes().into()),
            None => Err(format!("there is no secret {name}")),
        }
    }
}

pub(super) fn keeper(secrets: &[(&str, &str)]) -> Arc<Keeper> {
    let secrets = secrets
        .iter()
        .map(|(name, secret)| ((*name).to_owned(), (*secret).to_owned()));
    Arc::new(Keeper(secrets.collect()))
}

/// The secrets of most tests.
pub(super) fn secrets() -> Arc<Keeper> {
    keeper(&[
        ("token", "s3cr3t"),
        ("other", "0th3r"),
        ("broken", "one\r\nX-Evil: two"),
    ])
}

pub(super) fn client(toml: &str, names: &Arc<Names>) -> Client {
    Client::new(grant(toml), secrets(), Arc::clone(names) as _).unwrap()
}

/// A request without a body.
pub(super) fn request(method: &str, uri: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(Full::default())
        .unwrap()
}

/// Status and body of what comes back.
pub(super) async fn fetch(
    client: &Client,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), HttpError> {
    let response = client.send(request, Options::default()).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

pub(super) async fn get(client: &Client, uri: &str) -> Result<(StatusCode, Bytes), HttpError> {
    fetch(client, request("GET", uri)).await
}

/// The kind of the failure of a request that must fail.
pub(super) async fn failure(client: &Client, uri: &str) -> HttpErrorKind {
    match get(client, uri).await {
        Ok((status, body)) => panic!("{uri} was answered: {status} {body:?}"),
        Err(error) => error.kind,
    }
}
