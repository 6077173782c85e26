//! Docker's `AuthZPlugin`.
//! A whole driver, which refuses containers that may do all that the machine can. An error or a panic denies, too:
//!
//! ```
//! use dockside_driver::{
//!     Authz, Error, Result,
//!     authz::{Decision, Request, RequestBody}, testing,
//! };
//! use dockside_driver::serde_json::Value;
//!
//! struct NoPrivileges;
//!
//! impl Authz for NoPrivileges {
//!     fn authz_req(request: &Request) -> Result<Decision> {
//!         let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
//!         let (["containers", "create"], RequestBody::Json(body)) = (&path[..], &request.body) else {
//!             return Ok(Decision::Allow);
//!         };
//!         let body: Value = dockside_driver::serde_json::from_str(body)
//!             .map_err(|error| Error::other(format!("the request cannot be read: {error}")))?;
//!         // The host writes Docker's names in Docker's spelling, and each once.
//!         Ok(match body["HostConfig"]["Privileged"] {
//!             Value::Bool(true) => Decision::Deny("containers may not be privileged".into()),
//!             _ => Decision::Allow,
//!         })
//!     }
//! }
//!
//! dockside_driver::export!(NoPrivileges: authz);
//!
//! let request = Request {
//!     method: "POST".into(),
//!     path: vec!["containers".into(), "create".into()],
//!     body: RequestBody::Json(r#"{"HostConfig":{"Privileged":true}}"#.into()),
//!     ..Request::default()
//! };
//! let decision = testing::call(|| NoPrivileges::authz_req(&request))?;
//! assert!(matches!(decision, Decision::Deny(_)));
//! # Ok::<(), Error>(())
//! ```

use crate::{KeyValues, Result};

/// The API version in a request's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// The part before the dot.
    pub major: u16,
    /// The part behind it.
    pub minor: u16,
}

/// The body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RequestBody {
    /// There is none.
    #[default]
    None,
    /// The JSON that the engine will act on, as canonical text: one value, each key once, the names of Docker's own fields in Docker's
    /// spelling.
    Json(String),
    /// The route takes a stream (a build context, an archive, an attached terminal) that the engine never shows. Judge by path and
    /// query.
    Stream,
}

/// A request's query: names and values in the client's order. Only the names that the engine takes as a list on the route (`t` of a build,
/// `names` of a save) come more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The first value of a name, which is the only one unless the engine takes a list.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(move |(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Query {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// A request to Docker's API, as the host read it. What has two possible readings never comes here: the host denies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Common name of the client's TLS certificate; none on a Unix socket.
    pub user: Option<String>,
    /// How the user was authenticated: `TLS`, or none.
    pub user_authn_method: Option<String>,
    /// The HTTP method, in capitals.
    pub method: String,
    /// The request target exactly as the client sent it. For logs and for policies that were written against it; decide by the fields
    /// below.
    pub uri: String,
    /// The API version in the path; none means the newest.
    pub api_version: Option<ApiVersion>,
    /// The path behind the version, percent-decoded and split at its slashes: `containers`, `create`.
    pub path: Vec<String>,
    /// The query, decoded.
    pub query: Query,
    /// Headers as the engine shows them: canonical names, of a repeated one the last, without credentials.
    pub headers: KeyValues,
    /// The body.
    pub body: RequestBody,
    /// The client's certificate chain as PEM, leaf first.
    pub peer_certificates: Vec<String>,
}

/// The engine's answer, as far as it is still held back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// HTTP status; none when the answer was streamed or the connection taken over.
    pub status: Option<u16>,
    /// What is still buffered of the body; at most 64 KiB.
    pub body: Vec<u8>,
    /// Headers.
    pub headers: KeyValues,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let it pass.
    Allow,
    /// Refuse it. The user reads `authorization denied by plugin NAME: ` and this text.
    Deny(String),
}

/// An authorization driver. Every failure denies.
pub trait Authz {
    /// `AuthZPlugin.AuthZReq`: before the engine acts.
    fn authz_req(request: &Request) -> Result<Decision>;

    /// `AuthZPlugin.AuthZRes`: after the engine has acted. A denial hides the answer; it undoes nothing.
    fn authz_res(request: &Request, response: &Response) -> Result<Decision> {
        let _ = (request, response);
        Ok(Decision::Allow)
    }
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        bindings::{
            authz::exports::dockside::driver::authz as wit, imports::dockside::driver::types,
        },
        convert::to_error,
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    fn request(request: wit::Request) -> super::Request {
        super::Request {
            user: request.user,
            user_authn_method: request.user_authn_method,
            method: request.method,
            uri: request.uri,
            api_version: request
                .api_version
                .map(|wit::ApiVersion { major, minor }| super::ApiVersion { major, minor }),
            path: request.path,
            query: request.query.into_iter().collect(),
            headers: request.headers.into_iter().collect(),
            body: match request.body {
                wit::RequestBody::None => super::RequestBody::None,
                wit::RequestBody::Json(text) => super::RequestBody::Json(text),
                wit::RequestBody::Stream => super::RequestBody::Stream,
            },
            peer_certificates: request.peer_certificates,
        }
    }

    fn response(response: wit::Response) -> super::Response {
        super::Response {
            status: response.status,
            body: response.body,
            headers: response.headers.into_iter().collect(),
        }
    }

    fn decision(decision: super::Decision) -> wit::Decision {
        match decision {
            super::Decision::Allow => wit::Decision::Allow,
            super::Decision::Deny(reason) => wit::Decision::Deny(reason),
        }
    }

    impl<T: super::Authz> wit::Guest for Export<T> {
        fn authz_req(asked: wit::Request) -> Result<wit::Decision, types::Error> {
            T::authz_req(&request(asked))
                .map(decision)
                .map_err(to_error)
        }

        fn authz_res(
            asked: wit::Request,
            answered: wit::Response,
        ) -> Result<wit::Decision, types::Error> {
            T::authz_res(&request(asked), &response(answered))
                .map(decision)
                .map_err(to_error)
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;
