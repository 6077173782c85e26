//! One connection, with what goes over it in plain view.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// An answer of more than this is not read to its end.
const LARGEST: usize = 64 << 20;

/// A connection to a plugin's socket.
pub struct Connection {
    stream: UnixStream,
    /// Bytes that came after the answer that was read last.
    ahead: Vec<u8>,
    used: Instant,
}

/// An HTTP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200, 404, 500, ...
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came, without the framing of chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the plugin said that it closes the connection behind this answer.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Broken {
    /// The plugin's socket could not be connected to.
    Refused(io::Error),
    /// The plugin closed the connection without a byte of answer.
    Closed,
    /// The plugin closed it in the middle of an answer.
    Cut(Vec<u8>),
    /// No whole answer within the time.
    Late(Duration),
    /// What came is no HTTP.
    Garbled(String),
    /// Writing or reading failed.
    Io(io::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the socket does not accept a connection: {error}"),
            Self::Closed => write!(f, "the connection was closed without a byte of answer"),
            Self::Cut(part) => write!(
                f,
                "the connection was closed after {} bytes of the answer",
                part.len()
            ),
            Self::Late(limit) => write!(f, "no answer within {:.1} s", limit.as_secs_f64()),
            Self::Garbled(why) => write!(f, "the answer is not HTTP: {why}"),
            Self::Io(error) => write!(f, "the connection broke: {error}"),
        }
    }
}

impl std::error::Error for Broken {}

impl From<UnixStream> for Connection {
    fn from(stream: UnixStream) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            used: Instant::now(),
        }
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`Broken::Refused`].
    pub fn open(socket: &Path) -> Result<Self, Broken> {
        let stream = UnixStream::connect(socket).map_err(Broken::Refused)?;
        Ok(Self {
            stream,
            ahead: Vec::new(),
            used: Instant::now(),
        })
    }

    /// How long ago something was read or written.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    /// The stream itself, for half-closing and for slow writing. What was read ahead is not in it.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// [`Broken::Io`]; a plugin may close before it has read everything, so what it answered can still be there.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.used = Instant::now();
        self.stream.write_all(bytes).map_err(Broken::Io)
    }

    /// Reads one response.
    ///
    /// # Errors
    ///
    /// Any [`Broken`] but `Refused`.
    pub fn read(&mut self, limit: Duration) -> Result<Response, Broken> {
        let end = Instant::now() + limit;
        let mut bytes = std::mem::take(&mut self.ahead);
        loop {
            if let Some((response, used)) = parse(&bytes, false)? {
                self.ahead = bytes.split_off(used);
                self.used = Instant::now();
                return Ok(response);
            }
            if self.more(&mut bytes, end, limit)? == 0 {
                return match parse(&bytes, true)? {
                    Some((response, _)) => Ok(response),
                    None if bytes.is_empty() => Err(Broken::Closed),
                    None => Err(Broken::Cut(bytes)),
                };
            }
        }
    }

    /// Waits until the plugin closes the connection, and gives what it said before that.
    ///
    /// # Errors
    ///
    /// [`Broken::Late`] if it does not.
    pub fn closing(&mut self, limit: Duration) -> Result<Vec<u8>, Broken> {
        let end = Instant::now() + limit;
        let mut bytes = std::mem::take(&mut self.ahead);
        loop {
            match self.more(&mut bytes, end, limit) {
                Ok(0) => return Ok(bytes),
                // Unread bytes of ours turn the plugin's closing into a reset.
                Err(Broken::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(bytes);
                }
                Ok(_) => {}
                Err(broken) => return Err(broken),
            }
        }
    }

    /// What came beyond the answers that were read, without waiting for more.
    #[must_use]
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    fn more(
        &mut self,
        bytes: &mut Vec<u8>,
        end: Instant,
        limit: Duration,
    ) -> Result<usize, Broken> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Late(limit));
        }
        if bytes.len() > LARGEST {
            return Err(Broken::Garbled(format!(
                "it is longer than {LARGEST} bytes"
            )));
        }
        self.stream
            .set_read_timeout(Some(left))
            .map_err(Broken::Io)?;
        let mut part = [0; 16 << 10];
        loop {
            match self.stream.read(&mut part) {
                Ok(count) => {
                    bytes.extend_from_slice(part.get(..count).unwrap_or_default());
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Err(Broken::Late(limit));
                }
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionReset && bytes.is_empty() =>
                {
                    return Err(Broken::Closed);
                }
                Err(error) => return Err(Broken::Io(error)),
            }
        }
    }
}

/// A whole response at the start of `bytes`, and its length. `ended`: nothing more will come, which ends a body of unsaid length.
fn parse(bytes: &[u8], ended: bool) -> Result<Option<(Response, usize)>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let start = match head.parse(bytes) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Broken::Garbled(error.to_string())),
    };
    let status = head.code.unwrap_or_default();
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|header| {
            (
                header.name.to_ascii_lowercase(),
                String::from_utf8_lossy(header.value).into_owned(),
            )
        })
        .collect();
    let header = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let rest = bytes.get(start..).unwrap_or_default();
    if matches!(status, 204 | 304) || (100..200).contains(&status) {
        return Ok(Some((
            Response {
                status,
                headers,
                body: Vec::new(),
            },
            start,
        )));
    }
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(unchunk(rest)?.map(|(body, used)| {
            (
                Response {
                    status,
                    headers,
                    body,
                },
                start + used,
            )
        }));
    }
    if let Some(length) = header("content-length") {
        let length: usize = length
            .trim()
            .parse()
            .map_err(|_| Broken::Garbled(format!("Content-Length is {length:?}")))?;
        return Ok(rest.get(..length).map(<[u8]>::to_vec).map(|body| {
            (
                Response {
                    status,
                    headers,
                    body,
                },
                start + length,
            )
        }));
    }
    Ok(ended.then(|| {
        (
            Response {
                status,
                headers,
                body: rest.to_vec(),
            },
            bytes.len(),
        )
    }))
}

fn unchunk(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Broken> {
    let whole = rest.len();
    let mut body = Vec::new();
    loop {
        let (head, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => {
                return Err(Broken::Garbled(
                    "the size of a chunk is not a number".into(),
                ));
            }
        };
        let size =
            usize::try_from(size).map_err(|_| Broken::Garbled("a chunk is too large".into()))?;
        let Some(data) = rest.get(head..).and_then(|data| data.get(..size)) else {
            return Ok(None);
        };
        let Some(end) = rest.get(head + size..).and_then(|data| data.get(..2)) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(Broken::Garbled(
                "a chunk does not end with a line break".into(),
            ));
        }
        body.extend_from_slice(data);
        rest = rest.get(head + size + 2..).unwrap_or_default();
        if size == 0 {
            return Ok(Some((body, whole - rest.len())));
        }
    }
}
