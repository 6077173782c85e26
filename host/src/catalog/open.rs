//! Where each plugin listens: at its socket, or where its file says.

use std::path::PathBuf;
use std::sync::Arc;

use super::discovery::{Announcement, DiscoveryError, announce};
use super::{Catalog, Entry};
use crate::config::{self, Listen, PluginName};
use crate::endpoint::{self, BindError, Endpoint, Listener, Tls, TlsError};
use crate::plugin::Plugin;
use crate::store::StoreError;

/// The host's own note of the port that a plugin was given.
const PORT: &str = "port";

/// A plugin's listener, and what it was made from.
pub(super) struct Open {
    pub(super) endpoint: Endpoint,
    place: Place,
    tls: Option<Arc<Tls>>,
    /// What Docker is told to connect to.
    pub(super) address: String,
    /// The file that tells it.
    pub(super) file: Option<PathBuf>,
}

/// What cannot be changed without listening anew.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The socket in the plugins directory.
    Usual,
    /// What the plugin's file says.
    Own {
        listen: Listen,
        tls: bool,
        private: bool,
    },
}

/// Why a plugin cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{0}; until that is right, what was read before holds")]
    Reload(TlsError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Place {
    fn of(settings: Option<&config::Endpoint>) -> Place {
        match settings {
            None => Place::Usual,
            Some(settings) => Place::Own {
                listen: settings.listen.clone(),
                tls: settings.tls.is_some(),
                private: settings.is_private(),
            },
        }
    }

    /// The port that has to be free for it.
    fn port(&self) -> Option<u16> {
        match self {
            Place::Own {
                listen: Listen::Tcp { address, .. },
                ..
            } => Some(address.port()).filter(|port| *port != 0),
            _ => None,
        }
    }
}

impl Catalog {
    /// Listens for a plugin where its settings say, unless that is done already, and tells Docker. Without settings it stays where it is.
    pub(super) async fn open(
        &self,
        name: &PluginName,
        plugin: &Arc<Plugin>,
        settings: Option<&config::Plugin>,
    ) -> Result<(), OpenError> {
        let own = settings.and_then(|settings| settings.endpoint.as_ref());
        let place = Place::of(own);
        // Whoever looks for the plugin finds it even when it cannot be reached.
        let (now, tls) = {
            let mut entries = self.entries.lock();
            let entry = entries.entry(name.to_string()).or_insert_with(|| Entry {
                plugin: Arc::clone(plugin),
                open: None,
            });
            let open = entry.open.as_ref();
            (
                open.map(|open| (open.place.clone(), open.endpoint.port())),
                open.and_then(|open| open.tls.clone()),
            )
        };
        if settings.is_none() && now.is_some() {
            return Ok(());
        }
        let mut reloaded = Ok(());
        if now.as_ref().is_none_or(|(now, _)| *now != place) {
            if now.is_some_and(|(_, port)| place.port() == Some(port)) {
                self.retire(name).await;
            }
            let (listener, tls) = self.bind(name, settings, own).await?;
            let endpoint = Endpoint::serve(listener, Arc::clone(plugin), self.endpoint_limits());
            self.retire(name).await;
            let address = match own {
                Some(own) => own.address(endpoint.port()),
                None => endpoint
                    .path()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default(),
            };
            if let Some(entry) = self.entries.lock().get_mut(name.as_str()) {
                entry.open = Some(Open {
                    endpoint,
                    place,
                    tls,
                    address,
                    file: None,
                });
            }
        } else if let (Some(tls), Some(settings), Some(files)) =
            (tls, settings, own.and_then(|own| own.tls.as_ref()))
        {
            match tls.reload(settings, files) {
                Ok(true) => tracing::info!(plugin = %name, "certificates were read anew"),
                Ok(false) => {}
                Err(error) => reloaded = Err(OpenError::Reload(error)),
            }
        }
        self.announce(name, own).await?;
        reloaded
    }

    /// Tells Docker where a plugin listens, or no more.
    async fn announce(
        &self,
        name: &PluginName,
        own: Option<&config::Endpoint>,
    ) -> Result<(), OpenError> {
        let wanted = own.and_then(|own| {
            let mut entries = self.entries.lock();
            let open = entries.get_mut(name.as_str())?.open.as_mut()?;
            let directory = &self.daemon.spec_directory;
            let wanted = Announcement::of(directory, name, own, open.endpoint.port());
            open.address = own.address(open.endpoint.port());
            open.file = Some(wanted.file.clone());
            Some(wanted)
        });
        if wanted.is_some() {
            // One that a killed daemon left there.
            endpoint::clear(&self.daemon.plugins.join(format!("{name}.sock")))?;
        }
        let store = &self.shared.store;
        announce(store, name.as_str(), wanted.as_ref(), &self.daemon.plugins).await?;
        Ok(())
    }

    /// Removes what Docker was told of a plugin.
    pub(super) async fn withdraw(&self, name: &str) {
        let store = &self.shared.store;
        if let Err(error) = announce(store, name, None, &self.daemon.plugins).await {
            tracing::warn!(plugin = name, %error, "Docker is still told where the plugin was");
        }
        if let Some(entry) = self.entries.lock().get_mut(name)
            && let Some(open) = &mut entry.open
        {
            open.file = None;
        }
    }

    async fn bind(
        &self,
        name: &PluginName,
        settings: Option<&config::Plugin>,
        own: Option<&config::Endpoint>,
    ) -> Result<(Listener, Option<Arc<Tls>>), OpenError> {
        let unix = |path: PathBuf| -> Result<_, OpenError> {
            Ok((
                Listener::unix(endpoint::bind(&path, self.owner)?, path),
                None,
            ))
        };
        let (Some(settings), Some(own)) = (settings, own) else {
            return unix(self.daemon.plugins.join(format!("{name}.sock")));
        };
        let address = match &own.listen {
            Listen::Unix(path) => return unix(path.clone()),
            Listen::Tcp { address, .. } => *address,
        };
        let tls = match &own.tls {
            Some(files) => Some(Arc::new(Tls::load(settings, files)?)),
            None => None,
        };
        let store = &self.shared.store;
        let before = store.meta(name.as_str(), PORT)?;
        let before = before.and_then(|port| port.parse().ok());
        let listener = Listener::tcp(own, address, before, tls.clone()).await?;
        if address.port() == 0 && before != Some(listener.port()) {
            let port = listener.port().to_string();
            store.set_meta(name.as_str(), PORT, Some(&port)).await?;
        }
        Ok((listener, tls))
    }

    /// Stops listening for a plugin. Who has connected is served still.
    async fn retire(&self, name: &PluginName) {
        let open = match self.entries.lock().get_mut(name.as_str()) {
            Some(entry) => entry.open.take(),
            None => None,
        };
        if let Some(mut open) = open {
            open.endpoint.close().await;
            self.retired.lock().spawn(open.endpoint.stop());
        }
    }
}
