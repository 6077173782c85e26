#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod behaviour;
mod durability;
mod quota;
mod serializability;

use std::sync::Arc;

use super::*;

/// Large enough to be in nobody's way.
const AMPLE: Quota = Quota {
    max_bytes: 1 << 30,
    max_keys: 1 << 20,
    max_value_bytes: 1 << 24,
    max_key_bytes: 1 << 16,
    max_directories: 1 << 16,
};

struct Fixture {
    store: Store,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(directory.path()).unwrap(),
            directory,
        }
    }

    fn reopen(self) -> Self {
        let Self { store, directory } = self;
        drop(store);
        Self {
            store: Store::open(directory.path()).unwrap(),
            directory,
        }
    }

    fn begin(&self, plugin: &str) -> Transaction {
        Transaction::new(self.store.plugin(plugin).unwrap(), AMPLE)
    }

    fn set(&self, plugin: &str, key: &str, value: &str) -> Vec<UndoKey> {
        let mut transaction = self.begin(plugin);
        transaction.set(key, value.as_bytes()).unwrap();
        committed(wait(self.store.commit(transaction)))
    }

    fn delete(&self, plugin: &str, key: &str) -> Vec<UndoKey> {
        let mut transaction = self.begin(plugin);
        transaction.delete(key);
        committed(wait(self.store.commit(transaction)))
    }

    /// All keys and values of a plugin as text.
    fn contents(&self, plugin: &str) -> Vec<(String, String)> {
        let snapshot = self.store.plugin(plugin).unwrap().snapshot();
        snapshot
            .keys()
            .map(|(key, value)| (key.to_owned(), text(value)))
            .collect()
    }

    /// Runs something on the connection that writes, in the middle of a commit.
    fn inside(&self, run: impl Fn(&Connection) + Send + 'static) -> Result<Outcome, StoreError> {
        wait(self.store.submit(Work::Test(Box::new(run))))
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn committed(result: Result<Outcome, StoreError>) -> Vec<UndoKey> {
    match result.unwrap() {
        Outcome::Committed { undo } => undo,
        Outcome::Conflict => panic!("a conflict"),
    }
}

fn text(value: &Value) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn volume(name: &str) -> VolumeRecord {
    VolumeRecord {
        name: name.to_owned(),
        created_at: 1_700_000_000,
        options: vec![
            ("size".to_owned(), "10m".to_owned()),
            ("".to_owned(), "\0\"".to_owned()),
        ],
        directory: Some(format!("id-of-{name}")),
        uses: vec![VolumeUse {
            id: "a use".to_owned(),
            count: 2,
            engine: EngineProcess::default(),
            relay: Some("relay".into()),
        }],
    }
}

fn directory(key: &str, id: &str) -> DirectoryRecord {
    DirectoryRecord {
        key: key.to_owned(),
        id: id.to_owned(),
    }
}

impl Committer {
    /// What the database has for a plugin.
    fn stored(&mut self, plugin: &str) -> Snapshot {
        database::load(&mut self.connection, Path::new("test"), plugin).unwrap()
    }
}

fn limit_pages(connection: &Connection, more: i64) {
    let pages: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    connection
        .query_row(
            &format!("PRAGMA max_page_count = {}", pages + more),
            [],
            |_| Ok(()),
        )
        .unwrap();
}
