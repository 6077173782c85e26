//! HTTP requests on behalf of drivers. It knows nothing of wasm: a request with its body goes in, a response with its body comes out.
//!
//! A request must be allowed by the grant, its URI must be clear, and every address of its host must be public or granted. The connection
//! goes to an address that was judged, so that a name that changes its mind in between changes nothing. Each redirect is judged in the same
//! way. Nothing from the environment has a say (no proxies), nothing is kept between requests but connections (no cookies, no cache).

mod address;
mod body;
mod client;
mod error;
mod exchange;
mod grant;
mod headers;
mod pool;
mod resolve;
mod rule;
mod secrets;
mod target;
mod tls;

pub use body::ResponseBody;
pub use client::{Client, Options, not_granted};
pub use error::{HttpError, HttpErrorKind};
pub use grant::{Allowed, SecretUse};
pub use resolve::{Addresses, Resolver, System};
pub use rule::{Place, Rule};
pub use secrets::{Secret, Secrets};
pub use target::{Host, Origin, Target};

/// Length of path and query of a request, in bytes. Most servers take no more.
pub const MAX_URI: usize = 8 << 10;

#[cfg(test)]
mod tests;
