//! `dockside serve`

use tracing_subscriber::EnvFilter;

use super::OK;
use crate::config::{Daemon, LogFormat};

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
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(crate::daemon::run(daemon))?;
    Ok(OK)
}
