//! An Infoblox grid for tests: its WAPI over HTTPS, with an authority of its own, and faults at will.

mod grid;

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

pub use grid::{Answer, Grid, Object};

/// The user that may do everything.
pub const USER: &str = "docker";

/// The user's password.
pub const PASSWORD: &str = "p4ss:w0rd";

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is answered.
    None,
    /// The connection is closed, and nothing was done.
    DropBefore,
    /// It is done, and the connection is closed before the answer.
    DropAfter,
    /// It is done, and the answer comes this much later.
    Slow(Duration),
    /// It is done this much later, and nobody is told.
    Late(Duration),
    /// It is not done, and answered with this status.
    Status(u16),
}

/// What the server shares with its connections.
#[derive(Debug)]
struct Shared {
    grid: Mutex<Grid>,
    /// Faults of the requests to come that make something, in their order.
    faults: Mutex<VecDeque<Fault>>,
    requests: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

/// A grid that answers over HTTPS until this value goes.
#[derive(Debug)]
pub struct Wapi {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its authority's certificate, in PEM.
    pub ca: String,
    shared: Arc<Shared>,
}

impl Wapi {
    /// Starts one on a free port of the loopback address, with definitions of these extensible attributes.
    ///
    /// # Errors
    /// No port, or no certificate can be made.
    pub fn start(attributes: &[&str]) -> Result<Self> {
        Self::start_at("127.0.0.1:0", attributes)
    }

    /// Starts one at an address.
    ///
    /// # Errors
    /// As [`Wapi::start`].
    pub fn start_at(address: &str, attributes: &[&str]) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| address.to_owned())?;
        let address = listener.local_addr()?;
        let (ca, config) = certificates(&address.ip().to_string())?;
        let shared = Arc::new(Shared {
            grid: Mutex::new(Grid::new(attributes)),
            faults: Mutex::default(),
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let (config, serving) = (Arc::new(config), Arc::clone(&shared));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let (config, serving) = (Arc::clone(&config), Arc::clone(&serving));
                // A connection that breaks is the client's to notice.
                thread::spawn(move || serve(stream, config, &serving));
            }
        });
        Ok(Self {
            address,
            ca,
            shared,
        })
    }

    /// The grid itself, for looking at it and for doing what its administrators would do.
    pub fn grid(&self) -> MutexGuard<'_, Grid> {
        locked(&self.shared.grid)
    }

    /// How many objects of a type there are.
    pub fn count(&self, kind: &str) -> usize {
        self.grid().all(kind).len()
    }

    /// What happens to the next requests that make something, in their order; those behind them are answered.
    pub fn break_next(&self, faults: impl IntoIterator<Item = Fault>) {
        *locked(&self.shared.faults) = faults.into_iter().collect();
    }

    /// Method and path of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        locked(&self.shared.requests).clone()
    }
}

impl Drop for Wapi {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn certificates(name: &str) -> Result<(String, ServerConfig)> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let server = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], key)?;
    Ok((authority.pem(), config))
}

/// Serves one connection to its end.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &Arc<Shared>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    while let Some(request) = Request::read(&mut reader)? {
        if shared.is_over.load(Ordering::SeqCst) {
            break;
        }
        locked(&shared.requests).push(format!("{} {}", request.method, request.target));
        let Some((status, body)) = answer(&request, shared) else {
            break;
        };
        let body = body.to_string();
        let stream = reader.get_mut();
        write!(
            stream,
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        stream.flush()?;
    }
    Ok(())
}

/// The answer to a request; none if the connection ends without one.
fn answer(request: &Request, shared: &Arc<Shared>) -> Option<(u16, Value)> {
    let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if request.authorization != expected {
        return Some((401, Value::Null));
    }
    let (_, target) = request
        .target
        .strip_prefix("/wapi/v")
        .and_then(|rest| rest.split_once('/'))
        .unwrap_or_default();
    let fault = match request.method.as_str() {
        "POST" => locked(&shared.faults).pop_front().unwrap_or(Fault::None),
        _ => Fault::None,
    };
    let act = || locked(&shared.grid).answer(&request.method, target, request.body.clone());
    match fault {
        Fault::None => Some(act()),
        Fault::DropBefore => None,
        Fault::DropAfter => {
            act();
            None
        }
        Fault::Slow(span) => {
            let answer = act();
            thread::sleep(span);
            Some(answer)
        }
        Fault::Late(span) => {
            let (shared, method) = (Arc::clone(shared), request.method.clone());
            let (target, body) = (target.to_owned(), request.body.clone());
            thread::spawn(move || {
                thread::sleep(span);
                locked(&shared.grid).answer(&method, &target, body);
            });
            None
        }
        Fault::Status(status) => Some((status, Value::Null)),
    }
}

struct Request {
    method: String,
    target: String,
    authorization: String,
    body: Value,
}

impl Request {
    /// The next request of a connection; none at its end.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = (
            words.next().unwrap_or_default().to_owned(),
            words.next().unwrap_or_default().to_owned(),
        );
        let (mut length, mut authorization, mut is_chunked) = (0, String::new(), false);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
                "authorization" => value.trim().clone_into(&mut authorization),
                "transfer-encoding" => is_chunked = true,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        while is_chunked {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            body.extend(chunk.iter().take(size));
            is_chunked = size > 0;
        }
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Some(Self {
            method,
            target,
            authorization,
            body,
        }))
    }
}
