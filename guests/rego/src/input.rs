//! The policy's `input`: the document that users of opa-docker-authz know, made from the host's reading of the request.

use std::collections::BTreeMap;

use dockside_authz::{Bind, binds};
use dockside_driver::{
    Error, Refusal, Result,
    authz::{ApiVersion, Query, Request, RequestBody, Response},
    files,
};
use serde_json::{Value, json};

/// The document for a request.
pub(crate) fn of_request(request: &Request) -> Result<Value> {
    let (kind, body) = match &request.body {
        RequestBody::None => ("none", Value::Null),
        RequestBody::Stream => ("stream", Value::Null),
        RequestBody::Json(text) => (
            "json",
            serde_json::from_str(text).map_err(|error| {
                Error::other(format!("the request's body cannot be read: {error}"))
            })?,
        ),
    };
    let segments = segments(request);
    let plain = segments.join("/");
    Ok(json!({
        "Method": request.method,
        "Path": path(&plain, &request.query),
        "PathPlain": plain,
        "PathArr": segments,
        "Segments": request.path,
        "Query": query(&request.query),
        "Headers": request.headers,
        "BindMounts": bind_mounts(&body)?,
        "Body": body,
        "BodyKind": kind,
        "User": request.user.as_deref().unwrap_or_default(),
        "AuthMethod": request.user_authn_method.as_deref().unwrap_or_default(),
        "RequestUri": request.uri,
    }))
}

/// The document for a request and the engine's answer to it.
pub(crate) fn of_response(request: &Request, response: &Response) -> Result<Value> {
    let body = serde_json::from_slice(&response.body)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&response.body)));
    let mut input = of_request(request)?;
    if let Value::Object(fields) = &mut input {
        let answer = json!({
            "StatusCode": response.status,
            "Headers": response.headers,
            "Body": body,
        });
        fields.insert("Response".to_owned(), answer);
    }
    Ok(input)
}

/// One object `{Source, ReadOnly, Resolved}` for each directory of the host. `Resolved` is empty if the operator does not let the driver follow
/// symbolic links, and for what is no path.
fn bind_mounts(body: &Value) -> Result<Vec<Value>> {
    let entry = |bind: Bind| {
        let resolved = match files::resolve_path(&bind.source) {
            Ok(path) => path,
            Err(error) => match error.refusal() {
                Some(Refusal::NotGranted | Refusal::Invalid) => String::new(),
                _ => return Err(error.context(format!("{} leads nowhere", bind.source))),
            },
        };
        Ok(json!({
            "Source": bind.source,
            "ReadOnly": bind.read_only,
            "Resolved": resolved,
        }))
    };
    binds(body).into_iter().map(entry).collect()
}

/// Every name with all of its values.
fn query(query: &Query) -> Value {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in query.iter() {
        values.entry(name).or_default().push(value);
    }
    json!(values)
}

/// The path with the version, split at its slashes. As it begins with one, the first part is empty.
fn segments(request: &Request) -> Vec<String> {
    let version = request
        .api_version
        .map(|ApiVersion { major, minor }| format!("v{major}.{minor}"));
    std::iter::once(String::new())
        .chain(version)
        .chain(request.path.iter().cloned())
        .collect()
}

/// The request target as Docker's own client would send it. Policies compare it with text, so that of all ways to write a path
/// only one may reach them: what another client escaped is written plainly here.
fn path(plain: &str, query: &Query) -> String {
    let mut path = escaped(plain, "-_.~$&+,/:;=@", "%20");
    let mut separator = '?';
    let mut pairs: Vec<(&str, &str)> = query.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    for (key, value) in pairs {
        path.push(separator);
        path += &escaped(key, "-_.~", "+");
        path.push('=');
        path += &escaped(value, "-_.~", "+");
        separator = '&';
    }
    path
}

/// Go's escaping, which is what Docker's client does: all but letters, digits and `kept`.
fn escaped(text: &str, kept: &str, space: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || kept.contains(character) {
            out.push(character);
        } else if character == ' ' {
            out += space;
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;

    fn request(path: &[&str], query: &[(&str, &str)]) -> Request {
        Request {
            method: "POST".into(),
            uri: "/v1.41/%63ontainers/create".into(),
            api_version: Some(ApiVersion {
                major: 1,
                minor: 41,
            }),
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            query: query.iter().copied().collect(),
            ..Request::default()
        }
    }

    #[test]
    fn the_document_has_the_fields_that_policies_know() {
        let mut request = request(
            &["images", "create"],
            &[("tag", "latest"), ("fromImage", "registry:8885/bash")],
        );
        request.headers = [("Content-Length", "0")].into_iter().collect();
        assert_eq!(
            of_request(&request).unwrap(),
            json!({
                "Method": "POST",
                "Path": "/v1.41/images/create?fromImage=registry%3A8885%2Fbash&tag=latest",
                "PathPlain": "/v1.41/images/create",
                "PathArr": ["", "v1.41", "images", "create"],
                "Segments": ["images", "create"],
                "Query": {"fromImage": ["registry:8885/bash"], "tag": ["latest"]},
                "Headers": {"Content-Length": "0"},
                "BindMounts": [],
                "Body": null,
                "BodyKind": "none",
                "User": "",
                "AuthMethod": "",
                "RequestUri": "/v1.41/%63ontainers/create",
            })
        );
    }

    #[test]
    fn the_path_is_written_in_one_way() {
        for (path, query, expected) in [
            (
                &["containers", "json"][..],
                &[][..],
                "/v1.41/containers/json",
            ),
            (
                &["images", "a b:ü", "json"],
                &[],
                "/v1.41/images/a%20b:%C3%BC/json",
            ),
            (&["a?b", "c#d%"], &[], "/v1.41/a%3Fb/c%23d%25"),
            (
                &["x"],
                &[("filters", r#"{"a":["b c"]}"#)],
                "/v1.41/x?filters=%7B%22a%22%3A%5B%22b+c%22%5D%7D",
            ),
            (&["x"], &[("a", ""), ("b", "&")], "/v1.41/x?a=&b=%26"),
        ] {
            let input = of_request(&request(path, query)).unwrap();
            assert_eq!(input["Path"], expected);
        }
        let mut unversioned = request(&["info"], &[]);
        unversioned.api_version = None;
        let input = of_request(&unversioned).unwrap();
        assert_eq!(
            (&input["Path"], &input["PathArr"]),
            (&json!("/info"), &json!(["", "info"]))
        );
    }

    #[test]
    fn bodies_are_told_apart() {
        let mut request = request(&["containers", "create"], &[]);
        for (body, kind, value) in [
            (RequestBody::None, "none", Value::Null),
            (RequestBody::Stream, "stream", Value::Null),
            (RequestBody::Json("null".into()), "json", Value::Null),
            (
                RequestBody::Json(r#"{"Image":"x"}"#.into()),
                "json",
                json!({"Image": "x"}),
            ),
        ] {
            request.body = body;
            let input = of_request(&request).unwrap();
            assert_eq!((&input["BodyKind"], &input["Body"]), (&json!(kind), &value));
        }
        request.body = RequestBody::Json("{".repeat(100_000));
        of_request(&request).unwrap_err();
        request.body = RequestBody::Json("[".repeat(10_000) + &"]".repeat(10_000));
        of_request(&request).unwrap_err();
    }

    #[test]
    fn an_answer_is_json_if_it_can_be_and_text_otherwise() {
        let request = request(&["info"], &[]);
        for (body, expected) in [
            (&br#"{"ID":"x"}"#[..], json!({"ID": "x"})),
            (b"plain", json!("plain")),
            (b"", json!("")),
            (b"\xff", json!("\u{fffd}")),
        ] {
            let response = Response {
                status: Some(200),
                body: body.to_vec(),
                ..Response::default()
            };
            let input = of_response(&request, &response).unwrap();
            assert_eq!(input["Response"]["Body"], expected);
            assert_eq!(input["Response"]["StatusCode"], 200);
            assert_eq!(input["PathPlain"], "/v1.41/info");
        }
    }
}
