//! Which container a request means, and whose it is.
//!
//! The engine finds a container by its ID, by its name, or by the beginning of its ID; `docker run` makes a container by name and goes on by
//! ID. So what was created through this plugin is remembered by ID, with its name and who made it.

use dockside_driver::{Result, Table};
use serde::{Deserialize, Serialize};

/// A container that was created through this plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// Its name; empty if the engine chose one.
    pub(crate) name: String,
    /// Who made it.
    pub(crate) owner: String,
}

static CONTAINERS: Table<Container> = Table::new("containers/");
static NAMES: Table<String> = Table::new("names/");

/// So many digits of an ID `docker` shows. That a name or another ID has the same is out of reach for somebody who tries.
const SHORT_ID: usize = 12;

/// Whether a text can be taken for an ID or the beginning of one.
pub(crate) fn is_like_an_id(text: &str) -> bool {
    text.len() <= 64
        && !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What is known of a container that a request names.
pub(crate) fn find(text: &str) -> Result<Option<Container>> {
    if !is_like_an_id(text) {
        return match NAMES.get(text)? {
            Some(id) => CONTAINERS.get(&id),
            None => Ok(None),
        };
    }
    match text.len() {
        64 => CONTAINERS.get(text),
        SHORT_ID..64 => {
            let mut ids = CONTAINERS.keys()?;
            ids.retain(|id| id.starts_with(text));
            match ids.as_slice() {
                [id] => CONTAINERS.get(id),
                _ => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// Remembers a container that the engine has created.
pub(crate) fn created(id: &str, container: &Container) -> Result<()> {
    if !container.name.is_empty() {
        // One of that name before it is gone, and nobody told.
        if let Some(old) = NAMES.get(&container.name)? {
            CONTAINERS.remove(&old)?;
        }
        NAMES.put(&container.name, &id.to_owned())?;
    }
    CONTAINERS.put(id, container)
}

/// Forgets a container that the engine has removed.
pub(crate) fn removed(text: &str) -> Result<()> {
    if let Some(id) = id_of(text)? {
        forget(&id)?;
    }
    Ok(())
}

/// A container has another name.
pub(crate) fn renamed(text: &str, name: &str) -> Result<()> {
    let Some(id) = id_of(text)? else {
        return Ok(());
    };
    if let Some(container) = CONTAINERS.get(&id)? {
        forget(&id)?;
        created(
            &id,
            &Container {
                name: name.to_owned(),
                ..container
            },
        )?;
    }
    Ok(())
}

fn forget(id: &str) -> Result<()> {
    if let Some(container) = CONTAINERS.get(id)?
        && NAMES.get(&container.name)?.as_deref() == Some(id)
    {
        NAMES.remove(&container.name)?;
    }
    CONTAINERS.remove(id)
}

fn id_of(text: &str) -> Result<Option<String>> {
    if !is_like_an_id(text) {
        return NAMES.get(text);
    }
    if text.len() == 64 {
        return Ok(Some(text.to_owned()));
    }
    if text.len() < SHORT_ID {
        return Ok(None);
    }
    let mut ids = CONTAINERS.keys()?;
    ids.retain(|id| id.starts_with(text));
    Ok(match ids.as_slice() {
        [id] => Some(id.clone()),
        _ => None,
    })
}
