//! Bodies in both directions, each held to its limits.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::error::{HttpError, HttpErrorKind};
use super::pool::{Connection, Sent};

/// Bodies up to this size are sent whole with their length, which some servers insist on, and can be sent again on another connection.
const SMALL: u64 = 64 << 10;

/// The body of a request.
pub(super) enum RequestBody {
    /// All of it.
    Whole(Bytes),
    /// To be read as it is sent.
    Streamed(Sent),
    /// It was streamed, and is gone.
    Gone,
}

impl RequestBody {
    /// Takes a driver's body. `declared` is its length as far as it is known.
    pub(super) async fn gather<B>(
        body: B,
        declared: Option<u64>,
        max: u64,
    ) -> Result<RequestBody, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(length) = declared.filter(|length| *length > max) {
            return Err(too_large(Some(length), max));
        }
        let mut body = Measured {
            first: VecDeque::new(),
            inner: body
                .map_err(|error| {
                    HttpError::new(
                        HttpErrorKind::RequestBody(None),
                        format!("the body of the request failed: {}", error.into()),
                    )
                })
                .boxed_unsync(),
            seen: 0,
            declared,
            max,
        };
        if declared.is_some_and(|length| length > SMALL) {
            return Ok(RequestBody::Streamed(body.boxed_unsync()));
        }
        let mut first = VecDeque::new();
        while body.seen <= SMALL {
            match body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        first.push_back(data);
                    }
                }
                None => {
                    return Ok(RequestBody::Whole(Bytes::from(
                        first.into_iter().collect::<Vec<_>>().concat(),
                    )));
                }
            }
        }
        body.first = first;
        Ok(RequestBody::Streamed(body.boxed_unsync()))
    }

    /// The body for one attempt. A streamed one can be had only once.
    pub(super) fn attempt(&mut self) -> Sent {
        match self {
            RequestBody::Whole(bytes) => Full::new(bytes.clone())
                .map_err(|never| match never {})
                .boxed_unsync(),
            RequestBody::Streamed(_) | RequestBody::Gone => {
                match std::mem::replace(self, RequestBody::Gone) {
                    RequestBody::Streamed(body) => body,
                    RequestBody::Whole(_) | RequestBody::Gone => Gone.boxed_unsync(),
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, RequestBody::Whole(bytes) if bytes.is_empty())
    }
}

/// The body that there is no more.
struct Gone;

impl Body for Gone {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Poll::Ready(Some(Err(HttpError::new(
            HttpErrorKind::RequestBody(None),
            "the body of the request was sent already",
        ))))
    }
}

fn too_large(size: Option<u64>, max: u64) -> HttpError {
    HttpError::new(
        HttpErrorKind::RequestBody(size),
        format!(
            "the body of the request is larger than {max} bytes (max-body under [grants.http])"
        ),
    )
}

/// A body of a known length, or of at most `max` bytes. Trailers are left out.
struct Measured {
    first: VecDeque<Bytes>,
    inner: UnsyncBoxBody<Bytes, HttpError>,
    seen: u64,
    declared: Option<u64>,
    max: u64,
}

impl Body for Measured {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Some(data) = self.first.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        loop {
            let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            let wrong = |seen: u64, declared: u64| {
                HttpError::new(
                    HttpErrorKind::RequestBody(Some(seen)),
                    format!(
                        "the body of the request is not as long as its content-length says ({declared} bytes)"
                    ),
                )
            };
            return Poll::Ready(match frame {
                None => match self.declared {
                    Some(declared) if declared != self.seen => {
                        Some(Err(wrong(self.seen, declared)))
                    }
                    _ => None,
                },
                Some(Err(error)) => Some(Err(error)),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    self.seen += data.len() as u64;
                    if let Some(declared) = self.declared.filter(|length| *length < self.seen) {
                        Some(Err(wrong(self.seen, declared)))
                    } else if self.seen > self.max {
                        Some(Err(too_large(None, self.max)))
                    } else {
                        Some(Ok(Frame::data(data)))
                    }
                }
            });
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            Some(length) if self.seen == 0 => SizeHint::with_exact(length),
            _ => SizeHint::default(),
        }
    }
}

/// The body of a response, as it comes. It ends with an error at its limit of bytes and of time. When it is read to its end the connection
/// can be used again; when it is dropped before, the connection is closed.
pub struct ResponseBody {
    incoming: Option<Incoming>,
    connection: Option<Connection>,
    permit: Option<OwnedSemaphorePermit>,
    left: u64,
    max: u64,
    deadline: Pin<Box<Sleep>>,
    quiet: Option<(Duration, Pin<Box<Sleep>>)>,
    asked: String,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("asked", &self.asked)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// How much and how long.
pub(super) struct Bounds {
    pub(super) max: u64,
    pub(super) deadline: Instant,
    pub(super) between_bytes: Option<Duration>,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        connection: Connection,
        permit: OwnedSemaphorePermit,
        bounds: &Bounds,
        asked: String,
    ) -> Result<ResponseBody, HttpError> {
        let mut body = ResponseBody {
            connection: Some(connection),
            permit: Some(permit),
            left: bounds.max,
            max: bounds.max,
            deadline: Box::pin(tokio::time::sleep_until(bounds.deadline)),
            quiet: bounds
                .between_bytes
                .map(|quiet| (quiet, Box::pin(tokio::time::sleep(quiet)))),
            asked,
            incoming: None,
        };
        if let Some(length) = incoming.size_hint().exact().filter(|size| *size > body.max) {
            return Err(body.too_large(Some(length)));
        }
        let ended = incoming.is_end_stream();
        body.incoming = Some(incoming);
        if ended {
            body.end(true);
        }
        Ok(body)
    }

    fn end(&mut self, whole: bool) {
        self.incoming = None;
        self.permit = None;
        if let Some(connection) = self.connection.take()
            && whole
        {
            connection.keep();
        }
    }

    fn too_large(&self, length: Option<u64>) -> HttpError {
        HttpError::new(
            HttpErrorKind::ResponseBody(length),
            format!(
                "the body of the response is larger than {} bytes (max-body under [grants.http])",
                self.max
            ),
        )
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(None) => {
                self.end(true);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.left.checked_sub(length) {
                    None => return Poll::Ready(Some(Err(self.too_large(None)))),
                    Some(left) => self.left = left,
                }
                if let Some((span, sleep)) = &mut self.quiet {
                    sleep.as_mut().reset(Instant::now() + *span);
                }
                if self.incoming.as_ref().is_some_and(Body::is_end_stream) {
                    self.end(true);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let mut error = HttpError::hyper(&error);
                if error.kind == HttpErrorKind::ConnectionTerminated {
                    error.kind = HttpErrorKind::ResponseIncomplete;
                }
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => {
                let quiet = self
                    .quiet
                    .as_mut()
                    .is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready());
                let error = if self.deadline.as_mut().poll(cx).is_ready() {
                    HttpError::new(
                        HttpErrorKind::Timeout,
                        "the response did not end in time (timeout under [grants.http], and the deadline of the call)",
                    )
                } else if quiet {
                    HttpError::new(
                        HttpErrorKind::ReadTimeout,
                        "the response stopped coming for longer than the driver waits",
                    )
                } else {
                    return Poll::Pending;
                };
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = self.next(cx);
        if let Poll::Ready(Some(Err(error))) = frame {
            self.end(false);
            return Poll::Ready(Some(Err(error.of(&self.asked))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
