//! A persistent map whose rows have versions, and a draft of changes to it that knows what it has read.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

/// Number of a commit. 0 is what was there when the store was opened, as far as a whole table is meant.
pub(super) type Version = i64;

/// What the keys that a draft has read may take in memory. Beyond it the draft depends on the whole table: a guest that asks
/// for millions of keys costs itself conflicts and not the daemon memory.
const MAX_READ_BYTES: usize = 256 << 10;

/// What one remembered key costs besides its text: two pointers, a length, a version and its share of a tree node.
const READ_OVERHEAD: usize = 64;

/// A value and the commit that wrote it.
#[derive(Debug, Clone)]
pub(super) struct Row<V> {
    pub(super) value: V,
    pub(super) version: Version,
}

/// Rows by key. Cloning costs a few reference counts.
#[derive(Debug, Clone)]
pub(super) struct Table<V> {
    rows: OrdMap<Arc<str>, Row<V>>,
    /// The last commit that changed anything.
    content: Version,
    /// The last commit that added or removed a key.
    shape: Version,
}

impl<V: Clone> Default for Table<V> {
    fn default() -> Self {
        Self {
            rows: OrdMap::new(),
            content: 0,
            shape: 0,
        }
    }
}

/// One change that a draft makes to a table.
pub(super) struct Change<V> {
    pub(super) key: Arc<str>,
    pub(super) before: Option<Row<V>>,
    /// `None` removes the key.
    pub(super) after: Option<V>,
}

impl<V: Clone> Table<V> {
    pub(super) fn load(rows: impl IntoIterator<Item = (Arc<str>, Row<V>)>) -> Self {
        Self {
            rows: rows.into_iter().collect(),
            content: 0,
            shape: 0,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    pub(super) fn version(&self, key: &str) -> Option<Version> {
        self.rows.get(key).map(|row| row.version)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Writes one key. `None` if there was nothing to do.
    pub(super) fn write(
        &mut self,
        key: &Arc<str>,
        after: Option<V>,
        version: Version,
    ) -> Option<Change<V>> {
        let before = match after.clone() {
            Some(value) => self.rows.insert(key.clone(), Row { value, version }),
            None => self.rows.remove(&**key),
        };
        if before.is_none() && after.is_none() {
            return None;
        }
        self.content = version;
        if before.is_some() != after.is_some() {
            self.shape = version;
        }
        Some(Change {
            key: key.clone(),
            before,
            after,
        })
    }

    pub(super) fn clear(&mut self, version: Version) {
        *self = Self {
            rows: OrdMap::new(),
            content: version,
            shape: version,
        };
    }
}

/// How much of a whole table a draft has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scanned {
    No,
    Keys,
    Rows,
}

/// Changes to a table, on top of one state of it.
#[derive(Debug)]
pub(super) struct Draft<V> {
    base: Table<V>,
    /// `base` with the writes of this draft; their rows have version 0.
    view: OrdMap<Arc<str>, Row<V>>,
    reads: BTreeMap<Arc<str>, Option<Version>>,
    read_bytes: usize,
    scanned: Scanned,
    writes: BTreeMap<Arc<str>, Option<V>>,
}

impl<V: Clone> Draft<V> {
    pub(super) fn new(base: Table<V>) -> Self {
        Self {
            view: base.rows.clone(),
            base,
            reads: BTreeMap::new(),
            read_bytes: 0,
            scanned: Scanned::No,
            writes: BTreeMap::new(),
        }
    }

    /// Reads a key. The draft depends on it from now on, unless it reads what it wrote itself.
    pub(super) fn get(&mut self, key: &str) -> Option<&V> {
        if !self.writes.contains_key(key) {
            self.depend_on(key);
        }
        self.peek(key)
    }

    /// Looks at a key for the host's own book-keeping, of which the caller learns nothing.
    pub(super) fn peek(&self, key: &str) -> Option<&V> {
        self.view.get(key).map(|row| &row.value)
    }

    /// As [`peek`](Self::peek), at what was there before the draft.
    pub(super) fn peek_base(&self, key: &str) -> Option<&V> {
        self.base.rows.get(key).map(|row| &row.value)
    }

    /// As [`peek_base`](Self::peek_base), at all keys.
    pub(super) fn peek_base_keys(&self) -> impl Iterator<Item = &str> {
        self.base.rows.keys().map(|key| &**key)
    }

    /// As [`peek`](Self::peek), at all rows.
    pub(super) fn peek_rows(&self) -> impl Iterator<Item = &V> {
        self.view.values().map(|row| &row.value)
    }

    /// How many keys begin with `prefix`, the draft's own included, for the host's own book-keeping.
    pub(super) fn peek_count(&self, prefix: &str) -> u64 {
        self.view
            .keys()
            .filter(|key| key.starts_with(prefix))
            .count() as u64
    }

    pub(super) fn put(&mut self, key: &str, value: V) {
        let key: Arc<str> = key.into();
        self.view.insert(
            key.clone(),
            Row {
                value: value.clone(),
                version: 0,
            },
        );
        self.writes.insert(key, Some(value));
    }

    pub(super) fn remove(&mut self, key: &str) {
        let Some((key, _)) = self.view.remove_with_key(key) else {
            // Nothing to remember for a key that is gone through this draft; one that was never there must stay away.
            if !self.writes.contains_key(key) {
                self.depend_on(key);
            }
            return;
        };
        if self.base.rows.contains_key(&*key) {
            self.writes.insert(key, None);
        } else {
            // Otherwise a guest that sets and deletes ever new keys would fill the daemon's memory within its quota.
            self.writes.remove(&key);
            self.depend_on(&key);
        }
    }

    /// All rows. The draft depends on all of them from now on.
    pub(super) fn scan_rows(&mut self) -> impl Iterator<Item = &V> {
        self.scanned = Scanned::Rows;
        self.view.values().map(|row| &row.value)
    }

    /// All keys as they are now, however this draft goes on. The draft depends on which keys there are, not on their values.
    pub(super) fn scan_keys(&mut self) -> KeyList<V> {
        self.scanned = self.scanned.max(Scanned::Keys);
        KeyList {
            rows: self.view.clone(),
            last: None,
        }
    }

    /// Number of rows, the draft's own included.
    pub(super) fn len(&self) -> u64 {
        self.view.len() as u64
    }

    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether anything that was read has changed since.
    pub(super) fn conflicts_with(&self, now: &Table<V>) -> bool {
        let changed = match self.scanned {
            Scanned::No => false,
            Scanned::Keys => now.shape != self.base.shape,
            Scanned::Rows => now.content != self.base.content,
        };
        changed
            || (now.content != self.base.content
                && self
                    .reads
                    .iter()
                    .any(|(key, seen)| now.version(key) != *seen))
    }

    /// Makes the changes to `now`.
    pub(super) fn apply(&self, now: &mut Table<V>, version: Version) -> Vec<Change<V>> {
        self.writes
            .iter()
            .filter_map(|(key, after)| now.write(key, after.clone(), version))
            .collect()
    }

    /// How many keys it holds in memory.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.reads.len() + self.writes.len()
    }

    fn depend_on(&mut self, key: &str) {
        if self.scanned == Scanned::Rows || self.reads.contains_key(key) {
            return;
        }
        self.read_bytes += key.len() + READ_OVERHEAD;
        if self.read_bytes > MAX_READ_BYTES {
            self.scanned = Scanned::Rows;
            self.reads.clear();
            return;
        }
        self.reads.insert(key.into(), self.base.version(key));
    }
}

/// The keys of a table at one moment, read page by page.
#[derive(Debug)]
pub(super) struct KeyList<V> {
    rows: OrdMap<Arc<str>, Row<V>>,
    /// Where the last page ended: its position and the key before it, so that the next page need not count from the start.
    last: Option<(u64, Arc<str>)>,
}

impl<V: Clone> KeyList<V> {
    /// Keys from `position` on, at most `max_keys` and, unless a single key is longer, `max_bytes`. And the position of the next page.
    pub(super) fn page(
        &mut self,
        position: u64,
        max_keys: usize,
        max_bytes: usize,
    ) -> (Vec<String>, Option<u64>) {
        let (from, skip) = match &self.last {
            Some((at, key)) if *at == position => (Bound::Excluded(key.clone()), 0),
            _ => (
                Bound::Unbounded,
                usize::try_from(position).unwrap_or(usize::MAX),
            ),
        };
        let mut rest = self
            .rows
            .range((from, Bound::<Arc<str>>::Unbounded))
            .map(|(key, _)| key)
            .skip(skip)
            .peekable();
        let mut keys: Vec<String> = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        while let Some(key) = rest.peek() {
            bytes += key.len();
            if keys.len() >= max_keys.max(1) || (!keys.is_empty() && bytes > max_bytes) {
                break;
            }
            keys.push(key.to_string());
            last = rest.next();
        }
        let more = rest.peek().is_some();
        let end = position.saturating_add(keys.len() as u64);
        if let Some(key) = last {
            self.last = Some((end, key.clone()));
        }
        (keys, more.then_some(end))
    }
}
