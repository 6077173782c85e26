//! Which headers go out, and which come back.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};

use super::error::{HttpError, HttpErrorKind};

/// Headers of one request, with those that the host adds.
const MAX_HEADERS: usize = 100;

/// Bytes of all headers of one request, before secrets are put in.
const MAX_HEADER_BYTES: usize = 32 << 10;

/// The header that makes it safe to ask twice.
pub(super) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// They are about the connection, which is the host's.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "http2-settings")
        || name.as_str().starts_with("proxy-")
}

/// Takes out what is about the connection, and what `connection` says is.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let doomed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name) || named.iter().any(|other| other == name.as_str()))
        .cloned()
        .collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// A driver's headers without those that are the host's, and the length of the body if they told it.
pub(super) fn outgoing(
    mut headers: HeaderMap,
    key: Option<&str>,
) -> Result<(HeaderMap, Option<u64>), HttpError> {
    let wrong = |message: &str| HttpError::new(HttpErrorKind::RequestHeaders, message);
    let lengths: Vec<&HeaderValue> = headers.get_all(CONTENT_LENGTH).iter().collect();
    let length = match lengths.as_slice() {
        [] => None,
        [length] => Some(
            length
                .to_str()
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse::<u64>().ok())
                .ok_or_else(|| wrong("content-length is no number"))?,
        ),
        _ => return Err(wrong("content-length is there twice")),
    };
    strip(&mut headers);
    for name in [CONTENT_LENGTH, HOST, EXPECT] {
        headers.remove(name);
    }
    if let Some(key) = key
        && !headers.contains_key(&IDEMPOTENCY_KEY)
    {
        let key = HeaderValue::from_str(key)
            .map_err(|_| wrong("the idempotency key is no value for a header"))?;
        headers.insert(&IDEMPOTENCY_KEY, key);
    }
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "dockside/",
            env!("CARGO_PKG_VERSION")
        )));
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(wrong(&format!(
            "the request has more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them"
        )));
    }
    Ok((headers, length))
}

/// Keeps only what says nothing about who asks: anything else may be a credential for where the redirect came from.
pub(super) fn to_strangers(headers: &mut HeaderMap) {
    let kept = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("accept")
            || name.starts_with("if-")
            || matches!(name, "user-agent" | "range" | "cache-control")
    };
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| !kept(name)).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}
