//! HTTP/1.1 over a Unix socket, byte for byte, and on top of it the plugin client of the Docker Engine with its retries.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

/// How long to wait for the next byte of an answer before the daemon counts as hung. The engine itself waits 120 s at most for a volume
/// and without limit for the other kinds.
pub const PATIENCE: Duration = Duration::from_secs(130);

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, without any transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first JSON value of the body, as the engine reads it; null if there is none.
    pub fn json(&self) -> Value {
        serde_json::Deserializer::from_slice(&self.body)
            .into_iter::<Value>()
            .next()
            .and_then(|value| value.ok())
            .unwrap_or(Value::Null)
    }

    /// A value inside the body, by its JSON pointer: `/Volume/Name`. Null if it is not there.
    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_default()
    }

    /// The text of `Err`, or the empty string.
    pub fn err(&self) -> String {
        self.at("/Err").as_str().unwrap_or_default().to_owned()
    }

    /// Whether the engine takes this for success: status 200, a JSON value, and no `Err`.
    pub fn is_success(&self) -> bool {
        self.status == 200 && self.json().is_object() && self.err().is_empty()
    }
}

/// A connection, possibly kept alive over several requests.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the kernel says: nobody listens, no such file, no permission.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            unread: Vec::new(),
        })
    }

    /// Connects as a relay does: says in a line of JSON what it stands for, and waits to be let in.
    ///
    /// # Errors
    /// Nobody listens, or it was not let in.
    pub fn of_relay(socket: &Path, says: &Value) -> io::Result<Self> {
        let mut connection = Self::open(socket)?;
        connection.send(format!("{says}\n").as_bytes())?;
        let mut welcome = [0; 3];
        connection.stream.read_exact(&mut welcome)?;
        if &welcome == b"ok\n" {
            Ok(connection)
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// The connection is gone, or what comes is no HTTP.
    pub fn exchange(&mut self, method: &str, body: &Value) -> io::Result<Answer> {
        let body = format!("{body}\n");
        self.send_post(&format!("/{method}"), "", body.as_bytes())?;
        self.receive()
    }

    /// The socket itself, for tests that write something else than a request.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Whether the other side has closed the connection, or sent something that nobody asked for.
    pub fn is_stale(&mut self) -> bool {
        let mut byte = [0];
        if self.stream.set_nonblocking(true).is_err() {
            return true;
        }
        let seen = self.stream.read(&mut byte);
        let restored = self.stream.set_nonblocking(false);
        restored.is_err() || !matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes one request as the engine does: no Content-Type, the engine's Accept, always a Content-Length.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send_post(&mut self, path: &str, host: &str, body: &[u8]) -> io::Result<()> {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
             Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.send(&request)
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// `UnexpectedEof` if the connection was closed before the answer was whole, `InvalidData` if it is not HTTP.
    pub fn receive(&mut self) -> io::Result<Answer> {
        let head_end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.unread.drain(..head_end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| {
                io::Error::new(
                    ErrorKind::InvalidData,
                    format!("not a status line: {status_line:?}"),
                )
            })?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(|_| {
                io::Error::new(ErrorKind::InvalidData, "Content-Length is no number")
            })?;
            answer.body = self.take(length)?;
        } else if answer
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(|_| {
                    io::Error::new(ErrorKind::InvalidData, "chunk size is no number")
                })?;
                let mut chunk = self.take(size + 2)?;
                chunk.truncate(size);
                answer.body.append(&mut chunk);
                if size == 0 {
                    break;
                }
            }
        } else if status != 204 {
            while self.more().is_ok() {}
            answer.body = std::mem::take(&mut self.unread);
        }
        Ok(answer)
    }

    /// Reads until the other side closes, and returns what came.
    ///
    /// # Errors
    /// Any failure other than the end, a reset included.
    pub fn receive_rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.unread);
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the connection was closed before the answer was whole",
            )),
            n => {
                self.unread.extend(buffer.iter().take(n));
                Ok(())
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.more()?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                break at;
            }
            self.more()?;
        };
        let line = self.take(end + 2)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// What a client met besides answers. Shared by the clients of one load.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests whose connection broke after they were sent and before their answer was whole.
    pub resets: AtomicU64,
    /// Requests that had to go out without their body, because the first try had used it up.
    pub empty_bodies: AtomicU64,
    /// Connections that could not be made.
    pub refused: AtomicU64,
    /// Kept-alive connections that the other side had closed in between, which was noticed in time.
    pub idle_closes: AtomicU64,
}

impl Counters {
    /// Resets, empty bodies, refused connections and idle closes, in words.
    pub fn summary(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} resets, {} empty bodies, {} refused connections, {} idle closes",
            read(&self.resets),
            read(&self.empty_bodies),
            read(&self.refused),
            read(&self.idle_closes)
        )
    }
}

/// One caller of a plugin, with the engine's behaviour: keep-alive, and after a failed exchange retries after 1, 2, 4 and 8 s, all of
/// them without the body once it was sent (moby: `pkg/plugins/client.go`, `callWithRetry`).
#[derive(Debug)]
pub struct Caller {
    socket: PathBuf,
    host: &'static str,
    idle: Option<Connection>,
    counters: Arc<Counters>,
    second: Duration,
}

impl Caller {
    /// A caller of the plugin behind `socket`, with counters of its own.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self::counting(socket, Arc::new(Counters::default()))
    }

    /// A caller that counts into `counters`.
    pub fn counting(socket: impl Into<PathBuf>, counters: Arc<Counters>) -> Self {
        Self {
            socket: socket.into(),
            host: "",
            idle: None,
            counters,
            second: Duration::from_secs(1),
        }
    }

    /// Sends this Host header; the engine's is empty up to 20.10.25 and `plugin.moby.localhost` later.
    #[must_use]
    pub fn with_host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// Makes the retry schedule run in units of `second` instead of one second.
    #[must_use]
    pub fn with_second(mut self, second: Duration) -> Self {
        self.second = second;
        self
    }

    /// What this caller has met.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Calls `method` (`VolumeDriver.Create`) with a JSON body, as the engine would.
    ///
    /// # Errors
    /// Every retry failed too.
    pub fn call(&mut self, method: &str, body: &Value) -> Result<Answer> {
        // Go's encoder ends every value with a newline.
        self.call_raw(method, format!("{body}\n").as_bytes())
    }

    /// Calls `method` with these bytes as the body.
    ///
    /// # Errors
    /// Every retry failed too.
    pub fn call_raw(&mut self, method: &str, body: &[u8]) -> Result<Answer> {
        let path = format!("/{method}");
        let started = Instant::now();
        let mut wait = self.second;
        let mut used_up = false;
        loop {
            let sent = if used_up { &[] } else { body };
            if used_up && !body.is_empty() {
                self.counters.empty_bodies.fetch_add(1, Ordering::Relaxed);
            }
            let failure = match self.exchange(&path, sent) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Connect(error)) => {
                    self.counters.refused.fetch_add(1, Ordering::Relaxed);
                    error
                }
                Err(Failure::Exchange(error)) => {
                    self.counters.resets.fetch_add(1, Ordering::Relaxed);
                    used_up = true;
                    error
                }
            };
            if started.elapsed() + wait >= 30 * self.second {
                bail!(
                    "{method} over {}: {failure}, and so were all retries",
                    self.socket.display()
                );
            }
            thread::sleep(wait);
            wait = (wait * 2).min(30 * self.second);
        }
    }

    /// One try, without any retry.
    ///
    /// # Errors
    /// The transport failure.
    pub fn call_once(&mut self, method: &str, body: &Value) -> io::Result<Answer> {
        self.exchange(&format!("/{method}"), format!("{body}\n").as_bytes())
            .map_err(|failure| match failure {
                Failure::Connect(error) | Failure::Exchange(error) => error,
            })
    }

    fn exchange(&mut self, path: &str, body: &[u8]) -> Result<Answer, Failure> {
        let mut idle = self.idle.take();
        // Go's transport reads from idle connections too and never picks one that has been closed.
        if idle.as_mut().is_some_and(Connection::is_stale) {
            self.counters.idle_closes.fetch_add(1, Ordering::Relaxed);
            idle = None;
        }
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.socket).map_err(Failure::Connect)?,
        };
        connection
            .send_post(path, self.host, body)
            .map_err(Failure::Exchange)?;
        let answer = connection.receive().map_err(Failure::Exchange)?;
        if !answer
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            self.idle = Some(connection);
        }
        Ok(answer)
    }
}

enum Failure {
    Connect(io::Error),
    Exchange(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Serves one connection per script entry: reads a request, then writes the entry (nothing: closes at once).
    fn serve(
        scripts: Vec<&'static [u8]>,
    ) -> (tempfile::TempDir, PathBuf, thread::JoinHandle<Vec<usize>>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let mut lengths = Vec::new();
            for script in scripts {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                let length = loop {
                    let n = stream.read(&mut buffer).unwrap();
                    request.extend_from_slice(&buffer[..n]);
                    if let Some(at) = find(&request, b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(&request[..at]).to_string();
                        let length: usize = head
                            .lines()
                            .find_map(|line| line.strip_prefix("Content-Length: "))
                            .unwrap()
                            .parse()
                            .unwrap();
                        if request.len() == at + 4 + length {
                            break length;
                        }
                    }
                };
                lengths.push(length);
                stream.write_all(script).unwrap();
            }
            lengths
        });
        (directory, path, server)
    }

    #[test]
    fn a_cut_connection_is_retried_without_the_body() {
        let (_directory, path, server) =
            serve(vec![b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]);
        let mut caller = Caller::new(path).with_second(Duration::from_millis(1));
        assert!(
            caller
                .call_raw("VolumeDriver.Get", b"{}\n")
                .unwrap()
                .is_success()
        );
        assert_eq!(server.join().unwrap(), [3, 0]);
        assert_eq!(
            caller.counters().summary(),
            "1 resets, 1 empty bodies, 0 refused connections, 0 idle closes"
        );
    }

    #[test]
    fn all_three_ways_to_end_a_body_are_read() {
        for script in [
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 42}".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n4\r\n 42}\r\n0\r\n\r\n".as_slice(),
            b"HTTP/1.1 200 OK\r\n\r\n{\"a\": 42}".as_slice(),
        ] {
            let (_directory, path, _server) = serve(vec![script]);
            let answer = Caller::new(path).call("X.Y", &Value::Null).unwrap();
            assert_eq!(answer.json()["a"], 42);
        }
    }
}
