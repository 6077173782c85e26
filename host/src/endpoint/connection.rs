//! One connection: HTTP/1.1 with a deadline for headers that does not run while the connection is idle.
//!
//! Docker keeps idle connections for 30 s, older engines for ever. Closing one at the moment that Docker uses it again loses the call: its second
//! try comes without a body. hyper's own header timeout also runs while a connection is idle, so it cannot be used.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tower::ServiceExt;

use super::Limits;
use super::http::CloseWithoutAnswer;
use super::peer::Peer;

/// Bytes of request line and headers. Docker sends some 200.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Headers of one request. Docker sends five.
const MAX_HEADERS: usize = 64;

/// How long a connection stays open for one more call when the daemon stops.
const LAST_CALL: Duration = Duration::from_millis(50);

/// The reason why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, so that Docker keeps its record of the volume")]
struct Closed;

/// Answers the calls of `peer` until it closes the connection or the daemon stops.
pub(super) async fn serve<S>(
    stream: S,
    peer: impl Into<Peer>,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = router.layer(axum::Extension(peer.into()));
    // Set while a request is being read that has begun and whose headers are not complete.
    let between = Arc::new(AtomicBool::new(true));
    let begun = Arc::new(AtomicU64::new(0));
    let io = Guarded {
        stream,
        between: Arc::clone(&between),
        begun: Arc::clone(&begun),
        limit: limits.header_deadline,
        deadline: None,
    };
    let service = hyper::service::service_fn(move |request| {
        between.store(false, Ordering::Release);
        begun.fetch_add(1, Ordering::Release);
        let answer = router.clone().oneshot(request);
        let between = Arc::clone(&between);
        async move {
            let response = answer.await.map_err(|never: Infallible| match never {})?;
            between.store(true, Ordering::Release);
            if response.extensions().get::<CloseWithoutAnswer>().is_some() {
                return Err(Closed);
            }
            Ok(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = async { stopped.wait_for(|stopped| *stopped).await.is_ok() } => {
            // A client may have connected just now; its first call is on the way.
            let _ = tokio::time::timeout(LAST_CALL, connection.as_mut()).await;
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A stream that fails when a request has begun and its headers do not arrive in time.
struct Guarded<S> {
    stream: S,
    between: Arc<AtomicBool>,
    /// Requests whose headers were complete.
    begun: Arc<AtomicU64>,
    limit: Duration,
    /// When the headers must be complete, and of which request: a small one is answered without another read in between.
    deadline: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let begun = this.begun.load(Ordering::Acquire);
        this.deadline.take_if(|(request, _)| *request != begun);
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if this.between.load(Ordering::Acquire)
                    && buf.filled().len() > before
                    && this.deadline.is_none()
                {
                    let late = tokio::time::sleep_until(Instant::now() + this.limit);
                    this.deadline = Some((begun, Box::pin(late)));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let late = match &mut this.deadline {
                    Some((_, deadline)) => deadline.as_mut().poll(cx).is_ready(),
                    None => false,
                };
                if late {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the request's headers did not arrive in time",
                    )));
                }
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
