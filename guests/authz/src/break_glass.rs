//! The way in for root when a policy locks everybody out: while a file exists that only root can have made, everything is allowed.

use dockside_driver::{Refusal, Result, files, log};

/// The set of files of this name is the break-glass file. The operator grants it with `root-only = true`.
const SET: &str = "break-glass";

/// The first line of the break-glass file; none if there is no such file, or it is not root's alone, or the operator grants none.
///
/// # Errors
/// The file is there and cannot be read.
pub fn broken() -> Result<Option<String>> {
    // Cheaper than to read what is hardly ever there.
    if files::stamp(SET).is_err() {
        return Ok(None);
    }
    match files::read(SET, "") {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().next().unwrap_or_default().trim();
            Ok(Some(line.chars().take(200).collect()))
        }
        Err(error) => match error.refusal() {
            Some(Refusal::NotFound) => Ok(None),
            Some(Refusal::NotGranted) => {
                log::error!("the break-glass file does not count: {error}");
                Ok(None)
            }
            _ => Err(error),
        },
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
