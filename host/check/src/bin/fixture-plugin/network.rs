//! `NetworkDriver`.

use serde_json::Value;

use crate::plugin::{Context, Reply};

/// The methods of the kind.
pub(crate) struct Network {
    _context: Context,
}

impl Network {
    pub(crate) fn new(context: Context) -> Result<Self, String> {
        Ok(Self { _context: context })
    }

    pub(crate) fn call(
        &self,
        _method: &str,
        _request: Option<Value>,
        _caller: Option<u32>,
    ) -> Reply {
        Reply::Unknown
    }
}
