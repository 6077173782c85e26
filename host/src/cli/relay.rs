//! `dockside relay`

use std::path::PathBuf;

use http::Method;

use super::{OK, print_json};
use crate::admin::client::ask;
use crate::config::Daemon;
use crate::relay::{Package, write};

pub(super) async fn run(
    daemon: &Daemon,
    name: &str,
    output: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<u8> {
    let package: Package = ask(
        &daemon.control,
        Method::GET,
        "/v1/relay",
        &[("name", name)],
        Vec::new(),
    )
    .await?;
    // One segment, whatever the name is.
    let output =
        output.unwrap_or_else(|| PathBuf::from(format!("{}-relay", name.replace(['/', ':'], "-"))));
    write(&package, &output)?;
    let tag = package.tagged();
    let create = format!("docker plugin create {tag} {}", output.display());
    let enable = format!("docker plugin enable {tag}");
    if json {
        print_json(&serde_json::json!({
            "plugin": name, "directory": output, "create": create, "enable": enable,
        }))?;
    } else {
        say!(
            "{} holds the relay of plugin {name}. Next:\n\n    {create}\n    {enable}\n",
            output.display()
        );
        say!("`docker plugin set` goes between the two. Docker then calls it {tag}.");
    }
    Ok(OK)
}
