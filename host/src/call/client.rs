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
    /// What users have set and goes over the operator's configuration.
    pub settings: Arc<relay::Settings>,
}

impl Client {
    /// An engine that calls through a relay.
    pub fn through(engine: EngineProcess, relay: Arc<relay::Context>) -> Client {
        Client {
            engine,
            settings: Arc::clone(&relay.settings),
            relay: Some(relay),
        }
    }
}

impl From<EngineProcess> for Client {
    fn from(engine: EngineProcess) -> Client {
        Client {
            engine,
            ..Client::default()
        }
    }
}
