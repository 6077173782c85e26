//! The one reading of an API request that a policy judges.
//!
//! The engine tells an authorization plugin what the client sent, and then acts on its own reading of it: it decodes paths, folds the case of
//! JSON keys, takes the last of two equal keys, lets a form override the query, and leaves out bodies. [`canonicalise`] gives the engine's
//! reading, for every engine from 20.10 on, or a [`Denial`] where the message leaves more than one. A policy that compares plainly is then safe.

mod body;
mod json;
mod message;
mod routes;
mod schema;
mod shape;
mod target;

#[cfg(test)]
mod tests;

use std::fmt;

pub use message::Message;

/// A request to Docker's API as the engine will act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Common name of the client's TLS certificate; none on a Unix socket.
    pub user: Option<String>,
    /// How the user was authenticated: `TLS`, or none.
    pub user_authn_method: Option<String>,
    /// The HTTP method, in capitals.
    pub method: String,
    /// The request target exactly as the client sent it.
    pub uri: String,
    /// Major and minor API version in the path; none means the engine's newest.
    pub api_version: Option<(u16, u16)>,
    /// The path behind the version, percent-decoded and split at its slashes. Never empty; no part is empty, `.` or `..`, or has a slash.
    pub path: Vec<String>,
    /// The query, percent-decoded, in the client's order. Each key once, except those that the engine takes as a list on this route (`t`,
    /// `extrahosts` and `securityopt` of a build, `changes` of a commit or import, `names` of a save, `platform` of a save or load, `platforms`
    /// of an image removal): those once per value.
    pub query: Vec<(String, String)>,
    /// Headers as the engine shows them, by name: canonical names, of a repeated one the last, without credentials.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// The client's certificate chain as PEM, leaf first.
    pub peer_certificates: Vec<String>,
}

impl Request {
    /// The path behind the version as one text with plain slashes: `/containers/create`. For logs and for matching; names in it can have
    /// slashes of their own.
    pub fn plain_path(&self) -> String {
        self.path
            .iter()
            .fold(String::new(), |path, part| path + "/" + part)
    }
}

/// What the engine will read from a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, or the engine does not look at it.
    None,
    /// JSON as compact text: one value, each key once, keys of Docker's structs in Docker's spelling, numbers as sent.
    Json(String),
    /// A stream that the engine does not show: an archive, an attached terminal, credentials at `auth`.
    Stream,
}

/// Why a request has no single reading, in words for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// One sentence: what is ambiguous, and how to ask instead.
    pub reason: String,
}

impl Denial {
    fn new(reason: impl Into<String>) -> Denial {
        Denial {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Denial {}

/// What the operator vouches for where the engine's message cannot prove it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Take the query of `build`, and of `images/create` with `fromSrc=-`, at its word when a stream follows. Of two Content-Type headers the
    /// engine shows the last and obeys the first, so the stream may be a form whose values the engine puts before the query's, and nothing in
    /// the message tells. Off, such requests are denied: builds with BuildKit, which send nothing there, are not affected.
    pub source_query: bool,
}

/// The engine's reading of `message`.
///
/// # Errors
/// A message that different engines, or the engine and a policy, could read differently; also one whose body the engine withheld.
pub fn canonicalise(message: &Message, trust: Trust) -> Result<Request, Denial> {
    let method = known_method(&message.request_method)?;
    let target = target::split(&message.request_uri)?;
    let path: Vec<&str> = target.path.iter().map(String::as_str).collect();
    let query = engine_query(target.query, routes::list_keys(method, &path))?;
    let body = body::read(message, routes::takes(method, &path), &path, &query, trust)?;
    Ok(Request {
        user: message.user.clone().filter(|user| !user.is_empty()),
        user_authn_method: message
            .user_authn_method
            .clone()
            .filter(|method| !method.is_empty()),
        method: method.to_owned(),
        uri: message.request_uri.clone(),
        api_version: target.api_version,
        path: target.path,
        query,
        headers: message.request_headers.clone().into_iter().collect(),
        body,
        peer_certificates: peer_certificates(message)?,
    })
}

/// The engine's router compares methods as they are. It has no route for any other but OPTIONS, which older engines answer with nothing.
fn known_method(method: &str) -> Result<&'static str, Denial> {
    ["GET", "HEAD", "POST", "PUT", "DELETE"]
        .into_iter()
        .find(|known| *known == method)
        .ok_or_else(|| {
            Denial::new(if method.is_empty() {
                "the engine named no request, as it does when it repeats a call to the plugin: try the command again".to_owned()
            } else {
                format!("{method:?} is not one of Docker's request methods, which are GET, HEAD, POST, PUT and DELETE, in capitals")
            })
        })
}

/// Every key once with the value that the engine uses. Handlers take the first value, some of them all.
fn engine_query(
    pairs: Vec<(String, String)>,
    list_keys: &[&str],
) -> Result<Vec<(String, String)>, Denial> {
    let mut query: Vec<(String, String)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        if list_keys.contains(&key.as_str()) {
            query.push((key, value));
            continue;
        }
        match query.iter().find(|(known, _)| *known == key) {
            None => query.push((key, value)),
            Some((_, first)) if *first == value => {}
            Some(_) => {
                return Err(Denial::new(format!(
                    "the URL's query has {key:?} with two values: send it once"
                )));
            }
        }
    }
    Ok(query)
}

fn peer_certificates(message: &Message) -> Result<Vec<String>, Denial> {
    message
        .request_peer_certificates
        .iter()
        .map(|certificate| match std::str::from_utf8(certificate) {
            Ok(text) if text.starts_with("-----BEGIN CERTIFICATE-----") => Ok(text.to_owned()),
            _ => Err(Denial::new(
                "the engine passed on a client certificate that is not PEM text",
            )),
        })
        .collect()
}
