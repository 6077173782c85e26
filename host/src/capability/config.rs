//! `wasi:config`: what the operator wrote under `[config]`, and over it what users have set.

use super::held::answered;
use crate::sandbox::CallContext;
use crate::sandbox::bindings::host::wasi::config::store::{Error, Host};

impl Host for CallContext {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let set = self.settings.get(&key);
        answered(Ok(set
            .or_else(|| self.environment.config.get(&key))
            .cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let mut all = self.environment.config.clone();
        all.extend((*self.settings).clone());
        answered(Ok(all.into_iter().collect()))
    }
}
