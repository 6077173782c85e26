//! Bodies: none, broken ones, and odd ones.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common::{State, create, harmless, needing, refused, refuses};
use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome, ensure};
use crate::client::{Answer, Broken};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P11",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "an empty body where a field is needed",
        rule: "An error and no change. When a connection breaks behind a request, the engine sends it again with an empty body, and what it wanted is lost. `List` and `Capabilities` take no arguments and work without a body, as Podman asks for them.",
        slow: false,
        run: empty,
    },
    Check {
        id: "P11b",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "VolumeDriver.Get with an empty body",
        rule: "The connection is closed without a byte of answer. To the engine every answer without a volume, an error too, means that the volume is gone: it then forgets its labels and options for ever.",
        slow: false,
        run: empty_get,
    },
    Check {
        id: "P13",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "null for maps and lists",
        rule: "The same as empty: the engine writes null for each map and list that has nothing in it.",
        slow: false,
        run: nulls,
    },
    Check {
        id: "P14",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "a field that nobody knows",
        rule: "Ignored: newer engines send fields that older plugins do not know.",
        slow: false,
        run: unknown_field,
    },
    Check {
        id: "P15",
        level: Level::Security,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "the same key twice, and keys that differ in case",
        rule: "Either refused, or the last one counts, and always in the same way: two readers of one request must not see two different volumes.",
        slow: false,
        run: twice,
    },
    Check {
        id: "P16",
        level: Level::Security,
        kind: None,
        needs: &[],
        title: "a byte-order mark, bytes that are no UTF-8, half a surrogate pair, NUL in a name",
        rule: "Refused and no change; a name with NUL in it is refused or kept whole. What is replaced or cut off makes two names one.",
        slow: false,
        run: bad_text,
    },
    Check {
        id: "P17",
        level: Level::Security,
        kind: None,
        needs: &[],
        title: "JSON nested 10,000 deep, and a number of 10,000 digits",
        rule: "An error within a second: a request must not be able to end the plugin by exhausting its stack, or to keep it busy.",
        slow: false,
        run: deep,
    },
    Check {
        id: "P12",
        level: Level::Robustness,
        kind: None,
        needs: &[],
        title: "bodies that are no JSON object",
        rule: "An error and no change: a request that cannot be read is not one with empty fields.",
        slow: false,
        run: no_object,
    },
];

fn empty(bench: &Bench) -> Outcome {
    let before = State::of(bench)?;
    for (method, _) in needing(bench) {
        refuses(&bench.send(method, b""))?;
    }
    if bench.is(Kind::Volume) {
        for method in ["VolumeDriver.List", "VolumeDriver.Capabilities"] {
            bench.send(method, b"").succeeds()?;
        }
    }
    before.unchanged(bench)
}

fn empty_get(bench: &Bench) -> Outcome {
    let answer = bench.send("VolumeDriver.Get", b"");
    answer.ensure(
        matches!(answer.broken(), Some(Broken::Closed)),
        || "the connection was to be closed without an answer",
    )
}

fn same(first: &Answer, second: &Answer) -> bool {
    refused(first) == refused(second) && first.is_success() == second.is_success()
}

/// Whether the answer to `Get` says that the volume is there. What comes without one is to Docker no volume, whatever the status.
fn has_volume(answer: &Answer) -> bool {
    answer.is_success()
        && answer
            .json()
            .and_then(|json| json.get("Volume"))
            .is_some_and(Value::is_object)
}

fn nulls(bench: &Bench) -> Outcome {
    if bench.is(Kind::Volume) && bench.profile().volume.options.is_empty() {
        let call = |hint: &str, options: Value| {
            let name = bench.name(hint);
            bench.call(
                "VolumeDriver.Create",
                &json!({"Name": name, "Opts": options}),
            )
        };
        let (empty, null) = (call("empty", json!({})), call("null", Value::Null));
        null.ensure(same(&empty, &null), || {
            format!("with {{}} the answer is {}", empty.exchange().answer)
        })?;
    }
    if bench.is(Kind::Network) {
        let call = |options: Value, list: Value| {
            let body = json!({"NetworkID": bench.id(), "Options": options, "IPv4Data": list, "IPv6Data": list});
            let answer = bench.call("NetworkDriver.CreateNetwork", &body);
            // A network without addresses may be the only one of its kind.
            let _ = bench.call(
                "NetworkDriver.DeleteNetwork",
                &json!({"NetworkID": body.get("NetworkID")}),
            );
            answer
        };
        let (empty, null) = (call(json!({}), json!([])), call(Value::Null, Value::Null));
        null.ensure(same(&empty, &null), || {
            format!("with {{}} and [] the answer is {}", empty.exchange().answer)
        })?;
    }
    if bench.is(Kind::Ipam) {
        let spaces = bench.call("IpamDriver.GetDefaultAddressSpaces", &json!({}));
        let space = spaces.text("/LocalDefaultAddressSpace");
        let call = |options: Value| {
            let body = json!({"AddressSpace": space, "Pool": "", "SubPool": "", "Options": options, "V6": false});
            bench.call("IpamDriver.RequestPool", &body)
        };
        let (empty, null) = (call(json!({})), call(Value::Null));
        null.ensure(same(&empty, &null), || {
            format!("with {{}} the answer is {}", empty.exchange().answer)
        })?;
    }
    Ok(())
}

fn unknown_field(bench: &Bench) -> Outcome {
    let extra = json!({"one": {"two": [{"three": 3}]}});
    for (method, body) in harmless(bench) {
        // Without a body there is nothing to add to.
        let Ok(Value::Object(mut fields)) = serde_json::from_str(&body) else {
            continue;
        };
        fields.insert("SinceNextYear".into(), extra.clone());
        let body = Value::Object(fields).to_string();
        bench
            .send(method, body.as_bytes())
            .succeeds()
            .map_err(|stop| stop.during("with a field that nobody knows"))?;
    }
    let with = |mut body: Value| {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("SinceNextYear".into(), extra.clone());
        }
        body
    };
    let mut calls = Vec::new();
    if bench.is(Kind::Volume) {
        let new = || create(bench, &bench.name("extra"));
        calls.push(("VolumeDriver.Create", new(), new()));
    }
    for (kind, method, field) in [
        (Kind::Network, "NetworkDriver.DeleteNetwork", "NetworkID"),
        (Kind::Ipam, "IpamDriver.ReleasePool", "PoolID"),
    ] {
        if bench.is(kind) {
            let new = || json!({field: bench.id()});
            calls.push((method, new(), new()));
        }
    }
    for (method, plain, other) in calls {
        let usual = bench.call(method, &plain);
        let answer = bench.call(method, &with(other));
        answer.ensure(same(&usual, &answer), || {
            format!(
                "without the field that nobody knows the answer is {}",
                usual.exchange().answer
            )
        })?;
    }
    Ok(())
}

fn twice(bench: &Bench) -> Outcome {
    let options = create(bench, "").get("Opts").cloned().unwrap_or_default();
    for (first, second) in [("Name", "Name"), ("name", "Name"), ("Name", "NAME")] {
        let mut seen = Vec::new();
        for _ in 0..bench.repeat() {
            let names = [bench.name("first"), bench.name("last")];
            for name in &names {
                bench.note("VolumeDriver.Create", &json!({"Name": name}));
            }
            let [one, two] = &names;
            let body = format!(
                "{{{}: {}, {}: {}, \"Opts\": {options}}}",
                json!(first),
                json!(one),
                json!(second),
                json!(two)
            );
            let answer = bench.send("VolumeDriver.Create", body.as_bytes());
            let there = names
                .each_ref()
                .map(|name| has_volume(&bench.call("VolumeDriver.Get", &json!({"Name": name}))));
            let fits = match there {
                [false, false] => refused(&answer),
                // A key in another case is to some one that they do not know.
                [first_made, _] => {
                    answer.is_success() && (!first_made || (first != second && !there[1]))
                }
            };
            answer.ensure(fits, || {
                format!("of the volumes with the first and the last name {there:?} are there")
            })?;
            seen.push(there);
        }
        ensure(
            seen.windows(2).all(|pair| pair.first() == pair.last()),
            || {
                format!(
                    "with {first} and {second} once the first and once the last counts: {seen:?}"
                )
            },
        )?;
    }
    Ok(())
}

fn bad_text(bench: &Bench) -> Outcome {
    let before = State::of(bench)?;
    let mark = bench.name("text");
    for (method, field) in needing(bench) {
        // Most of them would be without effect for a name that there is not, so the name is a new one for each.
        let body = |name: &[u8]| [b"{\"", field.as_bytes(), b"\": \"", name, b"\"}"].concat();
        let bom = [b"\xef\xbb\xbf", body(mark.as_bytes()).as_slice()].concat();
        for bytes in [
            bom,
            body(&[mark.as_bytes(), b"\xff\xfe"].concat()),
            body(&[mark.as_bytes(), b"\\ud800"].concat()),
        ] {
            refuses(&bench.send(method, &bytes))?;
        }
    }
    before.unchanged(bench)?;
    if bench.is(Kind::Volume) {
        let name = bench.name("cut");
        let longer = format!("{name}\0end");
        let body = create(bench, &longer);
        bench.note("VolumeDriver.Create", &json!({"Name": name}));
        let answer = bench.call("VolumeDriver.Create", &body);
        let short = bench.call("VolumeDriver.Get", &json!({"Name": name}));
        short.ensure(
            !has_volume(&short),
            || "a volume was made whose name ends where NUL was",
        )?;
        if !refused(&answer) {
            let whole = bench.call("VolumeDriver.Get", &json!({"Name": longer}));
            whole.ensure(
                whole.text("/Volume/Name") == longer,
                || "the name with NUL was accepted and is not kept whole",
            )?;
        }
    }
    Ok(())
}

fn deep(bench: &Bench) -> Outcome {
    let before = State::of(bench)?;
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let digits = "1".repeat(10_000);
    // A machine that is busy is no fault of the plugin's.
    let limit = bench.patience().seconds(1.0).max(Duration::from_secs(1));
    for (method, field) in needing(bench) {
        for value in [&nested, &digits] {
            let began = Instant::now();
            let answer = bench.send(method, format!("{{\"{field}\": {value}}}").as_bytes());
            refuses(&answer)?;
            let took = began.elapsed();
            answer.ensure(took <= limit, || {
                format!("that took {:.1} s", took.as_secs_f64())
            })?;
        }
    }
    before.unchanged(bench)
}

fn no_object(bench: &Bench) -> Outcome {
    let before = State::of(bench)?;
    for (method, field) in needing(bench) {
        let cut = format!("{{\"{field}\": \"{}\"", bench.name("cut"));
        for body in [cut.as_str(), "[]", "[{}]", "7", "null", "\"\"", "{]"] {
            refuses(&bench.send(method, body.as_bytes()))?;
        }
    }
    before.unchanged(bench)
}
