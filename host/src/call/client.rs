//! Who calls.

use std::sync::Arc;

use crate::relay;
use crate::store::EngineProcess;

/// Who sends a request to a plugin.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The engine.
    pub engine: EngineProcess,
    /// The relay that it came through: Docker runs it as one of its own plugins.
    pub relay: Option<Arc<relay::Context>>,
}

impl From<EngineProcess> for Client {
    fn from(engine: EngineProcess) -> Client {
        Client {
            engine,
            relay: None,
        }
    }
}
