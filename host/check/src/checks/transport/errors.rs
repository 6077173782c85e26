//! How failures are told.

use serde_json::{Value, json};

use super::common::create;
use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome};
use crate::client::Answer;

/// What an error's text may take: it goes into the terminal and the log of whoever called.
const LONGEST: usize = 4096;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P18",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "where a failure of each kind is told",
        rule: "With status 200 the error is in `Err`, for address management in `Error`: the engine reads no other field and takes everything else for a success. With any other status it is in `Err` for all kinds, or the body is the text.",
        slow: false,
        run: fields,
    },
    Check {
        id: "P19",
        level: Level::Security,
        kind: None,
        needs: &[],
        title: "the text of errors",
        rule: "One printable line of at most 4 KiB, without escape sequences, stack traces and secrets of the request: the engine hands it to the user's terminal and to its log as it is.",
        slow: false,
        run: texts,
    },
];

/// Calls that every plugin has to refuse.
fn failing(bench: &Bench, name: &str) -> Vec<(&'static str, Value)> {
    let mut calls = Vec::new();
    for kind in bench.kinds() {
        match kind {
            Kind::Volume => calls.extend([
                ("VolumeDriver.Mount", json!({"Name": name, "ID": bench.id()})),
                ("VolumeDriver.Path", json!({"Name": name})),
                ("VolumeDriver.Get", json!({"Name": name})),
            ]),
            Kind::Network => calls.push((
                "NetworkDriver.CreateEndpoint",
                json!({"NetworkID": name, "EndpointID": bench.id(), "Interface": {"Address": "", "AddressIPv6": "", "MacAddress": ""}, "Options": {}}),
            )),
            Kind::Ipam => calls.push((
                "IpamDriver.RequestAddress",
                json!({"PoolID": name, "Address": "", "Options": {}}),
            )),
            Kind::Authz => {}
        }
    }
    calls
}

fn fields(bench: &Bench) -> Outcome {
    let calls = failing(bench, &bench.name("unknown"));
    if calls.is_empty() {
        return Err(crate::Stop::skip(
            "an authorization plugin denies and does not fail",
        ));
    }
    for (method, body) in calls {
        let answer = bench.call(method, &body);
        answer.errs()?;
        let Some(response) = answer.response().filter(|response| response.status != 200) else {
            continue;
        };
        let said = match answer.json() {
            Some(json) => json
                .get("Err")
                .and_then(Value::as_str)
                .is_some_and(|text| !text.is_empty()),
            None => !response.body.is_empty(),
        };
        answer.ensure(said, || {
            format!(
                "with status {} the engine reads `Err`, and there is none",
                response.status
            )
        })?;
    }
    Ok(())
}

fn texts(bench: &Bench) -> Outcome {
    let odd = format!("{}\n\u{1b}[31mred\u{7}", bench.name("odd"));
    let long = format!("{}{}", bench.name("long"), "x".repeat(64 << 10));
    for name in [&odd, &long] {
        for (method, body) in failing(bench, name) {
            text(&bench.call(method, &body))?;
        }
    }
    let secret = format!("hunter-{}", bench.id());
    let mut calls = Vec::new();
    if bench.is(Kind::Volume) {
        for option in ["password", "dkc-token"] {
            let mut body = create(bench, &bench.name("secret"));
            if let Some(Value::Object(options)) = body.get_mut("Opts") {
                options.insert(option.to_owned(), json!(secret));
            }
            calls.push(("VolumeDriver.Create", body));
        }
    }
    if bench.is(Kind::Network) {
        calls.push((
            "NetworkDriver.CreateNetwork",
            json!({"NetworkID": bench.id(), "Options": {"com.docker.network.generic": {"password": secret}}, "IPv4Data": [], "IPv6Data": []}),
        ));
    }
    for (method, body) in calls {
        let answer = bench.call(method, &body);
        text(&answer)?;
        answer.ensure(
            !answer.error().unwrap_or_default().contains(&secret),
            || "the error holds what the request had as a secret",
        )?;
    }
    Ok(())
}

fn text(answer: &Answer) -> Outcome {
    let Some(mut text) = answer.error() else {
        return Ok(());
    };
    if answer.status() != 200 && answer.json().is_none() {
        text = answer
            .response()
            .map(|response| String::from_utf8_lossy(&response.body).into_owned())
            .unwrap_or_default();
    }
    // A line's end is how plain texts end.
    let line = text.trim_end_matches(['\r', '\n']);
    answer.ensure(line.len() <= LONGEST, || {
        format!("the error is {} bytes long", line.len())
    })?;
    answer.ensure(
        !line.chars().any(char::is_control),
        || "the error has control characters or more than one line",
    )?;
    for trace in [
        "goroutine ",
        "Traceback (most recent call",
        "stack backtrace",
        "\tat ",
    ] {
        answer.ensure(
            !line.contains(trace),
            || "the error has a stack trace in it",
        )?;
    }
    Ok(())
}
