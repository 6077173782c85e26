//! Blobs as objects in a bucket of an S3 server: path style, with signatures of version 4 in the query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use zeroize::Zeroizing;

use super::{BlobInfo, MAX_BLOB, MAX_LISTED, Name, Prefix, too_many};
use crate::config;
use crate::ledger::blocking;
use crate::machine::{ErrorKind, MachineError};
use crate::outbound::{Allowed, Client, HttpError, HttpErrorKind, Options, Resolver, Secrets};
use crate::protocol::one_line;

/// How long a signature is good: clocks differ by less.
const GOOD_FOR: Duration = Duration::from_secs(15 * 60);

/// How often a request is sent that fails for a reason that passes.
const ATTEMPTS: u32 = 5;

/// The pause before the second attempt. Each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// Pages of a listing. A server that gives fewer than ten names a page lists nothing useful.
const MOST_PAGES: usize = MAX_LISTED / 10;

/// Bytes of a server's own text in an error.
const SHOWN: usize = 200;

/// A bucket.
pub struct S3 {
    client: Client,
    bucket: Bucket,
    secrets: Arc<dyn Secrets>,
    place: config::S3,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("place", &self.place).finish()
    }
}

/// What a server answered.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl S3 {
    /// A client for the bucket of a grant. Reads the file with the authorities.
    pub(super) fn new(
        place: &config::S3,
        secrets: Arc<dyn Secrets>,
        resolver: Arc<dyn Resolver>,
    ) -> Result<S3, HttpError> {
        let wrong = |message: String| HttpError {
            kind: HttpErrorKind::Configuration,
            message,
        };
        let endpoint = place.url.parse().map_err(|error| {
            wrong(format!(
                "{:?} is no URL of an S3 server: {error}",
                place.url
            ))
        })?;
        let bucket = Bucket::new(
            endpoint,
            UrlStyle::Path,
            place.bucket.clone(),
            place.region.clone(),
        )
        .map_err(|error| wrong(format!("the bucket {}: {error}", place.bucket)))?;
        let rule = format!("* {}", bucket.base_url());
        let allowed = Allowed {
            allow: vec![rule.parse().map_err(wrong)?],
            private: place.private.clone(),
            // A page of a listing is smaller than the largest blob.
            max_body: MAX_BLOB as u64,
            timeout: place.timeout,
            redirects: 0,
            ca: place.ca.clone(),
            ..Allowed::default()
        };
        Ok(S3 {
            client: Client::new(allowed, Arc::clone(&secrets), resolver).map_err(ours)?,
            bucket,
            secrets,
            place: place.clone(),
        })
    }

    pub(super) async fn put(
        &self,
        name: &Name,
        data: Bytes,
        deadline: Instant,
    ) -> Result<(), MachineError> {
        let tried = || format!("write {name}");
        let key = self.key(name.as_str());
        let sign = |credentials: &Credentials| {
            self.bucket
                .put_object(Some(credentials), &key)
                .sign(GOOD_FOR)
                .to_string()
        };
        let answer = self.ask(Method::PUT, &tried, &sign, data, deadline).await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(self.refused(&tried(), &answer)),
        }
    }

    pub(super) async fn get(
        &self,
        name: &Name,
        deadline: Instant,
    ) -> Result<Vec<u8>, MachineError> {
        let tried = || format!("read {name}");
        let key = self.key(name.as_str());
        let sign = |credentials: &Credentials| {
            self.bucket
                .get_object(Some(credentials), &key)
                .sign(GOOD_FOR)
                .to_string()
        };
        let answer = self
            .ask(Method::GET, &tried, &sign, Bytes::new(), deadline)
            .await?;
        match answer.status.is_success() {
            true => Ok(answer.body.into()),
            false => Err(self.refused(&tried(), &answer)),
        }
    }

    pub(super) async fn delete(&self, name: &Name, deadline: Instant) -> Result<(), MachineError> {
        let tried = || format!("delete {name}");
        let key = self.key(name.as_str());
        let sign = |credentials: &Credentials| {
            self.bucket
                .delete_object(Some(credentials), &key)
                .sign(GOOD_FOR)
                .to_string()
        };
        let answer = self
            .ask(Method::DELETE, &tried, &sign, Bytes::new(), deadline)
            .await?;
        if answer.status.is_success() {
            return Ok(());
        }
        match self.refused(&tried(), &answer) {
            error if error.kind == ErrorKind::NotFound => Ok(()),
            error => Err(error),
        }
    }

    pub(super) async fn list(
        &self,
        prefix: &Prefix,
        deadline: Instant,
    ) -> Result<Vec<BlobInfo>, MachineError> {
        let tried = || format!("list {prefix:?}");
        let key = self.key(prefix.as_str());
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let sign = |credentials: &Credentials| {
                let mut action = self.bucket.list_objects_v2(Some(credentials));
                action.with_prefix(key.as_str());
                if let Some(token) = &token {
                    action.with_continuation_token(token.as_str());
                }
                action.sign(GOOD_FOR).to_string()
            };
            let answer = self
                .ask(Method::GET, &tried, &sign, Bytes::new(), deadline)
                .await?;
            if !answer.status.is_success() {
                return Err(self.refused(&tried(), &answer));
            }
            let page = std::str::from_utf8(&answer.body)
                .map_err(|error| error.to_string())
                .and_then(|text| {
                    ListObjectsV2::parse_response(text).map_err(|error| error.to_string())
                })
                .map_err(|error| {
                    self.failed(
                        ErrorKind::Other,
                        &tried(),
                        &format!("its answer is no listing: {}", one_line(&error, SHOWN)),
                    )
                })?;
            for object in page.contents {
                let Some(name) = object.key.strip_prefix(self.place.prefix.as_str()) else {
                    continue;
                };
                // Somebody else's objects in the same bucket are none of the plugin's blobs.
                if !name.starts_with(prefix.as_str()) || name.parse::<Name>().is_err() {
                    continue;
                }
                let modified = object.last_modified.as_deref();
                let modified = modified.and_then(|time| time.parse::<Timestamp>().ok());
                found.push(BlobInfo {
                    name: name.to_owned(),
                    size: object.size.unwrap_or(0),
                    modified: modified
                        .and_then(|time| u64::try_from(time.as_millisecond()).ok())
                        .unwrap_or(0),
                });
                if found.len() > MAX_LISTED {
                    return Err(too_many(prefix));
                }
            }
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(too_many(prefix))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.place.prefix)
    }

    /// Sends a request until it is answered with something else than trouble that passes.
    async fn ask(
        &self,
        method: Method,
        tried: &(dyn Fn() -> String + Sync),
        sign: &(dyn Fn(&Credentials) -> String + Sync),
        body: Bytes,
        deadline: Instant,
    ) -> Result<Answer, MachineError> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            // Signed anew each time: the clock goes on, and keys can be changed.
            let credentials = self.credentials().await?;
            let request = Request::builder()
                .method(method.clone())
                .uri(sign(&credentials))
                .body(Full::new(body.clone()))
                .map_err(|error| self.failed(ErrorKind::Other, &tried(), &error.to_string()))?;
            drop(credentials);
            let outcome = self.send(request, deadline).await;
            let last = attempt == ATTEMPTS || Instant::now() + pause >= deadline;
            match outcome {
                Ok(answer) if last || !passes(answer.status) => return Ok(answer),
                Err(error) if last || !can_pass(&error.kind) => {
                    let kind = match error.kind {
                        HttpErrorKind::Denied
                        | HttpErrorKind::AddressProhibited
                        | HttpErrorKind::Configuration => ErrorKind::Invalid,
                        _ => ErrorKind::Unreachable,
                    };
                    return Err(self.failed(kind, &tried(), &ours(error).message));
                }
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Answer, HttpError> {
        let options = Options {
            deadline: Some(deadline),
            ..Options::default()
        };
        let response = self.client.send(request, options).await?;
        Ok(Answer {
            status: response.status(),
            body: response.into_body().collect().await?.to_bytes(),
        })
    }

    async fn credentials(&self) -> Result<Credentials, MachineError> {
        let secrets = Arc::clone(&self.secrets);
        let names = [&self.place.access_key, &self.place.secret_key].map(ToString::to_string);
        blocking(move || {
            let read = |name: &str| -> Result<Zeroizing<String>, MachineError> {
                let wrong = |reason: String| MachineError::new(ErrorKind::Invalid, reason);
                let value = secrets.secret(name).map_err(wrong)?;
                let text = std::str::from_utf8(&value)
                    .map_err(|_| wrong(format!("the secret {name} is no text")))?;
                Ok(Zeroizing::new(text.trim().to_owned()))
            };
            let [access, secret] = names;
            let (access, secret) = (read(&access)?, read(&secret)?);
            Ok(Credentials::new(access.as_str(), secret.as_str()))
        })
        .await
    }

    /// What a server's refusal means.
    fn refused(&self, tried: &str, answer: &Answer) -> MachineError {
        let text = String::from_utf8_lossy(&answer.body);
        let code = element(&text, "Code");
        let said = match (code, element(&text, "Message")) {
            (Some(code), Some(message)) => {
                format!("{code}: {}", one_line(message, SHOWN))
            }
            (Some(code), None) => one_line(code, SHOWN),
            (None, _) => format!("HTTP status {}", answer.status.as_u16()),
        };
        let bucket = &self.place.bucket;
        let (kind, advice) = match (answer.status, code) {
            (_, Some("NoSuchKey")) => (ErrorKind::NotFound, String::new()),
            (_, Some("NoSuchBucket")) => (
                ErrorKind::Missing,
                format!(": make the bucket {bucket}, or correct bucket"),
            ),
            (StatusCode::NOT_FOUND, _) => (ErrorKind::NotFound, String::new()),
            (_, Some("RequestTimeTooSkewed")) => {
                (ErrorKind::Unreachable, ": set this machine's clock".into())
            }
            (
                _,
                Some(
                    "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "AuthorizationHeaderMalformed",
                ),
            ) => (
                ErrorKind::Unreachable,
                format!(
                    ": look at the secrets {} and {} and at region",
                    self.place.access_key, self.place.secret_key
                ),
            ),
            (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => (
                ErrorKind::Unreachable,
                format!(
                    ": the key in the secret {} has no right to do this in the bucket {bucket}",
                    self.place.access_key
                ),
            ),
            (status, _) if status.is_redirection() => (
                ErrorKind::Unreachable,
                ": the bucket is in another region or on another server: correct url and region"
                    .into(),
            ),
            (StatusCode::INSUFFICIENT_STORAGE, _) => (ErrorKind::Exhausted, String::new()),
            _ => (ErrorKind::Unreachable, String::new()),
        };
        self.failed(kind, tried, &format!("{said}{advice}"))
    }

    fn failed(&self, kind: ErrorKind, tried: &str, reason: &str) -> MachineError {
        MachineError::new(
            kind,
            format!(
                "cannot {tried} in the bucket {} of {}: {reason}",
                self.place.bucket, self.place.url
            ),
        )
    }
}

/// An error of the client's with the name that its settings have here.
fn ours(mut error: HttpError) -> HttpError {
    error.message = error
        .message
        .replace("grants.http.", "grants.blobs.*.s3.")
        .replace("[grants.http]", "[grants.blobs.NAME.s3] of this store");
    error
}

/// Whether the same request can be answered otherwise a moment later.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

fn can_pass(kind: &HttpErrorKind) -> bool {
    matches!(
        kind,
        HttpErrorKind::Dns
            | HttpErrorKind::DnsTimeout
            | HttpErrorKind::ConnectionRefused
            | HttpErrorKind::Unreachable
            | HttpErrorKind::ConnectionTimeout
            | HttpErrorKind::ConnectionTerminated
            | HttpErrorKind::ReadTimeout
            | HttpErrorKind::Timeout
            | HttpErrorKind::ResponseIncomplete
    )
}

/// The text of the first element of a name. The errors of S3 have no attributes and nothing nested in what is read here.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.trim())
}
