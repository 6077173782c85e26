//! What is done at the grid when it can be: deletions that it did not answer, and second looks at requests whose answer was lost.

use dockside_driver::{Error, Result, Table, log, time};
use serde::{Deserialize, Serialize};

use crate::wapi::{Failure, Note, Wapi};

/// Objects to delete, by their references. In order, so that addresses go before their network.
static DELETIONS: Table<u64> = Table::new("delete/");
/// Requests that the grid may have done twice, by their tokens.
static DOUBTS: Table<Doubt> = Table::new("doubt/");

/// How much one turn does.
const AT_ONCE: usize = 100;

/// A request that was sent a second time because the answer to the first was lost.
#[derive(Debug, Serialize, Deserialize)]
struct Doubt {
    kind: String,
    /// The object that counts.
    keep: String,
    at: u64,
}

/// Has an object deleted: now if the grid answers, and later if not.
pub(crate) fn delete(wapi: &Wapi, reference: &str) -> Result<()> {
    match wapi.delete(reference) {
        Ok(()) => Ok(()),
        Err(failure) => {
            let why = Error::from(failure);
            log::warn!("{reference} is deleted as soon as the grid answers: {why}");
            delete_later(reference)
        }
    }
}

/// Has an object deleted by the timer.
pub(crate) fn delete_later(reference: &str) -> Result<()> {
    DELETIONS.put(reference, &time::unix_seconds())
}

/// Has what a request made looked at when nothing of it can be on its way any more.
pub(crate) fn look_again(kind: &str, token: &str, keep: &str) -> Result<()> {
    DOUBTS.put(
        token,
        &Doubt {
            kind: kind.to_owned(),
            keep: keep.to_owned(),
            at: time::unix_seconds(),
        },
    )
}

/// One turn of the timer.
pub(crate) fn tick() -> Result<()> {
    let deletions = DELETIONS.keys()?;
    let doubts: Vec<(String, Doubt)> = DOUBTS.iter()?.collect();
    if deletions.is_empty() && doubts.is_empty() {
        return Ok(());
    }
    let wapi = Wapi::open()?;
    for reference in deletions.iter().take(AT_ONCE) {
        match wapi.delete(reference) {
            Ok(()) => DELETIONS.remove(reference)?,
            // What was done stays done.
            Err(Failure::Unsure(_)) => return Ok(()),
            Err(failure) => {
                let why = Error::from(failure);
                log::warn!("{reference} cannot be deleted: {why}");
            }
        }
    }
    for (token, doubt) in doubts {
        if time::unix_seconds() < doubt.at + wapi.settings.grace {
            continue;
        }
        let Ok(made) = wapi.find(&doubt.kind, None, &[(&wapi.token_filter(), &token)]) else {
            return Ok(());
        };
        for object in made {
            if object.reference != doubt.keep {
                delete(&wapi, &object.reference)?;
            }
        }
        DOUBTS.remove(&token)?;
    }
    Ok(())
}

/// Deletes all that a failed call made. The grid may go on with it for a while, so it is looked for again until that is over.
pub(crate) fn compensate(note: &Note) -> Result<()> {
    let wapi = Wapi::open()?;
    let found = if note.kind == LOCK {
        let mut found = wapi.find(LOCK, None, &[("comment", &note.token)])?;
        for kind in ["network", "ipv6network"] {
            found.extend(wapi.find(kind, None, &[(&wapi.token_filter(), &note.token)])?);
        }
        found
    } else {
        wapi.find(&note.kind, None, &[(&wapi.token_filter(), &note.token)])?
    };
    for object in found {
        wapi.delete(&object.reference)?;
    }
    let over = note.at + wapi.settings.grace;
    if time::unix_seconds() < over {
        return Err(Error::unavailable(format!(
            "what request {} made is deleted; it is looked for once more when the grid has nothing of it left to do",
            note.token
        )));
    }
    Ok(())
}

/// The type whose names are unique for every user: a definition of that name is a lock.
pub(crate) const LOCK: &str = "extensibleattributedef";

/// What is to be deleted, by reference.
pub(crate) fn pending() -> Result<Vec<String>> {
    DELETIONS.keys()
}
