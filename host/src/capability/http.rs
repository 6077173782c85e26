//! `wasi:http/outgoing-handler`: requests to servers, by the plugin's own client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tracing::Level;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::config;
use crate::outbound::{
    Allowed, Client, HttpError, HttpErrorKind, Options, Secret, Secrets, System, not_granted,
};
use crate::plugin::log::{CallLog, Source};
use crate::sandbox::CallContext;
use crate::trace::value::{MAX_VALUE, restore_bytes};
use crate::trace::{self, HostCall, Player, Probe};

/// Bytes of one set of headers that a guest makes, with what they cost in memory. A request has at most 32 KiB of them on the wire.
const MAX_FIELDS: usize = 64 << 10;

/// The client of a plugin, if its settings grant one. Reads files and secrets.
///
/// # Errors
/// When the grant says what cannot be. The text begins with the key.
pub fn client(settings: &Arc<config::Plugin>) -> Result<Option<Arc<Client>>, HttpError> {
    let Some(grant) = &settings.grants.http else {
        return Ok(None);
    };
    let allow = grant.allow.iter().map(|rule| {
        rule.parse().map_err(|reason| HttpError {
            kind: HttpErrorKind::Configuration,
            message: format!("grants.http.allow: {reason}"),
        })
    });
    let secrets = grant.secrets.0.iter();
    let allowed = Allowed {
        allow: allow.collect::<Result<_, _>>()?,
        private: grant.private.clone(),
        secrets: secrets
            .map(|(name, places)| (name.to_string(), places.clone()))
            .collect::<BTreeMap<_, _>>(),
        max_body: grant.max_body,
        timeout: grant.timeout,
        redirects: grant.redirects,
        ca: grant.ca.clone(),
        client_certificate: grant.client_certificate.clone(),
        client_key: grant.client_key.as_ref().map(ToString::to_string),
        ..Allowed::default()
    };
    let keeper = Arc::new(Keeper(Arc::clone(settings)));
    Client::new(allowed, keeper, Arc::new(System)).map(|client| Some(Arc::new(client)))
}

/// The plugin's secrets, read anew each time, as everywhere.
pub(super) struct Keeper(pub(super) Arc<config::Plugin>);

impl Secrets for Keeper {
    fn secret(&self, name: &str) -> Result<Secret, String> {
        let source = self.0.secrets.get(name).ok_or_else(|| {
            format!("there is no secret {name}: say where it is under [secrets] in the plugin's TOML file")
        })?;
        source
            .resolve()
            .map_err(|error| format!("the secret {name}: {error}"))
    }
}

/// What an instance needs to make requests.
pub struct Http {
    context: WasiHttpCtx,
    requests: Requests,
}

struct Requests {
    client: Option<Arc<Client>>,
    log: Arc<CallLog>,
    deadline: Instant,
    call: String,
    sent: u64,
}

impl Http {
    /// Requests by this client, or none.
    pub fn new(client: Option<Arc<Client>>, log: Arc<CallLog>, deadline: Instant) -> Http {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS);
        Http {
            context,
            requests: Requests {
                client,
                log,
                deadline,
                call: String::new(),
                sent: 0,
            },
        }
    }
}

impl WasiHttpView for CallContext {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Http { context, requests } = &mut self.http;
        // A kept instance serves one call after another.
        requests.deadline = self.deadline;
        let call = self.effects.call();
        if requests.call != call {
            call.clone_into(&mut requests.call);
            requests.sent = 0;
        }
        WasiHttpCtxView {
            hooks: requests,
            table: &mut self.table,
            ctx: context,
        }
    }
}

/// What becomes of a request, in the words of `wasi:http`.
type Outcome = Result<(Response<WasiBody>, Rest), Error>;

/// What goes on after the response has begun: nothing, since connections look after themselves.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Requests {
    fn set_host_header(&mut self) -> bool {
        // The client does.
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Outcome> + Send> {
        self.sent += 1;
        let wished = options.unwrap_or_default();
        let options = Options {
            connect: wished.connect_timeout,
            first_byte: wished.first_byte_timeout,
            between_bytes: wished.between_bytes_timeout,
            deadline: Some(self.deadline),
            // A call that is run again asks the same in the same order.
            idempotency_key: (!self.call.is_empty())
                .then(|| format!("{}-{}", self.call, self.sent)),
        };
        let log = Arc::clone(&self.log);
        let client = self.client.clone();
        let probe = log.probe();
        Box::new(async move {
            let (request, watched) = Watched::begin(probe, request);
            if let Some(watched) = &watched
                && let Some(player) = &watched.probe.player
            {
                return replayed(player, watched, request).await;
            }
            let sent = match client {
                Some(client) => client.send(request, options).await,
                None => Err(not_granted(request.method(), request.uri())),
            };
            let response = sent.map_err(|error| {
                let code = told(&log, &error);
                if let Some(watched) = &watched {
                    watched.failed(&error.message);
                }
                code
            })?;
            let response =
                response.map(|body| body.map_err(move |error| told(&log, &error)).boxed_unsync());
            let response = match &watched {
                Some(watched) => watched.answered(response),
                None => response,
            };
            let rest: Rest = Box::new(async { Ok(()) });
            Ok((response, rest))
        })
    }
}

/// A request that somebody watches.
struct Watched {
    probe: Probe,
    call: usize,
    since: Instant,
    response: trace::Body,
    method: String,
    uri: String,
}

impl Watched {
    /// Notes a request, and passes it on with a body that is noted as it is read.
    fn begin(
        probe: Option<Probe>,
        request: Request<WasiBody>,
    ) -> (Request<WasiBody>, Option<Watched>) {
        let Some(probe) = probe else {
            return (request, None);
        };
        let method = request.method().to_string();
        let uri = request.uri().to_string();
        let head = json!({ "method": method, "uri": uri, "headers": headers(request.headers()) });
        let call = probe.recorder.called(HostCall {
            interface: HTTP.to_owned(),
            function: HANDLE.to_owned(),
            args: json!([head]),
            result: Value::Null,
            micros: 0,
            unanswered: false,
        });
        let sent = trace::Body::default();
        let response = trace::Body::default();
        probe
            .recorder
            .carries(call, Arc::clone(&sent), Arc::clone(&response));
        let request = request.map(|body| noted(body, sent));
        let watched = Watched {
            probe,
            call,
            since: Instant::now(),
            response,
            method,
            uri,
        };
        (request, Some(watched))
    }

    fn answered(&self, response: Response<WasiBody>) -> Response<WasiBody> {
        let head = json!({
            "ok": { "status": response.status().as_u16(), "headers": headers(response.headers()) }
        });
        let recorder = &self.probe.recorder;
        recorder.came_back(self.call, head, self.since.elapsed());
        let seen = Arc::clone(&self.response);
        response.map(|body| noted(body, seen))
    }

    fn failed(&self, reason: &str) {
        let result = json!({ "err": reason });
        let recorder = &self.probe.recorder;
        recorder.came_back(self.call, result, self.since.elapsed());
    }
}

/// What calls of `wasi:http` are in a recording.
pub const HTTP: &str = "wasi:http/outgoing-handler";
const HANDLE: &str = "handle";

fn headers(headers: &HeaderMap) -> Value {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    headers.iter().map(pair).collect()
}

/// A body of which what is read is noted, as far as an event shows it.
fn noted(body: WasiBody, seen: trace::Body) -> WasiBody {
    body.map_frame(move |frame| {
        if let Some(data) = frame.data_ref() {
            let mut seen = seen.lock();
            let room = (MAX_VALUE + 1).saturating_sub(seen.len());
            seen.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        }
        frame
    })
    .boxed_unsync()
}

/// The answer of a recording.
async fn replayed(player: &Player, watched: &Watched, request: Request<WasiBody>) -> Outcome {
    // The guest writes its body while somebody reads.
    let _ = request.into_body().collect().await;
    let recorded = player.http(&watched.method, &watched.uri);
    let answer = recorded.as_ref().and_then(|result| result.get("ok"));
    let built = answer.and_then(|answer| {
        let status = u16::try_from(answer.get("status")?.as_u64()?).ok()?;
        let mut response = Response::builder().status(status);
        for pair in answer.get("headers")?.as_array()? {
            response = response.header(pair.get(0)?.as_str()?, pair.get(1)?.as_str()?);
        }
        let body = restore_bytes(answer.get("body")?)?;
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        response.body(body.boxed_unsync()).ok()
    });
    match (built, recorded) {
        (Some(response), _) => {
            let rest: Rest = Box::new(async { Ok(()) });
            Ok((watched.answered(response), rest))
        }
        (None, recorded) => {
            match recorded.as_ref().and_then(|result| result.get("err")) {
                Some(reason) => watched.failed(reason.as_str().unwrap_or_default()),
                None => {
                    watched.failed("replay: the recording has no such request");
                    watched.probe.recorder.unanswered(watched.call);
                }
            }
            Err(Error::HttpRequestDenied)
        }
    }
}

/// The error for the driver, which has only codes; the sentence is in the plugin's log.
fn told(log: &CallLog, error: &HttpError) -> Error {
    log.line(Level::WARN, Source::Host, &error.message);
    code(&error.kind)
}

fn code(kind: &HttpErrorKind) -> Error {
    use HttpErrorKind as Kind;
    match kind {
        Kind::Denied => Error::HttpRequestDenied,
        Kind::AddressProhibited => Error::DestinationIpProhibited,
        Kind::UriInvalid => Error::HttpRequestUriInvalid,
        Kind::UriTooLong => Error::HttpRequestUriTooLong,
        Kind::MethodInvalid => Error::HttpRequestMethodInvalid,
        Kind::RequestHeaders => Error::HttpRequestHeaderSectionSize(None),
        Kind::RequestBody(size) => Error::HttpRequestBodySize(*size),
        Kind::Dns => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        Kind::DnsTimeout => Error::DnsTimeout,
        Kind::ConnectionRefused => Error::ConnectionRefused,
        Kind::Unreachable => Error::DestinationIpUnroutable,
        Kind::ConnectionTimeout => Error::ConnectionTimeout,
        Kind::ConnectionTerminated => Error::ConnectionTerminated,
        Kind::ConnectionLimit => Error::ConnectionLimitReached,
        Kind::TlsCertificate => Error::TlsCertificateError,
        Kind::TlsAlert(id, name) => Error::TlsAlertReceived {
            alert_id: Some(*id),
            alert_message: Some(name.clone()),
        },
        Kind::TlsProtocol => Error::TlsProtocolError,
        Kind::ReadTimeout => Error::ConnectionReadTimeout,
        Kind::Timeout => Error::HttpResponseTimeout,
        Kind::ResponseHeaders => Error::HttpResponseHeaderSectionSize(None),
        Kind::ResponseBody(size) => Error::HttpResponseBodySize(*size),
        Kind::ResponseIncomplete => Error::HttpResponseIncomplete,
        Kind::Upgrade => Error::HttpUpgradeFailed,
        Kind::Protocol => Error::HttpProtocolError,
        Kind::Loop => Error::LoopDetected,
        Kind::Configuration => Error::ConfigurationError,
    }
}
