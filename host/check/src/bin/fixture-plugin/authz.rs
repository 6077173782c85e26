//! `AuthZPlugin`.

use serde_json::Value;

use crate::plugin::{Context, Reply};

/// The methods of the kind.
pub(crate) struct Authz {
    _context: Context,
}

impl Authz {
    pub(crate) fn new(context: Context) -> Result<Self, String> {
        Ok(Self { _context: context })
    }

    pub(crate) fn call(&self, _method: &str, _request: Option<Value>) -> Reply {
        Reply::Unknown
    }
}
