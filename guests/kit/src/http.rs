//! Outgoing HTTP (`wasi:http/outgoing-handler`). Needs the grant `http`.
//!
//! ```
//! use dockside_driver::http::Request;
//! # dockside_driver::testing::answer_http(|_| Ok(dockside_driver::http::Response { status: 200, ..Default::default() }));
//!
//! let answer = Request::get("https://storage.example.net/v1/volumes/data")
//!     .header("Authorization", "Bearer {{secret storage-token}}")
//!     .send()?
//!     .success()?;
//! # Ok::<(), dockside_driver::Error>(())
//! ```
//!
//! In the value of a header `{{secret NAME}}` stands for a secret of the operator's and `{{basic USER NAME}}` for `Basic` with a user and a secret
//! as its password: the host puts them in. What a request does on the
//! other side is not undone when the call fails: see [`outbox`](crate::outbox).

use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, time::Duration};

use crate::{Error, Result, machine::Refusal, sys};

/// How large a body [`Request::send`] takes if nothing else is said, in bytes.
pub const DEFAULT_LIMIT: usize = 4 << 20;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The URL: `http` or `https`.
    pub url: String,
    /// Headers, in their order. A name may come more than once.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long it may take to connect, then until the answer begins, then from one part of the answer to the next; none is the host's limit.
    pub timeout: Option<Duration>,
    /// How large the answer's body may be, in bytes.
    pub limit: usize,
}

macro_rules! methods {
    ($($name:ident $method:literal)*) => {
        $(#[doc = concat!("A request with the method `", $method, "`.")]
        pub fn $name(url: impl Into<String>) -> Self {
            Self::new($method, url)
        })*
    };
}

impl Request {
    /// A request with any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            limit: DEFAULT_LIMIT,
        }
    }

    methods! {
        get "GET"
        head "HEAD"
        post "POST"
        put "PUT"
        patch "PATCH"
        delete "DELETE"
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// The same with this value as its body, in JSON, and the header that says so.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|error| {
            Error::other(format!("a request cannot be written as JSON: {error}"))
        })?;
        Ok(self.header("Content-Type", "application/json").body(body))
    }

    /// How long it may take to connect, then until the answer begins, then from one part of the answer to the next.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// How large the answer's body may be, in bytes.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Sends it and waits for the whole answer. An answer of any status is a success: see [`Response::success`].
    pub fn send(&self) -> Result<Response> {
        let target = Target::parse(&self.url)?;
        sys::send(self, &target).map_err(|error| error.context(self.describe(&target)))
    }

    /// For error texts. A query can have in it what does not belong there.
    fn describe(&self, target: &Target<'_>) -> String {
        let path = target.path.split('?').next().unwrap_or_default();
        let scheme = if target.tls { "https" } else { "http" };
        format!("{} {scheme}://{}{path}", self.method, target.authority)
    }
}

/// For both hosts.
pub(crate) fn too_large(limit: usize) -> Error {
    Error::refused(
        Refusal::Exhausted,
        format!("the answer is larger than {limit} bytes"),
    )
}

/// A URL in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) tls: bool,
    pub(crate) authority: &'a str,
    /// With the query. Empty means `/`.
    pub(crate) path: &'a str,
}

impl<'a> Target<'a> {
    fn parse(url: &'a str) -> Result<Self> {
        let wrong = |why| Error::invalid(format!("this is no URL for a request: {why}"));
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it does not begin with http:// or https://"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("it does not begin with http:// or https://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(wrong("it has no host"));
        }
        if authority.contains('@') {
            return Err(wrong(
                "it has a user in it; say {{basic USER NAME}} in the header Authorization",
            ));
        }
        Ok(Self {
            tls,
            authority,
            path,
        })
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers, in their order. A name may come more than once.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The same if its status is 200 to 299, and an error otherwise.
    pub fn success(self) -> Result<Self> {
        match self.status {
            200..=299 => Ok(self),
            status @ (408 | 425 | 429 | 500..=599) => Err(Error::unavailable(format!(
                "the other side answers with status {status}"
            ))),
            status => Err(Error::other(format!(
                "the other side answers with status {status}"
            ))),
        }
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body)
            .map_err(|_| Error::other("the other side's answer is no UTF-8 text"))
    }

    /// The body's value, in JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::other(format!(
                "the other side's answer is not what was expected: {error}"
            ))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{ErrorCode, testing};

    #[test]
    fn urls_are_taken_apart() {
        for (url, tls, authority, path) in [
            ("http://a", false, "a", ""),
            (
                "HTTPS://a.b:8443/c/d?e=f/g#h",
                true,
                "a.b:8443",
                "/c/d?e=f/g",
            ),
            ("https://[fd00::1]:80?x", true, "[fd00::1]:80", "?x"),
        ] {
            let target = Target {
                tls,
                authority,
                path,
            };
            assert_eq!(Target::parse(url).unwrap(), target, "{url}");
        }
        for url in [
            "",
            "/a",
            "ftp://a",
            "http://",
            "https:///x",
            "http://user:word@a/",
        ] {
            let error = Target::parse(url).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument, "{url}");
            assert!(!error.message().contains("word"), "{error}");
        }
    }

    #[test]
    fn errors_name_the_place_without_the_query() {
        let error = Request::get("http://a/b?token=secret").send().unwrap_err();
        assert!(error.message().starts_with("GET http://a/b: "), "{error}");
    }

    #[test]
    fn a_status_that_is_no_success_is_an_error_if_that_is_wanted() {
        for (status, code) in [
            (404, ErrorCode::Other),
            (429, ErrorCode::Unavailable),
            (503, ErrorCode::Unavailable),
        ] {
            testing::answer_http(move |_| {
                Ok(Response {
                    status,
                    ..Response::default()
                })
            });
            let answer = Request::post("http://a").body("x").send().unwrap();
            assert_eq!(answer.success().unwrap_err().code(), code);
        }
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused() {
        testing::answer_http(|_| {
            Ok(Response {
                status: 200,
                headers: vec![("X-Y".into(), "z".into())],
                body: b"[1,2]".to_vec(),
            })
        });
        let request = Request::get("http://a");
        let answer = request.send().unwrap();
        assert_eq!(answer.header("x-y"), Some("z"));
        assert_eq!(answer.json::<Vec<u8>>().unwrap(), [1, 2]);
        let error = request.limit(4).send().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Exhausted);
    }
}
