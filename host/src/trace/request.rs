//! Requests as events have them, and back into calls.

use serde_json::{Map, Value, json};
use wasmtime::component::ResourceTable;

use super::Traced;
use super::value::{restore_bytes, show_bytes, show_cut};
use crate::protocol::{Call, lifecycle};

/// Bytes of a request that an event shows.
const MAX_REQUEST: usize = 256 << 10;

/// The body of a request of Docker's.
pub fn show_request(body: &[u8]) -> Value {
    if body.len() > MAX_REQUEST {
        return show_cut(body);
    }
    if body.trim_ascii().is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| show_bytes(body))
}

/// What stands in an event for the request of a call that is not Docker's.
pub fn request_of(call: &Call) -> Value {
    let Call::Lifecycle(call) = call else {
        return Value::Null;
    };
    let table = ResourceTable::new();
    match call {
        lifecycle::Call::Migrate { from } => json!({ "from": from }),
        lifecycle::Call::Start { reason } => json!({ "reason": reason.show(&table) }),
        lifecycle::Call::Tick { schedule } => json!({ "schedule": schedule }),
        lifecycle::Call::Reconcile { facts } => json!({ "facts": facts.show(&table) }),
        lifecycle::Call::Compensate { call, note } => {
            json!({ "call": call, "note": show_bytes(note) })
        }
        lifecycle::Call::Run { verb, arguments } => {
            let named = arguments
                .iter()
                .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
            json!({ "verb": verb, "arguments": named.collect::<Map<_, _>>() })
        }
    }
}

/// The call that [`request_of`] has shown.
pub fn call_of(method: &str, request: &Value) -> Option<Call> {
    let text = |name: &str| Some(request.get(name)?.as_str()?.to_owned());
    let mut table = ResourceTable::new();
    Some(Call::Lifecycle(match method {
        "lifecycle.migrate" => lifecycle::Call::Migrate {
            from: text("from")?,
        },
        "lifecycle.start" => lifecycle::Call::Start {
            reason: Traced::restore(request.get("reason")?, &mut table)?,
        },
        "timers.tick" => lifecycle::Call::Tick {
            schedule: text("schedule")?,
        },
        "reconcile.reconcile" => lifecycle::Call::Reconcile {
            facts: Traced::restore(request.get("facts")?, &mut table)?,
        },
        "settlement.compensate" => lifecycle::Call::Compensate {
            call: text("call")?,
            note: restore_bytes(request.get("note")?)?,
        },
        "admin.run" => lifecycle::Call::Run {
            verb: text("verb")?,
            arguments: request
                .get("arguments")?
                .as_object()?
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
        },
        _ => return None,
    }))
}
