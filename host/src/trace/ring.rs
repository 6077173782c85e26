//! The recording that is always there: the last calls of a plugin, on the disk.
//!
//! Two files of at most `keep` calls each: the newer one grows, and when it is full it takes the place of the older.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use tokio::task::JoinHandle;

use super::file::{Header, Recording};
use super::{CallRecord, Listener, Tracer};

/// Bytes of one of the two files.
const MAX_BYTES: u64 = 32 << 20;

const NEWER: &str = "calls.ndjson";
const OLDER: &str = "calls.1.ndjson";

/// Keeps the last calls of a plugin until it is dropped.
#[derive(Debug)]
pub struct Ring {
    task: JoinHandle<()>,
    keep: u32,
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ring {
    /// Keeps the calls that `tracer` tells of in `directory`, which is made. `header` is for the next file that is begun.
    pub fn begin(tracer: &Arc<Tracer>, directory: PathBuf, keep: u32, header: Header) -> Ring {
        let listener = tracer.listen();
        let plugin = tracer.plugin().to_owned();
        let task = tokio::spawn(async move {
            let mut files = Files {
                directory,
                keep: u64::from(keep),
                header,
                newer: None,
            };
            loop {
                let lines = some_lines(&listener).await;
                let written = tokio::task::spawn_blocking(move || {
                    let written = files.write(&lines);
                    (files, written)
                });
                let Ok((back, written)) = written.await else {
                    return;
                };
                files = back;
                if let Err(error) = written {
                    // What comes next may fit again.
                    tracing::warn!(plugin, %error, "calls could not be recorded");
                    files.newer = None;
                }
            }
        });
        Ring { task, keep }
    }

    /// How many calls it keeps.
    pub fn keep(&self) -> u32 {
        self.keep
    }
}

/// The next line and all that wait behind it, without what belongs to no call of the driver.
async fn some_lines(listener: &Listener) -> Vec<Arc<str>> {
    const MOST: usize = 256;
    loop {
        let mut lines = vec![listener.next().await];
        while lines.len() < MOST
            && let Some(line) = listener.try_next()
        {
            lines.push(line);
        }
        lines.retain(|line| {
            let is_run = line.starts_with(r#"{"event":"end""#) && line.contains(r#""run":{"#);
            is_run || line.starts_with(r#"{"event":"lost""#)
        });
        if !lines.is_empty() {
            return lines;
        }
    }
}

struct Files {
    directory: PathBuf,
    keep: u64,
    header: Header,
    newer: Option<Newer>,
}

struct Newer {
    file: File,
    calls: u64,
    bytes: u64,
}

impl Files {
    fn write(&mut self, lines: &[Arc<str>]) -> io::Result<()> {
        for line in lines {
            let newer = match self.newer.take() {
                Some(newer) => newer,
                None => self.open()?,
            };
            let full = newer.calls >= self.keep || newer.bytes + line.len() as u64 > MAX_BYTES;
            let mut newer = match full && newer.calls > 0 {
                true => {
                    drop(newer);
                    std::fs::rename(self.directory.join(NEWER), self.directory.join(OLDER))?;
                    self.open()?
                }
                false => newer,
            };
            // In one piece, so that a crash leaves at most the last line cut off.
            let text = format!("{line}\n");
            newer.file.write_all(text.as_bytes())?;
            newer.calls += 1;
            newer.bytes += text.len() as u64;
            self.newer = Some(newer);
        }
        Ok(())
    }

    /// The newer file: the one of before, if it is in this format, or an empty one.
    fn open(&self) -> io::Result<Newer> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let path = self.directory.join(NEWER);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0));
        let mut file = options.open(&path)?;
        let mut reader = BufReader::new(&file);
        let mut first = Vec::new();
        reader
            .by_ref()
            .take(1 << 20)
            .read_until(b'\n', &mut first)?;
        if first.is_empty() {
            return self.empty(file);
        }
        if Recording::from_lines("", first.as_slice()).is_err() {
            // Of another dockside: nobody can replay it here.
            file.set_len(0)?;
            return self.empty(file);
        }
        let mut calls = 0;
        let mut bytes = first.len() as u64;
        let mut last = b'\n';
        loop {
            let buffer = reader.fill_buf()?;
            let Some(end) = buffer.last() else {
                break;
            };
            last = *end;
            calls += buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
            let read = buffer.len();
            bytes += read as u64;
            reader.consume(read);
        }
        if last != b'\n' {
            file.seek(SeekFrom::End(0))?;
            file.write_all(b"\n")?;
        }
        Ok(Newer { file, calls, bytes })
    }

    fn empty(&self, mut file: File) -> io::Result<Newer> {
        let text = format!("{}\n", serde_json::to_string(&self.header)?);
        file.write_all(text.as_bytes())?;
        Ok(Newer {
            file,
            calls: 0,
            bytes: text.len() as u64,
        })
    }
}

/// The last calls that are kept in a directory, at most `most`, oldest first. Empty if none are. What cannot be read is left out.
pub fn last_calls(directory: &Path, most: usize) -> Vec<CallRecord> {
    let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
    let mut header = None;
    for name in [OLDER, NEWER] {
        let Ok(file) = File::open(directory.join(name)) else {
            continue;
        };
        let mut all = BufReader::new(file).split(b'\n');
        let Some(Ok(first)) = all.next() else {
            continue;
        };
        header = Some(first);
        for line in all.map_while(Result::ok) {
            if lines.len() == most {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
    let Some(header) = header else {
        return Vec::new();
    };
    let mut text = header;
    for line in lines {
        text.push(b'\n');
        text.extend(line);
    }
    text.push(b'\n');
    match Recording::from_lines("", text.as_slice()) {
        Ok(recording) => recording.calls,
        Err(_) => Vec::new(),
    }
}

/// Removes what is kept in a directory.
pub fn remove(directory: &Path) {
    for name in [NEWER, OLDER] {
        let _ = std::fs::remove_file(directory.join(name));
    }
    let _ = std::fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{Begin, Event, Origin, Reply, RunRecord, VersionId};
    use super::*;

    fn header() -> Header {
        Header {
            format: "dockside-recording".to_owned(),
            version: 1,
            dockside: "0".to_owned(),
            began: String::new(),
            plugin: "p".to_owned(),
            driver: VersionId::default(),
            kinds: Vec::new(),
            config: BTreeMap::new(),
            grants: Vec::new(),
            memory: 0,
        }
    }

    fn line(number: u64) -> Arc<str> {
        let event = Event::End(Box::new(CallRecord {
            begin: Begin {
                time: String::new(),
                plugin: "p".to_owned(),
                call: number.to_string(),
                origin: Origin::Engine,
                method: "VolumeDriver.Get".to_owned(),
                request: serde_json::json!({ "Name": "v" }),
            },
            version: None,
            micros: 0,
            answer: Reply::done(),
            attempts: 1,
            earlier: Vec::new(),
            run: Some(RunRecord::empty()),
        }));
        serde_json::to_string(&event).unwrap().into()
    }

    fn files(directory: &Path) -> Files {
        Files {
            directory: directory.to_owned(),
            keep: 10,
            header: header(),
            newer: None,
        }
    }

    fn kept(directory: &Path, most: usize) -> Vec<u64> {
        let calls = last_calls(directory, most);
        calls
            .iter()
            .map(|call| call.begin.call.parse().unwrap())
            .collect()
    }

    #[test]
    fn the_last_calls_stay_and_no_more_than_twice_as_many() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("p");
        for number in 0..57 {
            // Every seventh time as after a restart.
            let mut files = files(&directory);
            files.write(&[line(number)]).unwrap();
        }
        assert_eq!(kept(&directory, 10), (47..57).collect::<Vec<_>>());
        let all = kept(&directory, 1_000);
        assert!((10..=20).contains(&all.len()), "{all:?}");
        assert_eq!(all.last(), Some(&56));
        for name in [NEWER, OLDER] {
            let mode = std::fs::metadata(directory.join(name))
                .unwrap()
                .permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
        remove(&directory);
        assert!(!directory.exists());
    }

    #[test]
    fn a_line_that_a_crash_cut_off_costs_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("p");
        files(&directory).write(&[line(1), line(2)]).unwrap();
        let path = directory.join(NEWER);
        let length = std::fs::metadata(&path).unwrap().len();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length - 9).unwrap();
        files(&directory).write(&[line(3)]).unwrap();
        assert_eq!(kept(&directory, 10), [1, 3]);
    }

    #[test]
    fn what_another_dockside_kept_gives_way() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("p");
        std::fs::create_dir(&directory).unwrap();
        let other = r#"{"format":"dockside-recording","version":99}"#;
        std::fs::write(directory.join(NEWER), format!("{other}\n")).unwrap();
        assert!(kept(&directory, 10).is_empty());
        files(&directory).write(&[line(1)]).unwrap();
        assert_eq!(kept(&directory, 10), [1]);
    }
}
