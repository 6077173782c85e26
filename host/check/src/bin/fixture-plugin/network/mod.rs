//! `NetworkDriver`: a bridge for each network, a pair of veths for each endpoint, a table of nftables for each that publishes ports.
//!
//! What a call makes is saved before it is made, with names chosen at random, so that a call that ends in the middle is undone: by the
//! call itself, by the next start, or by the engine's deletions.

mod calls;
mod links;
mod request;
mod state;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::plugin::{Context, Reply};
use crate::store::Store;
use state::State;

/// The methods of the kind.
pub(crate) struct Network {
    context: Context,
    store: Store,
    /// The start of the names of all links.
    prefix: String,
    state: Mutex<State>,
}

impl Network {
    pub(crate) fn new(context: Context) -> Result<Self, String> {
        let store = Store::new(&context.dir, "network");
        let mut state: State = store.load()?;
        state.undo_unfinished();
        store.save(&state)?;
        let prefix = links::prefix(&context.dir);
        if !context.breaks.on("N32") && !context.breaks.on("N33") {
            // What was made before the state was lost would be in the way of what is made now.
            links::sweep(&prefix, &state.names());
        }
        Ok(Self {
            context,
            store,
            prefix,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn call(&self, method: &str, request: Option<Value>, _caller: Option<u32>) -> Reply {
        match self.answer(method, request) {
            Ok(reply) => reply,
            Err(error) => Reply::Failed(error),
        }
    }

    fn answer(&self, method: &str, request: Option<Value>) -> Result<Reply, String> {
        let breaks = &self.context.breaks;
        match method {
            "GetCapabilities" => return Ok(Reply::Done(self.capabilities())),
            "GwAllocCheck" if self.is_global() => return Ok(Reply::Unknown),
            "ProgramExternalConnectivity" | "RevokeExternalConnectivity" if self.is_global() => {
                return Ok(Reply::Unknown);
            }
            "ProgramExternalConnectivity" if breaks.on("N25") => return Ok(Reply::Unknown),
            "RevokeExternalConnectivity" if breaks.on("N25") => {
                return Err("it is not supported".into());
            }
            _ => {}
        }
        let known = [
            "GwAllocCheck",
            "CreateNetwork",
            "DeleteNetwork",
            "AllocateNetwork",
            "FreeNetwork",
            "CreateEndpoint",
            "DeleteEndpoint",
            "EndpointOperInfo",
            "Join",
            "Leave",
            "ProgramExternalConnectivity",
            "RevokeExternalConnectivity",
            "DiscoverNew",
            "DiscoverDelete",
        ];
        if !known.contains(&method) {
            return Ok(Reply::Unknown);
        }
        let request = request.ok_or("the request has no body: its arguments are lost")?;
        let failing = self.backend()?;
        if failing && !method.starts_with("Create") {
            return Err("the backend fails".into());
        }
        if method == "DeleteNetwork" && breaks.on("N30") && self.state.try_lock().is_err() {
            return Ok(Reply::Done(json!({})));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut call = calls::Call {
            breaks,
            store: &self.store,
            prefix: &self.prefix,
            state: &mut state,
            failing,
        };
        let done = match method {
            "GwAllocCheck" => call.gateways(),
            "CreateNetwork" => call.create_network(&request),
            "DeleteNetwork" => call.delete_network(&request),
            "AllocateNetwork" => call.allocate(&request),
            "FreeNetwork" => call.free(&request),
            "CreateEndpoint" => call.create_endpoint(&request),
            "DeleteEndpoint" => call.delete_endpoint(&request),
            "EndpointOperInfo" => call.info(&request),
            "Join" => call.join(&request),
            "Leave" => call.leave(&request),
            "ProgramExternalConnectivity" => call.program(&request),
            "RevokeExternalConnectivity" => call.revoke(&request),
            _ if breaks.on("N27")
                && request.pointer("/DiscoveryData/Self") == Some(&json!(true)) =>
            {
                Err("this node is known already".into())
            }
            _ => Ok(json!({})),
        };
        done.map(Reply::Done)
    }

    /// Of scope global the plugin has nothing to say about gateways and publishes no ports, so that checks see both sorts of plugins.
    fn is_global(&self) -> bool {
        self.context.breaks.on("N28") || self.context.has("global")
    }

    /// Whether every operation of the backend fails in its middle. One that hangs is given up.
    fn backend(&self) -> Result<bool, String> {
        let patience = self.context.patience;
        let end = Instant::now() + patience.seconds(10.0);
        loop {
            match self.context.fault().as_deref() {
                Some("hang") if Instant::now() > end && !self.context.breaks.on("N35") => {
                    return Err("the backend does not answer".into());
                }
                Some("hang") => std::thread::sleep(patience.seconds(0.1)),
                other => return Ok(other == Some("fail")),
            }
        }
    }

    fn capabilities(&self) -> Value {
        if self.is_global() {
            json!({"Scope": "global", "ConnectivityScope": "global"})
        } else if self.context.breaks.on("N01") {
            json!({"Scope": "Local", "ConnectivityScope": "local", "GwAllocChecker": true})
        } else {
            json!({"Scope": "local", "ConnectivityScope": "local", "GwAllocChecker": true})
        }
    }
}
