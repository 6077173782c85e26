//! The router: one route, raw bytes in, JSON out.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::Limits;
use super::peer::Peer;
use crate::plugin::{Plugin, Reply};
use crate::protocol::{Handshake, Kind, Method, encode_plain_error};

/// Marks a response that must not be sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct CloseWithoutAnswer;

/// What the official Go SDK answers with; Docker ignores it.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/vnd.docker.plugins.v1.1+json");

#[derive(Clone)]
struct Front {
    plugin: Arc<Plugin>,
    max_body: usize,
    max_authz_body: usize,
    body_deadline: Duration,
}

pub(super) fn router(plugin: Arc<Plugin>, limits: &Limits) -> Router {
    Router::new()
        .route("/{method}", post(call))
        .method_not_allowed_fallback(wrong_verb)
        .fallback(unknown)
        .with_state(Front {
            plugin,
            max_body: limits.max_body,
            max_authz_body: limits.max_authz_body,
            body_deadline: limits.body_deadline,
        })
}

async fn call(
    State(front): State<Front>,
    Extension(peer): Extension<Peer>,
    Path(method): Path<String>,
    request: Request,
) -> Response {
    let limit = if method.starts_with(Kind::Authz.prefix()) {
        front.max_authz_body
    } else {
        front.max_body
    };
    let body = Limited::new(request.into_body(), limit).collect();
    // Whatever is wrong with a request for a volume: an answer without the volume would make Docker forget it.
    let is_get = method == Method::VolumeGet.path();
    let body = match tokio::time::timeout(front.body_deadline, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) if is_get => return without_answer(),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            return closing(refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!(
                    "the request is larger than {limit} bytes (limits.max-body in dockside.toml)"
                ),
            ));
        }
        Ok(Err(error)) => {
            return closing(refuse(
                StatusCode::BAD_REQUEST,
                &format!("the request's body could not be read: {error}"),
            ));
        }
        Err(_) => {
            return closing(refuse(
                StatusCode::REQUEST_TIMEOUT,
                "the request's body did not arrive in time (limits.body-deadline in dockside.toml)",
            ));
        }
    };
    let begins = method == Handshake::PATH;
    let client = match peer
        .client(front.plugin.store(), front.plugin.name(), begins)
        .await
    {
        Ok(client) => client,
        Err(_) if is_get => return without_answer(),
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    match front.plugin.answer(&method, &body, &client).await {
        Reply::Json { status, body } => respond(status, body),
        Reply::Close => without_answer(),
    }
}

pub(super) fn without_answer() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(CloseWithoutAnswer);
    response
}

async fn wrong_verb() -> Response {
    refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "Docker calls plugins with POST only",
    )
}

async fn unknown() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "there is nothing here: Docker's plugin methods have paths like /VolumeDriver.Create",
    )
}

pub(super) fn refuse(status: StatusCode, text: &str) -> Response {
    respond(status, encode_plain_error(text))
}

/// The rest of the request has not been read, so the connection cannot carry another.
fn closing(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}
