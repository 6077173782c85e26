//! Conformance checks for Docker plugins: what the Docker Engine relies on, asked of any plugin over its socket.
//!
//! [`run`] asks the plugin what it is, runs the [`Check`]s that apply, and gives a [`Report`]. A check is one function that gets a
//! [`Bench`]: the plugin's socket, a client that talks as the engine does, a record of everything that was made, and, where the
//! caller can give them, hands on the plugin's process.
//!
//! The rules that hold for every check are kept in one place, not in each:
//!
//! - what a call makes is noted before the call is sent, and taken away at the end of the check ([`bench`]);
//! - after each check the plugin still answers, is the same process, and the machine is as it was ([`bench::invariants`]);
//! - no call waits for ever ([`client::Patience`]).

pub mod bench;
pub mod check;
mod checks;
pub mod client;
pub mod control;
pub mod engine;
pub mod profile;
pub mod report;
mod run;
pub mod sandbox;

pub use bench::Bench;
pub use check::{Check, Kind, Level, Need, Outcome, Stop};
pub use control::Control;
pub use profile::Profile;
pub use report::Report;
pub use run::{Options, Selection, run};

/// Every check there is, in the order of the sections and of their numbers.
#[must_use]
pub fn all() -> Vec<Check> {
    checks::all()
}

/// IDs that are in the list of what plugins have to do and that no runner can check, each with the reason.
#[must_use]
pub fn left_out() -> Vec<(&'static str, &'static str)> {
    checks::left_out()
}
