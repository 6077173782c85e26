//! `dockside:host/secrets`: names of secrets, which the host uses on the driver's behalf.

use wasmtime::component::Resource;

use super::held::{Answer, answered, error};
use crate::ledger;
use crate::sandbox::CallContext;
use crate::sandbox::bindings::effects::secrets::{Host, HostSecret};
use crate::sandbox::bindings::machine::ErrorCode;

/// A secret that the plugin may use. There is no value in it.
#[derive(Debug)]
pub struct SecretHandle {
    name: String,
}

impl Host for CallContext {
    async fn open(&mut self, name: String) -> wasmtime::Result<Answer<Resource<SecretHandle>>> {
        let may = self.granted(|grants| grants.secrets()?.may_use(&name));
        answered(match may {
            Ok(()) => Ok(self.table.push(SecretHandle { name })?),
            Err(error) => Err(error),
        })
    }
}

impl HostSecret for CallContext {
    async fn name(&mut self, secret: Resource<SecretHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&secret)?.name.clone())
    }

    async fn reveal(
        &mut self,
        secret: Resource<SecretHandle>,
    ) -> wasmtime::Result<Answer<Vec<u8>>> {
        let name = self.table.get(&secret)?.name.clone();
        let revealed = match self.granted(|grants| grants.secrets()?.may_reveal(&name)) {
            Ok(()) => {
                let settings = std::sync::Arc::clone(&self.environment.settings);
                ledger::blocking(move || ledger::secret(&settings, &name))
                    .await
                    .map_err(Into::into)
            }
            Err(error) => Err(error),
        };
        answered(revealed)
    }

    async fn drop(&mut self, secret: Resource<SecretHandle>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl CallContext {
    pub(super) fn secret_name(&self, secret: &Resource<SecretHandle>) -> Answer<String> {
        self.table
            .get(secret)
            .map(|secret| secret.name.clone())
            .map_err(|reason| error(ErrorCode::Invalid, reason.to_string()))
    }
}
