//! What a check has made, and the calls that take it away.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::client::Answer;

/// Calls that take away what was made, oldest first.
#[derive(Default)]
pub(crate) struct Made(Mutex<Vec<(String, Value)>>);

impl Made {
    /// Notes what a call will make, before it is sent: a call without an answer may have made it all the same.
    pub(crate) fn before(&self, method: &str, body: &Value) {
        if let Some(undo) = undo_of(method, body) {
            self.push(undo);
        }
    }

    /// Notes what can only be named by the answer, and forgets what a call has taken away.
    pub(crate) fn after(&self, method: &str, body: &Value, answer: &Answer) {
        if !answer.is_success() {
            return;
        }
        match method {
            "IpamDriver.RequestPool" => self.push((
                "IpamDriver.ReleasePool".into(),
                json!({"PoolID": answer.text("/PoolID")}),
            )),
            "IpamDriver.RequestAddress" => {
                let address = answer.text("/Address");
                let bare = address.split('/').next().unwrap_or_default();
                self.push((
                    "IpamDriver.ReleaseAddress".into(),
                    json!({"PoolID": body.get("PoolID"), "Address": bare}),
                ));
            }
            _ => self.forget(method, body),
        }
    }

    /// The calls that take everything away, the newest first.
    pub(crate) fn undo(&self) -> Vec<(String, Value)> {
        let mut made = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        made.reverse();
        made
    }

    pub(crate) fn push(&self, undo: (String, Value)) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(undo);
    }

    fn forget(&self, method: &str, body: &Value) {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(undo, with): &(String, Value)| {
            undo == method
                && with.as_object().is_some_and(|with| {
                    with.iter().all(|(key, value)| body.get(key) == Some(value))
                })
        };
        if let Some(place) = made.iter().rposition(same) {
            made.remove(place);
        }
    }
}

fn undo_of(method: &str, body: &Value) -> Option<(String, Value)> {
    let with = |undo: &str, keys: &[&str]| {
        let fields = keys
            .iter()
            .map(|key| {
                (
                    (*key).to_owned(),
                    body.get(*key).cloned().unwrap_or(Value::Null),
                )
            })
            .collect();
        Some((undo.to_owned(), Value::Object(fields)))
    };
    match method {
        "VolumeDriver.Create" => with("VolumeDriver.Remove", &["Name"]),
        "VolumeDriver.Mount" => with("VolumeDriver.Unmount", &["Name", "ID"]),
        "NetworkDriver.CreateNetwork" => with("NetworkDriver.DeleteNetwork", &["NetworkID"]),
        "NetworkDriver.AllocateNetwork" => with("NetworkDriver.FreeNetwork", &["NetworkID"]),
        "NetworkDriver.CreateEndpoint" => {
            with("NetworkDriver.DeleteEndpoint", &["NetworkID", "EndpointID"])
        }
        "NetworkDriver.Join" => with("NetworkDriver.Leave", &["NetworkID", "EndpointID"]),
        "NetworkDriver.ProgramExternalConnectivity" => with(
            "NetworkDriver.RevokeExternalConnectivity",
            &["NetworkID", "EndpointID"],
        ),
        _ => None,
    }
}
