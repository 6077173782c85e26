use dockside_driver::{files, testing};

use super::*;

thread_local!(static MEMORY: Memory<String> = const { RefCell::new(None) });

/// A policy is good if it begins with `ok`, and is accepted if it does not say `refuse`.
struct Text;

impl Source for Text {
    type Text = String;
    type Policy = String;

    fn name(&self) -> &str {
        "policy"
    }
    fn stamp(&self) -> Result<String> {
        files::stamp("policies").map(|stamp| stamp.to_string())
    }
    fn read(&self) -> Result<String> {
        files::read_text("policies", "")
    }
    fn compile(&self, text: &String) -> Result<String> {
        match text.strip_prefix("ok ") {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(Error::invalid(format!("{:.20} makes no sense", text))),
        }
    }
    fn accept(&self, _: &String, policy: &mut String) -> Result<()> {
        match policy.contains("refuse") {
            true => Err(Error::invalid("its tests fail")),
            false => Ok(()),
        }
    }
}

/// One call in an instance that lives on, or in a fresh one.
fn call(fresh: bool) -> Result<(String, Option<String>)> {
    if fresh {
        MEMORY.set(None);
    }
    testing::call(|| {
        with(&MEMORY, &Text, |policy, standing| {
            Ok((policy.clone(), standing.rejected.clone()))
        })
    })
}

fn put(text: &str) {
    testing::put_file("policies", "", text.as_bytes());
}

fn errors() -> usize {
    testing::log()
        .iter()
        .filter(|(level, _)| *level == log::Level::Error)
        .count()
}

#[test]
fn the_last_good_policy_stays_in_force_until_a_better_one_comes() {
    for fresh in [false, true] {
        testing::reset();
        MEMORY.set(None);
        testing::grant_files("policies");
        let nothing = call(fresh).unwrap_err();
        assert!(
            nothing.message().contains("there is no usable policy"),
            "{nothing}"
        );
        put("nonsense");
        let nothing = call(fresh).unwrap_err();
        assert!(nothing.message().contains("makes no sense"), "{nothing}");
        put("ok one");
        assert_eq!(call(fresh).unwrap(), ("one".into(), None));
        for (number, bad) in ["", "half wri", "ok but refuse"].iter().enumerate() {
            put(bad);
            for _ in 0..3 {
                let (policy, rejected) = call(fresh).unwrap();
                assert_eq!(policy, "one", "{bad}");
                assert!(rejected.is_some(), "{bad}");
            }
            assert_eq!(
                errors(),
                number + 1,
                "each is reported once: {:?}",
                testing::log()
            );
        }
        testing::remove_file("policies", "");
        for _ in 0..3 {
            let (policy, rejected) = call(fresh).unwrap();
            assert_eq!(policy, "one");
            assert!(rejected.unwrap().contains("nothing is there"));
        }
        assert_eq!(errors(), 4);
        put("ok two");
        assert_eq!(call(fresh).unwrap(), ("two".into(), None));
        put("ok one");
        assert_eq!(call(fresh).unwrap(), ("one".into(), None));
    }
}

#[test]
fn a_policy_that_comes_back_is_no_longer_rejected() {
    put("ok one");
    call(true).unwrap();
    put("no");
    call(true).unwrap();
    put("ok one");
    assert_eq!(call(true).unwrap(), ("one".into(), None));
    assert_eq!(standing(&Text).unwrap().rejected, None);
    // So that the same mistake is reported again.
    put("no");
    call(true).unwrap();
    assert_eq!(errors(), 2);
}

#[test]
fn long_policies_are_kept_in_pieces() {
    let long = "ä".repeat(1_500_000);
    put(&format!("ok {long}"));
    call(true).unwrap();
    put("no");
    let (policy, _) = call(true).unwrap();
    assert!(policy == long);
    put("ok short");
    call(true).unwrap();
    put("no");
    assert_eq!(call(true).unwrap().0, "short");
    assert_eq!(state::keys("policy/text/").unwrap().len(), 1);
}

#[test]
fn an_instance_that_lives_on_reads_only_what_has_changed() {
    put("ok one");
    call(false).unwrap();
    let before = MEMORY.with_borrow(|held| held.as_ref().unwrap().stamp.clone());
    call(false).unwrap();
    MEMORY.with_borrow_mut(|held| held.as_mut().unwrap().policy.push('!'));
    assert_eq!(call(false).unwrap().0, "one!");
    put("ok two");
    assert_eq!(call(false).unwrap().0, "two");
    MEMORY.with_borrow(|held| assert_ne!(held.as_ref().unwrap().stamp, before));
}
