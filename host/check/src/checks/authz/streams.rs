//! Requests of which a policy sees little, and answers of the engine.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::check;
use super::lab::{Ask, Lab, VERSION};
use crate::Bench;
use crate::check::{Check, Level, Outcome, Stop, ensure};

pub(super) const CHECKS: &[Check] = &[
    check(
        "A32",
        Level::Engine,
        "uploads of archives",
        "Decided by method, path and query: no engine shows an archive, whether it says its length or not.",
        decides_uploads,
    ),
    check(
        "A33",
        Level::Security,
        "connections that are taken over",
        "Decided when they are asked for: nothing that goes over them is seen later, and in /session and /grpc that is whole builds; these are denied unless the profile says that the policy allows them (`sessions`).",
        decides_takeovers,
    ),
    check(
        "A34",
        Level::Security,
        "commands in containers",
        "Judged when they are made, for the start names only an ID; one that nobody was seen to make is denied, if the profile says that the plugin remembers (`tracks-exec`).",
        judges_commands,
    ),
    check(
        "A35",
        Level::Engine,
        "AuthZRes with all sorts of bodies",
        "A decision each time: the engine shows at most 64 KiB, cut off anywhere, and JSON or not.",
        decides_answers,
    ),
    check(
        "A36",
        Level::Robustness,
        "AuthZRes for a request that was never asked",
        "A decision: after a restart of the plugin the engine comes with answers of requests that an earlier process allowed.",
        decides_answers_of_unknown_requests,
    ),
];

fn decides_uploads(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for line in [
        "PUT /containers/web/archive?path=%2Ftmp",
        "POST /build?t=web",
        "POST /images/load",
    ] {
        let (method, path) = line.split_once(' ').unwrap_or_default();
        let upload = lab
            .plain(&format!("{method} {VERSION}{path}"))
            .with("Content-Type", "application/x-tar");
        let told = lab.judge(&upload.clone().with("Content-Length", "10240"))?;
        let chunked = lab.judge(&upload.without("Content-Length"))?;
        chunked.answer.ensure(
            told.allow == chunked.allow,
            || "with a length it is decided otherwise",
        )?;
    }
    Ok(())
}

fn decides_takeovers(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let upgraded = |ask: Ask| ask.with("Connection", "Upgrade").with("Upgrade", "tcp");
    for uri in ["/session", "/grpc"] {
        let ask = upgraded(lab.plain(&format!("POST {VERSION}{uri}"))).with("Upgrade", "h2c");
        if !lab.own.sessions {
            lab.denied(uri, &ask)?;
        }
    }
    let attach = format!("POST {VERSION}/containers/web/attach?stream=1&stdout=1");
    for ask in [
        lab.plain(&attach),
        lab.plain(&attach).with("Content-Type", "text/plain"),
    ] {
        let plain = lab.judge(&ask)?;
        let taken = lab.judge(&upgraded(ask))?;
        taken.answer.ensure(
            plain.allow == taken.allow,
            || "without the headers of an upgrade it is decided otherwise",
        )?;
    }
    Ok(())
}

fn judges_commands(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    if !lab.own.tracks_exec {
        return Err(Stop::skip(
            "the plugin does not remember commands (`tracks-exec` in the profile)",
        ));
    }
    let start = |id: &str| lab.post(&format!("{VERSION}/exec/{id}/start"), r#"{"Detach":true}"#);
    let id = bench.id();
    lab.denied("a command that nobody made", &start(&id))?;
    let made = lab.post(
        &format!("{VERSION}/containers/web/exec"),
        r#"{"Cmd":["true"],"Privileged":false}"#,
    );
    lab.allowed("the command", &made)?;
    answered(&lab, &made, 201, json!({"Id": id}).to_string().as_bytes())?;
    lab.allowed("a command that was made", &start(&id))
}

/// The engine's answer, told to the plugin.
fn answered(lab: &Lab<'_>, ask: &Ask, status: u16, body: &[u8]) -> Outcome<Value> {
    let mut message = ask.message();
    if let Some(message) = message.as_object_mut() {
        message.insert("ResponseStatusCode".into(), json!(status));
        message.insert(
            "ResponseHeaders".into(),
            json!({"Content-Type": "application/json"}),
        );
        if !body.is_empty() {
            message.insert("ResponseBody".into(), json!(BASE64_STANDARD.encode(body)));
        }
    }
    let decision = lab.judge_as("AuthZPlugin.AuthZRes", &message)?;
    let answer = &decision.answer;
    answer.ensure(
        answer
            .json()
            .is_some_and(|json| json.get("Allow").is_some_and(Value::is_boolean)),
        || "no decision: there is no boolean `Allow`",
    )?;
    Ok(json!(decision.allow))
}

fn decides_answers(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let first = lab.own.allowed.last().map_or("GET /_ping", String::as_str);
    let ask = lab.plain(first);
    let asked = lab.judge(&ask)?;
    ensure(asked.allow, || format!("{first} is denied"))?;
    let full = json!({"Containers": 1, "Labels": vec!["x".repeat(100); 640]}).to_string();
    let largest = full.as_bytes().get(..64 << 10).unwrap_or_default();
    for body in [
        full.as_bytes(),
        b"",
        largest,
        b"{\"Containers\": 1, \"Lab",
        b"OK",
        b"\xff\xfe\x00",
    ] {
        answered(&lab, &ask, 200, body)?;
    }
    for status in [0, 101, 204, 304, 404, 500] {
        answered(&lab, &ask, status, b"")?;
    }
    Ok(())
}

fn decides_answers_of_unknown_requests(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    answered(&lab, &lab.harmful(), 201, br#"{"Id":"0123456789ab"}"#)?;
    let odd = lab.plain(&format!("DELETE {VERSION}/{}", bench.name("nothing")));
    answered(&lab, &odd, 404, b"{}").map(drop)
}
