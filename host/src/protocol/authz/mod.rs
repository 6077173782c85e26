//! Docker's `AuthZPlugin` on the wire.
//!
//! A request that has no single reading is denied here, and the driver never sees it.

pub mod canonical;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use super::answer::{Answer, Decision, one_line};
use super::wire::{Object, Problem};
use super::{Decoded, Method};
use crate::sandbox::bindings::authz::{ApiVersion, Request, RequestBody, Response};
use canonical::{Body, Message, Trust, canonicalise};

/// The longest part of a JSON error that is shown, in bytes: such an error can quote the request.
const MAX_JSON_ERROR: usize = 200;

/// A call of an authorization driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `AuthZPlugin.AuthZReq`.
    Req(Request),
    /// `AuthZPlugin.AuthZRes`.
    Res(Request, Response),
}

impl Call {
    /// The method that it came by.
    pub fn method(&self) -> Method {
        match self {
            Call::Req(_) => Method::AuthzReq,
            Call::Res(..) => Method::AuthzRes,
        }
    }

    /// The request that is judged.
    pub fn request(&self) -> &Request {
        match self {
            Call::Req(request) | Call::Res(request, _) => request,
        }
    }
}

/// The part of a message that `AuthZPlugin.AuthZRes` has besides the request.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ResponsePart {
    response_status_code: Option<u16>,
    #[serde(deserialize_with = "base64")]
    response_body: Vec<u8>,
    response_headers: Option<BTreeMap<String, String>>,
}

fn base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

fn read<'a, T: Deserialize<'a>>(body: &'a Object) -> Result<T, Problem> {
    T::deserialize(body.fields()).map_err(|error| {
        let error = one_line(&error.to_string(), MAX_JSON_ERROR);
        format!("the message is not sound: {error}")
    })
}

/// The call that a request asks for, or the denial of what has no single reading.
pub(super) fn decode(method: Method, body: &Object, trust: Trust) -> Result<Decoded, Problem> {
    let message: Message = read(body)?;
    let request = match canonicalise(&message, trust) {
        Ok(request) => to_guest(request),
        Err(denial) => {
            return Ok(Decoded::Answered(Answer::Decision(Decision::Deny(
                denial.reason,
            ))));
        }
    };
    let call = if method == Method::AuthzRes {
        let response: ResponsePart = read(body)?;
        Call::Res(request, response.into())
    } else {
        Call::Req(request)
    };
    Ok(Decoded::Call(super::Call::Authz(call)))
}

fn to_guest(request: canonical::Request) -> Request {
    Request {
        user: request.user,
        user_authn_method: request.user_authn_method,
        method: request.method,
        uri: request.uri,
        api_version: request
            .api_version
            .map(|(major, minor)| ApiVersion { major, minor }),
        path: request.path,
        query: request.query,
        headers: request.headers,
        body: match request.body {
            Body::None => RequestBody::None,
            Body::Json(text) => RequestBody::Json(text),
            Body::Stream => RequestBody::Stream,
        },
        peer_certificates: request.peer_certificates,
    }
}

impl From<ResponsePart> for Response {
    fn from(part: ResponsePart) -> Response {
        Response {
            // Absent when the answer was streamed or the connection taken over, and Go's zero means the same.
            status: part.response_status_code.filter(|status| *status != 0),
            body: part.response_body,
            headers: part
                .response_headers
                .unwrap_or_default()
                .into_iter()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::super::{BadRequest, decode};
    use super::*;

    fn message(method: &str, uri: &str, body: Option<&str>, more: &str) -> String {
        let (body, headers) = match body {
            Some(text) => (
                format!("\"RequestBody\":\"{}\",", STANDARD.encode(text)),
                format!(
                    "{{\"Content-Length\":\"{}\",\"Content-Type\":\"application/json\",\"User-Agent\":\"Docker-Client/20.10.24\"}}",
                    text.len()
                ),
            ),
            None => (
                String::new(),
                "{\"User-Agent\":\"Docker-Client/20.10.24\"}".to_owned(),
            ),
        };
        format!(
            "{{\"RequestMethod\":\"{method}\",\"RequestUri\":\"{uri}\",{body}\"RequestHeaders\":{headers}{more}}}\n"
        )
    }

    fn call(method: Method, body: &str) -> Call {
        match decode(method, body.as_bytes()) {
            Ok(Decoded::Call(super::super::Call::Authz(call))) => call,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_request_reaches_the_driver_as_the_engine_reads_it() {
        let body = message(
            "POST",
            "/v1.41/containers/create?name=z1",
            Some("{\"Image\":\"busybox\"}"),
            ",\"User\":\"alice\",\"UserAuthNMethod\":\"TLS\"",
        );
        let Call::Req(request) = call(Method::AuthzReq, &body) else {
            panic!("not a request")
        };
        assert_eq!(request.user.as_deref(), Some("alice"));
        assert_eq!(request.user_authn_method.as_deref(), Some("TLS"));
        assert_eq!(request.method, "POST");
        assert_eq!(request.uri, "/v1.41/containers/create?name=z1");
        assert_eq!(
            request.api_version,
            Some(ApiVersion {
                major: 1,
                minor: 41
            })
        );
        assert_eq!(request.path, ["containers", "create"]);
        assert_eq!(request.query, [("name".to_owned(), "z1".to_owned())]);
        assert!(
            request
                .headers
                .contains(&("Content-Type".to_owned(), "application/json".to_owned()))
        );
        match request.body {
            RequestBody::Json(text) => assert!(text.contains("\"Image\":\"busybox\""), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_response_comes_with_its_request() {
        let more = format!(
            ",\"ResponseStatusCode\":200,\"ResponseBody\":\"{}\",\"ResponseHeaders\":{{\"Content-Type\":\"application/json\"}}",
            STANDARD.encode("[]")
        );
        let body = message("GET", "/v1.41/containers/json", None, &more);
        let Call::Res(request, response) = call(Method::AuthzRes, &body) else {
            panic!("not a response")
        };
        assert_eq!(request.path, ["containers", "json"]);
        assert_eq!(
            (response.status, response.body.as_slice()),
            (Some(200), b"[]".as_slice())
        );
        assert_eq!(
            response.headers,
            [("Content-Type".to_owned(), "application/json".to_owned())]
        );

        for more in [
            "",
            ",\"ResponseStatusCode\":0,\"ResponseBody\":null,\"ResponseHeaders\":null",
        ] {
            let body = message("GET", "/v1.41/events", None, more);
            let Call::Res(_, response) = call(Method::AuthzRes, &body) else {
                panic!("not a response")
            };
            assert_eq!(
                (response.status, response.body.len(), response.headers.len()),
                (None, 0, 0)
            );
        }
    }

    #[test]
    fn what_has_no_single_reading_is_denied_without_the_driver() {
        let cases = [
            "{}".to_owned(),
            "null".to_owned(),
            message("POST", "/v1.41/containers/create", Some("{\"Image\":1"), ""),
            message("POST", "/v1.41/containers/create", None, ""),
            message("GET", "/v1.41/containers/../info", None, ""),
        ];
        for body in cases {
            for method in [Method::AuthzReq, Method::AuthzRes] {
                match decode(method, body.as_bytes()) {
                    Ok(Decoded::Answered(Answer::Decision(Decision::Deny(reason)))) => {
                        assert!(!reason.is_empty())
                    }
                    other => panic!("{body}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn an_unsound_message_is_an_error_and_never_an_allowance() {
        for body in [
            "[]",
            "{\"RequestHeaders\":{\"A\":\"1\",\"A\":\"2\"}}",
            "{",
            "{\"RequestMethod\":7}",
            "{\"RequestBody\":\"!\"}",
            "{\"RequestMethod\":\"GET\",\"RequestMethod\":\"GET\"}",
            "{}{}",
        ] {
            let decoded = decode(Method::AuthzReq, body.as_bytes());
            assert!(
                matches!(decoded, Err(BadRequest::Malformed { .. })),
                "{body}: {decoded:?}"
            );
        }
        for body in ["", "\n"] {
            let decoded = decode(Method::AuthzReq, body.as_bytes());
            assert!(
                matches!(decoded, Err(BadRequest::EmptyBody(Method::AuthzReq))),
                "{decoded:?}"
            );
        }
        let body = message("GET", "/v1.41/info", None, ",\"ResponseStatusCode\":70000");
        assert!(decode(Method::AuthzRes, body.as_bytes()).is_err());
    }
}
