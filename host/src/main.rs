//! The `dockside` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    dockside::cli::run()
}
