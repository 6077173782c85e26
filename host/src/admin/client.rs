//! The command line's side of the control socket.

use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Asks the daemon.
///
/// # Errors
/// When no daemon listens on `control`, or it says no.
pub async fn ask<T: DeserializeOwned>(
    control: &Path,
    method: Method,
    path: &str,
    query: &[(&str, &str)],
    body: Vec<u8>,
) -> anyhow::Result<T> {
    let body = stream(control, method, path, query, body).await?;
    let bytes = body.collect().await?.to_bytes();
    serde_json::from_slice(&bytes).context("the daemon's answer is of another version of dockside")
}

/// Asks the daemon for something that comes bit by bit.
///
/// # Errors
/// See [`ask`].
pub async fn stream(
    control: &Path,
    method: Method,
    path: &str,
    query: &[(&str, &str)],
    body: Vec<u8>,
) -> anyhow::Result<Incoming> {
    let stream = UnixStream::connect(control).await.with_context(|| {
        format!(
            "no dockside daemon answers on {}: is `dockside serve` running, and may you use its control socket? (--control names another)",
            control.display()
        )
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut target = path.to_owned();
    for (index, (key, value)) in query.iter().enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        target.push_str(key);
        target.push('=');
        target.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(http::header::HOST, "dockside")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if !status.is_success() {
        let bytes = response.into_body().collect().await?.to_bytes();
        bail!("{}", String::from_utf8_lossy(&bytes));
    }
    Ok(response.into_body())
}
