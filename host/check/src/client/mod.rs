//! A client that talks as the Docker Engine does, and one level below that, for what the engine never says.

mod connection;
mod exchange;
mod patience;

pub use connection::{Broken, Connection, Response};
pub use exchange::{Answer, Exchange};
pub use patience::Patience;

/// What the engine's client accepts (moby's `pkg/plugins/client.go`).
pub const ACCEPT: &str = "application/vnd.docker.plugins.v1.2+json";

/// The engine's name for a plugin behind a Unix socket, since its security release of 2023.
pub const HOST: &str = "plugin.moby.localhost";

/// A request as the engine writes it: no Content-Type, the body's length, Go's user agent.
#[must_use]
pub fn as_engine(method: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /{method} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\nAccept: {ACCEPT}\r\nAccept-Encoding: gzip\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}
