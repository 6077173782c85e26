//! `dockside call`

use http::Method;

use super::{FAILED, OK, print_json};
use crate::admin::client::ask;
use crate::admin::report::CallResult;
use crate::config::Daemon;

pub(super) async fn run(
    daemon: &Daemon,
    name: &str,
    method: &str,
    request: Option<String>,
    json: bool,
) -> anyhow::Result<u8> {
    let query = [("name", name), ("method", method)];
    let body = request.unwrap_or_default().into_bytes();
    let result: CallResult = ask(&daemon.control, Method::POST, "/v1/call", &query, body).await?;
    if json {
        print_json(&result)?;
    } else if let Some(status) = result.status {
        if status != 200 {
            eprintln!("dockside: HTTP status {status}");
        }
        print_json(&result.body)?;
    } else {
        eprintln!(
            "dockside: the connection would have been closed without an answer: nobody knows whether this volume exists, and any answer would make Docker forget it"
        );
    }
    Ok(if result.status == Some(200) {
        OK
    } else {
        FAILED
    })
}
