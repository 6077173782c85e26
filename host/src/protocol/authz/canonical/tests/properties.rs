use proptest::prelude::*;

use super::super::json::Value;
use super::super::shape::{Field, Shape, folded, folds_to};
use super::*;

/// Go's rule by way of Unicode's lower case: the only characters outside ASCII whose fold has an ASCII letter in it are these two.
fn oracle(key: &str, field: &str) -> bool {
    let plain = |text: &str| {
        text.replace('\u{17f}', "s")
            .replace('\u{212a}', "k")
            .to_ascii_lowercase()
    };
    plain(key) == plain(field)
}

/// `field` with some letters in another spelling that Go takes for the same.
fn respelt(field: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(0..3u8, field.len()).prop_map(move |choices| {
        field
            .chars()
            .zip(choices)
            .map(|(c, choice)| match (choice, c) {
                (0, c) => c,
                (1, 's' | 'S') => '\u{17f}',
                (1, 'k' | 'K') => '\u{212a}',
                (1, c) => c.to_ascii_uppercase(),
                (_, c) => c.to_ascii_lowercase(),
            })
            .collect()
    })
}

fn field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "HostConfig",
        "Privileged",
        "Binds",
        "Labels",
        "Sysctls",
        "Links",
        "Mounts",
        "Image",
        "Cmd",
        "Networks",
    ])
}

/// JSON text with keys that Docker knows, respelt ones, and others.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1.5E3".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = prop_oneof![field().prop_flat_map(respelt), any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((key, inner), 0..5).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

const URIS: [&str; 7] = [
    "/containers/create",
    "/containers/a/start",
    "/volumes/create",
    "/services/create",
    "/plugins/pull",
    "/networks/create",
    "/future/thing",
];

#[test]
fn two_characters_outside_ascii_fold_into_it_and_no_others() {
    let folding: Vec<char> = (char::MIN..=char::MAX)
        .filter(|c| !c.is_ascii() && folded(c.encode_utf8(&mut [0; 4])).is_ascii())
        .collect();
    assert_eq!(folding, ['\u{17f}', '\u{212a}']);
    assert!(folds_to("\u{17f}", "s") && folds_to("\u{17f}", "S"));
    assert!(folds_to("\u{212a}", "k") && folds_to("\u{212a}", "K"));
}

static GROUPS: &[&[Field]] = &[&[
    ("HostConfig", Shape::Free),
    ("Privileged", Shape::Free),
    ("Binds", Shape::Free),
    ("Labels", Shape::Free),
    ("Sysctls", Shape::Free),
    ("Links", Shape::Free),
    ("Mounts", Shape::Free),
    ("Image", Shape::Free),
    ("Cmd", Shape::Free),
    ("Networks", Shape::Free),
]];

proptest! {
    #[test]
    fn no_message_panics(
        method in ".{0,6}|GET|POST|PUT",
        uri in any::<String>(),
        body in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        pairs in prop::collection::btree_map("Content-Type|Content-Length|X", ".{0,12}|application/json|0", 0..3),
    ) {
        for request_uri in [uri.clone(), format!("/{uri}"), format!("/v1.41/containers/create?{uri}"), URIS[0].to_owned()] {
            let message = Message {
                request_method: method.clone(),
                request_uri,
                request_body: body.clone(),
                request_headers: pairs.clone(),
                ..Message::default()
            };
            for source_query in [false, true] {
                let _ = canonicalise(&message, Trust { source_query });
            }
        }
    }

    #[test]
    fn no_message_text_panics(text in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = serde_json::from_slice::<Message>(&text) {
            let _ = judge(&message);
        }
    }

    #[test]
    fn a_read_path_has_neither_dots_nor_slashes(uri in "(/|%2f|\\.|%2e|v1.41|[a-z]|\\?|%25){0,12}") {
        if let Ok(request) = judge(&bare("GET", &uri)) {
            prop_assert!(!request.path.is_empty());
            for part in &request.path {
                prop_assert!(!part.contains('/') && !["", ".", ".."].contains(&part.as_str()));
            }
            prop_assert_eq!(request.plain_path(), format!("/{}", request.path.join("/")));
        }
    }

    #[test]
    fn canonical_bodies_are_json_of_the_same_value_count_and_canonical_again(text in document(), uri in prop::sample::select(URIS.to_vec())) {
        if let Ok(Request { body: Body::Json(once), .. }) = judge(&post(uri, text)) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&once).is_ok());
            let again = judge(&post(uri, once.clone())).map(|request| request.body);
            prop_assert_eq!(again, Ok(Body::Json(once)));
        }
    }

    #[test]
    fn the_parser_takes_only_what_serde_json_takes(text in prop_oneof![document(), "[\\[\\]{},:\"\\\\ue0-9.+ -]{0,12}"]) {
        let ours = Value::parse(text.as_bytes());
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        if let Ok(value) = &ours {
            let theirs = theirs.as_ref().map(ToString::to_string);
            // Numbers that serde_json cannot hold are the only difference.
            if let Ok(theirs) = theirs {
                let ours: serde_json::Value = serde_json::from_str(&value.to_text()).unwrap();
                prop_assert_eq!(ours.to_string(), theirs);
            }
        } else if let (Err(denial), Ok(_)) = (&ours, &theirs) {
            prop_assert!(denial.reason.contains("twice"), "{}: {}", text, denial);
        }
    }

    #[test]
    fn respelt_keys_reach_docker_s_spelling(key in field().prop_flat_map(|name| respelt(name).prop_map(move |key| (name, key)))) {
        let (name, key) = key;
        prop_assert!(folds_to(&key, name));
        let value = Value::Object(vec![(key, Value::Null)]);
        prop_assert_eq!(Shape::Struct(GROUPS).apply(value), Ok(Value::Object(vec![(name.to_owned(), Value::Null)])));
    }

    #[test]
    fn folding_agrees_with_go_s_rule(key in "[a-cks\u{17f}\u{212a}A-CKS\u{130}\u{131}_0]{0,5}", field in "[a-cksA-CKS_0i]{0,5}") {
        prop_assert_eq!(folds_to(&key, &field), oracle(&key, &field));
    }
}
