//! A change to a link that is held already.

use serde::{Deserialize, Serialize};

use super::edit::Edit;
use super::read::Seen;
use super::record::Link;
use super::socket::Kernel;
use super::state::{State, find};
use super::{check, thread, write};
use crate::machine::{ErrorKind, MachineError};

/// A change to a link that is held already, with what undoes it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The link, without what is set on it.
    link: Link,
    /// What is done.
    edit: Edit,
    /// What brings back what was there before. None: it was so already.
    was: Option<Edit>,
    /// What is set on the link and what the kernel may take away with the change.
    kept: Vec<Edit>,
}

impl Change {
    /// Reads what is there now, changes nothing. The record says what else is to be there, before and after.
    ///
    /// # Errors
    ///
    /// `ErrorKind::Invalid` if the edit makes no sense on the link, `ErrorKind::NotFound` if the link is not here.
    pub fn prepare(link: &Link, edit: Edit) -> Result<Change, MachineError> {
        check::edit(&link.kind, &edit)?;
        let mut after = link.clone();
        edit.write(&mut after);
        check::link(&after)?;
        let settings = link.edits();
        let link = Link::new(&link.id, link.kind.clone());
        thread::run(move |kernel| {
            let tried = format!("{edit} on {}", link.name);
            let seen = find(kernel, &link)
                .map_err(|refusal| refusal.during(&tried))?
                .ok_or_else(|| not_here(&tried))?;
            let mut state = State::of(seen);
            let was = state
                .inverse(kernel, &link, &edit)
                .map_err(|refusal| refusal.during(&tried))?;
            let mut kept = Vec::new();
            for one in settings {
                let may_go = matches!(
                    one,
                    Edit::AddAddress(_) | Edit::AddNeighbour(_) | Edit::AddRoute(_)
                );
                if may_go
                    && takes_more(&edit)
                    && was.as_ref() != Some(&one)
                    && state
                        .holds(kernel, &one)
                        .map_err(|refusal| refusal.during(&tried))?
                {
                    kept.push(one);
                }
            }
            Ok(Change {
                link,
                edit,
                was,
                kept,
            })
        })
    }

    /// The name of the link.
    pub fn link(&self) -> &str {
        &self.link.name
    }

    /// What is done to it.
    pub fn edit(&self) -> &Edit {
        &self.edit
    }

    /// Writes a change that is to stay into the record of its link, which then is what `look` and `repair` go by.
    pub fn write(&self, record: &mut Link) {
        self.edit.write(record);
    }

    pub(super) fn perform(&self, kernel: &mut Kernel) -> Result<(), MachineError> {
        let tried = format!("{} on {}", self.edit, self.link.name);
        let seen = find(kernel, &self.link)
            .map_err(|refusal| refusal.during(&tried))?
            .ok_or_else(|| not_here(&tried))?;
        write::apply(kernel, &seen, &self.edit).map_err(|refusal| refusal.during(&tried))?;
        // A link that is down has no routes, by intention.
        if matches!(self.edit, Edit::Mac(_) | Edit::RemoveAddress(_)) {
            self.keep(kernel, &seen);
        }
        Ok(())
    }

    /// Sets again what went with the change. What cannot be, as a route whose gateway went with an address, is what the change brought.
    fn keep(&self, kernel: &mut Kernel, link: &Seen) {
        for one in &self.kept {
            let _ = write::apply(kernel, link, one);
        }
    }

    /// Brings back what was, unless what is there now is something else again, which then is not this change's.
    pub(super) fn undo(&self, kernel: &mut Kernel) -> Result<(), MachineError> {
        let Some(was) = &self.was else { return Ok(()) };
        let tried = format!("{was} again on {}", self.link.name);
        let fault = |refusal: super::socket::Refusal| refusal.during(&tried);
        let Some(seen) = find(kernel, &self.link).map_err(fault)? else {
            return Ok(());
        };
        if !State::of(seen.clone())
            .holds(kernel, &self.edit)
            .map_err(fault)?
        {
            return Ok(());
        }
        match write::apply(kernel, &seen, was).map_err(fault) {
            Ok(()) => {
                self.keep(kernel, &seen);
                Ok(())
            }
            // The bridge that it was a port of is gone: there is nothing to go back to.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether the kernel takes more away with an edit: routes and IPv6 addresses with the link's being up, neighbours with a MAC address,
/// routes and further addresses with an address.
fn takes_more(edit: &Edit) -> bool {
    matches!(
        edit,
        Edit::Mac(_) | Edit::Up(false) | Edit::RemoveAddress(_)
    )
}

fn not_here(tried: &str) -> MachineError {
    MachineError::new(
        ErrorKind::NotFound,
        format!("cannot {tried}: the link is not there, or has been moved into a container"),
    )
}
