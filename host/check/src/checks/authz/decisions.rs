//! What an answer is.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::check;
use super::lab::Lab;
use crate::Bench;
use crate::check::{Check, Level, Outcome, Stop, ensure};

pub(super) const CHECKS: &[Check] = &[
    check(
        "A01",
        Level::Engine,
        "requests that the sample policy allows",
        "`{\"Allow\": true}`: anything else denies the request, and clients that cannot even ping take the engine for dead.",
        allows,
    ),
    check(
        "A02",
        Level::Engine,
        "a request that the sample policy denies",
        "`Allow` false and a reason of one line in `Msg`: it is all that the user reads.",
        denies,
    ),
    check(
        "A03",
        Level::Security,
        "`Allow` true and `Err`",
        "Never together: the engine does not read `Err` in an answer with status 200, and lets the request pass.",
        never_allows_with_an_error,
    ),
    check(
        "A04",
        Level::Security,
        "a request that the plugin cannot read",
        "`Allow` false with the reason in `Msg`, or another status than 200: the engine shows no `Err`, and the user would read an empty reason.",
        says_what_failed,
    ),
    check(
        "A11",
        Level::Security,
        "no body, `{}`, no method, no target",
        "Denied or an error: after a broken connection the engine asks again with an empty body, and an allow is an allow for the request that was lost.",
        denies_what_says_nothing,
    ),
    check(
        "A37",
        Level::Security,
        "users that are almost one who may, and broken certificates",
        "A name is compared exactly, no name is nobody, and a certificate that cannot be read proves nothing.",
        tells_users_apart,
    ),
    check(
        "A39",
        Level::Security,
        "1,000 requests at the same time",
        "Each gets its own decision: one that is mixed up with another lets a harmful request pass.",
        keeps_requests_apart,
    ),
    check(
        "A40",
        Level::Engine,
        "one request 1,000 times",
        "The same decision each time.",
        is_constant,
    ),
];

fn allows(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for line in &lab.own.allowed {
        let decision = lab.judge(&lab.plain(line))?;
        decision
            .answer
            .ensure(decision.allow, || format!("{line} is denied"))?;
    }
    ensure(!lab.own.allowed.is_empty(), || "the profile allows nothing")?;
    match lab.harmless() {
        Some(harmless) => lab.allowed("the harmless sample", &harmless),
        None => Ok(()),
    }
}

fn denies(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let decision = lab.judge(&lab.harmful())?;
    let answer = &decision.answer;
    answer.ensure(!decision.allow, || "it is allowed")?;
    answer.ensure(
        answer.status() == 200,
        || "a denial has status 200; another status is a failure of the plugin's",
    )?;
    let reason = answer.text("/Msg");
    answer.ensure(!reason.trim().is_empty(), || "there is no reason in `Msg`")?;
    answer.ensure(
        !reason.contains(['\n', '\r']),
        || "the reason has more than one line",
    )
}

/// What a plugin may be asked, good and bad.
fn all_sorts(lab: &Lab<'_>) -> Vec<Value> {
    let mut messages: Vec<Value> = lab
        .own
        .allowed
        .iter()
        .map(|line| lab.plain(line).message())
        .collect();
    messages.extend(lab.harmless().map(|ask| ask.message()));
    messages.push(lab.harmful().message());
    messages.push(lab.sample("{").message());
    messages.push(lab.plain("GET %zz").message());
    messages.extend(unreadable(lab));
    messages
}

/// Messages that do not say what they should, in types that they should not have.
fn unreadable(lab: &Lab<'_>) -> Vec<Value> {
    let first = lab.own.allowed.first().map_or("GET /_ping", String::as_str);
    let ask = lab.plain(first);
    [
        ("RequestBody", json!("no base64 at all!")),
        ("RequestBody", json!(7)),
        ("RequestUri", json!(["/_ping"])),
        ("RequestMethod", json!({"GET": true})),
        ("RequestHeaders", json!(7)),
    ]
    .into_iter()
    .map(|(key, value)| {
        let mut message = ask.message();
        if let Some(message) = message.as_object_mut() {
            message.insert(key.to_owned(), value);
        }
        message
    })
    .collect()
}

fn never_allows_with_an_error(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for message in all_sorts(&lab) {
        for method in ["AuthZPlugin.AuthZReq", "AuthZPlugin.AuthZRes"] {
            let decision = lab.judge_as(method, &message)?;
            let error = decision.answer.text("/Err");
            decision.answer.ensure(
                !decision.allow || error.is_empty(),
                || "it allows, and says that it failed",
            )?;
        }
    }
    Ok(())
}

fn says_what_failed(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for message in unreadable(&lab) {
        let decision = lab.judge_as("AuthZPlugin.AuthZReq", &message)?;
        let answer = &decision.answer;
        answer.ensure(!decision.allow, || "it is allowed")?;
        let told = answer.status() != 200 || !answer.text("/Msg").trim().is_empty();
        answer.ensure(told, || "there is no reason in `Msg`")?;
    }
    Ok(())
}

fn denies_what_says_nothing(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let empty = bench.send("AuthZPlugin.AuthZReq", b"");
    let empty = super::lab::decision(empty)?;
    empty
        .answer
        .ensure(!empty.allow, || "an empty body is allowed")?;
    let first = lab.own.allowed.first().map_or("GET /_ping", String::as_str);
    let ask = lab.plain(first);
    for (what, ask) in [
        ("a request without a target", ask.clone().to("")),
        ("a request without a method", ask.by("")),
    ] {
        lab.denied(what, &ask)?;
    }
    let nothing = lab.judge_as("AuthZPlugin.AuthZReq", &json!({}))?;
    nothing
        .answer
        .ensure(!nothing.allow, || "a request that says nothing is allowed")
}

fn tells_users_apart(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let harmful = lab.harmful();
    let admin = lab.own.admin.as_deref().unwrap_or("admin");
    if lab.own.admin.is_some() {
        lab.allowed("the user who may", &harmful.clone().from(admin))?;
    }
    let mut almost = vec![
        String::new(),
        format!("{admin}\u{0}x"),
        format!("{admin} "),
        format!(" {admin}"),
        format!("{admin}\n"),
        format!("CN={admin}"),
        format!("{admin},OU=x"),
    ];
    almost.extend([admin.to_uppercase(), "*".to_owned()]);
    for user in almost.iter().filter(|user| *user != admin) {
        lab.denied(&format!("the user {user:?}"), &harmful.clone().from(user))?;
    }
    let mut nobody = harmful;
    nobody.user = None;
    lab.denied("no user", &nobody)?;
    let first = lab.own.allowed.first().map_or("GET /_ping", String::as_str);
    for chain in [json!(["no base64!"]), json!([7]), json!("chain")] {
        let mut ask = lab.plain(first).from(admin);
        ask.certificates = Some(chain);
        lab.denied("a certificate that cannot be read", &ask)?;
    }
    Ok(())
}

/// As many at once as an engine under load asks.
const AT_ONCE: usize = 32;

fn keeps_requests_apart(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let calls = bench.patience().times(1000) as usize / AT_ONCE + 1;
    let number = AtomicU32::new(0);
    let harmless = lab
        .harmless()
        .ok_or_else(|| Stop::skip("the profile has no harmless sample"))?;
    let harmful = lab.harmful();
    let ends = bench.at_once(AT_ONCE, |_| {
        for _ in 0..calls {
            let mark = number.fetch_add(1, Ordering::Relaxed);
            let (ask, may) = if mark.is_multiple_of(2) {
                (&harmless, true)
            } else {
                (&harmful, false)
            };
            let ask = ask.clone().to(format!("{}?name=mark{mark}", ask.uri));
            let decision = lab.judge(&ask)?;
            decision.answer.ensure(
                decision.allow == may,
                || "it got the decision of another request",
            )?;
        }
        Ok(())
    });
    ends.into_iter().collect()
}

fn is_constant(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let times = bench.patience().times(1000);
    let harmful = lab.harmful();
    for number in 1..=times {
        lab.denied(&format!("time {number}"), &harmful)?;
    }
    let Some(harmless) = lab.harmless() else {
        return Ok(());
    };
    for number in 1..=times {
        lab.allowed(&format!("time {number}"), &harmless)?;
    }
    Ok(())
}
