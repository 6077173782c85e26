use crate::bindings::http::wasi::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
            RequestOptions, Scheme, http_error_code,
        },
    },
    io::streams::StreamError,
};

use crate::{
    Error, Result,
    http::{Request, Response, Target},
    machine::Refusal,
};

/// How much of a body is read at once.
const PART: u64 = 64 << 10;

fn failure(code: ErrorCode) -> Error {
    use ErrorCode as C;
    let (refusal, text) = match code {
        C::HttpRequestDenied => (
            Refusal::NotGranted,
            "the operator has not granted this request; the plugin's log says what to add to its TOML file",
        ),
        C::DestinationIpProhibited => (
            Refusal::NotGranted,
            "the operator has not granted requests to this server's address; the plugin's log says what to add to its TOML file",
        ),
        C::DnsTimeout | C::DnsError(_) => {
            (Refusal::Unreachable, "the server's name cannot be resolved")
        }
        C::DestinationNotFound
        | C::DestinationUnavailable
        | C::DestinationIpUnroutable
        | C::ConnectionRefused
        | C::ConnectionTimeout => (Refusal::Unreachable, "the server cannot be reached"),
        C::ConnectionTerminated
        | C::ConnectionReadTimeout
        | C::ConnectionWriteTimeout
        | C::HttpResponseIncomplete
        | C::HttpResponseTimeout => (Refusal::Unreachable, "the server does not answer in time"),
        C::ConnectionLimitReached => (
            Refusal::Exhausted,
            "the plugin has as many connections as it may have",
        ),
        C::TlsProtocolError | C::TlsCertificateError | C::TlsAlertReceived(_) => (
            Refusal::Unreachable,
            "there is no safe connection: TLS or the server's certificate is at fault",
        ),
        C::HttpRequestBodySize(_) => (Refusal::Exhausted, "the request is too large"),
        C::HttpResponseBodySize(_)
        | C::HttpResponseHeaderSectionSize(_)
        | C::HttpResponseHeaderSize(_) => (Refusal::Exhausted, "the answer is too large"),
        C::HttpRequestHeaderSectionSize(_) | C::HttpRequestHeaderSize(_) => (
            Refusal::Invalid,
            "the headers of the request cannot be sent; the plugin's log says why",
        ),
        C::HttpRequestMethodInvalid => (Refusal::Invalid, "there is no such method"),
        C::HttpRequestUriInvalid | C::HttpRequestUriTooLong => {
            (Refusal::Invalid, "the URL makes no sense")
        }
        C::LoopDetected => (Refusal::Unreachable, "the answers lead in a circle"),
        C::ConfigurationError => (
            Refusal::Missing,
            "dockside is not set up for requests; the plugin's log says why",
        ),
        C::InternalError(Some(text)) => return Error::refused(Refusal::Other, text),
        _ => (
            Refusal::Other,
            "the server does not speak HTTP as it should",
        ),
    };
    Error::refused(refusal, text)
}

fn stream_failure(error: StreamError) -> Option<Error> {
    match error {
        StreamError::Closed => None,
        StreamError::LastOperationFailed(error) => Some(match http_error_code(&error) {
            Some(code) => failure(code),
            None => Error::refused(Refusal::Unreachable, error.to_debug_string()),
        }),
    }
}

fn method(method: &str) -> Method {
    match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    }
}

fn wrong(what: &'static str) -> impl FnOnce(()) -> Error {
    move |()| {
        Error::refused(
            Refusal::Invalid,
            format!("the {what} of the request makes no sense"),
        )
    }
}

fn outgoing(request: &Request, target: &Target<'_>) -> Result<OutgoingRequest> {
    let fields: Vec<(String, Vec<u8>)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    let fields = Fields::from_list(&fields).map_err(|_| {
        Error::refused(
            Refusal::Invalid,
            "a header of the request makes no sense or is not the driver's to set",
        )
    })?;
    let outgoing = OutgoingRequest::new(fields);
    outgoing
        .set_method(&method(&request.method))
        .map_err(wrong("method"))?;
    let scheme = if target.tls {
        Scheme::Https
    } else {
        Scheme::Http
    };
    outgoing
        .set_scheme(Some(&scheme))
        .map_err(wrong("scheme"))?;
    outgoing
        .set_authority(Some(target.authority))
        .map_err(wrong("host"))?;
    let path = if target.path.starts_with('/') {
        target.path.to_owned()
    } else {
        format!("/{}", target.path)
    };
    outgoing
        .set_path_with_query(Some(&path))
        .map_err(wrong("path"))?;
    Ok(outgoing)
}

fn options(request: &Request) -> Result<Option<RequestOptions>> {
    let Some(timeout) = request.timeout else {
        return Ok(None);
    };
    let nanoseconds = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    let options = RequestOptions::new();
    options
        .set_connect_timeout(nanoseconds)
        .and_then(|()| options.set_first_byte_timeout(nanoseconds))
        .and_then(|()| options.set_between_bytes_timeout(nanoseconds))
        .map_err(wrong("timeout"))?;
    Ok(Some(options))
}

/// Writes as much as the other side takes. That it takes no more is no failure: it may have answered already.
fn write(body: OutgoingBody, bytes: &[u8]) -> Result<()> {
    let stream = body.write().map_err(wrong("body"))?;
    let taken = bytes
        .chunks(4096)
        .try_for_each(|part| stream.blocking_write_and_flush(part));
    drop(stream);
    if taken.is_ok() {
        // The answer says more than this can.
        drop(OutgoingBody::finish(body, None));
    }
    Ok(())
}

fn read(response: &IncomingResponse, limit: usize) -> Result<Vec<u8>> {
    let body = response.consume().map_err(wrong("answer"))?;
    let stream = body.stream().map_err(wrong("answer"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(PART) {
            Ok(part) => bytes.extend_from_slice(&part),
            Err(error) => match stream_failure(error) {
                None => return Ok(bytes),
                Some(error) => return Err(error),
            },
        }
        if bytes.len() > limit {
            return Err(crate::http::too_large(limit));
        }
    }
}

pub(crate) fn send(request: &Request, target: &Target<'_>) -> Result<Response> {
    let outgoing = outgoing(request, target)?;
    let body = outgoing.body().map_err(wrong("body"))?;
    let future = outgoing_handler::handle(outgoing, options(request)?).map_err(failure)?;
    write(body, &request.body)?;
    future.subscribe().block();
    let response = match future.get() {
        Some(Ok(answer)) => answer.map_err(failure)?,
        _ => return Err(Error::other("the host gave no answer")),
    };
    let headers = response.headers().entries();
    Ok(Response {
        status: response.status(),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
            .collect(),
        body: read(&response, request.limit)?,
    })
}
