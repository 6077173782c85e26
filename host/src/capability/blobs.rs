//! `dockside:host/blobs`: named pieces of data in the operator's stores.

use std::sync::Arc;

use super::held::{Answer, answered};
use crate::blobs::{Name, Prefix, Store, Stores};
use crate::config;
use crate::outbound::{HttpError, Secrets};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::effects::blobs::{BlobInfo, Host};
use crate::sandbox::bindings::machine::Error;

use super::http::Keeper;

/// The stores of a plugin. Reads the files that its settings name.
///
/// # Errors
/// When one cannot be used. The text begins with the key.
pub fn stores(settings: &Arc<config::Plugin>) -> Result<Stores, HttpError> {
    let keeper: Arc<dyn Secrets> = Arc::new(Keeper(Arc::clone(settings)));
    Stores::new(settings, &keeper)
}

impl Host for CallContext {
    async fn list_stores(&mut self) -> wasmtime::Result<Vec<String>> {
        answered(
            self.environment
                .blobs
                .names()
                .map(ToOwned::to_owned)
                .collect(),
        )
    }

    async fn put(
        &mut self,
        store: String,
        name: String,
        data: Vec<u8>,
    ) -> wasmtime::Result<Answer<()>> {
        answered(
            async {
                let (store, name) = (self.store(&store)?, name.parse::<Name>()?);
                Ok(store.put(name, data, self.deadline).await?)
            }
            .await,
        )
    }

    async fn get(&mut self, store: String, name: String) -> wasmtime::Result<Answer<Vec<u8>>> {
        answered(
            async {
                let (store, name) = (self.store(&store)?, name.parse::<Name>()?);
                Ok(store.get(name, self.deadline).await?)
            }
            .await,
        )
    }

    async fn delete(&mut self, store: String, name: String) -> wasmtime::Result<Answer<()>> {
        answered(
            async {
                let (store, name) = (self.store(&store)?, name.parse::<Name>()?);
                Ok(store.delete(name, self.deadline).await?)
            }
            .await,
        )
    }

    async fn list_blobs(
        &mut self,
        store: String,
        prefix: String,
    ) -> wasmtime::Result<Answer<Vec<BlobInfo>>> {
        answered(
            async {
                let (store, prefix) = (self.store(&store)?, prefix.parse::<Prefix>()?);
                let found = store.list(prefix, self.deadline).await?;
                Ok(found
                    .into_iter()
                    .map(|blob| BlobInfo {
                        name: blob.name,
                        size: blob.size,
                        modified: blob.modified,
                    })
                    .collect())
            }
            .await,
        )
    }
}

impl CallContext {
    /// A store, by what the driver calls it.
    fn store(&mut self, name: &str) -> Answer<Arc<Store>> {
        // Nothing goes out while the component is only asked what it is.
        self.records()?;
        self.granted(|grants| grants.blobs()?.store(name).map(drop))?;
        self.environment.blobs.get(name).ok_or_else(|| Error {
            code: crate::sandbox::bindings::machine::ErrorCode::Other,
            message: format!("the blob store {name} is not open"),
        })
    }
}
