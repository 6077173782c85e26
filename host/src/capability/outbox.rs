//! `dockside:host/outbox`: what would settle a call on other machines.

use super::held::{Answer, answered, error};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::effects::outbox::Host;
use crate::sandbox::bindings::machine::ErrorCode;
use crate::store::Note;

/// Bytes of one note: an address and an identifier fit in, and a thousand of them do not fill a disk.
const MAX_NOTE: usize = 64 << 10;

impl Host for CallContext {
    async fn call_key(&mut self) -> wasmtime::Result<String> {
        Ok(self.effects.call().to_owned())
    }

    async fn note(&mut self, note: Vec<u8>) -> wasmtime::Result<Answer<()>> {
        answered(self.write_note(note).await)
    }
}

impl CallContext {
    async fn write_note(&mut self, note: Vec<u8>) -> Answer<()> {
        if note.len() > MAX_NOTE {
            return Err(error(
                ErrorCode::Invalid,
                format!("a note has at most {MAX_NOTE} bytes, not {}", note.len()),
            ));
        }
        let ledger = std::sync::Arc::clone(self.effects.ledger()?);
        let plugin = self.environment.plugin.clone();
        let store_says =
            |reason: crate::store::StoreError| error(ErrorCode::Other, reason.to_string());
        let held = ledger
            .store()
            .notes()
            .map_err(store_says)?
            .iter()
            .filter(|(of, _)| *of == plugin)
            .count() as u64;
        self.granted(|grants| grants.outbox()?.may_add(held))?;
        let call = self.effects.call().to_owned();
        self.records()?.settle_call(&call);
        let note = Note {
            number: 0,
            call,
            note,
        };
        ledger.store().note(&plugin, note).await.map_err(store_says)
    }
}
