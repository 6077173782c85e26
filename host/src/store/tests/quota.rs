//! What a transaction may write.

use super::*;

#[test]
fn quotas_refuse_exactly_what_exceeds_them() {
    const QUOTA: Quota = Quota {
        max_bytes: 20,
        max_keys: 3,
        max_value_bytes: 10,
        max_key_bytes: 4,
        max_directories: 1,
    };
    // Writes as key and length of the value, and what the last of them answers.
    let cases: &[(&[(&str, usize)], &str)] = &[
        (&[("a", 10)], ""),
        (&[("a", 11)], "a value of 11 bytes is too long"),
        (&[("abcd", 0)], ""),
        (&[("abcde", 0)], "a key of 5 bytes is too long"),
        (&[("ää", 0)], ""),
        (&[("äää", 0)], "a key of 6 bytes is too long"),
        (&[("a", 9), ("b", 9)], ""),
        (
            &[("a", 9), ("b", 10)],
            "the plugin's state is full: 10 bytes of 20 bytes used and 11 bytes more asked; raise [grants] state.max-bytes in its TOML file",
        ),
        (&[("a", 9), ("b", 9), ("b", 9)], ""),
        (
            &[("a", 9), ("b", 9), ("b", 10)],
            "the plugin's state is full",
        ),
        (&[("a", 0), ("b", 0), ("c", 0)], ""),
        (&[("a", 0), ("b", 0), ("c", 0), ("c", 5)], ""),
        (
            &[("a", 0), ("b", 0), ("c", 0), ("d", 0)],
            "the plugin's state is full: 3 of 3 keys used; raise [grants] state.max-keys",
        ),
    ];
    for (writes, expected) in cases {
        for commit_between in [false, true] {
            let fixture = Fixture::new();
            let plugin = fixture.store.plugin("p").unwrap();
            let mut transaction = Transaction::new(plugin.clone(), QUOTA);
            let (last, first) = writes.split_last().unwrap();
            for (key, length) in first {
                transaction.set(key, vec![0; *length]).unwrap();
            }
            if commit_between {
                committed(wait(fixture.store.commit(transaction)));
                transaction = Transaction::new(plugin.clone(), QUOTA);
            }
            match transaction.set(last.0, vec![0; last.1]) {
                Ok(()) => assert_eq!(*expected, "", "{writes:?}"),
                Err(error) => assert!(
                    !expected.is_empty() && error.to_string().starts_with(expected),
                    "{writes:?}: {error}"
                ),
            }
        }
    }
}

#[test]
fn a_quota_text_uses_the_units_of_the_configuration() {
    let error = StateError::Bytes {
        used: 16 << 20,
        limit: 16 << 20,
        more: 1536,
    };
    assert_eq!(
        error.to_string(),
        "the plugin's state is full: 16 MiB of 16 MiB used and 1.5 KiB more asked; raise [grants] state.max-bytes in its TOML file"
    );
}

#[test]
fn a_lowered_quota_still_lets_a_plugin_shrink() {
    let fixture = Fixture::new();
    fixture.set("p", "a", "0123456789");
    fixture.set("p", "b", "0123456789");
    let low = Quota {
        max_bytes: 5,
        max_keys: 1,
        ..AMPLE
    };
    let mut transaction = Transaction::new(fixture.store.plugin("p").unwrap(), low);
    transaction.set("a", *b"01234567").unwrap();
    transaction.set("a", *b"012345678").unwrap_err();
    transaction.delete("b");
    committed(wait(fixture.store.commit(transaction)));
    assert_eq!(fixture.contents("p"), pairs(&[("a", "01234567")]));
}

#[test]
fn transactions_together_do_not_exceed_a_quota_that_each_alone_keeps() {
    let fixture = Fixture::new();
    let plugin = fixture.store.plugin("p").unwrap();
    let quota = Quota {
        max_keys: 3,
        max_bytes: 30,
        ..AMPLE
    };
    let mut transactions: Vec<_> = (0..8)
        .map(|n| {
            let mut transaction = Transaction::new(plugin.clone(), quota);
            transaction.set(&format!("{n}"), *b"012345678").unwrap();
            transaction
        })
        .collect();
    let outcomes: Vec<_> = transactions
        .drain(..)
        .map(|t| wait(fixture.store.commit(t)).unwrap())
        .collect();
    assert_eq!(
        outcomes.iter().filter(|o| **o != Outcome::Conflict).count(),
        3
    );
    assert_eq!(plugin.snapshot().usage(), Usage { bytes: 30, keys: 3 });
}

#[test]
fn directories_have_a_quota_that_replacing_does_not_use_up() {
    let fixture = Fixture::new();
    let quota = Quota {
        max_directories: 2,
        ..AMPLE
    };
    let mut transaction = Transaction::new(fixture.store.plugin("p").unwrap(), quota);
    transaction.put_directory(directory("a", "1")).unwrap();
    transaction.put_directory(directory("b", "2")).unwrap();
    assert_eq!(
        transaction.put_directory(directory("c", "3")),
        Err(StateError::Directories { limit: 2 })
    );
    transaction.remove_directory("a").unwrap();
    transaction.put_directory(directory("c", "3")).unwrap();
    let mut refused = false;
    for id in 4..10 {
        transaction.remove_directory("c").unwrap();
        refused = transaction
            .put_directory(directory("c", &id.to_string()))
            .is_err();
        if refused {
            break;
        }
    }
    assert!(
        refused,
        "one call must not make and remove directories without end"
    );
}

#[test]
fn the_memory_of_a_transaction_is_bounded_by_its_quotas() {
    let fixture = Fixture::new();
    let quota = Quota {
        max_keys: 1,
        ..AMPLE
    };
    let mut transaction = Transaction::new(fixture.store.plugin("p").unwrap(), quota);
    for n in 0..50_000 {
        let key = format!("key {n}");
        transaction.set(&key, *b"x").unwrap();
        transaction.delete(&key);
        transaction.delete(&format!("absent {n}"));
    }
    assert!(
        transaction.keys.remembered() < 10_000,
        "{}",
        transaction.keys.remembered()
    );
    assert_eq!(transaction.usage(), Usage::default());
}

#[test]
fn calls_that_each_add_an_object_lose_against_each_other_only_beyond_the_limit() {
    for (most, both) in [(2, true), (1, false)] {
        let fixture = Fixture::new();
        let mut transactions: Vec<Transaction> = (0..2).map(|_| fixture.begin("p")).collect();
        for (number, transaction) in transactions.iter_mut().enumerate() {
            assert_eq!(transaction.count_objects("mount/"), 0);
            transaction.limit_objects("mount/", most);
            for name in [format!("mount/{number}"), format!("image/{number}")] {
                transaction.put_object(ObjectRecord {
                    name,
                    id: number.to_string(),
                    record: String::new(),
                    boot: String::new(),
                    made_at: 0,
                });
            }
            assert_eq!(transaction.count_objects("mount/"), 1);
        }
        let second = transactions.pop().unwrap();
        let first = transactions.pop().unwrap();
        committed(wait(fixture.store.commit(first)));
        let outcome = wait(fixture.store.commit(second)).unwrap();
        assert_eq!(outcome != Outcome::Conflict, both, "at most {most}");
    }
}

#[test]
fn a_limit_on_a_sum_is_checked_again_at_the_commit_and_costs_no_conflict_below_it() {
    for (most, expected) in [(10, true), (9, false)] {
        let fixture = Fixture::new();
        let plugin = fixture.store.plugin("p").unwrap();
        let begin = |name: &str| {
            let mut transaction = Transaction::new(plugin.clone(), Quota::default());
            assert!(transaction.peek_objects("image/").is_empty());
            transaction.limit_weight("image/", |object| object.record.len() as u64, most);
            assert!(!transaction.has_made(name));
            transaction.put_object(ObjectRecord {
                name: name.to_owned(),
                id: format!("id of {name}"),
                record: "12345".to_owned(),
                boot: String::new(),
                made_at: 0,
            });
            assert!(transaction.has_made(name));
            transaction
        };
        let (one, other) = (begin("image/a"), begin("image/b"));
        committed(wait(fixture.store.commit(one)));
        let outcome = wait(fixture.store.commit(other)).unwrap();
        assert_eq!(outcome != Outcome::Conflict, expected, "{most}");
        let mut later = Transaction::new(plugin.clone(), Quota::default());
        assert!(!later.has_made("image/a"));
        assert_eq!(
            later.peek_objects("image/").len(),
            1 + usize::from(expected)
        );
        later.remove_object("image/a");
        assert!(!later.has_made("image/a"));
    }
}
