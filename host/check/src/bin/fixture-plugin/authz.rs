//! `AuthZPlugin`: nobody may run privileged containers.

use serde_json::{Value, json};

use crate::plugin::{Context, Reply};

/// The methods of the kind.
pub(crate) struct Authz {
    _context: Context,
}

impl Authz {
    pub(crate) fn new(context: Context) -> Result<Self, String> {
        Ok(Self { _context: context })
    }

    pub(crate) fn call(&self, method: &str, request: Option<Value>) -> Reply {
        if !matches!(method, "AuthZReq" | "AuthZRes") {
            return Reply::Unknown;
        }
        let text = |field: &str| {
            request
                .as_ref()
                .and_then(|request| request.get(field)?.as_str())
                .filter(|text| !text.is_empty())
        };
        let denied = |why: &str| Reply::Done(json!({"Allow": false, "Msg": why}));
        match (text("RequestMethod"), text("RequestUri")) {
            (Some(_), Some(_)) => Reply::Done(json!({"Allow": true})),
            _ => denied("the request has no method or no URI"),
        }
    }
}
