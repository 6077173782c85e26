//! What the engine says about a request.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::breaks::Breaks;

/// A request to the engine.
pub(super) struct Message {
    pub(super) user: String,
    pub(super) method: String,
    pub(super) uri: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    /// `None`: the engine shows none.
    pub(super) body: Option<Vec<u8>>,
}

impl Message {
    /// Reads one.
    pub(super) fn read(request: &Value, breaks: &Breaks) -> Result<Self, String> {
        let text = |key: &str| match request.get(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("{key} cannot be read: it is no text")),
        };
        let mut headers = BTreeMap::new();
        match request.get("RequestHeaders") {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    let value = value
                        .as_str()
                        .ok_or_else(|| format!("the header {name:?} cannot be read"))?;
                    headers.insert(name.to_ascii_lowercase(), value.to_owned());
                }
            }
            Some(_) => return Err("RequestHeaders cannot be read".into()),
        }
        let body = base64_of(request, "RequestBody")?.filter(|body| !body.is_empty());
        certificates(request.get("RequestPeerCertificates"))?;
        let message = Self {
            user: text("User")?,
            method: text("RequestMethod")?,
            uri: text("RequestUri")?,
            headers,
            body,
        };
        if message.method.is_empty() || message.uri.is_empty() {
            return Err("the request cannot be read: it has no method or no target".into());
        }
        if breaks.on("A30")
            && message
                .body
                .as_ref()
                .is_some_and(|body| body.len() > 1 << 20)
        {
            return Err("the body is too large".into());
        }
        Ok(message)
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as text.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(self.body.as_deref().unwrap_or_default()).into_owned()
    }
}

/// A field of bytes.
pub(super) fn base64_of(request: &Value, key: &str) -> Result<Option<Vec<u8>>, String> {
    match request.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => BASE64_STANDARD
            .decode(text)
            .map(Some)
            .map_err(|error| format!("{key} cannot be read: {error}")),
        Some(_) => Err(format!("{key} cannot be read: it is no text")),
    }
}

/// A chain that cannot be read proves nobody's name.
fn certificates(chain: Option<&Value>) -> Result<(), String> {
    let Some(chain) = chain.filter(|chain| !chain.is_null()) else {
        return Ok(());
    };
    let readable = chain.as_array().is_some_and(|chain| {
        chain.iter().all(|one| {
            one.as_str()
                .and_then(|text| BASE64_STANDARD.decode(text).ok())
                .is_some_and(|pem| pem.starts_with(b"-----BEGIN CERTIFICATE-----"))
        })
    });
    if readable {
        Ok(())
    } else {
        Err("the client's certificate cannot be read".into())
    }
}
