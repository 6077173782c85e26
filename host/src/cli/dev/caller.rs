//! The author's calls, made one after another.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use dockside_check::client::{Connection, Patience, as_engine};

/// A call of one of Docker's methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// `VolumeDriver.Create`
    pub(super) method: String,
    /// The request's JSON.
    pub(super) body: String,
    /// The next call does not wait for it.
    pub(super) aside: bool,
}

enum Work {
    Call(PathBuf, Call),
    /// Says that all before it is done.
    Tell(Sender<()>),
}

/// Makes calls in a thread of its own: what they do is shown while they wait.
pub(super) struct Caller {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Caller {
    pub(super) fn start() -> Self {
        let (work, todo) = channel();
        let thread = std::thread::spawn(move || {
            for work in todo {
                match work {
                    Work::Call(socket, call) if call.aside => {
                        std::thread::spawn(move || make(&socket, &call));
                    }
                    Work::Call(socket, call) => make(&socket, &call),
                    Work::Tell(done) => {
                        // Whoever asked waits.
                        let _ = done.send(());
                    }
                }
            }
        });
        Self {
            work: Some(work),
            thread: Some(thread),
        }
    }

    /// Makes a call when those before it are answered.
    pub(super) fn call(&self, socket: &Path, call: Call) {
        if let Some(work) = &self.work {
            // The thread lives as long as this.
            let _ = work.send(Work::Call(socket.to_owned(), call));
        }
    }

    /// Waits until all calls so far are answered, except for those aside.
    pub(super) fn settle(&self) {
        let (done, all_done) = channel();
        if let Some(work) = &self.work
            && work.send(Work::Tell(done)).is_ok()
        {
            let _ = all_done.recv();
        }
    }

    /// Waits until all are answered, and takes no more.
    pub(super) fn finish(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The answer itself comes with the events.
fn make(socket: &Path, call: &Call) {
    let answer = Connection::open(socket).and_then(|mut connection| {
        connection.write(&as_engine(&call.method, call.body.as_bytes()))?;
        connection.read(Patience::default().for_call(&call.method))
    });
    if let Err(broken) = answer {
        eprintln!("-- {}: {broken}", call.method);
    }
}
