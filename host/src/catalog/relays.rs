//! The plugins as relays: under which names Docker's own commands find them.

use std::sync::Arc;

use super::Catalog;
use crate::endpoint::relay::Front;
use crate::ledger::{Kind, relay_of};
use crate::plugin::Plugin;
use crate::relay::{Attached, Package, registry};

impl Catalog {
    /// What the relays' socket needs.
    pub fn relay_front(self: &Arc<Self>) -> Front {
        let catalog = Arc::clone(self);
        Front {
            find: Arc::new(move |name| catalog.plugin(name)),
            relays: Arc::clone(&self.shared.relays),
            limits: self.endpoint_limits(),
        }
    }

    /// The relays of a plugin that are there.
    pub fn relays(&self, plugin: &str) -> Vec<Attached> {
        self.shared.relays.of(plugin)
    }

    /// Takes away what relays showed that Docker has ended.
    pub async fn forget_relays(&self) {
        let relays = &self.shared.relays;
        let is_gone = |id: &str| relays.is_gone(id);
        for plugin in self.plugins() {
            let shows = plugin.state().snapshot().objects().any(|object| {
                matches!(Kind::parse(&object.name), Some((Kind::Relay, key)) if is_gone(relay_of(key)))
            });
            if !shows {
                continue;
            }
            let ended = self.shared.ledger.forget_relays(plugin.name(), is_gone);
            if let Err(error) = ended.await {
                tracing::warn!(plugin = plugin.name(), %error, "what a relay showed cannot be taken away yet");
            }
        }
    }

    /// The relay of a plugin; none for one that has never served.
    pub fn package(&self, plugin: &Plugin) -> Option<Package> {
        let version = plugin.version();
        let description = match &version {
            Some(version) => version.driver.description().clone(),
            None => plugin.published()?,
        };
        let settings = version.map(|version| version.settings.relay.clone());
        Some(Package::new(
            plugin.name(),
            description.kinds(),
            &settings.unwrap_or_default(),
            &self.daemon.relay_directory(),
        ))
    }

    /// The plugin behind the name of a repository: by its own name, or else the first one whose file gives it. Docker puts `library/` before a
    /// name without a slash.
    fn behind(&self, repository: &str) -> Option<Arc<Plugin>> {
        let own = repository.strip_prefix("library/").unwrap_or(repository);
        self.plugin(own).or_else(|| {
            self.plugins().into_iter().find(|plugin| {
                plugin.version().is_some_and(|version| {
                    let names = &version.settings.relay.names;
                    names
                        .iter()
                        .any(|name| [repository, own].contains(&name.as_str()))
                })
            })
        })
    }
}

impl registry::Relays for Catalog {
    fn find(&self, repository: &str) -> Option<Package> {
        self.package(&*self.behind(repository)?)
    }
}
