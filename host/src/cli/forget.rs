//! `dockside forget`

use http::Method;

use super::{OK, print_json};
use crate::admin::client::ask;
use crate::config::Daemon;

pub(super) async fn run(
    daemon: &Daemon,
    name: &str,
    force: bool,
    json: bool,
) -> anyhow::Result<u8> {
    let text: String = ask(
        &daemon.control,
        Method::POST,
        "/v1/forget",
        &[
            ("name", name),
            ("force", if force { "true" } else { "false" }),
        ],
        Vec::new(),
    )
    .await?;
    if json {
        print_json(&serde_json::json!({ "forgotten": name, "text": text }))?;
    } else {
        say!("{text}");
    }
    Ok(OK)
}
