//! `dockside:host/secrets`: names of secrets, which the host uses on the driver's behalf.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use wasmtime::component::Resource;
use zeroize::Zeroizing;

use super::held::{Answer, answered, error};
use crate::ledger::{self, Effect, Given, Kind};
use crate::machine::kept::{self, Kept};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::effects::secrets::{Host, HostSecret};
use crate::sandbox::bindings::machine::ErrorCode;
use crate::trace::Handle;

/// A secret that the plugin may use. There is no value in it.
#[derive(Debug)]
pub struct SecretHandle {
    /// What the driver calls it.
    name: String,
    /// What records of mounts call it.
    record: String,
    /// Whether it is one that the host keeps.
    is_kept: bool,
}

impl Handle for SecretHandle {
    fn show(&self) -> Value {
        json!({ "name": self.name, "record": self.record, "kept": self.is_kept })
    }

    fn restore(value: &Value) -> Option<SecretHandle> {
        let text = |name| Some(value.get(name)?.as_str()?.to_owned());
        Some(SecretHandle {
            name: text("name")?,
            record: text("record")?,
            is_kept: value.get("kept")?.as_bool()?,
        })
    }
}

impl SecretHandle {
    fn operators(name: String) -> SecretHandle {
        SecretHandle {
            record: name.clone(),
            name,
            is_kept: false,
        }
    }

    fn kept(name: String, kept: &Kept) -> SecretHandle {
        SecretHandle {
            name,
            record: kept.name(),
            is_kept: true,
        }
    }
}

impl Host for CallContext {
    async fn open(&mut self, name: String) -> wasmtime::Result<Answer<Resource<SecretHandle>>> {
        let may = self.granted(|grants| grants.secrets()?.may_use(&name));
        self.hand_out_secret(may.map(|()| SecretHandle::operators(name)))
    }

    async fn open_file(
        &mut self,
        path: String,
    ) -> wasmtime::Result<Answer<Resource<SecretHandle>>> {
        let found = self.secret_in(&path);
        self.hand_out_secret(found.map(SecretHandle::operators))
    }

    async fn keep(
        &mut self,
        name: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Answer<Resource<SecretHandle>>> {
        let kept = self.keep_it(&name, Zeroizing::new(value)).await;
        self.hand_out_secret(kept.map(|kept| SecretHandle::kept(name, &kept)))
    }

    async fn kept(&mut self, name: String) -> wasmtime::Result<Answer<Resource<SecretHandle>>> {
        let found = self
            .held(Kind::Secret, &name)
            .and_then(|(_, effect)| match effect {
                Effect::Secret(kept) => Ok(SecretHandle::kept(name, &kept)),
                _ => Err(error(
                    ErrorCode::Other,
                    "the record of the secret is damaged",
                )),
            });
        self.hand_out_secret(found)
    }

    async fn forget(&mut self, name: String) -> wasmtime::Result<Answer<()>> {
        answered(self.end(Kind::Secret, &name))
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
        let handle = self.table.get(&secret)?;
        if handle.is_kept {
            return answered(Err(error(
                ErrorCode::NotGranted,
                "a secret that the host keeps is used and not shown",
            )));
        }
        let name = handle.name.clone();
        let may = self.granted(|grants| grants.secrets()?.may_reveal(&name));
        let revealed = match (may, self.effects.ledger()) {
            (Ok(()), Ok(ledger)) => {
                let ledger = Arc::clone(ledger);
                let settings = Arc::clone(&self.environment.settings);
                let plugin = self.environment.plugin.clone();
                ledger::blocking(move || ledger.secret(&plugin, &settings, &name))
                    .await
                    .map_err(Into::into)
            }
            (Ok(()), Err(error)) => Err(error.into()),
            (Err(error), _) => Err(error),
        };
        answered(revealed)
    }

    async fn drop(&mut self, secret: Resource<SecretHandle>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl CallContext {
    /// What a record calls the secret behind a handle.
    pub(super) fn secret_name(&self, secret: &Resource<SecretHandle>) -> Answer<String> {
        self.table
            .get(secret)
            .map(|secret| secret.record.clone())
            .map_err(|reason| error(ErrorCode::Invalid, reason.to_string()))
    }

    /// The name of the operator's secret that is in a file of the machine.
    fn secret_in(&self, path: &str) -> Answer<String> {
        let secrets = &self.environment.settings.secrets;
        let name = secrets
            .iter()
            .find(|(_, source)| source.is_in(Path::new(path)))
            .map(|(name, _)| name.as_str());
        self.granted(|grants| grants.secrets()?.may_use_file(path, name))
    }

    async fn keep_it(&mut self, name: &str, value: Zeroizing<Vec<u8>>) -> Answer<Kept> {
        let most = self.granted(|grants| Ok(grants.secrets()?.keep))?;
        let held = self.count(Kind::Secret, most)?;
        self.free(Kind::Secret, name)?;
        self.granted(|grants| grants.secrets()?.may_keep(held))?;
        kept::check_length(&value)?;
        let id = ledger::mint();
        let plugin = self.environment.plugin.clone();
        let kept = Kept {
            file: self.effects.ledger()?.secret_file(&plugin, &id),
            id: id.clone(),
        };
        let given = Given {
            name: kept.name(),
            value,
        };
        let effect = Effect::Secret(kept.clone());
        self.hold_given(Kind::Secret, name, &id, effect, Some(given))
            .await?;
        Ok(kept)
    }

    fn hand_out_secret(
        &mut self,
        handle: Answer<SecretHandle>,
    ) -> wasmtime::Result<Answer<Resource<SecretHandle>>> {
        answered(match handle {
            Ok(handle) => Ok(self.table.push(handle)?),
            Err(error) => Err(error),
        })
    }
}
