//! Bodies that a policy may read in another way than the engine.

use serde_json::{Value, json};

use super::check;
use super::lab::Lab;
use crate::Bench;
use crate::check::{Check, Level, Outcome};

pub(super) const CHECKS: &[Check] = &[
    check(
        "A12",
        Level::Security,
        "a body that the engine does not show",
        "Denied where a body decides: it is too large or no JSON to the engine's middleware, but its handler reads it.",
        denies_hidden_bodies,
    ),
    check(
        "A13",
        Level::Security,
        "other spellings of application/json",
        "The same decision: the engine takes them all for JSON.",
        knows_content_types,
    ),
    check(
        "A14",
        Level::Security,
        "a Content-Type that is not JSON, with a JSON body",
        "Judged by the body, or denied: of two headers the engine acts on the first, and shows the last.",
        judges_by_the_body,
    ),
    check(
        "A15",
        Level::Security,
        "keys in other case",
        "Judged as the same field: the engine's decoder takes HOSTCONFIG for HostConfig, and U+017F and U+212A for s and k.",
        folds_keys,
    ),
    check(
        "A16",
        Level::Security,
        "a key twice",
        "Judged by what the engine takes (the last), or denied.",
        sees_repeated_keys,
    ),
    check(
        "A17",
        Level::Security,
        "a key twice, with null or in parts",
        "Judged by what the engine takes, or denied: an object after null replaces it, and one after another is merged with it field by field.",
        sees_merged_objects,
    ),
    check(
        "A18",
        Level::Security,
        "something behind the body's JSON",
        "Denied: some engines ignore it, and what they act on is a question of their version.",
        denies_what_follows,
    ),
    check(
        "A19",
        Level::Security,
        "bodies of wrong types, depths and lengths",
        "Denied, and the plugin lives: a field that cannot be read is no field that is not there.",
        denies_what_is_odd,
    ),
    check(
        "A30",
        Level::Engine,
        "bodies up to 4 MiB",
        "Decided like small ones: the engine sends so much, which are 5.6 MiB of base64.",
        takes_large_bodies,
    ),
    check(
        "A31",
        Level::Security,
        "a body over the plugin's own limit",
        "A denial or an error with a text: at a connection that breaks the engine asks again with an empty body.",
        says_what_is_too_large,
    ),
    check(
        "A46",
        Level::Security,
        "a form",
        "Denied: most of the engine's handlers take a form's values before those of the query, and no policy ever sees it.",
        denies_forms,
    ),
    check(
        "A47",
        Level::Security,
        "a request that has no body to see and does not say that it has none",
        "Treated as one whose body is hidden: only `Content-Length: 0` says that there is none, a chunked request says nothing.",
        tells_hidden_from_none,
    ),
];

fn denies_hidden_bodies(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let hidden = lab.harmful().withheld();
    lab.denied("a body too large to be shown", &hidden)?;
    let long = hidden.clone().with("Content-Length", "6000000");
    lab.denied("a body of 6 MB", &long)?;
    let plain = hidden.with("Content-Type", "text/plain");
    lab.denied("a body that is not shown, as text", &plain)?;
    let bare = lab.harmful().withheld().without("Content-Type");
    lab.denied("a body that is not shown, of no type", &bare)
}

fn knows_content_types(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for kind in [
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json;",
        "APPLICATION/json ; charset=\"utf-8\"",
    ] {
        let answer = lab.judge(&lab.harmful().with("Content-Type", kind))?;
        answer
            .answer
            .ensure(!answer.allow, || format!("{kind}: it is allowed"))?;
    }
    // The engine does not act on spellings that its handlers refuse; those that it takes have to pass.
    for kind in ["Application/JSON", "application/json; charset=utf-8"] {
        lab.same(kind, &|ask| ask.with("Content-Type", kind))?;
    }
    Ok(())
}

fn judges_by_the_body(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for kind in ["text/plain", "application/x-tar", "", "json"] {
        let ask = lab.harmful().with("Content-Type", kind);
        lab.denied(&format!("as {kind:?}"), &ask)?;
    }
    lab.denied("of no type", &lab.harmful().without("Content-Type"))
}

/// The value with each object's keys changed.
fn with_keys(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (change(key), with_keys(value, change)))
                .collect(),
        ),
        Value::Array(list) => {
            Value::Array(list.iter().map(|value| with_keys(value, change)).collect())
        }
        other => other.clone(),
    }
}

fn folds_keys(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    type Change = fn(&str) -> String;
    let changes: [(&str, Change); 5] = [
        ("small letters", |key| key.to_lowercase()),
        ("capital letters", |key| key.to_uppercase()),
        ("other case", |key| {
            key.chars()
                .map(|c| {
                    if c.is_uppercase() {
                        c.to_ascii_lowercase()
                    } else {
                        c.to_ascii_uppercase()
                    }
                })
                .collect()
        }),
        ("U+017F for s", |key| key.replace(['s', 'S'], "\u{17f}")),
        ("U+212A for k", |key| key.replace(['k', 'K'], "\u{212a}")),
    ];
    for (what, change) in changes {
        let body = with_keys(&lab.own.harmful, &change).to_string();
        lab.denied(what, &lab.sample(body))?;
    }
    // A key's letters can be escaped as well.
    let body = lab
        .own
        .harmful
        .to_string()
        .replace("rivileged", "\\u0072ivileged");
    lab.denied("an escaped letter", &lab.sample(body))
}

/// The keys that the two samples have different values for.
fn differing(lab: &Lab<'_>) -> Vec<(String, Value, Value)> {
    let fields = lab.own.harmful.as_object().into_iter().flatten();
    fields
        .filter_map(|(key, harmful)| {
            let harmless = lab.own.harmless.get(key).cloned().unwrap_or(json!({}));
            (harmless != *harmful).then(|| (key.clone(), harmful.clone(), harmless))
        })
        .collect()
}

/// The harmful sample without one key, and then pairs of it, as text.
fn with_pairs(lab: &Lab<'_>, key: &str, pairs: &[(&str, &Value)]) -> String {
    let rest: Vec<String> = lab
        .own
        .harmful
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(other, _)| *other != key)
        .map(|(key, value)| format!("{}:{value}", json!(key)))
        .chain(
            pairs
                .iter()
                .map(|(key, value)| format!("{}:{value}", json!(key))),
        )
        .collect();
    format!("{{{}}}", rest.join(","))
}

fn sees_repeated_keys(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for (key, harmful, harmless) in differing(&lab) {
        let (small, large) = (key.to_lowercase(), key.to_uppercase());
        for other in [key.as_str(), &small, &large] {
            let body = with_pairs(&lab, &key, &[(&key, &harmless), (other, &harmful)]);
            lab.denied("first harmless, then harmful", &lab.sample(body))?;
            let body = with_pairs(&lab, &key, &[(other, &harmless), (&key, &harmful)]);
            lab.denied("first harmless, then harmful", &lab.sample(body))?;
        }
    }
    Ok(())
}

fn sees_merged_objects(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let null = Value::Null;
    for (key, harmful, _) in differing(&lab) {
        let small = key.to_lowercase();
        for other in [key.as_str(), &small] {
            let body = with_pairs(&lab, &key, &[(&key, &null), (other, &harmful)]);
            lab.denied("an object after null", &lab.sample(body))?;
            if harmful.is_object() {
                let body = with_pairs(&lab, &key, &[(&key, &harmful), (other, &json!({}))]);
                lab.denied("an empty object after one", &lab.sample(body))?;
                // What follows null is a new object, in which nothing is left of the first.
                let pairs = [(key.as_str(), &harmful), (other, &null), (&key, &harmful)];
                let body = with_pairs(&lab, &key, &pairs);
                lab.denied("an object, null and the object", &lab.sample(body))?;
            }
        }
    }
    Ok(())
}

fn denies_what_follows(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let (harmful, harmless) = (lab.own.harmful.to_string(), lab.own.harmless.to_string());
    let second = format!("{harmless}{harmful}");
    lab.denied("a second document", &lab.sample(second))?;
    let second = format!("{harmless}\n\n{harmful}");
    lab.denied("a second document after lines", &lab.sample(second))?;
    for junk in ["}", "x", "\u{0}", ",", "[]"] {
        lab.denied(
            &format!("{junk:?} behind the body"),
            &lab.sample(format!("{harmless}{junk}")),
        )?;
    }
    Ok(())
}

fn denies_what_is_odd(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let harmful = lab.own.harmful.to_string();
    for (what, from, to) in [
        ("true as text", "true", "\"true\""),
        ("true as a number", "true", "1"),
        ("true in a list", "true", "[true]"),
        ("true in an object", "true", "{\"a\":true}"),
    ] {
        let body = harmful.replace(from, to);
        if body != harmful {
            lab.denied(what, &lab.sample(body))?;
        }
    }
    let deep = format!(
        "{{\"HostConfig\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    lab.denied("10,000 levels", &lab.sample(deep))?;
    let mut broken = harmful.clone().into_bytes();
    let middle = broken.len() / 2;
    broken.insert(middle, 0xff);
    lab.denied("invalid UTF-8", &lab.sample(broken))?;
    let marked = [b"\xef\xbb\xbf", harmful.as_bytes()].concat();
    lab.denied("a byte-order mark", &lab.sample(marked))?;
    let long = harmful.replacen('{', &format!("{{\"x\":\"{}\",", "y".repeat(4_000_000)), 1);
    lab.denied("4 MB of text before it", &lab.sample(long))?;
    for body in ["null", "[]", "7", "\"\"", "{", " "] {
        let ask = lab.sample(body);
        // An engine with no harmful field in it fails at these; none of them is an object that the policy could judge.
        lab.denied(&format!("the body {body:?}"), &ask)?;
    }
    Ok(())
}

fn takes_large_bodies(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for (size, what) in [
        (1 << 20, "1 MiB"),
        ((4 << 20) - 1, "4 MiB less one byte"),
        (4 << 20, "4 MiB"),
    ] {
        let padded = |body: &Value| {
            let body = body.to_string();
            let frame = "{\"Labels\":{\"x\":\"\"},".len() - 1;
            let filler = "y".repeat(size - body.len() - frame);
            body.replacen('{', &format!("{{\"Labels\":{{\"x\":\"{filler}\"}},"), 1)
        };
        lab.denied(what, &lab.sample(padded(&lab.own.harmful)))?;
        if lab.own.harmless.is_object() {
            lab.allowed(what, &lab.sample(padded(&lab.own.harmless)))?;
        }
    }
    lab.denied("one byte", &lab.sample("{"))
}

fn says_what_is_too_large(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    // No engine sends so much; where the plugin's limit is, only it knows.
    let filler = "y".repeat(24 << 20);
    let body = lab
        .own
        .harmful
        .to_string()
        .replacen('{', &format!("{{\"x\":\"{filler}\","), 1);
    let decision = lab.judge(&lab.sample(body))?;
    let answer = &decision.answer;
    answer.ensure(!decision.allow, || "it is allowed")?;
    let told = !answer.text("/Msg").is_empty() || answer.error().is_some();
    answer.ensure(told, || "no text says why")
}

fn denies_forms(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for kind in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded; charset=utf-8",
    ] {
        let form = |ask: super::lab::Ask| ask.withheld().with("Content-Type", kind);
        lab.neither(kind, &form)?;
        let chunked = |ask| form(ask).without("Content-Length");
        lab.neither(kind, &chunked)?;
        let renames = lab.plain(&format!(
            "POST {}/containers/a/rename?name=nice",
            super::lab::VERSION
        ));
        lab.denied(
            "a form that renames",
            &form(renames).with("Content-Length", "9"),
        )?;
    }
    Ok(())
}

fn tells_hidden_from_none(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    lab.neither("chunked", &|ask| ask.withheld().without("Content-Length"))?;
    let start = lab.plain(&format!(
        "POST {}/containers/web/start",
        super::lab::VERSION
    ));
    for (what, ask) in [
        ("chunked", start.clone().without("Content-Length")),
        ("with a body", start.clone().with("Content-Length", "17")),
        ("with an odd length", start.with("Content-Length", "0x0")),
    ] {
        lab.denied(&format!("the start of a container, {what}"), &ask)?;
    }
    Ok(())
}
