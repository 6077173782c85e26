//! What is cleared away when a signal ends a run.

use std::path::PathBuf;
use std::sync::Weak;
use std::time::Duration;

use dockside_check::Control;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::FAILED;

/// From now on SIGINT and SIGTERM end the plugin, remove the directory, and then end this process.
///
/// # Errors
///
/// Signals cannot be waited for.
pub(in crate::cli) fn clear_up(control: Weak<dyn Control>, scratch: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let (Ok(mut terminate), Ok(mut interrupt)) = (
                    signal(SignalKind::terminate()),
                    signal(SignalKind::interrupt()),
                ) else {
                    return;
                };
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if let Some(control) = control.upgrade()
                    && (control.ask_to_end().is_err()
                        || control.ended(Duration::from_secs(5)).is_err())
                {
                    let _ = control.kill();
                }
                if let Err(error) = crate::cli::scratch::clear(&scratch) {
                    eprintln!("dockside: {} is left behind: {error:#}", scratch.display());
                }
                std::process::exit(i32::from(FAILED));
            });
        })?;
    Ok(())
}
