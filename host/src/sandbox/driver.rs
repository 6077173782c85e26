//! A loaded driver: compiled, linked, asked what it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, types::ComponentItem};

use super::compile::CompileError;
use super::context::{CallContext, PluginEnvironment};
use super::instance::Instance;
use super::invoke::{ExportIndices, describe};
use super::lane::Lane;
use super::{MAX_MEMORY, Sandbox};
use crate::plugin::log::CallLog;
use crate::plugin::verbs;
use crate::protocol::Description;
use crate::store::Quota;

/// How long a component may take to say what it is. It has no state and no configuration then, so it has nothing to wait for.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(5);

/// A capability that a component imports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Ask {
    /// The name of the grant: `directories`, `state` …; none for what every driver has.
    pub grant: Option<&'static str>,
    /// The imported interface, with its version.
    pub interface: String,
}

/// Why a file did not become a driver.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// Compiling failed.
    #[error("{0}")]
    Compile(#[from] CompileError),
    /// It imports something that the host does not have.
    #[error("it imports something that this version of dockside does not offer: {0}")]
    Link(String),
    /// It exports no plugin kind.
    #[error(
        "it exports none of dockside:driver/volume, network, ipam, authz (version 0.1.0): it is no driver, or built for another version of the WIT"
    )]
    NoKind,
    /// It does not survive being asked.
    #[error("it failed when asked for its capabilities: {0}")]
    Describe(String),
}

impl LoadError {
    /// Whether the same file may do better another time: the machine was at fault, or too busy.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            LoadError::Compile(CompileError::Machine(_) | CompileError::TooExpensive { .. })
        )
    }
}

/// A component that can be instantiated. Plugins and versions with the same bytes share one.
pub struct Driver {
    digest: String,
    size: u64,
    pre: InstancePre<CallContext>,
    indices: ExportIndices,
    description: Description,
    asks: Vec<Ask>,
    lane: Arc<Lane>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// SHA-256 of the component, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Bytes of the component.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What Docker is told, and the declared options.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What it imports.
    pub fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// Whether it imports an interface of this grant.
    pub fn asks_for(&self, grant: &str) -> bool {
        self.asks.iter().any(|ask| ask.grant == Some(grant))
    }

    /// Whether it exports `lifecycle`.
    pub fn has_lifecycle(&self) -> bool {
        self.indices.has_lifecycle()
    }

    /// Whether it exports `reconcile`.
    pub fn has_reconcile(&self) -> bool {
        self.indices.has_reconcile()
    }

    /// Whether it exports `settlement`.
    pub fn has_settlement(&self) -> bool {
        self.indices.has_settlement()
    }

    pub(super) fn pre(&self) -> &InstancePre<CallContext> {
        &self.pre
    }

    pub(super) fn indices(&self) -> &ExportIndices {
        &self.indices
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    pub(super) fn engine(&self) -> &Engine {
        self.pre.engine()
    }
}

impl Sandbox {
    /// Loads a component: from the cache or by compiling it, never on a call's path. The same bytes are loaded once.
    ///
    /// # Errors
    /// When it does not compile, link, or answer.
    pub async fn load(&self, bytes: &[u8], digest: &str) -> Result<Arc<Driver>, LoadError> {
        if let Some(driver) = self
            .loaded
            .lock()
            .get(digest)
            .and_then(std::sync::Weak::upgrade)
        {
            return Ok(driver);
        }
        let component = self.compiler.component(&self.engine, bytes, digest).await?;
        let driver = Arc::new(self.link(component, bytes.len() as u64, digest).await?);
        let mut loaded = self.loaded.lock();
        loaded.retain(|_, driver| driver.strong_count() > 0);
        loaded.insert(digest.to_owned(), Arc::downgrade(&driver));
        Ok(driver)
    }

    async fn link(
        &self,
        component: Component,
        size: u64,
        digest: &str,
    ) -> Result<Driver, LoadError> {
        let asks = asks(&component, &self.engine);
        let pre = self
            .linker
            .instantiate_pre(&component)
            .map_err(|error| LoadError::Link(format!("{error:#}")))?;
        let indices = ExportIndices::new(&pre)
            .map_err(|error| LoadError::Link(format!("an export has another type: {error:#}")))?;
        if !indices.has_kind() {
            return Err(LoadError::NoKind);
        }
        let mut driver = Driver {
            digest: digest.to_owned(),
            size,
            pre,
            indices,
            description: Description::default(),
            asks,
            lane: Arc::clone(&self.lane),
        };
        driver.description = ask(&driver)
            .await
            .map_err(|error| LoadError::Describe(format!("{error:#}")))?;
        verbs::check_declared(&driver.description.verbs).map_err(LoadError::Describe)?;
        Ok(driver)
    }
}

async fn ask(driver: &Driver) -> wasmtime::Result<Description> {
    let environment = Arc::new(PluginEnvironment {
        plugin: String::new(),
        stem: String::new(),
        settings: Default::default(),
        config: Default::default(),
        quota: Quota::default(),
        directories: None,
        http: None,
        blobs: Default::default(),
        memory: MAX_MEMORY.min(256 << 20),
        log_bytes: 16 << 10,
    });
    let deadline = Instant::now() + DESCRIBE_DEADLINE;
    let log = Arc::new(CallLog::discard());
    let asked = async {
        let mut instance =
            Instance::new(driver, &environment, &Arc::default(), log, deadline).await?;
        describe(&mut instance.store, &instance.exports).await
    };
    match tokio::time::timeout(DESCRIBE_DEADLINE, asked).await {
        Ok(description) => description,
        Err(_) => Err(super::instance::DeadlinePassed.into()),
    }
}

fn asks(component: &Component, engine: &Engine) -> Vec<Ask> {
    component
        .component_type()
        .imports(engine)
        .filter_map(|(interface, item)| {
            let ComponentItem::ComponentInstance(instance) = item.ty else {
                return None;
            };
            let functions: Vec<&str> = instance
                .exports(engine)
                .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                .map(|(name, _)| name)
                .collect();
            // An interface of types alone asks for nothing.
            (!functions.is_empty()).then(|| Ask {
                grant: grant_of(interface).filter(|_| functions.iter().any(|name| obtains(name))),
                interface: interface.to_owned(),
            })
        })
        .collect()
}

/// Whether a function can be called without a handle. A method needs one, which the driver has been given by the host or by a function
/// that it asks for.
fn obtains(function: &str) -> bool {
    !function.starts_with("[method]")
}

/// The grant that an interface needs, by the name of its table in the plugin's settings.
pub(crate) fn grant_of(interface: &str) -> Option<&'static str> {
    // Versions are for the linker: a grant is for an interface in each of them.
    let name = interface.split('@').next().unwrap_or(interface);
    Some(match name {
        "dockside:host/directories" => "directories",
        "dockside:host/mounts" => "mounts",
        "dockside:host/images" => "images",
        "dockside:host/links" => "links",
        "dockside:host/nat" => "nat",
        "dockside:host/secrets" => "secrets",
        "dockside:host/outbox" => "outbox",
        "dockside:host/files" => "files",
        "dockside:host/blobs" => "blobs",
        "wasi:http/outgoing-handler" => "http",
        _ if name.starts_with("wasi:keyvalue/") => "state",
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const METHOD: &str = r#"(export "[method]thing.key" (func (param "self" (borrow $thing))))"#;
    const OPEN: &str = r#"(export "open" (func (result (own $thing))))"#;
    const NEW: &str = r#"(export "[constructor]thing" (func (result (own $thing))))"#;
    const STATIC: &str = r#"(export "[static]thing.find" (func (result (own $thing))))"#;

    /// What a component asks for that imports these functions of an interface, and whether the import is shown at all.
    fn asked(interface: &str, functions: &[&str]) -> (bool, Option<&'static str>) {
        let text = format!(
            r#"(component (import "{interface}" (instance (export "thing" (type $thing (sub resource))) {})))"#,
            functions.concat()
        );
        let mut config = wasmtime::Config::new();
        config.wasm_component_model(true);
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let asks = asks(&component, &engine);
        (!asks.is_empty(), asks.first().and_then(|ask| ask.grant))
    }

    #[test]
    fn only_a_function_that_hands_out_handles_asks_for_a_grant() {
        for (functions, expected) in [
            (&[][..], (false, None)),
            (&[METHOD][..], (true, None)),
            (&[OPEN][..], (true, Some("links"))),
            (&[METHOD, OPEN][..], (true, Some("links"))),
            (&[NEW][..], (true, Some("links"))),
            (&[METHOD, STATIC][..], (true, Some("links"))),
        ] {
            let asked = asked("dockside:host/links@0.1.0", functions);
            assert_eq!(asked, expected, "{functions:?}");
        }
    }

    #[test]
    fn each_interface_that_needs_a_grant_has_a_table_in_the_settings() {
        let none = crate::config::Grants::default();
        for (interface, grant) in [
            ("dockside:host/directories@0.1.0", Some("directories")),
            ("dockside:host/mounts@0.1.0", Some("mounts")),
            ("dockside:host/images@0.1.7", Some("images")),
            ("dockside:host/links@1.0.0-rc.1", Some("links")),
            ("dockside:host/nat@0.1.0", Some("nat")),
            ("dockside:host/secrets@0.1.0", Some("secrets")),
            ("dockside:host/outbox@0.1.0", Some("outbox")),
            ("dockside:host/files@0.1.0", Some("files")),
            ("dockside:host/blobs@0.1.0", Some("blobs")),
            ("wasi:http/outgoing-handler@0.2.12", Some("http")),
            ("wasi:keyvalue/atomics@0.2.0-draft", Some("state")),
            ("wasi:http/types@0.2.12", None),
            ("wasi:logging/logging@0.1.0-draft", None),
            ("dockside:host/linksmen@0.1.0", None),
        ] {
            assert_eq!(asked(interface, &[OPEN]).1, grant, "{interface}");
            let Some(grant) = grant else { continue };
            let missing = none.missing(|asked| asked == grant, "a");
            assert_eq!(missing.is_none(), grant == "state", "{grant}");
        }
    }
}
