//! Who listens to a plugin, and the queues between the calls and the listeners.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Event;
use super::mask::Secrets;

/// Events, and bytes of them, that wait for one listener. What comes then is counted and lost, because no call waits for a listener.
const MAX_EVENTS: usize = 4_096;
const MAX_BYTES: usize = 16 << 20;

/// Tells listeners what a plugin does. While there is none, each call costs one atomic load.
#[derive(Debug)]
pub struct Tracer {
    plugin: String,
    listening: AtomicUsize,
    listeners: Mutex<Vec<Arc<Queue>>>,
    secrets: Mutex<Secrets>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    /// Events lost behind the last line.
    lost: u64,
}

impl Queue {
    fn push(&self, line: &Arc<str>) {
        let mut waiting = self.waiting.lock();
        let full = waiting.lines.len() >= MAX_EVENTS || waiting.bytes + line.len() > MAX_BYTES;
        if full && !waiting.lines.is_empty() {
            waiting.lost += 1;
            return;
        }
        if let Some(lost) = waiting.take_lost() {
            waiting.add(lost);
        }
        waiting.add(Arc::clone(line));
        drop(waiting);
        self.more.notify_one();
    }
}

impl Waiting {
    fn add(&mut self, line: Arc<str>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    fn take_lost(&mut self) -> Option<Arc<str>> {
        let count = std::mem::take(&mut self.lost);
        (count > 0).then(|| to_line(&Event::Lost { count }))
    }

    fn next(&mut self) -> Option<Arc<str>> {
        match self.lines.pop_front() {
            Some(line) => {
                self.bytes -= line.len();
                Some(line)
            }
            None => self.take_lost(),
        }
    }
}

/// Hears what a plugin does, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    queue: Arc<Queue>,
    tracer: Arc<Tracer>,
}

impl Listener {
    /// The next event: one line of JSON, without its end.
    pub async fn next(&self) -> Arc<str> {
        loop {
            let more = self.queue.more.notified();
            if let Some(line) = self.queue.waiting.lock().next() {
                return line;
            }
            more.await;
        }
    }

    /// As [`next`](Self::next), if there is one now.
    pub fn try_next(&self) -> Option<Arc<str>> {
        self.queue.waiting.lock().next()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.tracer.listeners.lock();
        listeners.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.tracer
            .listening
            .store(listeners.len(), Ordering::Relaxed);
    }
}

impl Tracer {
    /// A tracer to which nobody listens.
    pub fn new(plugin: &str) -> Arc<Tracer> {
        Arc::new(Tracer {
            plugin: plugin.to_owned(),
            listening: AtomicUsize::new(0),
            listeners: Mutex::default(),
            secrets: Mutex::default(),
        })
    }

    /// The plugin.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0
    }

    /// Listens from now on.
    pub fn listen(self: &Arc<Self>) -> Listener {
        let queue = Arc::new(Queue::default());
        let mut listeners = self.listeners.lock();
        listeners.push(Arc::clone(&queue));
        self.listening.store(listeners.len(), Ordering::Relaxed);
        drop(listeners);
        Listener {
            queue,
            tracer: Arc::clone(self),
        }
    }

    /// Tells all listeners. What is secret has to be hidden already.
    pub(super) fn send(&self, event: &Event) {
        let line = to_line(event);
        for queue in self.listeners.lock().iter() {
            queue.push(&line);
        }
    }

    /// Remembers a secret, whether anybody listens or not: a driver may write it into its state now, and somebody listen when it is read again.
    pub fn hide(&self, secret: &[u8]) {
        self.secrets.lock().add(secret);
    }

    /// As [`hide`](Self::hide).
    pub(super) fn hide_all(&self, secrets: &Secrets) {
        self.secrets.lock().add_all(secrets);
    }

    /// What is secret as far as it is known.
    pub(super) fn secrets(&self) -> Secrets {
        self.secrets.lock().clone()
    }
}

fn to_line(event: &Event) -> Arc<str> {
    serde_json::to_string(event).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note(super::super::Note {
            time: String::new(),
            plugin: "p".to_owned(),
            level: "INFO".to_owned(),
            version: String::new(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn a_listener_that_is_too_slow_is_told_how_much_it_lost_and_where() {
        let tracer = Tracer::new("p");
        assert!(!tracer.is_heard());
        let listener = tracer.listen();
        for number in 0..MAX_EVENTS + 3 {
            tracer.send(&note(&number.to_string()));
        }
        for number in 0..MAX_EVENTS {
            let line = listener.try_next().unwrap();
            assert!(line.contains(&format!("\"{number}\"")), "{line}");
            if number == 0 {
                tracer.send(&note("late"));
            }
        }
        let read = |line: Option<Arc<str>>| serde_json::from_str::<Event>(&line.unwrap()).unwrap();
        assert_eq!(read(listener.try_next()), Event::Lost { count: 3 });
        assert_eq!(read(listener.try_next()), note("late"));
        assert_eq!(listener.try_next(), None);
        drop(listener);
        assert!(!tracer.is_heard());
    }

    #[test]
    fn events_of_any_size_are_bounded_by_their_bytes() {
        let tracer = Tracer::new("p");
        let listener = tracer.listen();
        let large = "x".repeat(MAX_BYTES / 2);
        for _ in 0..5 {
            tracer.send(&note(&large));
        }
        let mut got = Vec::new();
        while let Some(line) = listener.try_next() {
            got.push(serde_json::from_str::<Event>(&line).unwrap());
        }
        assert_eq!(got.last(), Some(&Event::Lost { count: 4 }));
        assert_eq!(got.len(), 2);
    }
}
