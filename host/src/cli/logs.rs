//! `dockside logs`

use http::Method;
use serde::Deserialize;

use super::{OK, print_json};
use crate::admin::client::ask;
use crate::config::Daemon;

#[derive(Deserialize)]
struct Line {
    time: String,
    level: String,
    source: String,
    version: String,
    call: u64,
    method: String,
    text: String,
}

pub(super) async fn run(
    daemon: &Daemon,
    name: &str,
    lines: Option<usize>,
    json: bool,
) -> anyhow::Result<u8> {
    let count = lines.map(|lines| lines.to_string());
    let mut query = vec![("name", name)];
    if let Some(count) = &count {
        query.push(("lines", count));
    }
    let answer: Vec<serde_json::Value> =
        ask(&daemon.control, Method::GET, "/v1/log", &query, Vec::new()).await?;
    for value in answer {
        if json {
            say!("{value}");
            continue;
        }
        let Ok(line) = serde_json::from_value::<Line>(value.clone()) else {
            print_json(&value)?;
            continue;
        };
        let mut place = line.source;
        if !line.version.is_empty() {
            place = format!("{place} {}", line.version);
        }
        if line.call > 0 {
            place = format!("{place} call {} {}", line.call, line.method);
        }
        say!("{} {:5} [{place}] {}", line.time, line.level, line.text);
    }
    Ok(OK)
}
