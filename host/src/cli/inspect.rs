//! `dockside inspect`: a plugin, by asking the daemon, or a file, by reading it.

use std::path::Path;

use anyhow::Context as _;
use http::Method;
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

use super::{ATTENTION, OK, Places, print_json};
use crate::admin::client::ask;
use crate::admin::report::PluginDetail;
use crate::catalog::component_version;
use crate::protocol::one_line;

/// Bytes of an explanation that are shown.
const HELP: usize = 500;

pub(super) async fn run(places: &Places, subject: &str, json: bool) -> anyhow::Result<u8> {
    if Path::new(subject)
        .extension()
        .is_some_and(|extension| extension == "wasm")
    {
        return file(Path::new(subject), json);
    }
    let daemon = places.load()?;
    let query = [("name", subject)];
    let detail: PluginDetail = ask(
        &daemon.control,
        Method::GET,
        "/v1/plugin",
        &query,
        Vec::new(),
    )
    .await?;
    if json {
        print_json(&detail)?;
    } else {
        show(&detail);
    }
    let healthy = detail.summary.note.is_none()
        && matches!(detail.summary.state.as_str(), "serving" | "trial");
    Ok(if healthy { OK } else { ATTENTION })
}

fn row(name: &str, value: impl std::fmt::Display) {
    say!("{name:<14}{value}");
}

fn show(detail: &PluginDetail) {
    let summary = &detail.summary;
    row("Name", &summary.name);
    row("Kinds", summary.kinds.join(", "));
    row("State", &summary.state);
    if let Some(note) = &summary.note {
        row("Note", note);
    }
    if let Some(version) = &summary.version {
        row("Version", version);
    }
    if let (Some(file), Some(size)) = (&summary.file, detail.size) {
        row("File", format!("{file} ({} KiB)", size / 1024));
    }
    if detail.keeps_calls > 0 {
        row(
            "Recording",
            format!("the last {} calls", detail.keeps_calls),
        );
    }
    if let Some(text) = &detail.preflight {
        row("Preflight", text);
    }
    if let Some(digest) = &detail.digest {
        row("SHA-256", digest);
    }
    if let Some(socket) = &detail.socket {
        row("Socket", socket);
    }
    if let Some(file) = &detail.discovery {
        row("Found by", file);
    }
    row(
        "Calls",
        format!(
            "{} ({} refused, {} failed, {} run again, {} rescued by the version before)",
            summary.calls,
            detail.counters.refused,
            summary.faults,
            detail.counters.conflicts,
            detail.counters.rescued
        ),
    );
    row(
        "Swaps",
        format!(
            "{} ({} taken back)",
            detail.counters.swaps, detail.counters.reverted
        ),
    );
    row(
        "State",
        format!("{} keys, {} bytes", detail.state_keys, detail.state_bytes),
    );
    if !detail.config.is_empty() {
        row("Config", detail.config.join(", "));
    }
    section(
        "Capabilities asked for",
        detail.capabilities.iter().map(|capability| {
            let grant = match (&capability.grant, capability.granted) {
                (Some(grant), true) => format!(" (grant {grant})"),
                (Some(grant), false) => format!(" (grant {grant} is MISSING)"),
                (None, _) => String::new(),
            };
            format!("{}{grant}", capability.interface)
        }),
    );
    let options = detail.options.as_array().cloned().unwrap_or_default();
    section(
        "Options",
        options.iter().map(|option| {
            format!(
                "{:<16} {}",
                option
                    .get("name")
                    .and_then(|name| name.as_str())
                    .unwrap_or_default(),
                option
                    .get("help")
                    .and_then(|help| help.as_str())
                    .unwrap_or_default()
            )
        }),
    );
    section(
        "Verbs (dockside run)",
        summary
            .verbs
            .iter()
            .map(|verb| format!("{:<16} {}", verb.name, one_line(&verb.help, HELP))),
    );
    section(
        "Volumes",
        detail.volumes.iter().map(|volume| {
            format!(
                "{:<24} {} {}",
                volume.name,
                volume.created,
                volume.directory.as_deref().unwrap_or("-")
            )
        }),
    );
    section(
        "Directories held",
        detail
            .directories
            .iter()
            .map(|directory| format!("{:<24} {}", directory.key, directory.path)),
    );
    section(
        "Docker's own plugins",
        detail
            .relays
            .iter()
            .map(|relay| match relay.set.as_slice() {
                [] => relay.id.clone(),
                set => format!("{} sets {}", relay.id, set.join(", ")),
            }),
    );
    let holds = detail.holds.as_array().cloned().unwrap_or_default();
    section(
        "Held on the machine",
        holds.iter().map(|item| {
            let text = |field: &str| {
                item.get(field)
                    .and_then(|value| value.as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            let health = match text("state").as_str() {
                "" => String::new(),
                state => format!(" [{state} {}]", text("reason")),
            };
            format!(
                "{:<6} {:<24} {}{health}",
                text("kind"),
                text("key"),
                text("what")
            )
        }),
    );
    section("Versions taken back", detail.rejected.iter().cloned());
}

fn section(title: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            say!("\n{title}:");
        }
        say!("  {line}");
    }
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    size: u64,
    sha256: String,
    version: Option<String>,
    kinds: Vec<String>,
    capabilities: Vec<String>,
    exports: Vec<String>,
}

fn file(path: &Path, json: bool) -> anyhow::Result<u8> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (imports, exports) = interfaces(&bytes)
        .with_context(|| format!("{} is no WebAssembly component", path.display()))?;
    let kinds: Vec<String> = [
        ("volume", "VolumeDriver"),
        ("network", "NetworkDriver"),
        ("ipam", "IpamDriver"),
        ("authz", "authz"),
    ]
    .into_iter()
    .filter(|(interface, _)| {
        exports
            .iter()
            .any(|export| export.starts_with(&format!("dockside:driver/{interface}@")))
    })
    .map(|(_, kind)| kind.to_owned())
    .collect();
    let from_name = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(|stem| stem.split_once('@'))
        .map(|(_, version)| version.to_owned());
    let report = FileReport {
        file: path.display().to_string(),
        size: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
        version: from_name.or_else(|| component_version(&bytes).map(|version| version.to_string())),
        capabilities: imports,
        exports,
        kinds,
    };
    let usable = !report.kinds.is_empty();
    if json {
        print_json(&report)?;
    } else {
        row("File", &report.file);
        row("Size", format!("{} KiB", report.size / 1024));
        row("SHA-256", &report.sha256);
        row("Version", report.version.as_deref().unwrap_or("none given"));
        row(
            "Kinds",
            if usable {
                report.kinds.join(", ")
            } else {
                "none: this component is no driver".to_owned()
            },
        );
        section(
            "Capabilities asked for",
            report.capabilities.iter().cloned(),
        );
        section("Exports", report.exports.iter().cloned());
    }
    Ok(if usable { OK } else { ATTENTION })
}

/// The interfaces that a component imports and exports, without compiling it.
pub(super) fn interfaces(bytes: &[u8]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    anyhow::ensure!(
        Parser::is_component(bytes),
        "it does not begin as a component does"
    );
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}
