//! What drivers say: their log lines, their output, their last words, each with plugin, version and call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::protocol::one_line;
use crate::trace::{Probe, Tracer};

/// Lines that the daemon keeps of each plugin for `dockside logs`.
const KEPT_LINES: usize = 1_000;

/// Bytes of one line; the rest is cut.
const MAX_LINE: usize = 4_096;

/// Lines of standard error that are kept to explain a trap.
const LAST_WORDS: usize = 8;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The driver, by `wasi:logging`.
    Driver,
    /// The driver's standard output.
    Stdout,
    /// The driver's standard error: panics, tracebacks.
    Stderr,
    /// The host, about the plugin.
    Host,
}

impl Source {
    /// The word for it in listings.
    pub fn word(self) -> &'static str {
        match self {
            Source::Driver => "driver",
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
            Source::Host => "host",
        }
    }
}

/// One line.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Line {
    /// When, as RFC 3339 in UTC.
    pub time: String,
    /// `TRACE` to `ERROR`.
    pub level: &'static str,
    /// Who speaks.
    pub source: Source,
    /// The version that ran; empty for the host's own lines.
    pub version: String,
    /// The number of the call, counted from the daemon's start; 0 for none.
    pub call: u64,
    /// Docker's method; empty for none.
    pub method: &'static str,
    /// The text: one line, printable.
    pub text: String,
}

/// The last lines of one plugin.
#[derive(Debug)]
pub struct PluginLog {
    plugin: String,
    lines: Mutex<VecDeque<Line>>,
    tracer: Arc<Tracer>,
}

impl PluginLog {
    /// An empty log of a plugin that is traced by `tracer`.
    pub fn new(tracer: &Arc<Tracer>) -> Arc<PluginLog> {
        Arc::new(PluginLog {
            plugin: tracer.plugin().to_owned(),
            lines: Mutex::default(),
            tracer: Arc::clone(tracer),
        })
    }

    /// The last `count` lines, oldest first.
    pub fn tail(&self, count: usize) -> Vec<Line> {
        let lines = self.lines.lock();
        lines
            .iter()
            .skip(lines.len().saturating_sub(count))
            .cloned()
            .collect()
    }

    /// Something that the host has to say about the plugin.
    pub fn host(&self, level: Level, version: &str, text: &str) {
        self.tracer.note(level.as_str(), version, text);
        self.push(level, Source::Host, version, 0, "", text);
    }

    fn push(
        &self,
        level: Level,
        source: Source,
        version: &str,
        call: u64,
        method: &'static str,
        text: &str,
    ) {
        let text = one_line(text, MAX_LINE);
        let plugin = self.plugin.as_str();
        macro_rules! emit {
            ($level:expr) => {
                tracing::event!(target: "dockside::plugin", $level, plugin, version, call, method, source = ?source, "{text}")
            };
        }
        match level {
            Level::TRACE => emit!(Level::TRACE),
            Level::DEBUG => emit!(Level::DEBUG),
            Level::INFO => emit!(Level::INFO),
            Level::WARN => emit!(Level::WARN),
            Level::ERROR => emit!(Level::ERROR),
        }
        let mut lines = self.lines.lock();
        if lines.len() >= KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(Line {
            time: jiff::Timestamp::now().to_string(),
            level: level.as_str(),
            source,
            version: version.to_owned(),
            call,
            method,
            text,
        });
    }
}

static CALLS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone)]
struct Target {
    sink: Option<Arc<PluginLog>>,
    version: Arc<str>,
    call: u64,
    method: &'static str,
    budget: usize,
    truncated: bool,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct State {
    target: Target,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    last_words: VecDeque<String>,
}

/// Where the output of one call goes. A kept instance is redirected from call to call.
#[derive(Debug)]
pub struct CallLog(Mutex<State>);

impl CallLog {
    /// The log of one call of a plugin that may write `budget` bytes.
    pub fn new(
        sink: &Arc<PluginLog>,
        version: &Arc<str>,
        method: &'static str,
        budget: usize,
    ) -> CallLog {
        CallLog::to(Target {
            sink: Some(Arc::clone(sink)),
            version: Arc::clone(version),
            call: CALLS.fetch_add(1, Ordering::Relaxed),
            method,
            budget,
            truncated: false,
            probe: None,
        })
    }

    /// A log that nobody reads.
    pub fn discard() -> CallLog {
        CallLog::to(Target {
            sink: None,
            version: "".into(),
            call: 0,
            method: "",
            budget: 16 << 10,
            truncated: false,
            probe: None,
        })
    }

    /// The same, and what the call does is watched.
    pub fn watched(self, probe: Option<Probe>) -> CallLog {
        self.0.lock().target.probe = probe;
        self
    }

    /// Who watches the call, if somebody does.
    pub fn probe(&self) -> Option<Probe> {
        self.0.lock().target.probe.clone()
    }

    fn to(target: Target) -> CallLog {
        CallLog(Mutex::new(State {
            target,
            stdout: Vec::new(),
            stderr: Vec::new(),
            last_words: VecDeque::new(),
        }))
    }

    /// From now on speaks for the call of `other`.
    pub fn redirect(&self, other: &CallLog) {
        let target = other.0.lock().target.clone();
        let mut state = self.0.lock();
        state.target = target;
        state.stdout.clear();
        state.stderr.clear();
        state.last_words.clear();
    }

    /// Writes a line.
    pub fn line(&self, level: Level, source: Source, text: &str) {
        self.0.lock().line(level, source, text);
    }

    /// A line of the host's own about this call. It has no limit: it is what explains the others.
    pub fn host(&self, level: Level, text: &str) {
        let state = self.0.lock();
        let target = &state.target;
        if let Some(probe) = &target.probe {
            probe.recorder.line(level, Source::Host, text);
        }
        if let Some(sink) = &target.sink {
            sink.push(
                level,
                Source::Host,
                &target.version,
                target.call,
                target.method,
                text,
            );
        }
    }

    /// Ends the call: writes what is left of unfinished lines and returns the last lines of standard error.
    pub fn finish(&self) -> Vec<String> {
        let mut state = self.0.lock();
        for source in [Source::Stdout, Source::Stderr] {
            let rest = std::mem::take(match source {
                Source::Stdout => &mut state.stdout,
                _ => &mut state.stderr,
            });
            if !rest.is_empty() {
                state.output_line(source, &rest);
            }
        }
        state.last_words.drain(..).collect()
    }

    fn write(&self, source: Source, bytes: &[u8]) {
        let mut state = self.0.lock();
        let mut pending = std::mem::take(match source {
            Source::Stdout => &mut state.stdout,
            _ => &mut state.stderr,
        });
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // A guest that never ends its line must not fill the host's memory.
            let room = (MAX_LINE * 2).saturating_sub(pending.len());
            pending.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                state.output_line(source, &pending);
                pending.clear();
            }
        }
        match source {
            Source::Stdout => state.stdout = pending,
            _ => state.stderr = pending,
        }
    }
}

impl State {
    fn output_line(&mut self, source: Source, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return;
        }
        if source == Source::Stderr {
            if self.last_words.len() >= LAST_WORDS {
                self.last_words.pop_front();
            }
            self.last_words.push_back(one_line(text, MAX_LINE));
        }
        let level = if source == Source::Stderr {
            Level::WARN
        } else {
            Level::INFO
        };
        self.line(level, source, text);
    }

    fn line(&mut self, level: Level, source: Source, text: &str) {
        let target = &mut self.target;
        if let Some(probe) = &target.probe {
            probe.recorder.line(level, source, text);
        }
        let Some(sink) = &target.sink else { return };
        if target.truncated {
            return;
        }
        let cost = text.len().min(MAX_LINE) + 16;
        if cost > target.budget {
            target.truncated = true;
            sink.push(
                Level::WARN,
                Source::Host,
                &target.version,
                target.call,
                target.method,
                "the driver wrote more than one call may (limits.log-bytes); the rest is dropped",
            );
            return;
        }
        target.budget -= cost;
        sink.push(
            level,
            source,
            &target.version,
            target.call,
            target.method,
            text,
        );
    }
}

/// A standard stream of a guest.
pub struct GuestStream {
    log: Arc<CallLog>,
    source: Source,
}

impl GuestStream {
    /// Standard output.
    pub fn stdout(log: Arc<CallLog>) -> GuestStream {
        GuestStream {
            log,
            source: Source::Stdout,
        }
    }

    /// Standard error.
    pub fn stderr(log: Arc<CallLog>) -> GuestStream {
        GuestStream {
            log,
            source: Source::Stderr,
        }
    }
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only components of WASI 0.3 would ask for this one, and they are not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(GuestStream {
            log: Arc::clone(&self.log),
            source: self.source,
        })
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.write(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_by_line_and_bounded_by_call() {
        let sink = PluginLog::new(&Tracer::new("p"));
        let log = CallLog::new(&sink, &"1".into(), "m", 200);
        log.write(Source::Stderr, b"one\ntw");
        log.write(Source::Stderr, b"o\nrest");
        assert_eq!(log.finish(), ["one", "two", "rest"]);
        log.line(Level::INFO, Source::Driver, &"x".repeat(300));
        log.line(Level::INFO, Source::Driver, "after");
        let lines = sink.tail(100);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[3].text.contains("log-bytes"));
    }
}
