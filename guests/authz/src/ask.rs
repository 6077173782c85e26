//! Requests that an operator asks about: the verb `explain`.

use dockside_driver::{
    Error, KeyValues, Result,
    admin::{Argument, argument},
    authz::{ApiVersion, Request, RequestBody},
};
use serde_json::Value;

/// The arguments that make a request.
pub fn arguments() -> [Argument; 4] {
    [
        argument("method")
            .default("GET")
            .help("GET, POST, PUT, DELETE, HEAD"),
        argument("path")
            .required()
            .help("Path with query: /v1.41/containers/create?name=x"),
        argument("body").help("The body, JSON"),
        argument("user").help("The common name in the client's certificate"),
    ]
}

/// A request from its parts. The path is taken as it is, without the host's rules for what a client may write.
pub fn request(arguments: &KeyValues) -> Result<Request> {
    let target = arguments.get("path").unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| decoded(part, false))
        .collect();
    let version = parts.first().and_then(|first| version(first));
    if version.is_some() {
        parts.remove(0);
    }
    let body = match arguments.get("body") {
        None => RequestBody::None,
        Some(text) => {
            serde_json::from_str::<Value>(text)
                .map_err(|error| Error::invalid(format!("body is no JSON: {error}")))?;
            RequestBody::Json(text.to_owned())
        }
    };
    let user = arguments.get("user").filter(|user| !user.is_empty());
    Ok(Request {
        user: user.map(str::to_owned),
        user_authn_method: user.map(|_| "TLS".to_owned()),
        method: arguments
            .get("method")
            .unwrap_or("GET")
            .to_ascii_uppercase(),
        uri: target.to_owned(),
        api_version: version,
        path: parts,
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(name, true), decoded(value, true))
            })
            .collect(),
        body,
        ..Request::default()
    })
}

fn version(part: &str) -> Option<ApiVersion> {
    let (major, minor) = part.strip_prefix('v')?.split_once('.')?;
    Some(ApiVersion {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

/// Percent-decoded; in a query a plus is a space.
fn decoded(text: &str, is_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        match (byte, digits) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) if is_query => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
