//! One hop: from a target that the rules allow to the headers of its response.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::address::refused;
use super::body::RequestBody;
use super::client::{Client, Options};
use super::error::{HttpError, HttpErrorKind};
use super::pool::{Connection, Key, Sent};
use super::secrets::{self, Secret};
use super::target::{Host, Target};

/// Addresses of one name that are tried. All of them are judged.
const MAX_TRIED: usize = 4;

/// What is the same for all hops of a request.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: RequestBody,
    pub(super) options: Options,
    /// The body goes out without its length.
    pub(super) chunked: bool,
}

impl Client {
    /// One request and its response, on a connection to an address that is allowed.
    pub(super) async fn exchange(
        &self,
        ask: &mut Ask,
        target: &Target,
    ) -> Result<(Response<Incoming>, Connection), HttpError> {
        let addresses = self.addresses(target, ask.options.connect).await?;
        let local = addresses
            .iter()
            .all(|address| address.to_canonical().is_loopback());
        let mut headers = self.headers(&ask.headers, target, local).await?;
        // Some servers answer with 411 to a request that could have a body and does not say that it has none.
        let may = [Method::POST, Method::PUT, Method::PATCH].contains(&ask.method);
        if may && ask.body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        loop {
            let (mut connection, reused) = match self.pool.take(&target.origin, &addresses) {
                Some(connection) => (connection, true),
                None => (
                    self.connect(target, &addresses, ask.options.connect)
                        .await?,
                    false,
                ),
            };
            if connection.sender().ready().await.is_err() && reused {
                continue;
            }
            let request = request(&ask.method, target, headers.clone(), ask.body.attempt())?;
            let sending = connection.sender().try_send_request(request);
            let sent = match ask.options.first_byte {
                None => sending.await,
                Some(span) => timeout(span, sending).await.map_err(|_| {
                    HttpError::new(
                        HttpErrorKind::ReadTimeout,
                        "the response did not begin within the time that the driver waits",
                    )
                })?,
            };
            let mut failed = match sent {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(HttpError::new(
                        HttpErrorKind::Upgrade,
                        "the other side wants to speak another protocol",
                    ));
                }
                Ok(response) => return Ok((response, connection)),
                Err(failed) => failed,
            };
            // A kept connection may have been closed by the other side just now.
            let again = reused
                && match (failed.take_message(), &ask.body) {
                    (Some(_), RequestBody::Whole(_)) => true,
                    (Some(unsent), RequestBody::Gone) => {
                        ask.body = RequestBody::Streamed(unsent.into_body());
                        true
                    }
                    _ => ask.body.is_empty() && is_repeatable(&ask.method),
                };
            if !again {
                let mut error = HttpError::hyper(&failed.into_error());
                if ask.chunked && error.kind == HttpErrorKind::ConnectionTerminated {
                    error.message.push_str(
                        "; the body was sent in pieces, which not every server takes: the driver can set content-length",
                    );
                }
                return Err(error);
            }
        }
    }

    /// The addresses of a host, all of them allowed.
    async fn addresses(
        &self,
        target: &Target,
        wait: Option<Duration>,
    ) -> Result<Vec<IpAddr>, HttpError> {
        let name = match &target.origin.host {
            Host::Address(address) => {
                self.judge_address(*address, None)?;
                return Ok(vec![*address]);
            }
            Host::Name(name) => name,
        };
        let looking = self.resolver.addresses(name);
        let found = match wait {
            None => looking.await,
            Some(span) => timeout(span, looking).await.map_err(|_| {
                HttpError::new(
                    HttpErrorKind::DnsTimeout,
                    format!("no name server told the address of {name} in time"),
                )
            })?,
        };
        let found = found.map_err(|error| {
            HttpError::new(
                HttpErrorKind::Dns,
                format!("the address of {name} cannot be found: {error}"),
            )
        })?;
        if found.is_empty() {
            return Err(HttpError::new(
                HttpErrorKind::Dns,
                format!("{name} has no address"),
            ));
        }
        // One bad address among good ones is what an attack on the name looks like.
        for address in &found {
            self.judge_address(*address, Some(name))?;
        }
        Ok(found)
    }

    fn judge_address(&self, address: IpAddr, name: Option<&str>) -> Result<(), HttpError> {
        let Some(special) = refused(address, &self.allowed.private) else {
            return Ok(());
        };
        let subject = match name {
            Some(name) => format!("{name} has the address {address}, and"),
            None => "the address".to_owned(),
        };
        Err(HttpError::new(
            HttpErrorKind::AddressProhibited,
            format!(
                "{subject} {} is {}: add \"{}\" to private under [grants.http]",
                special.address, special.what, special.entry
            ),
        ))
    }

    async fn connect(
        &self,
        target: &Target,
        addresses: &[IpAddr],
        wait: Option<Duration>,
    ) -> Result<Connection, HttpError> {
        let span = wait.unwrap_or(self.allowed.timeout);
        let tried = addresses.len().min(MAX_TRIED);
        // One address that swallows everything must not use up the time of the others.
        let each = span / u32::try_from(tried).unwrap_or(1).max(1);
        let mut result = Err(HttpError::new(
            HttpErrorKind::Dns,
            "the host has no address",
        ));
        for address in addresses.iter().take(tried) {
            let key = Key {
                origin: target.origin.clone(),
                address: *address,
            };
            let opening = Connection::open(key, self.tls.as_ref(), &self.pool);
            result = timeout(each, opening).await.unwrap_or_else(|_| {
                Err(HttpError::new(
                    HttpErrorKind::ConnectionTimeout,
                    format!("no connection to {address} in time"),
                ))
            });
            match &result {
                Err(error)
                    if matches!(
                        error.kind,
                        HttpErrorKind::ConnectionRefused
                            | HttpErrorKind::Unreachable
                            | HttpErrorKind::ConnectionTimeout
                    ) => {}
                _ => break,
            }
        }
        result
    }

    /// The headers as they are sent, with `host` and with secrets.
    async fn headers(
        &self,
        asked: &HeaderMap,
        target: &Target,
        local: bool,
    ) -> Result<HeaderMap, HttpError> {
        let secrets = self.secrets(asked, target, local).await?;
        let mut headers = HeaderMap::with_capacity(asked.len() + 2);
        let host = HeaderValue::from_str(&target.origin.authority()).map_err(|_| {
            HttpError::new(HttpErrorKind::UriInvalid, "the host cannot be in a header")
        })?;
        headers.insert(HOST, host);
        for (name, value) in asked {
            let value = match secrets::names(value)?.as_slice() {
                [] => value.clone(),
                _ => secrets::fill(value, &secrets)?,
            };
            headers.append(name.clone(), value);
        }
        Ok(headers)
    }

    /// The secrets that the headers name, all of which may be sent.
    async fn secrets(
        &self,
        asked: &HeaderMap,
        target: &Target,
        local: bool,
    ) -> Result<BTreeMap<String, Secret>, HttpError> {
        let mut names = BTreeSet::new();
        for value in asked.values() {
            names.extend(secrets::names(value)?);
        }
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        for name in &names {
            self.allowed.judge_secret(name, target, local)?;
        }
        let wrong = |reason: String| HttpError::new(HttpErrorKind::Configuration, reason);
        let keeper = Arc::clone(&self.secrets);
        let reading = tokio::task::spawn_blocking(move || {
            let read = |name: String| keeper.secret(&name).map(|secret| (name, secret));
            names.into_iter().map(read).collect::<Result<_, String>>()
        });
        match reading.await {
            Ok(secrets) => secrets.map_err(wrong),
            Err(_) => Err(wrong("reading a secret was interrupted".to_owned())),
        }
    }
}

fn is_repeatable(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

fn request(
    method: &Method,
    target: &Target,
    headers: HeaderMap,
    body: Sent,
) -> Result<Request<Sent>, HttpError> {
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = target.request_target().parse().map_err(|_| {
        HttpError::new(HttpErrorKind::UriInvalid, "the path cannot be in a request")
    })?;
    *request.headers_mut() = headers;
    Ok(request)
}
