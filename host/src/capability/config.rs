//! `wasi:config`: what the operator wrote under `[config]`.

use super::held::answered;
use crate::sandbox::CallContext;
use crate::sandbox::bindings::host::wasi::config::store::{Error, Host};

impl Host for CallContext {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        answered(Ok(self.environment.config.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let all = &self.environment.config;
        answered(Ok(all
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()))
    }
}
