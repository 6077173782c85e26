//! `dockside serve`

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::OK;
use crate::config::{Daemon, LogFormat};

/// How long work on the machine may go on when all calls have ended.
const LAST_WORK: Duration = Duration::from_secs(5);

pub(super) fn run(daemon: Daemon) -> anyhow::Result<u8> {
    let filter = EnvFilter::try_from_env("DOCKSIDE_LOG")
        .or_else(|_| EnvFilter::try_new(&daemon.log.level))?;
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match daemon.log.format {
        LogFormat::Json => logger.json().flatten_event(true).init(),
        LogFormat::Text => logger
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(crate::daemon::run(daemon));
    // A thread that the kernel keeps in a dead mount would be waited for for ever. What it left undone the next start undoes.
    runtime.shutdown_timeout(LAST_WORK);
    result.map(|()| OK)
}
