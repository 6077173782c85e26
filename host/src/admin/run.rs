//! `dockside run` on the daemon's side.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use axum::{Extension, Json};
use bytes::Bytes;
use http::StatusCode;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::report::{RunRequest, RunResult};
use super::{Named, missing};
use crate::call::Leash;
use crate::catalog::Catalog;
use crate::plugin::verbs::VerbError;

/// Bytes of a request: arguments can be whole files.
const MAX_ARGUMENTS: usize = 16 << 20;

/// The route. Verbs end when the daemon is `stopped`.
pub(super) fn route(stopped: watch::Receiver<bool>) -> MethodRouter<Arc<Catalog>> {
    post(run)
        .layer::<_, Infallible>(Extension(stopped))
        .layer(DefaultBodyLimit::max(MAX_ARGUMENTS))
}

async fn run(
    State(catalog): State<Arc<Catalog>>,
    Extension(mut stopped): Extension<watch::Receiver<bool>>,
    Query(named): Query<Named>,
    body: Bytes,
) -> Response {
    let request: RunRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let text = format!("the request is not what this version of dockside takes: {error}");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let Some(plugin) = catalog.plugin(&named.name) else {
        return missing(&named.name);
    };
    // Dropped with this future, when whoever asked goes away.
    let (hand, leash) = Leash::new();
    let verb = plugin.run_verb(&request.verb, request.arguments, leash);
    let mut verb = std::pin::pin!(verb);
    let result = tokio::select! {
        result = &mut verb => result,
        _ = stopped.changed() => {
            drop(hand);
            verb.await
        }
    };
    let result = match result {
        Ok(text) => match RawValue::from_string(text) {
            Ok(answer) => RunResult::Answer(answer),
            Err(error) => RunResult::Failed(format!("the driver's answer is not JSON: {error}")),
        },
        Err(VerbError::Usage(text)) => RunResult::Usage(text),
        Err(VerbError::Failed(text)) => RunResult::Failed(text),
    };
    Json(result).into_response()
}
