//! The engine's `AuthZPlugin.AuthZReq` message.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};

/// What the engine tells of a request. It leaves out whatever is empty; null means empty too, and fields that are not here are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Message {
    /// Common name of the client's TLS certificate.
    pub user: Option<String>,
    /// `TLS`, or none.
    #[serde(rename = "UserAuthNMethod")]
    pub user_authn_method: Option<String>,
    /// The HTTP method as sent.
    #[serde(deserialize_with = "null_is_empty")]
    pub request_method: String,
    /// The raw request target.
    #[serde(deserialize_with = "null_is_empty")]
    pub request_uri: String,
    /// The body, when the engine shows one.
    #[serde(deserialize_with = "base64")]
    pub request_body: Option<Vec<u8>>,
    /// Headers by canonical name; of a repeated one the last.
    #[serde(deserialize_with = "null_is_empty")]
    pub request_headers: BTreeMap<String, String>,
    /// The client's certificate chain, each as PEM text.
    #[serde(deserialize_with = "base64_list")]
    pub request_peer_certificates: Vec<Vec<u8>>,
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn decode<E: serde::de::Error>(text: &str) -> Result<Vec<u8>, E> {
    BASE64_STANDARD.decode(text).map_err(E::custom)
}

fn base64<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
    Option::<std::borrow::Cow<'de, str>>::deserialize(from)?
        .map(|text| decode(&text))
        .transpose()
}

fn base64_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(from)?.unwrap_or_default();
    texts.iter().map(|text| decode(text)).collect()
}
