//! What can be the name of a blob, and what cannot.

use crate::blobs::{Name, Prefix};
use crate::machine::ErrorKind;

#[test]
fn names_are_parts_of_harmless_letters() {
    let longest = format!("{}/{}", "a".repeat(200), "b".repeat(200));
    for text in ["a", "chunks/ab/ab12", "a.b-c_d", "0", "a..b", "-", &longest] {
        assert!(text.parse::<Name>().is_ok(), "{text:?}");
        assert!(format!("{text}/").parse::<Prefix>().is_ok(), "{text:?}");
    }
    assert!("".parse::<Prefix>().is_ok());
}

#[test]
fn what_could_be_something_else_than_a_name_is_refused() {
    let long_part = "a".repeat(201);
    let long = format!("{}a", "a/".repeat(256));
    for text in [
        "", "/", "//", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".a",
        "a/.b", "A", "aB", "ä", "a b", "a\0", "a\n", "a%2e", "a%2f..", "a\\b", "a?b", "a#b", "a:b",
        "a*", "~", "a+b", "a&b", "$(a)", "a;b", &long_part, &long,
    ] {
        let error = text
            .parse::<Name>()
            .err()
            .unwrap_or_else(|| panic!("{text:?}"));
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(!error.message.contains('\n') && !error.message.contains('\0'));
        assert!(error.message.len() < 500, "{}", error.message.len());
    }
    for text in ["a", "/", "a//", "../", "a/../", ".a/", "A/", "a/b"] {
        assert!(text.parse::<Prefix>().is_err(), "{text:?}");
    }
}
