//! `wasi:logging`: lines of the driver's own.

use super::held::answered;
use crate::plugin::log::Source;
use crate::sandbox::CallContext;
use crate::sandbox::bindings::host::wasi::logging::logging::{Host, Level};

impl Host for CallContext {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => tracing::Level::TRACE,
            Level::Debug => tracing::Level::DEBUG,
            Level::Info => tracing::Level::INFO,
            Level::Warn => tracing::Level::WARN,
            Level::Error | Level::Critical => tracing::Level::ERROR,
        };
        if context.is_empty() {
            self.log.line(level, Source::Driver, &message);
        } else {
            self.log
                .line(level, Source::Driver, &format!("{context}: {message}"));
        }
        answered(())
    }
}
