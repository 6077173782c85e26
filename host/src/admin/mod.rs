//! The control socket: what the command line asks the running daemon.

pub mod client;
mod events;
pub mod report;
mod run;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::call::Client;
use crate::catalog::Catalog;
use crate::ledger::{Health, Repair};
use crate::plugin::{Plugin, Reply, Standing, Version};
use report::{
    CallResult, Capability, Counters, Directory, PluginDetail, PluginSummary, Status, Volume,
};

/// Serves the control socket until `stopped`.
pub async fn serve(
    listener: UnixListener,
    catalog: Arc<Catalog>,
    mut stopped: watch::Receiver<bool>,
) {
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/plugin", get(plugin))
        .route("/v1/log", get(log))
        .route("/v1/call", post(call))
        .route("/v1/run", run::route(stopped.clone()))
        .route("/v1/events", events::route(stopped.clone()))
        .route("/v1/relay", get(relay))
        .route("/v1/forget", post(forget))
        .route("/v1/reconcile", post(reconcile))
        .route("/metrics", get(metrics))
        .with_state(catalog);
    // Only the operator can reach this socket, so axum's own accept loop will do.
    let result = axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            let _ = stopped.changed().await;
        })
        .await;
    if let Err(error) = result {
        tracing::error!(%error, "the control socket failed");
    }
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    lines: Option<usize>,
    #[serde(default)]
    force: bool,
    /// Of `events`: begin with the header of a recording.
    #[serde(default)]
    header: bool,
}

#[derive(Deserialize)]
struct Reconciling {
    name: Option<String>,
    #[serde(default)]
    dry: bool,
}

async fn reconcile(
    State(catalog): State<Arc<Catalog>>,
    Query(wanted): Query<Reconciling>,
) -> Response {
    if let Some(name) = &wanted.name
        && catalog.plugin(name).is_none()
    {
        return missing(name);
    }
    let repair = if wanted.dry {
        Repair::DryRun
    } else {
        Repair::Now
    };
    let repaired = to_the_end(async move { catalog.repair(wanted.name.as_deref(), repair).await });
    match repaired.await {
        Ok(findings) => Json(findings).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Does something in a task of its own: whoever asked may go away in the middle of it.
async fn to_the_end<T: Send + 'static, E: Send + 'static>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, anyhow::Error>
where
    anyhow::Error: From<E>,
{
    Ok(tokio::spawn(work).await??)
}

async fn status(State(catalog): State<Arc<Catalog>>) -> Json<Status> {
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        drivers: catalog.drivers().display().to_string(),
        plugins: catalog
            .plugins()
            .iter()
            .map(|plugin| summary(&catalog, plugin))
            .collect(),
        problems: catalog.problems(),
    })
}

fn summary(catalog: &Catalog, plugin: &Plugin) -> PluginSummary {
    let version = plugin.version();
    let description = match &version {
        Some(version) => Some(version.driver.description().clone()),
        None => plugin.published(),
    };
    let (state, reason) = match &*plugin.standing() {
        Standing::Serving(serving) if serving.on_trial() => ("trial", None),
        Standing::Serving(_) => ("serving", None),
        Standing::Blocked(reason) => ("blocked", Some(reason.to_string())),
        Standing::Broken(reason) => ("broken", Some(reason.to_string())),
        Standing::Removed => ("removed", Some(plugin.standing_text())),
    };
    PluginSummary {
        name: plugin.name().to_owned(),
        kinds: description
            .map(|description| {
                description
                    .implements()
                    .iter()
                    .map(ToString::to_string)
                    .collect()
            })
            .unwrap_or_default(),
        state: state.to_owned(),
        version: version.as_ref().map(|version| version.label.to_string()),
        file: version.as_ref().map(|version| version.file.clone()),
        note: reason.or_else(|| catalog.note(plugin.name())),
        verbs: version
            .as_ref()
            .map(|version| version.driver.description().verbs.clone())
            .unwrap_or_default(),
        calls: plugin.counters().calls.load(Ordering::Relaxed),
        faults: plugin.counters().faults.load(Ordering::Relaxed),
    }
}

fn capabilities(version: &Version) -> Vec<Capability> {
    version
        .driver
        .asks()
        .iter()
        .map(|ask| Capability {
            interface: ask.interface.clone(),
            grant: ask.grant.map(ToOwned::to_owned),
            granted: ask
                .grant
                .is_none_or(|grant| version.settings.grants.granted(grant)),
        })
        .collect()
}

async fn plugin(State(catalog): State<Arc<Catalog>>, Query(named): Query<Named>) -> Response {
    let Some(plugin) = catalog.plugin(&named.name) else {
        return missing(&named.name);
    };
    let version = plugin.version();
    let snapshot = plugin.state().snapshot();
    let root = catalog.directory_root(plugin.name());
    let holds = catalog.holds(plugin.name());
    let counters = plugin.counters();
    let usage = snapshot.usage();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (socket, discovery) = catalog.address(plugin.name()).unzip();
    Json(PluginDetail {
        summary: summary(&catalog, &plugin),
        socket,
        discovery: discovery.flatten().map(|file| file.display().to_string()),
        digest: version
            .as_ref()
            .map(|version| version.driver.digest().to_owned()),
        size: version.as_ref().map(|version| version.driver.size()),
        capabilities: version.as_deref().map(capabilities).unwrap_or_default(),
        options: version
            .as_ref()
            .and_then(|version| serde_json::to_value(&version.driver.description().options).ok())
            .unwrap_or_default(),
        published: serde_json::to_value(plugin.published()).unwrap_or_default(),
        config: version
            .as_ref()
            .map(|version| version.environment.config.keys().cloned().collect())
            .unwrap_or_default(),
        state_keys: usage.keys,
        state_bytes: usage.bytes,
        volumes: snapshot
            .volumes()
            .map(|volume| Volume {
                name: volume.name.clone(),
                created: jiff::Timestamp::from_second(volume.created_at)
                    .map(|time| time.to_string())
                    .unwrap_or_default(),
                directory: volume
                    .directory
                    .as_ref()
                    .map(|id| match id.strip_prefix("mounts/") {
                        Some(id) => id.to_owned(),
                        None => root.join(id).display().to_string(),
                    }),
                uses: volume.uses.iter().map(|one| u64::from(one.count)).sum(),
            })
            .collect(),
        directories: snapshot
            .directories()
            .map(|directory| Directory {
                key: directory.key.clone(),
                path: root.join(&directory.id).display().to_string(),
            })
            .collect(),
        holds: serde_json::to_value(holds).unwrap_or_default(),
        relays: catalog.relays(plugin.name()),
        counters: Counters {
            refused: load(&counters.refused),
            conflicts: load(&counters.conflicts),
            rescued: load(&counters.rescued),
            swaps: load(&counters.swaps),
            reverted: load(&counters.reverted),
        },
        keeps_calls: version
            .as_ref()
            .map_or(0, |version| version.settings.record.keep),
        preflight: plugin.preflight().map(|tried| tried.text),
        rejected: plugin
            .rejections()
            .into_iter()
            .map(|(_, reason)| reason)
            .collect(),
    })
    .into_response()
}

/// What plugins hold on the machine, as gauges.
fn held(catalog: &Catalog, plugins: &[Arc<Plugin>], text: &mut String) {
    let _ = writeln!(
        text,
        "# HELP dockside_held Things that a plugin holds on the machine.\n# TYPE dockside_held gauge\n# HELP dockside_degraded_mounts Mounts that do not answer.\n# TYPE dockside_degraded_mounts gauge\n# HELP dockside_long_calls Calls that go on behind their deadline.\n# TYPE dockside_long_calls gauge"
    );
    for plugin in plugins {
        let name = plugin.name();
        let holds = catalog.holds(name);
        for kind in crate::ledger::Kind::ALL {
            let count = holds.iter().filter(|item| item.kind == kind).count();
            if count > 0 {
                let word = kind.word();
                let _ = writeln!(
                    text,
                    "dockside_held{{plugin=\"{name}\",kind=\"{word}\"}} {count}"
                );
            }
        }
        let bad = |item: &&crate::ledger::Item| {
            matches!(item.health, Some(Health::Degraded(_) | Health::Gone))
        };
        let degraded = holds.iter().filter(bad).count();
        let _ = writeln!(
            text,
            "dockside_degraded_mounts{{plugin=\"{name}\"}} {degraded}\ndockside_long_calls{{plugin=\"{name}\"}} {}",
            plugin.long_calls()
        );
    }
}

async fn log(State(catalog): State<Arc<Catalog>>, Query(named): Query<Named>) -> Response {
    match catalog.plugin(&named.name) {
        Some(plugin) => Json(plugin.log().tail(named.lines.unwrap_or(usize::MAX))).into_response(),
        None => missing(&named.name),
    }
}

async fn call(
    State(catalog): State<Arc<Catalog>>,
    Query(named): Query<Named>,
    body: axum::body::Bytes,
) -> Response {
    let Some(plugin) = catalog.plugin(&named.name) else {
        return missing(&named.name);
    };
    Json(
        match plugin
            .answer(&named.method, &body, &Client::default())
            .await
        {
            Reply::Json { status, body } => CallResult {
                status: Some(status.as_u16()),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            },
            Reply::Close => CallResult {
                status: None,
                body: serde_json::Value::Null,
            },
        },
    )
    .into_response()
}

async fn relay(State(catalog): State<Arc<Catalog>>, Query(named): Query<Named>) -> Response {
    let Some(plugin) = catalog.plugin(&named.name) else {
        return missing(&named.name);
    };
    match catalog.package(&plugin) {
        Some(package) => Json(package).into_response(),
        None => (StatusCode::CONFLICT, plugin.standing_text()).into_response(),
    }
}

async fn forget(State(catalog): State<Arc<Catalog>>, Query(named): Query<Named>) -> Response {
    let forgotten = to_the_end(async move { catalog.forget(&named.name, named.force).await });
    match forgotten.await {
        Ok(text) => Json(text).into_response(),
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

fn missing(name: &str) -> Response {
    (
        StatusCode::NOT_FOUND,
        format!("there is no plugin named {name:?}; `dockside ls` shows all"),
    )
        .into_response()
}

/// Numbers in Prometheus' text form.
async fn metrics(State(catalog): State<Arc<Catalog>>) -> String {
    let mut text = String::new();
    let plugins = catalog.plugins();
    type Read = fn(&Plugin) -> u64;
    let table: [(&str, &str, Read); 7] = [
        ("calls", "Calls answered", |p| {
            p.counters().calls.load(Ordering::Relaxed)
        }),
        ("refused", "Calls that the driver refused", |p| {
            p.counters().refused.load(Ordering::Relaxed)
        }),
        ("faults", "Calls that failed by the driver's fault", |p| {
            p.counters().faults.load(Ordering::Relaxed)
        }),
        ("conflicts", "Calls run again because of a conflict", |p| {
            p.counters().conflicts.load(Ordering::Relaxed)
        }),
        ("rescued", "Calls answered by the version before", |p| {
            p.counters().rescued.load(Ordering::Relaxed)
        }),
        ("swaps", "Swaps of the version", |p| {
            p.counters().swaps.load(Ordering::Relaxed)
        }),
        ("reverted", "Swaps taken back", |p| {
            p.counters().reverted.load(Ordering::Relaxed)
        }),
    ];
    for (name, help, read) in table {
        let _ = writeln!(
            text,
            "# HELP dockside_{name}_total {help}.\n# TYPE dockside_{name}_total counter"
        );
        for plugin in &plugins {
            let _ = writeln!(
                text,
                "dockside_{name}_total{{plugin=\"{}\"}} {}",
                plugin.name(),
                read(plugin)
            );
        }
    }
    held(&catalog, &plugins, &mut text);
    if let Some((instances, warm)) = catalog.occupancy() {
        let _ = writeln!(
            text,
            "# HELP dockside_instances Component instances that exist now.\n# TYPE dockside_instances gauge\ndockside_instances {instances}\n# HELP dockside_warm_memories Unused memories that are kept warm.\n# TYPE dockside_warm_memories gauge\ndockside_warm_memories {warm}"
        );
    }
    text
}
