//! What plugins do, as it happens: one event a line.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use tokio::sync::watch;

use super::{Named, missing};
use crate::catalog::Catalog;
use crate::trace::Listener;
use crate::trace::file::Header;

/// The route. Streams end when the daemon is `stopped`.
pub(super) fn route(stopped: watch::Receiver<bool>) -> MethodRouter<Arc<Catalog>> {
    get(events).layer::<_, Infallible>(Extension(stopped))
}

async fn events(
    State(catalog): State<Arc<Catalog>>,
    Extension(stopped): Extension<watch::Receiver<bool>>,
    Query(named): Query<Named>,
) -> Response {
    let Some(plugin) = catalog.plugin(&named.name) else {
        return missing(&named.name);
    };
    let first = match named.header {
        true => match plugin.version() {
            Some(version) => {
                let header = Header::new(plugin.name(), &version);
                serde_json::to_string(&header).ok()
            }
            None => return (StatusCode::CONFLICT, plugin.standing_text()).into_response(),
        },
        false => None,
    };
    let listener = plugin.tracer().listen();
    let body = Body::new(Lines {
        first,
        listener: Arc::new(listener),
        stopped,
        next: None,
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

type Next = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// The answer's body: it goes on until whoever listens goes away.
struct Lines {
    first: Option<String>,
    listener: Arc<Listener>,
    stopped: watch::Receiver<bool>,
    next: Option<Next>,
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(format!("{first}\n").into()))));
        }
        let next = this.next.get_or_insert_with(|| {
            let listener = Arc::clone(&this.listener);
            let mut stopped = this.stopped.clone();
            Box::pin(async move {
                tokio::select! {
                    line = listener.next() => Some(Bytes::from(format!("{line}\n"))),
                    _ = stopped.changed() => None,
                }
            })
        });
        let line = task::ready!(next.as_mut().poll(context));
        this.next = None;
        Poll::Ready(line.map(|line| Ok(Frame::data(line))))
    }
}
