//! `wasi:keyvalue`: the plugin's durable state, seen through the call's transaction.

use serde_json::Value;
use wasmtime::component::Resource;

use super::held::answered;
use crate::sandbox::CallContext;
use crate::sandbox::bindings::host::wasi::keyvalue::{atomics, batch, store};
use crate::store::{StateError, Transaction};
use crate::trace::Handle;

use store::{Error, KeyResponse};

/// The one bucket that a plugin has.
#[derive(Debug)]
pub struct Bucket;

impl Handle for Bucket {
    fn show(&self) -> Value {
        Value::Null
    }

    fn restore(_: &Value) -> Option<Bucket> {
        Some(Bucket)
    }
}

/// Keys in one page of `list-keys`.
const PAGE: usize = 1_000;

fn refused(error: &StateError) -> Error {
    Error::Other(error.to_string())
}

impl CallContext {
    /// The transaction, or the answer for a driver that touches its state while it is only asked what it is.
    fn state(&mut self) -> Result<&mut Transaction, Error> {
        self.transaction.as_mut().ok_or_else(|| {
            Error::Other("there is no state while the component is asked what it is".into())
        })
    }
}

impl store::Host for CallContext {
    fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, Error>> {
        // Some kits open a bucket by the name "default".
        if !identifier.is_empty() && identifier != "default" {
            return answered(Err(Error::NoSuchStore));
        }
        answered(Ok(self.table.push(Bucket)?))
    }
}

impl store::HostBucket for CallContext {
    fn get(
        &mut self,
        _bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        answered(
            self.state()
                .map(|state| state.get(&key).map(|value| value.to_vec())),
        )
    }

    fn set(
        &mut self,
        _bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        answered(
            self.state()
                .and_then(|state| state.set(&key, value).map_err(|error| refused(&error))),
        )
    }

    fn delete(
        &mut self,
        _bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        answered(self.state().map(|state| state.delete(&key)))
    }

    fn exists(
        &mut self,
        _bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, Error>> {
        answered(self.state().map(|state| state.exists(&key)))
    }

    fn list_keys(
        &mut self,
        _bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<KeyResponse, Error>> {
        answered(self.state().map(|state| {
            let page = state.list_keys(cursor, PAGE);
            KeyResponse {
                keys: page.keys,
                cursor: page.cursor,
            }
        }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for CallContext {
    fn increment(
        &mut self,
        _bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> wasmtime::Result<Result<u64, Error>> {
        answered(self.state().and_then(|state| {
            state
                .increment(&key, delta)
                .map_err(|error| refused(&error))
        }))
    }
}

impl batch::Host for CallContext {
    fn get_many(
        &mut self,
        _bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Option<(String, Vec<u8>)>>, Error>> {
        answered(self.state().map(|state| {
            keys.into_iter()
                .map(|key| {
                    let value = state.get(&key)?.to_vec();
                    Some((key, value))
                })
                .collect()
        }))
    }

    fn set_many(
        &mut self,
        _bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), Error>> {
        answered(self.state().and_then(|state| {
            key_values
                .into_iter()
                .try_for_each(|(key, value)| state.set(&key, value))
                .map_err(|error| refused(&error))
        }))
    }

    fn delete_many(
        &mut self,
        _bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), Error>> {
        answered(
            self.state()
                .map(|state| keys.iter().for_each(|key| state.delete(key))),
        )
    }
}
