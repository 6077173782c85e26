//! The daemon with the places in it where tests let it die. See `failpoint`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dockside::failpoint::arm();
    dockside::cli::run()
}
