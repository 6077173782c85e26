use std::collections::BTreeMap;

use super::{Memory, memory, refuse};
use crate::{Refusal, Result, files::FileInfo};

/// How many symbolic links the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// A set of files.
#[derive(Default)]
pub(crate) struct Set {
    /// Changes with everything in the set.
    pub(crate) stamp: u64,
    /// Content and stamp by name.
    pub(crate) files: BTreeMap<String, (Vec<u8>, u64)>,
}

fn with_set<T>(set: &str, operation: impl FnOnce(&Set) -> Result<T>) -> Result<T> {
    memory(|memory| match memory.files.get(set) {
        None => refuse(
            Refusal::NotGranted,
            format!("the files {set:?} are not granted"),
        ),
        Some(found) if found.files.is_empty() => refuse(
            Refusal::NotFound,
            format!("nothing is there of the files {set:?}"),
        ),
        Some(found) => operation(found),
    })
}

pub(crate) fn list_files(set: &str) -> Result<Vec<FileInfo>> {
    let info = |(name, (content, stamp)): (&String, &(Vec<u8>, u64))| FileInfo {
        name: name.clone(),
        size: content.len() as u64,
        stamp: *stamp,
    };
    with_set(set, |found| Ok(found.files.iter().map(info).collect()))
}

pub(crate) fn read_file(set: &str, name: &str) -> Result<Vec<u8>> {
    with_set(set, |found| match found.files.get(name) {
        Some((content, _)) => Ok(content.clone()),
        None => refuse(
            Refusal::NotFound,
            format!("there is no file {name:?} in {set:?}"),
        ),
    })
}

pub(crate) fn stamp(set: &str) -> Result<u64> {
    with_set(set, |found| Ok(found.stamp))
}

pub(crate) fn resolve_path(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return refuse(Refusal::Invalid, format!("{path:?} is no absolute path"));
    }
    memory(|memory| follow(memory, path))
}

fn follow(memory: &Memory, path: &str) -> Result<String> {
    let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut done = String::new();
    let mut followed = 0;
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => done.truncate(done.rfind('/').unwrap_or(0)),
            part => {
                let here = format!("{done}/{part}");
                let Some(to) = memory.paths.get(&here) else {
                    done = here;
                    continue;
                };
                followed += 1;
                if followed > MAX_LINKS {
                    return refuse(
                        Refusal::Invalid,
                        format!("there are too many symbolic links in {path:?}"),
                    );
                }
                if to.starts_with('/') {
                    done.clear();
                }
                left.extend(to.split('/').rev().map(str::to_owned));
            }
        }
    }
    Ok(if done.is_empty() { "/".into() } else { done })
}
