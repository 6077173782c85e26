//! What a call does elsewhere, and what would settle it (`dockside:host/outbox`). Needs the grant `outbox`.
//!
//! The host can undo what a call does to this machine, and nothing that it does to another. So a driver notes, before it asks the other side,
//! what would have to be done there if the call fails. If the call succeeds the note is dropped; if not, the host hands it to
//! [`Settlement::compensate`](crate::Settlement::compensate), again and again until that succeeds.
//!
//! ```
//! use dockside_driver::{Error, Result, Settlement, http::{Request, Response}, outbox, testing};
//!
//! struct Remote;
//!
//! fn create(name: &str) -> Result<()> {
//!     outbox::note_json(name)?;
//!     Request::put(format!("https://storage.example/{name}")).send()?.success().map(drop)
//! }
//!
//! impl Settlement for Remote {
//!     fn compensate(_call_key: &str, note: &[u8]) -> Result<()> {
//!         let name: String = dockside_driver::serde_json::from_slice(note)
//!             .map_err(|error| Error::other(format!("the note cannot be read: {error}")))?;
//!         Request::delete(format!("https://storage.example/{name}")).send()?.success().map(drop)
//!     }
//! }
//!
//! testing::answer_http(|_| Ok(Response { status: 200, ..Response::default() }));
//! // It comes to pass there, and the answer is the last that this instance sees.
//! testing::crash_after_host_call(2);
//! assert!(testing::call(|| create("v")).is_err());
//! testing::settle::<Remote>()?;
//! let methods: Vec<_> = testing::http_requests().into_iter().map(|sent| sent.method).collect();
//! assert_eq!(methods, ["PUT", "DELETE"]);
//! # Ok::<(), Error>(())
//! ```

use serde::Serialize;

use crate::{Error, Result, sys};

/// A name for this call that is the same when the host runs the call again: fit as an idempotency key. Outgoing HTTP requests carry it,
/// with their number in the call, as `Idempotency-Key` unless they have one.
pub fn call_key() -> String {
    sys::call_key()
}

/// Notes what would settle the call: at most 64 KiB. It is durable when this returns.
pub fn note(note: &[u8]) -> Result<()> {
    sys::note(note)
}

/// Notes a value, as JSON.
pub fn note_json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        Error::other(format!(
            "what would settle this call cannot be written as JSON: {error}"
        ))
    })?;
    note(&bytes)
}
