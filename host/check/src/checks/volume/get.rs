//! What the plugin says about itself and its volumes.

use serde_json::{Value, json};

use super::common::{Volumes, has_volume};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop};
use crate::client::Broken;
use crate::control::Fault;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "V01",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "VolumeDriver.Capabilities",
        rule: "`Capabilities.Scope` is \"local\" or \"global\", each time the same: the engine asks once in its life and takes anything else for local.",
        slow: false,
        run: capabilities,
    },
    Check {
        id: "V03",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Get gives the name that was asked for",
        rule: "`Volume.Name` equals the asked name byte for byte: the engine goes on with the name in the answer when it mounts, unmounts and removes.",
        slow: false,
        run: name,
    },
    Check {
        id: "V04",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "CreatedAt",
        rule: "`CreatedAt` is absent, null or a time as in RFC 3339. With \"\" or a number the engine cannot read the answer, takes the volume for gone and forgets its labels and options.",
        slow: false,
        run: created_at,
    },
    Check {
        id: "V05",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Status",
        rule: "`Status` is absent, null or an object. With anything else the engine cannot read the answer, takes the volume for gone and forgets its labels and options.",
        slow: false,
        run: status,
    },
    Check {
        id: "V06",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Get of a volume that was never made",
        rule: "An error and no `Volume`: the engine asks before it creates, and does not create what it is told is there.",
        slow: false,
        run: unknown,
    },
    Check {
        id: "V07",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[Need::Fault],
        title: "Get while the backend fails, and while it hangs",
        rule: "The volume is still given from what was last known, or the connection is closed without an answer. On any error the engine takes the volume for gone and forgets its labels and options for ever.",
        slow: true,
        run: broken_backend,
    },
];

fn capabilities(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let first = volumes.call("Capabilities", &json!({}));
    let scope = first
        .succeeds()?
        .pointer("/Capabilities/Scope")
        .and_then(Value::as_str);
    first.ensure(
        matches!(scope, Some("local" | "global")),
        || "`Capabilities.Scope` is neither \"local\" nor \"global\"",
    )?;
    let same = |what: &str| -> Outcome {
        let again = volumes.call("Capabilities", &json!({}));
        again.ensure(again.json() == first.json(), || {
            format!("{what}; before it was {}", first.exchange().answer)
        })
    };
    for _ in 1..100 {
        same("it is another answer than the first")?;
    }
    if let Some(control) = bench.may_restart() {
        control.kill().map_err(Stop::skip)?;
        control.start().map_err(Stop::fail)?;
        same("after a restart it is another answer")?;
    }
    Ok(())
}

fn name(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    for hint in ["Upper-and-lower", "dots.and_lines"] {
        let name = volumes.made(hint)?;
        let answer = volumes.get(&name);
        answer.succeeds()?;
        let given = answer.text("/Volume/Name");
        answer.ensure(given == name, || format!("the name is {given:?}"))?;
    }
    Ok(())
}

/// A volume as `Get` and as `List` give it, each with the exchange that it comes from.
fn given(bench: &Bench, judge: impl Fn(&Value) -> Result<(), String>) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = volumes.made("told")?;
    let answer = volumes.get(&name);
    let volume = answer.succeeds()?.get("Volume").cloned();
    judge(&volume.unwrap_or_default()).map_err(|seen| answer.fail(seen))?;
    let answer = volumes.call("List", &json!({}));
    let list = answer.succeeds()?.get("Volumes").and_then(Value::as_array);
    for volume in list.into_iter().flatten() {
        judge(volume).map_err(|seen| answer.fail(seen))?;
    }
    Ok(())
}

fn created_at(bench: &Bench) -> Outcome {
    given(bench, |volume| match volume.get("CreatedAt") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(time)) if is_rfc3339(time) => Ok(()),
        Some(other) => Err(format!("`CreatedAt` is {other}")),
    })
}

fn status(bench: &Bench) -> Outcome {
    given(bench, |volume| match volume.get("Status") {
        None | Some(Value::Null | Value::Object(_)) => Ok(()),
        Some(other) => Err(format!("`Status` is {other}")),
    })
}

fn unknown(bench: &Bench) -> Outcome {
    let answer = Volumes::of(bench).get(&bench.name("never-made"));
    answer.errs()?;
    answer.ensure(
        !answer
            .json()
            .and_then(|json| json.get("Volume"))
            .is_some_and(Value::is_object),
        || "there is an error, and a volume as well",
    )
}

fn broken_backend(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let control = bench.control()?;
    let name = volumes.made("kept")?;
    let mut tried = Vec::new();
    for fault in [Fault::Fail, Fault::Hang] {
        if let Err(reason) = control.inject(fault) {
            tried.push(reason);
            continue;
        }
        let answer = volumes.get(&name);
        let mended = control.mend();
        let kept = has_volume(&answer)
            || matches!(
                answer.broken(),
                Some(Broken::Closed | Broken::Refused(_) | Broken::Late(_))
            );
        answer.ensure(
            kept,
            || "this answer tells the engine that the volume is gone",
        )?;
        mended.map_err(Stop::fail)?;
    }
    if tried.len() == 2 {
        return Err(Stop::skip(tried.join("; ")));
    }
    volumes.get(&name).succeeds().map(drop)
}

/// Whether Go's `time.Time` reads it: date, `T`, time, perhaps a fraction, and a zone.
fn is_rfc3339(text: &str) -> bool {
    let shape = |part: &str, like: &str| {
        part.len() == like.len()
            && part
                .bytes()
                .zip(like.bytes())
                .all(|(byte, like)| match like {
                    b'0' => byte.is_ascii_digit(),
                    other => byte == other,
                })
    };
    let (Some(head), Some(mut rest)) = (text.get(..19), text.get(19..)) else {
        return false;
    };
    if let Some(fraction) = rest.strip_prefix('.') {
        let after = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        if after.len() == fraction.len() {
            return false;
        }
        rest = after;
    }
    let number = |from: usize| {
        head.get(from..from + 2)
            .and_then(|digits| digits.parse::<u32>().ok())
    };
    shape(head, "0000-00-00T00:00:00")
        && matches!(number(5), Some(1..=12))
        && matches!(number(8), Some(1..=31))
        && matches!(number(11), Some(0..=23))
        && matches!(number(14), Some(0..=59))
        && matches!(number(17), Some(0..=59))
        && (rest == "Z" || shape(rest, "+00:00") || shape(rest, "-00:00"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::is_rfc3339;

    #[test]
    fn times_are_told_from_other_texts() {
        for (text, is_time) in [
            ("2026-01-02T03:04:05Z", true),
            ("2026-01-02T03:04:05.123456789+02:00", true),
            ("0001-01-01T00:00:00Z", true),
            ("2026-01-02 03:04:05Z", false),
            ("2026-13-02T03:04:05Z", false),
            ("2026-01-02T03:04:05", false),
            ("2026-01-02T03:04:05.Z", false),
            ("2026-01-02T03:04:05+0200", false),
            ("Mon Jan  2 03:04:05 2026", false),
            ("", false),
        ] {
            assert_eq!(is_rfc3339(text), is_time, "{text:?}");
        }
    }
}
