//! One request, from the driver's side to the last byte of its response.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::body::{Bounds, RequestBody, ResponseBody};
use super::error::{HttpError, HttpErrorKind};
use super::exchange::Ask;
use super::grant::Allowed;
use super::headers;
use super::pool::{Connection, Pool};
use super::resolve::Resolver;
use super::secrets::Secrets;
use super::target::Target;
use super::tls;

/// Bytes of a redirect's body that are read.
const DRAINED: u64 = 16 << 10;

/// What one request asks for besides what the grant says. What is not set is only limited by the grant.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How long to wait for a connection, TLS included.
    pub connect: Option<Duration>,
    /// How long to wait for the beginning of the response.
    pub first_byte: Option<Duration>,
    /// How long the body of the response may stop.
    pub between_bytes: Option<Duration>,
    /// When all has to be over.
    pub deadline: Option<std::time::Instant>,
    /// What a request that changes something is known by, so that it can be repeated: sent as `Idempotency-Key`, if the driver sets none.
    pub idempotency_key: Option<String>,
}

/// The HTTP client of one plugin.
pub struct Client {
    pub(super) allowed: Allowed,
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) tls: Option<TlsConnector>,
    pub(super) pool: Arc<Pool>,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// The refusal for a plugin that has no grant at all.
pub fn not_granted(method: &Method, uri: &Uri) -> HttpError {
    let message = match Target::of(uri) {
        Ok(target) => format!(
            "{method} {target}: http is not granted: add http = {{ allow = [\"{method} {target}\"] }} under [grants]"
        ),
        Err(_) => "http is not granted".to_owned(),
    };
    HttpError::new(HttpErrorKind::Denied, message)
}

impl Client {
    /// A client for what is allowed. Reads files.
    ///
    /// # Errors
    /// When a file or a secret that the grant names cannot be used.
    pub fn new(
        allowed: Allowed,
        secrets: Arc<dyn Secrets>,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Client, HttpError> {
        let secure = allowed.allow.iter().any(|rule| !rule.place().is_plain());
        let tls = match secure {
            true => Some(TlsConnector::from(tls::config(&allowed, secrets.as_ref())?)),
            false => None,
        };
        Ok(Client {
            permits: Arc::new(Semaphore::new(allowed.connections as usize)),
            allowed,
            secrets,
            resolver,
            tls,
            pool: Arc::default(),
        })
    }

    /// Sends a request, follows redirects, and gives the response as soon as its headers are there.
    ///
    /// # Errors
    /// When it may not be sent, or there is no response. The text names the request and says what to do.
    pub async fn send<B>(
        &self,
        request: Request<B>,
        options: Options,
    ) -> Result<Response<ResponseBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut deadline = Instant::now() + self.allowed.timeout;
        if let Some(earlier) = options.deadline {
            deadline = deadline.min(Instant::from_std(earlier));
        }
        let (parts, body) = request.into_parts();
        let method = parts.method;
        if [Method::CONNECT, Method::TRACE].contains(&method) {
            return Err(HttpError::new(
                HttpErrorKind::MethodInvalid,
                format!("the method {method} cannot be used"),
            ));
        }
        let target =
            Target::of(&parts.uri).map_err(|error| error.of(&shown(&method, &parts.uri)))?;
        let asked = format!("{method} {target}");
        self.allowed.judge(&method, &target)?;
        let exchange = async {
            let changes = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&method);
            let key = options.idempotency_key.as_deref().filter(|_| changes);
            let (headers, declared) = headers::outgoing(parts.headers, key)?;
            let exact = body.size_hint().exact();
            if let (Some(declared), Some(exact)) = (declared, exact)
                && declared != exact
            {
                return Err(HttpError::new(
                    HttpErrorKind::RequestBody(Some(exact)),
                    "the body of the request is not as long as its content-length says",
                ));
            }
            let permit = Arc::clone(&self.permits).acquire_owned();
            let permit = match timeout_at(deadline, permit).await {
                Ok(Ok(permit)) => permit,
                _ => return Err(self.no_connection()),
            };
            // With a permit in hand, so that no more bodies than that are held.
            let max = self.allowed.max_body;
            let length = declared.or(exact);
            let body = RequestBody::gather(body, length, max).await?;
            let ask = Ask {
                method: method.clone(),
                headers,
                chunked: length.is_none() && matches!(body, RequestBody::Streamed(_)),
                body,
                options,
            };
            let bounds = Bounds {
                max: self.allowed.max_body,
                deadline,
                between_bytes: ask.options.between_bytes,
            };
            let (response, connection) = self.follow(ask, target).await?;
            let (mut parts, incoming) = response.into_parts();
            headers::strip(&mut parts.headers);
            let body = ResponseBody::new(incoming, connection, permit, &bounds, asked.clone())?;
            Ok(Response::from_parts(parts, body))
        };
        match timeout_at(deadline, exchange).await {
            Ok(result) => result.map_err(|error| error.of(&asked)),
            Err(_) if self.permits.available_permits() == 0 => Err(self.no_connection().of(&asked)),
            Err(_) => Err(HttpError::new(
                HttpErrorKind::Timeout,
                "no response in time (timeout under [grants.http], and the deadline of the call)",
            )
            .of(&asked)),
        }
    }

    fn no_connection(&self) -> HttpError {
        HttpError::new(
            HttpErrorKind::ConnectionLimit,
            format!(
                "{} requests of this plugin are under way and none ended in time",
                self.allowed.connections
            ),
        )
    }

    /// Asks, and asks where it is redirected to.
    async fn follow(
        &self,
        mut ask: Ask,
        mut target: Target,
    ) -> Result<(Response<Incoming>, Connection), HttpError> {
        let mut hops = 0;
        loop {
            let (response, connection) = self.exchange(&mut ask, &target).await?;
            let Some(location) = self.redirect(&ask, &response)? else {
                return Ok((response, connection));
            };
            drain(response.into_body(), connection).await;
            hops += 1;
            if hops > self.allowed.redirects {
                return Err(HttpError::new(
                    HttpErrorKind::Loop,
                    format!(
                        "more than {} redirects (redirects under [grants.http])",
                        self.allowed.redirects
                    ),
                ));
            }
            let next = target
                .join(location.as_bytes())
                .and_then(|next| {
                    if target.origin.secure && !next.origin.secure {
                        return Err(HttpError::new(
                            HttpErrorKind::Denied,
                            format!("to {next}, from https to http, which is never followed"),
                        ));
                    }
                    self.allowed.judge(&ask.method, &next)?;
                    Ok(next)
                })
                .map_err(|mut error| {
                    error.message = format!("a redirect of {target}: {}", error.message);
                    error
                })?;
            if next.origin != target.origin {
                headers::to_strangers(&mut ask.headers);
            }
            target = next;
        }
    }

    /// Where the response sends us, if we are to go.
    fn redirect(
        &self,
        ask: &Ask,
        response: &Response<Incoming>,
    ) -> Result<Option<HeaderValue>, HttpError> {
        let moved = matches!(
            response.status(),
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let safe = [Method::GET, Method::HEAD].contains(&ask.method) && ask.body.is_empty();
        if !moved || !safe || self.allowed.redirects == 0 {
            return Ok(None);
        }
        let mut locations = response.headers().get_all(LOCATION).iter();
        match (locations.next(), locations.next()) {
            (None, _) => Ok(None),
            (Some(location), None) => Ok(Some(location.clone())),
            (Some(_), Some(_)) => Err(HttpError::new(
                HttpErrorKind::Protocol,
                "a redirect with more than one location",
            )),
        }
    }
}

/// Reads what a redirect has to say, if that is less than a new connection costs.
async fn drain(body: Incoming, connection: Connection) {
    if body.size_hint().exact().is_some_and(|size| size <= DRAINED) && body.collect().await.is_ok()
    {
        connection.keep();
    }
}

/// A request that was not understood, for the log: without its query, and not all of it.
fn shown(method: &Method, uri: &Uri) -> String {
    let text = uri.to_string();
    let text = text.split('?').next().unwrap_or_default();
    // A user name before the host may have a password with it.
    let text = match text.rsplit_once('@') {
        Some((_, rest)) => format!("...@{rest}"),
        None => text.to_owned(),
    };
    let short: String = text.chars().take(200).collect();
    format!("{method} {}", short.escape_debug())
}
