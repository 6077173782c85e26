//! The way in for root when a policy locks everybody out: while a file exists that only root can have made, everything is allowed.

use dockside_driver::{Refusal, Result, files, log};

/// The set of files of this name is the break-glass file. The operator grants it with `root-only = true`.
const SET: &str = "break-glass";

/// What there is of the break-glass file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glass {
    /// Nothing: the policy decides.
    Whole,
    /// A file, which does not count because somebody besides root can write it, or no such file is granted: the policy decides. With the host's
    /// words.
    Disregarded(String),
    /// A file, with its first line: everything is allowed.
    Broken(String),
}

/// Looks for the break-glass file.
///
/// # Errors
/// It is there and cannot be read.
pub fn look() -> Result<Glass> {
    // Cheaper than to read what is hardly ever there.
    match files::stamp(SET).and_then(|_| files::read(SET, "")) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().next().unwrap_or_default().trim();
            Ok(Glass::Broken(line.chars().take(200).collect()))
        }
        Err(error) => match error.refusal() {
            Some(Refusal::NotFound) => Ok(Glass::Whole),
            Some(Refusal::NotGranted) => Ok(Glass::Disregarded(error.into_message())),
            _ => Err(error),
        },
    }
}

/// The first line of the break-glass file, if everything is allowed. One that cannot be read allows nothing.
pub fn broken() -> Option<String> {
    match look() {
        Ok(Glass::Broken(line)) => Some(line),
        Ok(Glass::Whole | Glass::Disregarded(_)) => None,
        Err(error) => {
            log::error!("the break-glass file cannot be read: {error}");
            None
        }
    }
}

/// What `status` says of it.
pub fn status() -> String {
    match look() {
        Ok(Glass::Whole) => "no".to_owned(),
        Ok(Glass::Disregarded(why)) => format!("no: {why}"),
        Ok(Glass::Broken(line)) => format!("YES, everything is allowed: {line}"),
        Err(error) => format!("no: {error}"),
    }
}

/// Writes a request that was let through into the log.
pub fn report(user: &str, what: &str, id: &str, reason: &str) {
    let user = if user.is_empty() {
        "the local user"
    } else {
        user
    };
    log::error!(
        "BREAK GLASS: allowed without looking at the policy: {what} by {user}, decision {id}{}{reason}",
        if reason.is_empty() { "" } else { ", " }
    );
}
