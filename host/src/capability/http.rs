//! `wasi:http/outgoing-handler`: requests to servers, by the plugin's own client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ::http::{Request, Response};
use http_body_util::BodyExt;
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
        Box::new(async move {
            let sent = match client {
                Some(client) => client.send(request, options).await,
                None => Err(not_granted(request.method(), request.uri())),
            };
            let response = sent.map_err(|error| told(&log, &error))?;
            let response =
                response.map(|body| body.map_err(move |error| told(&log, &error)).boxed_unsync());
            let rest: Rest = Box::new(async { Ok(()) });
            Ok((response, rest))
        })
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
