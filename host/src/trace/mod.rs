//! What calls do, as a stream of events: for whoever watches a driver at work, for recordings, and for replays of them.
//!
//! # Listening
//!
//! `GET /v1/events?name=NAME` on the control socket answers with one [`Event`] a line (NDJSON) until the listener goes away or the daemon ends.
//! Events come as things happen; nothing of before is told. Each listener has a queue of 4,096 events and 16 MiB. No call waits for a
//! listener: what does not fit is counted, and a `lost` event stands in its place. While nobody listens a call costs one atomic load, and
//! each call of the host by a guest one test of a field.
//!
//! # Events
//!
//! The field `event` says which:
//!
//! | `event` | type | when |
//! | --- | --- | --- |
//! | `begin` | [`Begin`] | a request has come, before anything is done about it |
//! | `end` | [`CallRecord`] | it is answered. All of `begin` is in it again, by the same `call` |
//! | `note` | [`Note`] | something that is no call: a version serves, was refused, was taken back |
//! | `lost` | `{"count": 3}` | the listener was too slow |
//!
//! An `end` in short (absent fields are empty or null):
//!
//! ```json
//! {"event": "end", "time": "2026-01-31T12:00:00Z", "plugin": "files", "call": "d4c0918d9b1fe3d6", "origin": "engine",
//!  "method": "VolumeDriver.Create", "request": {"Name": "v1", "Opts": {"mode": "0700"}},
//!  "version": {"label": "0.1.0", "digest": "60c4…"}, "micros": 3804, "attempts": 1,
//!  "answer": {"answered": {"status": 200, "body": {"Err": ""}}},
//!  "run": {"outcome": "done", "committed": true, "micros": 1924, "allowed_ms": 110000,
//!   "reads": {"volumes/v1": null}, "listed": ["volumes/v1"],
//!   "writes": {"volumes/v1": {"old": null, "new": {"utf8": "…"}}},
//!   "calls": [{"interface": "dockside:host/directories", "function": "create", "args": ["v1", {"mode": 448}],
//!              "result": {"ok": {"handle": {"key": "v1", "path": "/var/lib/…"}}}, "micros": 662}],
//!   "effects": [{"change": "made", "what": "directory /var/lib/…"}],
//!   "log": [{"level": "INFO", "source": "driver", "text": "…"}]}}
//! ```
//!
//! `answer` is `{"answered": …}`, `"closed"` or `"lost"`. `run` is absent when the host answered without the driver; its `outcome` is `done`,
//! `refused` (with `code` and `message`), `fault` (with `class` and `text`), `conflict` or `abandoned`. `origin` is `engine`, `verb`, `timer` or
//! `hook`. Of several attempts `run` is the last, and `earlier` says how those before it ended. Values of the state are `{"utf8": "…"}` or
//! `{"base64": "…"}`, and `{"cut": {"bytes": …, "sha256": "…"}}` above 64 KiB; a call leaves at most 1 MiB, and `left_out` says what was
//! more.
//!
//! # Secrets
//!
//! They are hidden here, before anything leaves the daemon: see [`mask`].
//!
//! # Recording a new capability
//!
//! Calls of the host are watched in the linker ([`tap`](crate::sandbox::tap)), for all interfaces at once. An interface that is added to
//! `sandbox/bindings.rs` is recorded and replayed as it is; a resource in it implements [`Handle`], which says what it stands for.
//! Interfaces that `wasmtime-wasi` brings are not watched there: the clock and chance are in `sandbox/chance.rs`, `wasi:http` is in
//! `capability/http.rs`.

mod call;
mod compare;
mod event;
pub mod file;
mod listen;
pub mod mask;
mod player;
mod recorder;
pub mod replay;
mod request;
pub mod ring;
pub mod value;

pub use call::{Trace, code_of, outcome_of, secret_names};
pub use compare::{Compared, Difference, Ignore, compare};
pub use event::*;
pub use listen::{Listener, Tracer};
pub use player::{Known, Player, only_tells};
pub use recorder::{Body, Recorder, micros, one_argument};
pub use request::{call_of, request_of, show_request};
pub use value::{Handle, Traced};

use std::sync::Arc;

/// A function of a host interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The interface, without its version.
    pub interface: String,
    /// The name as the WIT has it.
    pub name: String,
    /// What it does is seen elsewhere: reads and writes in the call's transaction, lines where they are written.
    pub is_seen_elsewhere: bool,
}

impl Function {
    /// A function by its names.
    pub fn new(interface: &str, name: &str) -> Function {
        Function {
            interface: interface.to_owned(),
            name: name.to_owned(),
            is_seen_elsewhere: interface.starts_with("wasi:keyvalue/")
                || interface.starts_with("wasi:logging/"),
        }
    }
}

/// What watches a call.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What it does goes here.
    pub recorder: Arc<Recorder>,
    /// Who answers in the host's place, in a replay.
    pub player: Option<Arc<Player>>,
}
