//! A call's view of its plugin's state: one snapshot, and the call's own writes on top.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StateError;
use super::state::{
    DirectoryRecord, Intent, ObjectRecord, PluginState, Quota, Snapshot, Usage, Value, VolumeRecord,
};
use super::table::{Draft, KeyList};
use crate::trace::Recorder;

/// Most bytes of keys in one page of [`Transaction::list_keys`]: a page is copied into a guest's memory.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// One page of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys, in order of their bytes.
    pub keys: Vec<String>,
    /// What to pass for the next page; `None` at the end.
    pub cursor: Option<u64>,
}

/// What one object counts for in a sum that is limited.
pub(crate) type Weigh = fn(&ObjectRecord) -> u64;

/// Reads and buffered writes of one call. Nothing of it is visible or durable before [`Store::commit`](super::Store::commit),
/// and dropping it leaves nothing behind.
///
/// Everything that is read here makes the commit depend on it: if it has changed by then, nothing is written and the outcome is
/// [`Outcome::Conflict`](super::Outcome::Conflict). What the transaction wrote itself it reads as written.
#[derive(Debug)]
pub struct Transaction {
    plugin: Arc<PluginState>,
    quota: Quota,
    usage: Usage,
    pub(super) keys: Draft<Value>,
    pub(super) volumes: Draft<Arc<VolumeRecord>>,
    pub(super) directories: Draft<Arc<DirectoryRecord>>,
    pub(super) objects: Draft<Arc<ObjectRecord>>,
    /// How many objects may have names that begin so.
    object_limits: BTreeMap<String, u64>,
    /// How much the objects may weigh together whose names begin so.
    weight_limits: BTreeMap<String, (Weigh, u64)>,
    pub(super) settled: Vec<String>,
    pub(super) intents: Vec<Intent>,
    pub(super) call: Option<String>,
    pub(super) doomed: Vec<String>,
    pub(super) meta: BTreeMap<String, Option<String>>,
    era: u64,
    pub(super) supersedes: bool,
    listing: Option<KeyList<Value>>,
    /// Who is told what the driver reads and writes of its state.
    recorder: Option<Arc<Recorder>>,
}

impl Transaction {
    /// Begins a transaction on what is stored now.
    pub fn new(plugin: Arc<PluginState>, quota: Quota) -> Self {
        let Snapshot {
            keys,
            volumes,
            directories,
            objects,
            usage,
            era,
        } = plugin.snapshot();
        Self {
            plugin,
            quota,
            usage,
            keys: Draft::new(keys),
            volumes: Draft::new(volumes),
            directories: Draft::new(directories),
            objects: Draft::new(objects),
            object_limits: BTreeMap::new(),
            weight_limits: BTreeMap::new(),
            settled: Vec::new(),
            intents: Vec::new(),
            call: None,
            doomed: Vec::new(),
            meta: BTreeMap::new(),
            era,
            supersedes: false,
            listing: None,
            recorder: None,
        }
    }

    /// From now on `recorder` is told what is read and written of keys and values.
    pub fn watched_by(&mut self, recorder: Option<Arc<Recorder>>) {
        self.recorder = recorder;
    }

    fn note_read(&self, key: &str) {
        if let Some(recorder) = &self.recorder {
            recorder.read(key, self.keys.peek_base(key).map(|value| &**value));
        }
    }

    fn note_write(&self, key: &str) {
        if let Some(recorder) = &self.recorder {
            let of = |value: Option<&Value>| value.cloned();
            let (old, new) = (of(self.keys.peek_base(key)), of(self.keys.peek(key)));
            recorder.wrote(key, old.as_deref(), new.as_deref());
        }
    }

    /// Makes every transaction that began before this one's commit conflict, whatever it read: a migration changes what all keys mean, and a
    /// call of the version before must not write in the old way behind it.
    pub fn supersede(&mut self) {
        self.supersedes = true;
    }

    /// The plugin whose state this is.
    pub fn plugin(&self) -> &Arc<PluginState> {
        &self.plugin
    }

    /// The limits that it was begun with.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// What keys and values take with this transaction's writes.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether there is nothing to commit.
    pub fn is_read_only(&self) -> bool {
        !self.keys.has_writes()
            && !self.volumes.has_writes()
            && !self.directories.has_writes()
            && !self.objects.has_writes()
            && self.settled.is_empty()
            && self.intents.is_empty()
            && self.call.is_none()
            && self.doomed.is_empty()
            && self.meta.is_empty()
    }

    /// The value of a key.
    pub fn get(&mut self, key: &str) -> Option<Value> {
        self.note_read(key);
        self.keys.get(key).cloned()
    }

    /// Whether there is such a key.
    pub fn exists(&mut self, key: &str) -> bool {
        self.note_read(key);
        self.keys.get(key).is_some()
    }

    /// Sets a key.
    ///
    /// # Errors
    /// One of the quotas refuses it. A write that makes the state no larger is never refused for the size of the whole.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<(), StateError> {
        let value = value.into();
        let length = key.len() as u64;
        if length > self.quota.max_key_bytes {
            return Err(StateError::KeyTooLong {
                length,
                limit: self.quota.max_key_bytes,
            });
        }
        let length = value.len() as u64;
        if length > self.quota.max_value_bytes {
            return Err(StateError::ValueTooLong {
                length,
                limit: self.quota.max_value_bytes,
            });
        }
        // Not a read: the committer checks the quotas once more against what is stored then.
        let before = self.keys.peek(key);
        let mut usage = self.usage;
        usage.count(key, before, Some(&value));
        if usage.keys > self.usage.keys && usage.keys > self.quota.max_keys {
            return Err(StateError::Keys {
                limit: self.quota.max_keys,
            });
        }
        if usage.bytes > self.usage.bytes && usage.bytes > self.quota.max_bytes {
            return Err(StateError::Bytes {
                used: self.usage.bytes,
                limit: self.quota.max_bytes,
                more: usage.bytes - self.usage.bytes,
            });
        }
        self.usage = usage;
        self.keys.put(key, value);
        self.note_write(key);
        Ok(())
    }

    /// Removes a key. One that is not there is no error.
    pub fn delete(&mut self, key: &str) {
        let before = self.keys.peek(key).cloned();
        self.usage.count(key, before.as_ref(), None);
        self.keys.remove(key);
        self.note_write(key);
    }

    /// Adds to a number and returns the sum. A key that is not there counts as 0.
    ///
    /// The value is the number in decimal ASCII digits, so that a driver can read it with `get`, write it with `set`, and an
    /// operator can read it in the database.
    ///
    /// # Errors
    /// The value is not such a number, the sum is larger than `u64::MAX`, or a quota refuses it.
    pub fn increment(&mut self, key: &str, delta: u64) -> Result<u64, StateError> {
        self.note_read(key);
        let number = match self.keys.get(key) {
            Some(value) => decimal(value).ok_or_else(|| StateError::NotANumber {
                key: key.to_owned(),
            })?,
            None => 0,
        };
        let sum = number
            .checked_add(delta)
            .ok_or_else(|| StateError::Overflow {
                key: key.to_owned(),
                delta,
            })?;
        self.set(key, sum.to_string().into_bytes())?;
        Ok(sum)
    }

    /// The keys in order of their bytes, at most `page` of them and never more than 1 MiB unless one key alone is longer.
    ///
    /// `None` begins a listing: it has the keys as they are then, and later pages of it are not moved by writes in between. A
    /// transaction has one listing at a time. The cursor is the position of the next key.
    pub fn list_keys(&mut self, cursor: Option<u64>, page: usize) -> KeyPage {
        if cursor.is_none() {
            self.listing = None;
            if let Some(recorder) = &self.recorder {
                recorder.listed(self.keys.peek_base_keys());
            }
        }
        let keys = &mut self.keys;
        let listing = self.listing.get_or_insert_with(|| keys.scan_keys());
        let (keys, cursor) = listing.page(cursor.unwrap_or(0), page, MAX_PAGE_BYTES);
        KeyPage { keys, cursor }
    }

    /// One volume of the catalogue.
    pub fn volume(&mut self, name: &str) -> Option<Arc<VolumeRecord>> {
        self.volumes.get(name).cloned()
    }

    /// The volume catalogue, in order of the names' bytes.
    pub fn volumes(&mut self) -> Vec<Arc<VolumeRecord>> {
        self.volumes.scan_rows().cloned().collect()
    }

    /// Puts a volume into the catalogue, in the place of one with the same name.
    pub fn put_volume(&mut self, record: VolumeRecord) {
        let record = Arc::new(record);
        self.volumes.put(&record.name.clone(), record);
    }

    /// Takes a volume out of the catalogue and returns it.
    pub fn remove_volume(&mut self, name: &str) -> Option<Arc<VolumeRecord>> {
        let record = self.volume(name)?;
        self.volumes.remove(name);
        Some(record)
    }

    /// One directory.
    pub fn directory(&mut self, key: &str) -> Option<Arc<DirectoryRecord>> {
        self.directories.get(key).cloned()
    }

    /// All directories, in order of the keys' bytes.
    pub fn directories(&mut self) -> Vec<Arc<DirectoryRecord>> {
        self.directories.scan_rows().cloned().collect()
    }

    /// Records a directory. One that was recorded under the same key with another ID is doomed as by
    /// [`remove_directory`](Self::remove_directory).
    ///
    /// # Errors
    /// The plugin has all of its directories already.
    pub fn put_directory(&mut self, record: DirectoryRecord) -> Result<(), StateError> {
        let before = self.directory(&record.key);
        let limit = self.quota.max_directories;
        if before.is_none() && (self.directories.len() >= limit || self.doomed.len() as u64 > limit)
        {
            return Err(StateError::Directories { limit });
        }
        if let Some(before) = before
            && before.id != record.id
        {
            self.doomed.push(before.id.clone());
        }
        let record = Arc::new(record);
        self.directories.put(&record.key.clone(), record);
        Ok(())
    }

    /// Takes a directory out of the records and returns it. With the commit it becomes one of
    /// [`Store::doomed`](super::Store::doomed): the caller removes its files then, and not before.
    pub fn remove_directory(&mut self, key: &str) -> Option<Arc<DirectoryRecord>> {
        let record = self.directory(key)?;
        self.directories.remove(key);
        self.doomed.push(record.id.clone());
        Some(record)
    }

    /// One thing that the host made on the machine.
    pub fn object(&mut self, name: &str) -> Option<Arc<ObjectRecord>> {
        self.objects.get(name).cloned()
    }

    /// Everything that the host made on the machine, in order of the names' bytes.
    pub fn objects(&mut self) -> Vec<Arc<ObjectRecord>> {
        self.objects.scan_rows().cloned().collect()
    }

    /// How many objects have names that begin with `prefix`. The commit does not depend on it, or calls that take long would all lose against
    /// each other; see [`limit_objects`](Self::limit_objects).
    pub fn count_objects(&self, prefix: &str) -> u64 {
        self.objects.peek_count(prefix)
    }

    /// The commit is a conflict if it takes the number of objects whose names begin with `prefix` beyond `most`.
    pub fn limit_objects(&mut self, prefix: &str, most: u64) {
        self.object_limits.insert(prefix.to_owned(), most);
    }

    /// The objects whose names begin with `prefix`. As with [`count_objects`](Self::count_objects) the commit does not depend on them.
    pub fn peek_objects(&self, prefix: &str) -> Vec<Arc<ObjectRecord>> {
        self.objects
            .peek_rows()
            .filter(|object| object.name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// The commit is a conflict if it takes the sum over the objects whose names begin with `prefix` beyond `most`.
    pub(crate) fn limit_weight(&mut self, prefix: &str, weigh: Weigh, most: u64) {
        self.weight_limits.insert(prefix.to_owned(), (weigh, most));
    }

    /// Whether this transaction has made what is recorded under this name.
    pub fn has_made(&self, name: &str) -> bool {
        match (self.objects.peek(name), self.objects.peek_base(name)) {
            (Some(now), before) => before.is_none_or(|before| before.id != now.id),
            (None, _) => false,
        }
    }

    /// Records something on the machine, in the place of one with the same name.
    pub fn put_object(&mut self, record: ObjectRecord) {
        let record = Arc::new(record);
        self.objects.put(&record.name.clone(), record);
    }

    /// Takes something on the machine out of the records and returns it. The caller says by [`intend`](Self::intend) what becomes of it.
    pub fn remove_object(&mut self, name: &str) -> Option<Arc<ObjectRecord>> {
        let record = self.object(name)?;
        self.objects.remove(name);
        Some(record)
    }

    /// With the commit, what was intended under this ID is done: see [`Store::intend`](super::Store::intend).
    pub fn settle(&mut self, id: &str) {
        self.settled.push(id.to_owned());
    }

    /// With the commit, this has to be done to the machine.
    pub fn intend(&mut self, intent: Intent) {
        self.intents.push(intent);
    }

    /// With the commit, the notes of this call are dropped: see [`Store::note`](super::Store::note).
    pub fn settle_call(&mut self, call: &str) {
        self.call = Some(call.to_owned());
    }

    /// Sets, or with `None` removes, one of the host's own notes about the plugin together with everything else. See
    /// [`Store::meta`](super::Store::meta).
    pub fn set_meta(&mut self, key: &str, value: Option<&str>) {
        self.meta.insert(key.to_owned(), value.map(str::to_owned));
    }

    /// Whether anything that was read has changed.
    pub(super) fn conflicts_with(&self, now: &Snapshot) -> bool {
        self.era != now.era
            || self.keys.conflicts_with(&now.keys)
            || self.volumes.conflicts_with(&now.volumes)
            || self.directories.conflicts_with(&now.directories)
            || self.objects.conflicts_with(&now.objects)
    }

    /// Whether the step from `before` to `after` takes the plugin beyond a quota. Each transaction alone has stayed within them, but
    /// two that began with the same snapshot and read nothing of each other's can exceed them together.
    pub(super) fn exceeds_quota(&self, before: &Snapshot, after: &Snapshot) -> bool {
        let grown = |before: u64, after: u64, limit: u64| after > before && after > limit;
        grown(before.usage.bytes, after.usage.bytes, self.quota.max_bytes)
            || grown(before.usage.keys, after.usage.keys, self.quota.max_keys)
            || grown(
                before.directories.len(),
                after.directories.len(),
                self.quota.max_directories,
            )
            || self.object_limits.iter().any(|(prefix, most)| {
                let count = |state: &Snapshot| {
                    let names = state.objects().map(|object| &object.name);
                    names.filter(|name| name.starts_with(prefix)).count() as u64
                };
                grown(count(before), count(after), *most)
            })
            || self.weight_limits.iter().any(|(prefix, (weigh, most))| {
                let sum = |state: &Snapshot| {
                    let all = state.objects();
                    all.filter(|object| object.name.starts_with(prefix))
                        .fold(0_u64, |sum, object| sum.saturating_add(weigh(object)))
                };
                grown(sum(before), sum(after), *most)
            })
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    // `parse` alone would take a sign.
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}
