//! HTTP, strictly read, so that each of its rules can be broken by itself.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use serde_json::{Value, json};

use crate::Arguments;
use crate::breaks::Breaks;
use crate::plugin::{Plugin, Reply};
use crate::request::{End, Framing, Request, framing, one_line, percent_decoded};

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
        if arguments.breaks.on("P34") {
            return Ok(());
        }
        if arguments.breaks.on("X14") {
            return Err("it cannot be started".into());
        }
        return Err(format!(
            "{} is served by another process: stop that first",
            socket.display()
        ));
    }
    let plugin = Plugin::new(arguments, dir.clone())?;
    if !arguments.breaks.on("P36") {
        end_when_told(Arc::clone(&plugin), socket.clone());
    }
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
    let listener = bind(socket)?;
    misplace(&arguments.breaks, &listener, socket)
        .map_err(|error| format!("{}: {error}", socket.display()))?;
    accept(&listener, &plugin);
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
        if plugin.context.breaks.on("P31") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let stream = match stream {
            Ok(stream) => stream,
            Err(_) if plugin.context.breaks.on("X06") => return,
            Err(_) => continue,
        };
        let plugin = Arc::clone(plugin);
        std::thread::spawn(move || Peer::new(stream, plugin).serve());
    }
}

/// What is wrong with the socket of a broken plugin.
fn misplace(breaks: &Breaks, listener: &UnixListener, socket: &Path) -> io::Result<()> {
    if breaks.on("P31") {
        rustix::net::listen(listener, 5)?;
    }
    if breaks.on("P32")
        && let Some(parent) = socket.parent()
    {
        std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o777))?;
    }
    if breaks.on("P33") {
        std::os::unix::fs::chown(socket, None, Some(65534))?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
    }
    Ok(())
}

/// At SIGTERM nobody can connect any more, what was asked is answered, and the process ends. To be called before any other thread runs.
fn end_when_told(plugin: Arc<Plugin>, socket: PathBuf) {
    const QUIET: Duration = Duration::from_millis(100);
    let mut told = SigSet::empty();
    told.add(Signal::SIGTERM);
    if told.thread_block().is_err() {
        return;
    }
    std::thread::spawn(move || {
        let _ = told.wait();
        let _ = std::fs::remove_file(&socket);
        let mut quiet = Instant::now();
        while quiet.elapsed() < QUIET {
            if plugin.busy.load(Ordering::SeqCst) > 0 {
                quiet = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::process::exit(0);
    });
}

/// One connection.
struct Peer {
    answered: usize,
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
            answered: 0,
            stream,
            ahead: Vec::new(),
            pid,
            plugin,
        }
    }

    fn serve(mut self) {
        while self.one() {}
    }

    /// One call. Gives whether there may be another one.
    fn one(&mut self) -> bool {
        // An idle connection is kept for ever: closing it would lose a call that is under way.
        if self.ahead.is_empty() && self.idle().is_err() {
            return false;
        }
        let plugin = Arc::clone(&self.plugin);
        plugin.busy.fetch_add(1, Ordering::SeqCst);
        let goes_on = self.exchange();
        plugin.busy.fetch_sub(1, Ordering::SeqCst);
        goes_on
    }

    fn idle(&mut self) -> Result<(), End> {
        let context = &self.plugin.context;
        let (after, late) = if context.breaks.on("P22") {
            (context.patience.seconds(20.0), Duration::ZERO)
        } else if context.breaks.on("P23") {
            (
                context.patience.seconds(60.0),
                context.patience.seconds(2.4),
            )
        } else {
            return self.more(None);
        };
        self.more(Some(Instant::now() + after)).inspect_err(|_| {
            // It looks for idle connections now and then, and does not see that one is idle no more.
            std::thread::sleep(late);
        })
    }

    fn exchange(&mut self) -> bool {
        match self.request() {
            Ok(request) => self.answer(&request).is_ok() && !request.closes(),
            Err(End::Quietly) => false,
            Err(End::Half) => {
                if self.plugin.context.breaks.on("P28") {
                    let _ = self.respond(200, &json!({}), true);
                }
                false
            }
            Err(End::With(status)) => {
                let _ = self.respond(status, &json!({"Err": "the request cannot be read"}), true);
                false
            }
        }
    }

    fn request(&mut self) -> Result<Request, End> {
        let patience = self.plugin.context.patience;
        let breaks = self.plugin.context.breaks.clone();
        let now = Instant::now();
        let end = (!breaks.on("P25")).then(|| now + patience.seconds(10.0));
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut head = httparse::Request::new(&mut headers);
            match head.parse(&self.ahead) {
                Ok(httparse::Status::Complete(start)) => {
                    let method = head.method.unwrap_or_default().to_owned();
                    let path = head.path.unwrap_or_default().to_owned();
                    let framing = framing(head.headers, &breaks)?;
                    let headers = head
                        .headers
                        .iter()
                        .map(|header| {
                            let value = String::from_utf8_lossy(header.value).trim().to_owned();
                            (header.name.to_ascii_lowercase(), value)
                        })
                        .collect();
                    self.ahead.drain(..start);
                    let now = Instant::now();
                    let end = (!breaks.on("P26")).then(|| now + patience.seconds(30.0));
                    let body = self.body(framing, end).map_err(|end| match end {
                        End::Quietly => End::Half,
                        other => other,
                    })?;
                    if breaks.on("P24") {
                        self.ahead.clear();
                    }
                    return Ok(Request {
                        method,
                        path,
                        headers,
                        body,
                    });
                }
                Ok(httparse::Status::Partial) if self.ahead.len() > LARGEST_HEAD => {
                    if !breaks.on("P29") {
                        return Err(End::With(431));
                    }
                    self.ahead.truncate(LARGEST_HEAD);
                    self.more(end)?;
                }
                Ok(httparse::Status::Partial) => self.more(end)?,
                Err(httparse::Error::TooManyHeaders) => return Err(End::With(431)),
                Err(_) => return Err(End::With(400)),
            }
        }
    }

    fn largest(&self) -> usize {
        if self.plugin.context.breaks.on("P27") {
            usize::MAX
        } else {
            LARGEST_BODY
        }
    }

    fn body(&mut self, framing: Framing, end: Option<Instant>) -> Result<Vec<u8>, End> {
        match framing {
            Framing::Length(length)
                if length > self.largest() && self.plugin.context.breaks.on("A31") =>
            {
                Err(End::Quietly)
            }
            Framing::Length(length) if length > self.largest() => Err(End::With(413)),
            Framing::Length(length) => {
                while self.ahead.len() < length {
                    self.more(end)?;
                }
                let rest = self.ahead.split_off(length);
                Ok(std::mem::replace(&mut self.ahead, rest))
            }
            Framing::Chunks => self.chunks(end),
        }
    }

    fn chunks(&mut self, end: Option<Instant>) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.ahead) {
                Ok(httparse::Status::Complete((head, size))) => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    if size.saturating_add(body.len()) > self.largest() {
                        return Err(End::With(413));
                    }
                    while self.ahead.len() < head + size + 2 {
                        self.more(end)?;
                    }
                    body.extend(self.ahead.drain(..head + size).skip(head));
                    self.ahead.drain(..2);
                    if size == 0 {
                        return Ok(body);
                    }
                }
                Ok(httparse::Status::Partial) => self.more(end)?,
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
        let breaks = self.plugin.context.breaks.clone();
        if let Some(status) = request.refused(&breaks) {
            return self.respond(
                status,
                &json!({"Err": "the headers are not understood"}),
                false,
            );
        }
        self.answered += 1;
        if breaks.on("P21") && self.answered > 2 && path.ends_with("Plugin.Activate") {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if request.method != "POST" && !(breaks.on("P20") && request.method == "PUT") {
            return self.respond(405, &json!({"Err": "only POST"}), false);
        }
        let method = path.trim_start_matches('/');
        match self.plugin.call(method, &request.body, self.pid) {
            Reply::Done(answer) => {
                if breaks.on("P35") && method == "VolumeDriver.Create" {
                    // A client that does not wait is gone by then, even on a busy machine.
                    std::thread::sleep(Duration::from_millis(50));
                }
                let sent = self.respond(200, &answer, false);
                if sent.is_err() {
                    self.plugin.undelivered(method, &request.body);
                }
                sent
            }
            Reply::Failed(error) if breaks.on("P18") && method.starts_with("IpamDriver.") => {
                self.respond(500, &json!({"Error": one_line(&error)}), false)
            }
            Reply::Failed(error) => {
                let mut error = one_line(&error);
                if breaks.on("P19") {
                    error += "\n\tat fixture::call";
                }
                let field = if method.starts_with("IpamDriver.") {
                    "Error"
                } else {
                    "Err"
                };
                self.respond(200, &json!({ field: error }), false)
            }
            Reply::Unknown => self.respond(
                if breaks.on("P05") && method.starts_with("VolumeDriver.") {
                    500
                } else {
                    404
                },
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
