//! One connection: HTTP/1.1 with a deadline for headers that does not run while the connection is idle.
//!
//! Docker keeps idle connections for 30 s, older engines for ever. Closing one at the moment that Docker uses it again loses the call: its second
//! try comes without a body. hyper's own header timeout also runs while a connection is idle, so it cannot be used.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tower::ServiceExt;

use super::Limits;
use super::http::CloseWithoutAnswer;

/// Bytes of request line and headers. Docker sends some 200.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Headers of one request. Docker sends five.
const MAX_HEADERS: usize = 64;

/// The reason why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, so that Docker keeps its record of the volume")]
struct Closed;

pub(super) async fn serve(
    stream: UnixStream,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    // Set while a request is being read that has begun and whose headers are not complete.
    let between = Arc::new(AtomicBool::new(true));
    let io = Guarded {
        stream,
        between: Arc::clone(&between),
        limit: limits.header_deadline,
        deadline: None,
    };
    let service = hyper::service::service_fn(move |request| {
        between.store(false, Ordering::Release);
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
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A stream that fails when a request has begun and its headers do not arrive in time.
struct Guarded {
    stream: UnixStream,
    between: Arc<AtomicBool>,
    limit: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.between.load(Ordering::Acquire) {
            this.deadline = None;
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if this.between.load(Ordering::Acquire)
                    && buf.filled().len() > before
                    && this.deadline.is_none()
                {
                    this.deadline = Some(Box::pin(tokio::time::sleep_until(
                        Instant::now() + this.limit,
                    )));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let late = match &mut this.deadline {
                    Some(deadline) => deadline.as_mut().poll(cx).is_ready(),
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

impl AsyncWrite for Guarded {
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
