//! Whatever passes is read in the same way by everybody.

use proptest::prelude::*;

use crate::outbound::{Place, Target};

/// Pieces of which the known tricks are made.
fn tricks() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "/",
        "/",
        ".",
        "..",
        "../",
        "/..",
        "%2e",
        "%2E",
        "%252e",
        "%25252e",
        "%2f",
        "%252f",
        "%5c",
        "%255c",
        "\\",
        ";",
        ";x=",
        "%3b",
        "?",
        "%3f",
        "#",
        "%23",
        "%",
        "%25",
        "2e",
        "%00",
        "%c0%ae",
        "%ef%bc%8e",
        " ",
        "\t",
        "%20",
        "wapi",
        "admin",
        "x",
        "@",
        ":",
        "80",
        "//",
        "a.test",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// How the most generous of servers reads a path: decodes as long as there is something to decode, takes backslashes for slashes, cuts
/// parameters off, and follows dots.
fn generously(path: &str) -> Vec<String> {
    let mut path = path.to_owned();
    loop {
        let bytes: Vec<u8> = percent_encoding::percent_decode_str(&path).collect();
        let next = String::from_utf8_lossy(&bytes).into_owned();
        if next == path {
            break;
        }
        path = next;
    }
    let mut segments = Vec::new();
    for segment in path.replace('\\', "/").split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other.to_owned()),
        }
    }
    segments
}

fn check(target: &Target) -> Result<(), TestCaseError> {
    let granted: Place = "http://a.test/wapi".parse().unwrap();
    // It comes out as it went in.
    let again = Target::of(
        &format!("{}{}", target.origin, target.request_target())
            .parse()
            .unwrap(),
    );
    prop_assert_eq!(again.as_ref(), Ok(target));
    if granted.holds(target) {
        let read = generously(&target.path);
        prop_assert_eq!(read.first().map(String::as_str), Some("wapi"), "{}", target);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn no_path_that_passes_leads_out_of_what_is_granted(path in tricks()) {
        if let Ok(uri) = format!("http://a.test/wapi{path}").parse()
            && let Ok(target) = Target::of(&uri)
        {
            check(&target)?;
        }
    }

    #[test]
    fn no_location_that_passes_leads_out_of_what_is_granted(location in tricks()) {
        let base = Target::of(&"http://a.test/wapi/x/y?q".parse().unwrap()).unwrap();
        if let Ok(target) = base.join(location.as_bytes()) {
            check(&target)?;
        }
    }

    #[test]
    fn nothing_that_is_read_brings_the_reader_down(text in ".{0,60}") {
        if let Ok(uri) = text.parse() {
            let _ = Target::of(&uri);
        }
        let base = Target::of(&"http://a.test/".parse().unwrap()).unwrap();
        let _ = base.join(text.as_bytes());
        let _ = text.parse::<Place>();
    }
}
