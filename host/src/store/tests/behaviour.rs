//! What a transaction sees, and what it conflicts with.

use super::*;

#[test]
fn the_store_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Store>();
    shared::<Transaction>();
    shared::<Snapshot>();
}

#[test]
fn a_transaction_reads_what_it_wrote_and_nobody_else_does() {
    let fixture = Fixture::new();
    fixture.set("p", "a", "1");
    let mut writer = fixture.begin("p");
    writer.set("a", *b"2").unwrap();
    writer.set("b", *b"3").unwrap();
    assert_eq!(writer.get("a").as_deref(), Some(&b"2"[..]));
    assert!(writer.exists("b"));
    writer.delete("a");
    assert!(!writer.exists("a"));
    assert_eq!(writer.list_keys(None, 10).keys, ["b"]);
    assert_eq!(fixture.contents("p"), pairs(&[("a", "1")]));
    drop(writer);
    assert_eq!(fixture.contents("p"), pairs(&[("a", "1")]));
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let fixture = Fixture::new();
    fixture.set("p", "a", "1");
    let snapshot = fixture.store.plugin("p").unwrap().snapshot();
    let mut reader = fixture.begin("p");
    fixture.set("p", "a", "2");
    assert_eq!(snapshot.get("a").map(text).as_deref(), Some("1"));
    assert_eq!(reader.get("a").as_ref().map(text).as_deref(), Some("1"));
}

#[test]
fn plugins_do_not_see_each_other() {
    let fixture = Fixture::new();
    for name in ["a", "A", "a/b", "a:ro", "ä"] {
        fixture.set(name, "key", name);
    }
    for name in ["a", "A", "a/b", "a:ro", "ä"] {
        assert_eq!(fixture.contents(name), pairs(&[("key", name)]));
    }
}

/// What a transaction does, what another commits meanwhile, and whether that is a conflict.
type Case = (
    &'static str,
    fn(&mut Transaction),
    fn(&mut Transaction),
    bool,
);

const CASES: &[Case] = &[
    (
        "read, then changed",
        |t| drop(t.get("a")),
        |t| t.set("a", *b"x").unwrap(),
        true,
    ),
    (
        "read, then removed",
        |t| drop(t.get("a")),
        |t| t.delete("a"),
        true,
    ),
    (
        "read as absent, then made",
        |t| drop(t.get("new")),
        |t| t.set("new", *b"x").unwrap(),
        true,
    ),
    (
        "existence asked, then removed",
        |t| assert!(t.exists("a")),
        |t| t.delete("a"),
        true,
    ),
    (
        "incremented twice",
        |t| drop(t.increment("n", 1)),
        |t| drop(t.increment("n", 1)),
        true,
    ),
    (
        "set blindly twice",
        |t| t.set("a", *b"y").unwrap(),
        |t| t.set("a", *b"x").unwrap(),
        false,
    ),
    (
        "deleted blindly, then changed",
        |t| t.delete("a"),
        |t| t.set("a", *b"x").unwrap(),
        false,
    ),
    (
        "deleted while absent, then made",
        |t| t.delete("new"),
        |t| t.set("new", *b"x").unwrap(),
        true,
    ),
    (
        "another key read",
        |t| drop(t.get("b")),
        |t| t.set("a", *b"x").unwrap(),
        false,
    ),
    (
        "keys listed, then one made",
        |t| drop(t.list_keys(None, 1)),
        |t| t.set("new", *b"x").unwrap(),
        true,
    ),
    (
        "keys listed, then one removed",
        |t| drop(t.list_keys(None, 1)),
        |t| t.delete("b"),
        true,
    ),
    (
        "keys listed, then a value changed",
        |t| drop(t.list_keys(None, 1)),
        |t| t.set("a", *b"x").unwrap(),
        false,
    ),
    (
        "own write read",
        |t| {
            t.set("a", *b"y").unwrap();
            t.get("a");
        },
        |t| t.set("a", *b"x").unwrap(),
        false,
    ),
    (
        "volume read, then removed",
        |t| drop(t.volume("v")),
        |t| drop(t.remove_volume("v")),
        true,
    ),
    (
        "volumes listed, then one replaced",
        |t| drop(t.volumes()),
        |t| t.put_volume(volume("v")),
        true,
    ),
    (
        "another volume read",
        |t| drop(t.volume("w")),
        |t| drop(t.remove_volume("v")),
        false,
    ),
    (
        "directory read, then removed",
        |t| drop(t.directory("d")),
        |t| drop(t.remove_directory("d")),
        true,
    ),
    (
        "directories listed, then one made",
        |t| drop(t.directories()),
        |t| t.put_directory(directory("e", "9")).unwrap(),
        true,
    ),
    (
        "directory removed twice",
        |t| drop(t.remove_directory("d")),
        |t| drop(t.remove_directory("d")),
        true,
    ),
    (
        "keys read, volumes changed",
        |t| drop(t.list_keys(None, 9)),
        |t| t.put_volume(volume("z")),
        false,
    ),
    (
        "more keys read than are remembered one by one",
        |t| (0..100_000).for_each(|n| drop(t.get(&format!("absent {n}")))),
        |t| t.set("absent 99999", *b"x").unwrap(),
        true,
    ),
];

#[test]
fn a_commit_conflicts_exactly_with_changes_of_what_was_read() {
    for (name, first, other, conflict) in CASES {
        let fixture = Fixture::new();
        let mut before = fixture.begin("p");
        for key in ["a", "b"] {
            before.set(key, *b"0").unwrap();
        }
        before.put_volume(volume("v"));
        before.put_directory(directory("d", "1")).unwrap();
        committed(wait(fixture.store.commit(before)));

        let mut transaction = fixture.begin("p");
        first(&mut transaction);
        transaction.set("mark", *b"written").unwrap();
        let mut between = fixture.begin("p");
        other(&mut between);
        committed(wait(fixture.store.commit(between)));
        let expected = fixture.contents("p");
        let outcome = wait(fixture.store.commit(transaction)).unwrap();
        assert_eq!(outcome == Outcome::Conflict, *conflict, "{name}");
        if *conflict {
            assert_eq!(
                fixture.contents("p"),
                expected,
                "{name}: nothing may be written"
            );
            assert_eq!(
                fixture.reopen().contents("p"),
                expected,
                "{name}: nothing may be written"
            );
        }
    }
}

#[test]
fn a_transaction_without_writes_never_conflicts() {
    let fixture = Fixture::new();
    fixture.set("p", "a", "1");
    let mut reader = fixture.begin("p");
    reader.get("a");
    reader.list_keys(None, 10);
    reader.delete("not there");
    fixture.set("p", "a", "2");
    assert!(reader.is_read_only());
    assert_eq!(committed(wait(fixture.store.commit(reader))), []);
}

#[test]
fn keys_are_listed_in_byte_order_and_each_once() {
    let fixture = Fixture::new();
    let mut expected: Vec<String> = (0..25).map(|n| format!("key {n}")).collect();
    expected.extend(
        [
            "",
            "\0",
            "a\nb",
            "a/../b",
            "Z",
            "z",
            "é",
            "日本",
            "\u{10ffff}",
        ]
        .map(str::to_owned),
    );
    expected.push("long".repeat(1250));
    let mut transaction = fixture.begin("p");
    for key in &expected {
        transaction.set(key, key.as_bytes()).unwrap();
    }
    committed(wait(fixture.store.commit(transaction)));
    expected.sort();
    let fixture = fixture.reopen();
    for page in [0, 1, 7, 1000] {
        let mut transaction = fixture.begin("p");
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let part = transaction.list_keys(cursor, page);
            keys.extend(part.keys);
            // Neither may move what comes next.
            transaction.set(&format!("!{}", keys.len()), *b"").unwrap();
            transaction.delete(&expected[0]);
            cursor = part.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(keys, expected, "page of {page}");
    }
    for (key, value) in fixture.contents("p") {
        assert_eq!(key, value);
    }
}

#[test]
fn a_cursor_from_elsewhere_gives_a_page_or_nothing() {
    let fixture = Fixture::new();
    for key in ["a", "b", "c"] {
        fixture.set("p", key, "");
    }
    for (cursor, keys, next) in [
        (1, &["b"][..], Some(2)),
        (2, &["c"], None),
        (3, &[], None),
        (u64::MAX, &[], None),
    ] {
        let page = fixture.begin("p").list_keys(Some(cursor), 1);
        assert_eq!(
            (page.keys, page.cursor),
            (keys.iter().map(|k| (*k).to_owned()).collect(), next)
        );
    }
}

#[test]
fn a_page_of_keys_is_bounded_in_bytes() {
    let fixture = Fixture::new();
    let mut transaction = fixture.begin("p");
    for n in 0..100 {
        transaction
            .set(&format!("{n:03}{}", "x".repeat(60_000)), *b"")
            .unwrap();
    }
    let page = transaction.list_keys(None, 1000);
    assert!(page.keys.iter().map(String::len).sum::<usize>() <= 1 << 20);
    assert_eq!(page.cursor, Some(page.keys.len() as u64));
}

#[test]
fn increment_counts_in_decimal_and_refuses_what_is_no_number() {
    let not = |key: &str| {
        Err(StateError::NotANumber {
            key: key.to_owned(),
        })
    };
    type Case = (Option<&'static [u8]>, u64, Result<u64, StateError>);
    let cases: &[Case] = &[
        (None, 5, Ok(5)),
        (None, 0, Ok(0)),
        (Some(b"41"), 1, Ok(42)),
        (Some(b"007"), 1, Ok(8)),
        (Some(b"18446744073709551614"), 1, Ok(u64::MAX)),
        (
            Some(b"18446744073709551615"),
            1,
            Err(StateError::Overflow {
                key: "n".to_owned(),
                delta: 1,
            }),
        ),
        (Some(b"18446744073709551616"), 0, not("n")),
        (Some(b""), 1, not("n")),
        (Some(b"+1"), 1, not("n")),
        (Some(b"-1"), 1, not("n")),
        (Some(b" 1"), 1, not("n")),
        (Some(b"\x01\0\0\0\0\0\0\0"), 1, not("n")),
        (Some(b"\xff"), 1, not("n")),
    ];
    let fixture = Fixture::new();
    for (before, delta, expected) in cases {
        let mut transaction = fixture.begin("p");
        if let Some(value) = before {
            transaction.set("n", *value).unwrap();
        }
        assert_eq!(
            transaction.increment("n", *delta),
            *expected,
            "{before:?} + {delta}"
        );
        let after = transaction.get("n").map(|value| value.to_vec());
        match expected {
            Ok(sum) => assert_eq!(after, Some(sum.to_string().into_bytes())),
            Err(_) => assert_eq!(after.as_deref(), *before, "an error changes nothing"),
        }
    }
}

#[test]
fn restore_puts_back_what_no_later_commit_has_written() {
    let fixture = Fixture::new();
    for (key, value) in [
        ("changed", "old"),
        ("removed", "old"),
        ("later", "old"),
        ("removed, made", "old"),
        ("other", "old"),
    ] {
        fixture.set("p", key, value);
    }
    let mut migrate = fixture.begin("p");
    for key in ["changed", "later", "made", "made, removed"] {
        migrate.set(key, *b"new").unwrap();
    }
    migrate.delete("removed");
    migrate.delete("removed, made");
    let undo = committed(wait(fixture.store.commit(migrate)));
    fixture.set("p", "later", "latest");
    fixture.delete("p", "made, removed");
    fixture.set("p", "removed, made", "latest");
    wait(fixture.store.restore("p", undo)).unwrap();
    let expected = pairs(&[
        ("changed", "old"),
        ("later", "latest"),
        ("other", "old"),
        ("removed", "old"),
        ("removed, made", "latest"),
    ]);
    assert_eq!(fixture.contents("p"), expected);
    let usage = fixture.store.plugin("p").unwrap().snapshot().usage();
    let fixture = fixture.reopen();
    assert_eq!(fixture.contents("p"), expected);
    assert_eq!(fixture.store.plugin("p").unwrap().snapshot().usage(), usage);
}

#[test]
fn a_restored_key_conflicts_with_who_has_read_it() {
    let fixture = Fixture::new();
    let undo = fixture.set("p", "a", "new");
    let mut reader = fixture.begin("p");
    reader.get("a");
    reader.set("b", *b"x").unwrap();
    wait(fixture.store.restore("p", undo)).unwrap();
    assert_eq!(
        wait(fixture.store.commit(reader)).unwrap(),
        Outcome::Conflict
    );
}

#[test]
fn removed_and_replaced_directories_are_doomed_until_they_are_forgotten() {
    let fixture = Fixture::new();
    let mut transaction = fixture.begin("p");
    for (key, id) in [("a", "1"), ("b", "2"), ("c", "3")] {
        transaction.put_directory(directory(key, id)).unwrap();
    }
    committed(wait(fixture.store.commit(transaction)));
    let mut transaction = fixture.begin("p");
    assert_eq!(transaction.remove_directory("a").unwrap().id, "1");
    assert_eq!(transaction.remove_directory("a"), None);
    transaction.put_directory(directory("a", "4")).unwrap();
    transaction.put_directory(directory("b", "5")).unwrap();
    assert_eq!(fixture.store.doomed().unwrap(), [], "not before the commit");
    committed(wait(fixture.store.commit(transaction)));
    let fixture = fixture.reopen();
    let doomed = fixture.store.doomed().unwrap();
    assert_eq!(
        doomed
            .iter()
            .map(|d| (&*d.plugin, &*d.id))
            .collect::<Vec<_>>(),
        [("p", "1"), ("p", "2")]
    );
    let snapshot = fixture.store.plugin("p").unwrap().snapshot();
    let ids: Vec<_> = snapshot
        .directories()
        .map(|record| record.id.clone())
        .collect();
    assert_eq!(ids, ["4", "5", "3"]);
    wait(fixture.store.forget_doomed(&doomed[..1])).unwrap();
    assert_eq!(fixture.reopen().store.doomed().unwrap(), doomed[1..]);
}

#[test]
fn forgetting_a_plugin_removes_all_of_it_and_nothing_of_others() {
    let fixture = Fixture::new();
    for plugin in ["p", "q"] {
        let mut transaction = fixture.begin(plugin);
        transaction.set("a", *b"1").unwrap();
        transaction.put_volume(volume("v"));
        transaction.put_directory(directory("d", "1")).unwrap();
        transaction.set_meta("version", Some("1.0.0"));
        committed(wait(fixture.store.commit(transaction)));
    }
    wait(fixture.store.set_meta("r", "note", Some("x"))).unwrap();
    wait(fixture.store.set_meta("", "boot", Some("x"))).unwrap();
    assert_eq!(fixture.store.plugin_names().unwrap(), ["p", "q", "r"]);
    let mut reader = fixture.begin("p");
    reader.volumes();
    reader.set("b", *b"2").unwrap();
    wait(fixture.store.forget("p")).unwrap();
    assert_eq!(
        wait(fixture.store.commit(reader)).unwrap(),
        Outcome::Conflict
    );
    assert_eq!(
        fixture.store.plugin("p").unwrap().snapshot().usage(),
        Usage::default()
    );
    let fixture = fixture.reopen();
    assert_eq!(fixture.store.plugin_names().unwrap(), ["q", "r"]);
    assert_eq!(fixture.store.meta("p", "version").unwrap(), None);
    assert_eq!(
        fixture.store.meta("q", "version").unwrap().as_deref(),
        Some("1.0.0")
    );
    assert_eq!(
        fixture.store.meta("", "boot").unwrap().as_deref(),
        Some("x")
    );
    let snapshot = fixture.store.plugin("q").unwrap().snapshot();
    assert_eq!(**snapshot.volume("v").unwrap(), volume("v"));
    assert_eq!(**snapshot.directory("d").unwrap(), directory("d", "1"));
    assert_eq!(snapshot.get("a").map(text).as_deref(), Some("1"));
}

#[test]
fn notes_are_set_replaced_and_removed() {
    let fixture = Fixture::new();
    for value in [Some("1"), Some("2"), None, Some("3")] {
        wait(fixture.store.set_meta("p", "k", value)).unwrap();
        assert_eq!(fixture.store.meta("p", "k").unwrap().as_deref(), value);
    }
    let mut transaction = fixture.begin("p");
    transaction.set_meta("k", None);
    committed(wait(fixture.store.commit(transaction)));
    assert_eq!(fixture.store.meta("p", "k").unwrap(), None);
}
