//! Whatever transactions do at the same time, there is an order in which they could have done it one after the other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What one transaction does, step by step.
#[derive(Debug, Clone)]
enum Step {
    Get(u8),
    Set(u8, u8),
    Delete(u8),
    Increment(u8, u8),
    /// Moves an amount from one key to another.
    Transfer(u8, u8, u8),
    /// Writes the number of all keys to a key.
    CountInto(u8),
    PutVolume(u8),
    RemoveVolume(u8),
    CountVolumesInto(u8),
}

/// A moment of the history: the transaction of that index takes its next step, or those of the group commit together.
#[derive(Debug, Clone)]
enum Event {
    Step(usize),
    Commit(Vec<usize>),
}

const TRANSACTIONS: usize = 6;
const KEYS: u8 = 4;

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS;
    prop_oneof![
        2 => key().prop_map(Step::Get),
        2 => (key(), any::<u8>()).prop_map(|(k, v)| Step::Set(k, v)),
        1 => key().prop_map(Step::Delete),
        3 => (key(), 1..9_u8).prop_map(|(k, d)| Step::Increment(k, d)),
        3 => (key(), key(), 1..9_u8).prop_map(|(a, b, n)| Step::Transfer(a, b, n)),
        1 => key().prop_map(Step::CountInto),
        1 => key().prop_map(Step::PutVolume),
        1 => key().prop_map(Step::RemoveVolume),
        1 => key().prop_map(Step::CountVolumesInto),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..TRANSACTIONS).prop_map(Event::Step),
        1 => prop::sample::subsequence((0..TRANSACTIONS).collect::<Vec<_>>(), 1..=TRANSACTIONS).prop_shuffle().prop_map(Event::Commit),
    ]
}

/// The state that both the store and a plain map can be.
trait State {
    fn get(&mut self, key: &str) -> Option<u64>;
    fn set(&mut self, key: &str, value: u64);
    fn delete(&mut self, key: &str);
    fn count(&mut self) -> u64;
    fn set_volume(&mut self, name: &str, there: bool) -> bool;
    fn count_volumes(&mut self) -> u64;
}

impl State for Transaction {
    fn get(&mut self, key: &str) -> Option<u64> {
        Transaction::get(self, key).map(|value| text(&value).parse().unwrap())
    }
    fn set(&mut self, key: &str, value: u64) {
        Transaction::set(self, key, value.to_string().into_bytes()).unwrap();
    }
    fn delete(&mut self, key: &str) {
        Transaction::delete(self, key);
    }
    fn count(&mut self) -> u64 {
        self.list_keys(None, 1000).keys.len() as u64
    }
    fn set_volume(&mut self, name: &str, there: bool) -> bool {
        if there {
            self.put_volume(volume(name));
            true
        } else {
            self.remove_volume(name).is_some()
        }
    }
    fn count_volumes(&mut self) -> u64 {
        self.volumes().len() as u64
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    keys: BTreeMap<String, u64>,
    volumes: BTreeMap<String, ()>,
}

impl State for Model {
    fn get(&mut self, key: &str) -> Option<u64> {
        self.keys.get(key).copied()
    }
    fn set(&mut self, key: &str, value: u64) {
        self.keys.insert(key.to_owned(), value);
    }
    fn delete(&mut self, key: &str) {
        self.keys.remove(key);
    }
    fn count(&mut self) -> u64 {
        self.keys.len() as u64
    }
    fn set_volume(&mut self, name: &str, there: bool) -> bool {
        if there {
            self.volumes.insert(name.to_owned(), ());
            true
        } else {
            self.volumes.remove(name).is_some()
        }
    }
    fn count_volumes(&mut self) -> u64 {
        self.volumes.len() as u64
    }
}

/// Does one step and returns what it learned.
fn run(state: &mut dyn State, step: &Step) -> Option<u64> {
    let name = |key: &u8| format!("k{key}");
    match step {
        Step::Get(key) => state.get(&name(key)),
        Step::Set(key, value) => {
            state.set(&name(key), u64::from(*value));
            None
        }
        Step::Delete(key) => {
            state.delete(&name(key));
            None
        }
        Step::Increment(key, delta) => {
            let sum = state.get(&name(key)).unwrap_or(0) + u64::from(*delta);
            state.set(&name(key), sum);
            Some(sum)
        }
        Step::Transfer(from, to, amount) => {
            let has = state.get(&name(from)).unwrap_or(0);
            let amount = has.min(u64::from(*amount));
            state.set(&name(from), has - amount);
            let sum = state.get(&name(to)).unwrap_or(0) + amount;
            state.set(&name(to), sum);
            Some(sum)
        }
        Step::CountInto(key) => {
            let count = state.count();
            state.set(&name(key), count);
            Some(count)
        }
        Step::PutVolume(key) => Some(state.set_volume(&name(key), true).into()),
        Step::RemoveVolume(key) => Some(state.set_volume(&name(key), false).into()),
        Step::CountVolumesInto(key) => {
            let count = state.count_volumes();
            state.set(&name(key), count);
            Some(count)
        }
    }
}

/// A transaction with what it has done and learned so far.
struct Running {
    transaction: Transaction,
    /// What was committed when it began.
    began: Model,
    done: Vec<(Step, Option<u64>)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn committed_transactions_could_have_run_one_after_the_other(
        scripts in prop::collection::vec(prop::collection::vec(step(), 1..8), TRANSACTIONS),
        events in prop::collection::vec(event(), 1..80),
    ) {
        // Without the thread, so that the order inside a group is known.
        let connection = Connection::open_in_memory().unwrap();
        for step in database::STEPS {
            connection.execute_batch(step).unwrap();
        }
        let mut committer = Committer::new(connection, "test".into()).unwrap();
        let plugin = Arc::new(PluginState::new("p", Snapshot::default()));
        let mut model = Model::default();
        let mut running: Vec<Option<Running>> = (0..TRANSACTIONS).map(|_| None).collect();
        for event in events {
            match event {
                Event::Step(index) => {
                    let one = running[index].get_or_insert_with(|| Running {
                        transaction: Transaction::new(plugin.clone(), AMPLE),
                        began: model.clone(),
                        done: Vec::new(),
                    });
                    let script = &scripts[index];
                    let step = script[one.done.len() % script.len()].clone();
                    let learned = run(&mut one.transaction, &step);
                    one.done.push((step, learned));
                }
                Event::Commit(indices) => {
                    let group: Vec<Running> = indices.iter().filter_map(|index| running[*index].take()).collect();
                    let (mut work, mut histories) = (Vec::new(), Vec::new());
                    for one in group {
                        if one.transaction.is_read_only() {
                            replay(&mut one.began.clone(), &one.done)?;
                        } else {
                            work.push(Work::Commit(Box::new(one.transaction)));
                            histories.push(one.done);
                        }
                    }
                    for (outcome, done) in committer.group(&work).into_iter().zip(histories) {
                        if outcome.unwrap() != Outcome::Conflict {
                            replay(&mut model, &done)?;
                        }
                    }
                    let snapshot = plugin.snapshot();
                    let keys: BTreeMap<_, _> = snapshot
                        .keys()
                        .map(|(key, value)| (key.to_owned(), text(value).parse::<u64>().unwrap()))
                        .collect();
                    prop_assert_eq!(&keys, &model.keys);
                    let volumes: Vec<_> = snapshot.volumes().map(|volume| &volume.name).collect();
                    prop_assert_eq!(volumes, model.volumes.keys().collect::<Vec<_>>());
                    let stored = committer.stored("p");
                    prop_assert_eq!(stored.usage(), snapshot.usage());
                    prop_assert!(stored.keys().eq(snapshot.keys()), "memory shows what the database has");
                    prop_assert!(stored.volumes().eq(snapshot.volumes()));
                }
            }
        }
    }
}

fn replay(model: &mut Model, done: &[(Step, Option<u64>)]) -> Result<(), TestCaseError> {
    for (step, learned) in done {
        prop_assert_eq!(&run(model, step), learned, "{:?}", step);
    }
    Ok(())
}
