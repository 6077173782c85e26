//! `dockside reconcile`

use http::Method;

use super::{ATTENTION, OK, print_json};
use crate::admin::client::ask;
use crate::config::Daemon;
use crate::ledger::Finding;

pub(super) async fn run(
    daemon: &Daemon,
    name: Option<&str>,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<u8> {
    let mut query = vec![("dry", if dry_run { "true" } else { "false" })];
    query.extend(name.map(|name| ("name", name)));
    let findings: Vec<Finding> = ask(
        &daemon.control,
        Method::POST,
        "/v1/reconcile",
        &query,
        Vec::new(),
    )
    .await?;
    if json {
        print_json(&findings)?;
    } else if findings.is_empty() {
        say!("Everything that the plugins hold is as they left it.");
    }
    if !json {
        for finding in &findings {
            let did = match finding.done {
                None => "would",
                Some(true) => "did",
                Some(false) => "could not",
            };
            let plugin = if finding.plugin.is_empty() {
                "no plugin"
            } else {
                &finding.plugin
            };
            say!(
                "{plugin}: {}: {}; {did}: {}",
                finding.what,
                finding.problem,
                finding.repair
            );
        }
    }
    let open = findings.iter().any(|finding| finding.done != Some(true));
    Ok(if open { ATTENTION } else { OK })
}
