//! HTTP, strictly read, so that each of its rules can be broken by itself.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Arguments;
use crate::plugin::{Plugin, Reply};

/// A request line with its headers may be so long.
const LARGEST_HEAD: usize = 32 << 10;
/// And have so many headers.
const MOST_HEADERS: usize = 100;
/// A body may be so long: Docker sends an authorization plugin up to 4 MiB in base64.
const LARGEST_BODY: usize = 8 << 20;

pub(crate) fn serve(arguments: &Arguments) -> Result<(), String> {
    let (Some(socket), Some(dir)) = (&arguments.socket, &arguments.dir) else {
        return Err("--socket and --dir are needed".into());
    };
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    if UnixStream::connect(socket).is_ok() {
        return Err(format!(
            "{} is served by another process: stop that first",
            socket.display()
        ));
    }
    let plugin = Plugin::new(arguments, dir.clone())?;
    if let Some(neighbour) = &arguments.neighbour {
        let plugin = Plugin::neighbour(arguments, dir)?;
        let listener = bind(neighbour)?;
        std::thread::spawn(move || accept(&listener, &plugin));
    }
    if let Some(peer) = &arguments.peer {
        let plugin = plugin.elsewhere(arguments, dir)?;
        let listener = bind(peer)?;
        std::thread::spawn(move || accept(&listener, &plugin));
    }
    accept(&bind(socket)?, &plugin);
    Ok(())
}

fn bind(socket: &Path) -> Result<UnixListener, String> {
    let _ = std::fs::remove_file(socket);
    let listener =
        UnixListener::bind(socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(socket, mode)
        .map_err(|error| format!("{}: {error}", socket.display()))?;
    Ok(listener)
}

fn accept(listener: &UnixListener, plugin: &Arc<Plugin>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let plugin = Arc::clone(plugin);
        std::thread::spawn(move || Peer::new(stream, plugin).serve());
    }
}

/// What was asked.
struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

/// Why a connection ends.
enum End {
    /// The client went away, or is to be cut off.
    Quietly,
    /// With this status.
    With(u16),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Quietly
    }
}

/// One connection.
struct Peer {
    stream: UnixStream,
    ahead: Vec<u8>,
    pid: Option<u32>,
    plugin: Arc<Plugin>,
}

impl Peer {
    fn new(stream: UnixStream, plugin: Arc<Plugin>) -> Self {
        let pid = rustix::net::sockopt::socket_peercred(&stream)
            .ok()
            .and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok());
        Self {
            stream,
            ahead: Vec::new(),
            pid,
            plugin,
        }
    }

    fn serve(mut self) {
        loop {
            match self.request() {
                Ok(request) => {
                    if self.answer(&request).is_err() {
                        return;
                    }
                }
                Err(End::Quietly) => return,
                Err(End::With(status)) => {
                    let _ =
                        self.respond(status, &json!({"Err": "the request cannot be read"}), true);
                    return;
                }
            }
        }
    }

    fn request(&mut self) -> Result<Request, End> {
        // An idle connection is kept for ever: closing it would lose a call that is under way.
        if self.ahead.is_empty() {
            self.more(None)?;
        }
        let patience = self.plugin.context.patience;
        let end = Instant::now() + patience.seconds(10.0);
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut head = httparse::Request::new(&mut headers);
            match head.parse(&self.ahead) {
                Ok(httparse::Status::Complete(start)) => {
                    let method = head.method.unwrap_or_default().to_owned();
                    let path = head.path.unwrap_or_default().to_owned();
                    let framing = framing(head.headers)?;
                    self.ahead.drain(..start);
                    let body = self.body(framing, Instant::now() + patience.seconds(30.0))?;
                    return Ok(Request { method, path, body });
                }
                Ok(httparse::Status::Partial) if self.ahead.len() > LARGEST_HEAD => {
                    return Err(End::With(431));
                }
                Ok(httparse::Status::Partial) => self.more(Some(end))?,
                Err(httparse::Error::TooManyHeaders) => return Err(End::With(431)),
                Err(_) => return Err(End::With(400)),
            }
        }
    }

    fn body(&mut self, framing: Framing, end: Instant) -> Result<Vec<u8>, End> {
        match framing {
            Framing::Length(length) if length > LARGEST_BODY => Err(End::With(413)),
            Framing::Length(length) => {
                while self.ahead.len() < length {
                    self.more(Some(end))?;
                }
                let rest = self.ahead.split_off(length);
                Ok(std::mem::replace(&mut self.ahead, rest))
            }
            Framing::Chunks => self.chunks(end),
        }
    }

    fn chunks(&mut self, end: Instant) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.ahead) {
                Ok(httparse::Status::Complete((head, size))) => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    if size.saturating_add(body.len()) > LARGEST_BODY {
                        return Err(End::With(413));
                    }
                    while self.ahead.len() < head + size + 2 {
                        self.more(Some(end))?;
                    }
                    body.extend(self.ahead.drain(..head + size).skip(head));
                    self.ahead.drain(..2);
                    if size == 0 {
                        return Ok(body);
                    }
                }
                Ok(httparse::Status::Partial) => self.more(Some(end))?,
                Err(_) => return Err(End::With(400)),
            }
        }
    }

    fn more(&mut self, end: Option<Instant>) -> Result<(), End> {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(End::With(408));
        }
        self.stream
            .set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))?;
        let mut part = [0; 16 << 10];
        match self.stream.read(&mut part) {
            Ok(0) => Err(End::Quietly),
            Ok(count) => {
                self.ahead
                    .extend_from_slice(part.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Err(End::With(408))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn answer(&mut self, request: &Request) -> io::Result<()> {
        let path = percent_decoded(
            request
                .path
                .trim_start_matches("http://plugin.moby.localhost"),
        );
        if request.method != "POST" {
            return self.respond(405, &json!({"Err": "only POST"}), false);
        }
        let method = path.trim_start_matches('/');
        match self.plugin.call(method, &request.body, self.pid) {
            Reply::Done(answer) => self.respond(200, &answer, false),
            Reply::Failed(error) => {
                let field = if method.starts_with("IpamDriver.") {
                    "Error"
                } else {
                    "Err"
                };
                self.respond(200, &json!({ field: error }), false)
            }
            Reply::Unknown => self.respond(
                404,
                &json!({"Err": format!("there is no method {method:?}")}),
                false,
            ),
            Reply::Close => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    fn respond(&mut self, status: u16, body: &Value, close: bool) -> io::Result<()> {
        let body = body.to_string();
        let close = if close { "Connection: close\r\n" } else { "" };
        let response = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/vnd.docker.plugins.v1.2+json\r\n{close}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(response.as_bytes())
    }
}

enum Framing {
    Length(usize),
    Chunks,
}

fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, End> {
    let mut length = None;
    let mut chunks = false;
    for header in headers {
        let value = std::str::from_utf8(header.value)
            .map_err(|_| End::With(400))?
            .trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            let said: usize = value.parse().map_err(|_| End::With(400))?;
            if length.is_some_and(|before| before != said) {
                return Err(End::With(400));
            }
            length = Some(said);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunks = true;
        }
    }
    match (length, chunks) {
        (Some(_), true) => Err(End::With(400)),
        (_, true) => Ok(Framing::Chunks),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let pair: Vec<u8> = if byte == b'%' {
            rest.clone().take(2).collect()
        } else {
            Vec::new()
        };
        match std::str::from_utf8(&pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .filter(|_| pair.len() == 2)
        {
            Some(decoded) => {
                bytes.push(decoded);
                rest.nth(1);
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
