//! Whether there is a body, whether the engine showed it, and what the engine reads in it.

use super::json::Value;
use super::routes::Takes;
use super::schema;
use super::shape::{Shape, find};
use super::{Body, Denial, Message, Trust};

/// The keys that engines up to 23 move from the top level of a container's configuration to its host configuration. Old clients send them there
/// with zero values, which do nothing.
const MOVED: [&str; 6] = [
    "Memory",
    "MemorySwap",
    "CpuShares",
    "CpusetCpus",
    "Cpuset",
    "VolumeDriver",
];

/// The body of `message` as a handler that takes `takes` reads it.
///
/// # Errors
/// A body that the engine withheld, one that a form may have been, and one with more than one reading.
pub(super) fn read(
    message: &Message,
    takes: Takes,
    path: &[&str],
    query: &[(String, String)],
    trust: Trust,
) -> Result<Body, Denial> {
    if header(message, "Content-Type")?.is_some_and(is_form) {
        return Err(Denial::new(
            "the request is a form, whose values Docker puts before the URL's without showing them: put the parameters into the URL",
        ));
    }
    if matches!(takes, Takes::Nothing) {
        return Ok(Body::None);
    }
    if let Some(body) = message
        .request_body
        .as_deref()
        .filter(|body| !body.is_empty())
    {
        // The engine shows a body only if the first Content-Type, the one it obeys, is JSON. So no form can hide behind this.
        return read_shown(body, takes, path);
    }
    let no_body = header(message, "Content-Length")? == Some("0");
    match (takes, no_body) {
        (Takes::Connection, true) | (Takes::Archive | Takes::Credentials, false) => {
            Ok(Body::Stream)
        }
        (_, true) => Ok(Body::None),
        (Takes::Source, false) => read_source(path, query, trust),
        (_, false) => Err(Denial::new(
            "Docker did not show the request's body to the authorization plugin: send it as application/json, with one Content-Type and a \
             Content-Length, below 1 MiB (an empty one with Content-Length: 0)",
        )),
    }
}

fn read_shown(body: &[u8], takes: Takes, path: &[&str]) -> Result<Body, Denial> {
    let shape = match takes {
        Takes::Archive | Takes::Source => return Ok(Body::Stream),
        Takes::Container | Takes::Start => &schema::CREATE,
        Takes::Credentials => &schema::CREDENTIALS,
        Takes::Json(shape) => shape,
        Takes::Connection | Takes::Nothing => &Shape::Free,
    };
    let value = Value::parse(body)?;
    let is_struct = matches!(takes, Takes::Container | Takes::Json(Shape::Struct(_)));
    // `docker commit` of 20.10 and before writes `null` when it has no configuration.
    if path == ["commit"] && matches!(value, Value::Null) {
        return Ok(Body::None);
    }
    if is_struct && !matches!(value, Value::Object(_)) {
        // The engine takes `null` for an empty object or refuses it, and a policy that looks for fields finds none to object to.
        return Err(Denial::new(
            "the request's body is no JSON object, which is what Docker takes here: send {} for an empty one",
        ));
    }
    let value = shape.apply(value)?;
    if matches!(takes, Takes::Container | Takes::Start) {
        refuse_two_host_configs(&value, matches!(takes, Takes::Start))?;
    }
    Ok(Body::Json(value.to_text()))
}

/// Engines up to 23 take a host configuration from the top level when `HostConfig` is missing, and some of its fields even when it is not.
/// At a container's start, where old clients send it bare, it may be on the top level alone.
fn refuse_two_host_configs(value: &Value, bare_allowed: bool) -> Result<(), Denial> {
    let Value::Object(members) = value else {
        return Ok(());
    };
    let nested = members
        .iter()
        .any(|(key, value)| key == "HostConfig" && *value != Value::Null);
    if bare_allowed && !nested {
        return Ok(());
    }
    let misplaced = members.iter().find(|(key, value)| match value {
        Value::Null => false,
        Value::Number(text) if text == "0" => !MOVED.contains(&key.as_str()),
        Value::String(text) if text.is_empty() => !MOVED.contains(&key.as_str()),
        _ => true,
    } && find(schema::HOST, key).is_some());
    match misplaced {
        Some((key, _)) => Err(Denial::new(format!(
            "the body has {key:?} outside of HostConfig, where some engines obey it and others do not: put it into HostConfig"
        ))),
        None => Ok(()),
    }
}

fn read_source(path: &[&str], query: &[(String, String)], trust: Trust) -> Result<Body, Denial> {
    if path == ["images", "create"]
        && !query
            .iter()
            .any(|(key, value)| key == "fromSrc" && value == "-")
    {
        return Err(Denial::new(
            "the request has a body that Docker did not show to the authorization plugin, and that a pull does not need: send none, with \
             Content-Length: 0",
        ));
    }
    if trust.source_query {
        Ok(Body::Stream)
    } else {
        Err(Denial::new(
            "what follows this request could be a form that overrides its URL unseen: build with BuildKit, load or pull instead of importing \
             from a stream, or have the operator vouch for the query of streamed sources",
        ))
    }
}

/// The value of a header. Go's names are canonical, so that two spellings of one name are not a message of the engine's.
fn header<'a>(message: &'a Message, name: &str) -> Result<Option<&'a str>, Denial> {
    let mut values = message
        .request_headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Denial::new(format!(
            "the request has the header {name} in two spellings: send it once"
        ))),
    }
}

/// Whether Go could parse a body of this type as a form. Wider than Go's test on purpose: nothing else of Docker's has such a type.
fn is_form(content_type: &str) -> bool {
    let content_type = content_type.to_lowercase();
    content_type.contains("form-urlencoded") || content_type.contains("multipart/")
}
