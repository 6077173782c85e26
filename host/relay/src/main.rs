//! Hands each connection that Docker makes to one of its own plugins on to dockside, without looking into it.
//!
//! `relay LISTEN CONNECT PLUGIN [ARGUMENT...]`: listens on the socket LISTEN and connects to dockside's socket CONNECT. It says first, in a line of
//! JSON, which plugin it stands for and what the user has set. dockside answers with a line, and from there on bytes go both ways. Until that
//! answer nothing of Docker's has been touched, so a dockside that is restarting can be waited for.

mod greeting;
// The other part of it is dockside's own.
#[allow(dead_code)]
mod layout;
mod terminate;

use std::env;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use greeting::Greeting;

/// Connections at once; each takes two threads. Docker makes as many as it has calls under way, and keeps two. Further ones wait in the
/// kernel's queue.
const MOST: usize = 256;

/// Bytes that are moved at once.
const CHUNK: usize = 16 << 10;

/// Stack of a thread: a chunk and some room.
const STACK: usize = 64 << 10;

/// How long a dockside that is not there is waited for. Docker itself tries again for some 30 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks for it.
const PAUSE: Duration = Duration::from_millis(50);

/// What Docker's runtime sets for every program, which no user chose.
const NOT_CHOSEN: [&str; 4] = ["PATH", "HOME", "HOSTNAME", "TERM"];

fn main() -> ExitCode {
    terminate::end_when_told();
    let mut arguments = env::args_os().map(|one| one.to_string_lossy().into_owned());
    let (Some(listen), Some(connect), Some(plugin)) =
        (arguments.nth(1), arguments.next(), arguments.next())
    else {
        eprintln!("usage: relay LISTEN CONNECT PLUGIN [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let greeting = Greeting {
        plugin,
        arguments: arguments.collect(),
        environment: environment(),
        mounts: fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
    };
    match run(Path::new(&listen), connect, &greeting) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot listen on {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn environment() -> Vec<(String, String)> {
    env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| !NOT_CHOSEN.contains(&name.as_str()))
        .collect()
}

/// Where dockside is and what it is told.
struct Dockside {
    path: String,
    greeting: String,
}

impl Dockside {
    /// Waits for dockside to be there and to know who calls.
    fn connect(&self) -> io::Result<UnixStream> {
        let began = Instant::now();
        loop {
            match self.greet() {
                Ok(stream) => return Ok(stream),
                Err(error) if began.elapsed() >= PATIENCE => return Err(error),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn greet(&self) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.write_all(self.greeting.as_bytes())?;
        let mut answer = [0; 3];
        stream.read_exact(&mut answer)?;
        if &answer == b"ok\n" {
            Ok(stream)
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    }
}

fn run(listen: &Path, connect: String, greeting: &Greeting) -> io::Result<()> {
    // Of the relay that ran before this one.
    let _ = fs::remove_file(listen);
    let listener = UnixListener::bind(listen)?;
    let watch = Dockside {
        path: connect.clone(),
        greeting: greeting.line(true),
    };
    spawn(move || be_there(&watch))?;
    let dockside = Arc::new(Dockside {
        path: connect,
        greeting: greeting.line(false),
    });
    let slots = Arc::new(Slots::default());
    loop {
        slots.take();
        let taken = Slot(Arc::clone(&slots));
        match listener.accept() {
            Ok((docker, _)) => {
                let dockside = Arc::clone(&dockside);
                // Without memory for a thread Docker sees its connection closed and tries again.
                let _ = spawn(move || {
                    if let Ok(there) = dockside.connect() {
                        hand_on(docker, there);
                    }
                    drop(taken);
                });
            }
            // Out of descriptors or memory: trying again at once would only make it worse.
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Keeps a connection without calls, by which dockside knows that the relay is there and what is set.
fn be_there(dockside: &Dockside) {
    loop {
        if let Ok(mut stream) = dockside.greet() {
            let _ = stream.read(&mut [0]);
        }
        thread::sleep(PAUSE * 4);
    }
}

/// Moves bytes both ways until both sides have ended.
fn hand_on(docker: UnixStream, dockside: UnixStream) {
    let (Ok(to_docker), Ok(from_dockside)) = (docker.try_clone(), dockside.try_clone()) else {
        return;
    };
    let back = spawn(move || copy(from_dockside, to_docker));
    if let Ok(back) = back {
        copy(docker, dockside);
        let _ = back.join();
    }
}

/// Moves bytes one way until there are no more, and says so.
fn copy(mut from: UnixStream, mut to: UnixStream) {
    let mut chunk = [0; CHUNK];
    loop {
        let bytes = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => chunk.get(..length).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if to.write_all(bytes).is_err() {
            // Nobody reads any more; who writes has to know.
            let _ = from.shutdown(Shutdown::Read);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().stack_size(STACK).spawn(work)
}

/// Connections that are handed on now.
#[derive(Default)]
struct Slots {
    taken: Mutex<usize>,
    free: Condvar,
}

impl Slots {
    /// Waits for a free one.
    fn take(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= MOST {
            taken = self
                .free
                .wait(taken)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
    }
}

/// One of them; free again when it is dropped.
struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.0;
        *slots.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        slots.free.notify_one();
    }
}
