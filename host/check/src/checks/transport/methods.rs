//! Methods, and the ways in which a request for one may be written.

use serde_json::{Value, json};

use super::common::{State, USUAL, create, harmless, raw, request, soon};
use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome, ensure};
use crate::client::{ACCEPT, Answer, Connection, HOST};

const AGENT: (&str, &str) = ("User-Agent", "Go-http-client/1.1");

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P04",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "a method of each kind, announced or not",
        rule: "Kinds that Plugin.Activate names are answered, and methods of all others get status 404: the engine asks for what was announced and for nothing else, so a kind that answers without being announced can never be used.",
        slow: false,
        run: kinds,
    },
    Check {
        id: "P05",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "a method that there is not",
        rule: "Status 404. To the engine that is \"not implemented\", which it lives with when a newer version of it asks for something new; anything else is a failure of the plugin.",
        slow: false,
        run: unknown_method,
    },
    Check {
        id: "P06",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "requests without Content-Type, and without any header that can be left out",
        rule: "Accepted: the engine never sends a Content-Type.",
        slow: false,
        run: bare,
    },
    Check {
        id: "P08",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "every Accept that engines send",
        rule: "Status 200 and one JSON document with nothing behind it. Engines ask for version 1, 1.1 or 1.2 of the same format, and newer ones will ask for more.",
        slow: false,
        run: accept,
    },
    Check {
        id: "P09",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "an empty Host, plugin.moby.localhost, and a percent-encoded path",
        rule: "Accepted whatever Host says: it is empty from engines before the security release of 2023, and `plugin` from Podman. A path with an encoded letter is the same path, or one that there is not (404).",
        slow: false,
        run: hosts,
    },
    Check {
        id: "P07",
        level: Level::Robustness,
        kind: None,
        needs: &[],
        title: "every Content-Type that clients send",
        rule: "Accepted: Podman and tools send one, and it says nothing that the path does not say.",
        slow: false,
        run: content_types,
    },
    Check {
        id: "P10",
        level: Level::Robustness,
        kind: None,
        needs: &[],
        title: "the same request with Content-Length and in chunks",
        rule: "The same answer: HTTP clients other than the engine's choose for themselves.",
        slow: false,
        run: chunks,
    },
    Check {
        id: "P20",
        level: Level::Robustness,
        kind: None,
        needs: &[],
        title: "GET, HEAD and PUT on a method",
        rule: "Status 404 or 405 and no change: methods are called with POST, and what follows a link or looks around must not remove a volume.",
        slow: false,
        run: verbs,
    },
];

fn kinds(bench: &Bench) -> Outcome {
    for kind in Kind::ALL {
        let (method, body) = match kind {
            Kind::Volume => ("VolumeDriver.List", "{}\n".to_owned()),
            Kind::Network => ("NetworkDriver.GetCapabilities", String::new()),
            Kind::Ipam => ("IpamDriver.GetDefaultAddressSpaces", String::new()),
            Kind::Authz => (
                "AuthZPlugin.AuthZReq",
                super::common::ping().to_string() + "\n",
            ),
        };
        let answer = bench.send(method, body.as_bytes());
        if bench.is(kind) {
            answer.ensure(answer.status() != 404 && answer.status() != 0, || {
                format!("{} is announced and not answered", kind.implements())
            })?;
        } else {
            answer.ensure(answer.status() == 404, || {
                format!(
                    "{} is not announced, so status 404 was expected",
                    kind.implements()
                )
            })?;
        }
    }
    Ok(())
}

fn unknown_method(bench: &Bench) -> Outcome {
    for kind in bench.kinds() {
        let prefix = if *kind == Kind::Authz {
            "AuthZPlugin"
        } else {
            kind.implements()
        };
        for body in ["", "{}\n"] {
            let answer = bench.send(&format!("{prefix}.Nope"), body.as_bytes());
            answer.ensure(answer.status() == 404, || "status 404 was expected")?;
        }
    }
    Ok(())
}

fn bare(bench: &Bench) -> Outcome {
    for (method, body) in harmless(bench) {
        for headers in [USUAL, &[("Host", HOST)]] {
            let bytes = request("POST", &format!("/{method}"), headers, body.as_bytes());
            raw(bench, method, &body, &bytes)
                .succeeds()
                .map_err(|stop| stop.during("without Content-Type"))?;
        }
    }
    Ok(())
}

fn accept(bench: &Bench) -> Outcome {
    for (method, body) in harmless(bench) {
        for accept in [
            ACCEPT,
            "application/vnd.docker.plugins.v1.1+json",
            "application/vnd.docker.plugins.v1+json",
        ] {
            let headers = [("Host", HOST), AGENT, ("Accept", accept)];
            let bytes = request("POST", &format!("/{method}"), &headers, body.as_bytes());
            let answer = raw(bench, method, &body, &bytes);
            answer
                .succeeds()
                .map_err(|stop| stop.during(format!("with Accept: {accept}")))?;
        }
        let mut connection = bench.connect()?;
        let headers = [USUAL, &[("Connection", "close")]].concat();
        let bytes = request("POST", &format!("/{method}"), &headers, body.as_bytes());
        let behind = connection
            .write(&bytes)
            .and_then(|()| connection.read(soon(bench)))
            .and_then(|_| connection.closing(soon(bench)));
        ensure(behind.as_ref().is_ok_and(Vec::is_empty), || match behind {
            Ok(bytes) => format!("{} bytes follow the answer to {method}", bytes.len()),
            Err(broken) => {
                format!("behind the answer to {method} with Connection: close: {broken}")
            }
        })?;
    }
    Ok(())
}

fn hosts(bench: &Bench) -> Outcome {
    for (method, body) in harmless(bench) {
        for host in ["", HOST, "plugin", "localhost:80"] {
            let headers = [("Host", host), AGENT, ("Accept", ACCEPT)];
            let bytes = request("POST", &format!("/{method}"), &headers, body.as_bytes());
            raw(bench, method, &body, &bytes)
                .succeeds()
                .map_err(|stop| stop.during(format!("with Host: {host:?}")))?;
        }
        let path = format!("/{}", method.replacen('.', "%2E", 1));
        let answer = raw(
            bench,
            method,
            &body,
            &request("POST", &path, USUAL, body.as_bytes()),
        );
        answer.ensure(answer.is_success() || answer.status() == 404, || {
            format!("with the path {path}")
        })?;
    }
    Ok(())
}

fn content_types(bench: &Bench) -> Outcome {
    for (method, body) in harmless(bench) {
        for kind in [
            "application/json",
            "application/json; charset=utf-8",
            "application/vnd.docker.plugins.v1+json",
            "application/vnd.docker.plugins.v1.1+json",
            ACCEPT,
            "text/plain",
        ] {
            let headers = [USUAL, &[("Content-Type", kind)]].concat();
            let bytes = request("POST", &format!("/{method}"), &headers, body.as_bytes());
            raw(bench, method, &body, &bytes)
                .succeeds()
                .map_err(|stop| stop.during(format!("with Content-Type: {kind}")))?;
        }
    }
    Ok(())
}

fn chunks(bench: &Bench) -> Outcome {
    for (method, body) in harmless(bench) {
        let whole = bench.send(method, body.as_bytes());
        let mut bytes = format!(
            "POST /{method} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {}\r\nAccept: {ACCEPT}\r\nTransfer-Encoding: chunked\r\n\r\n",
            AGENT.1
        )
        .into_bytes();
        for part in body.as_bytes().chunks(5) {
            bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let answer = raw(bench, method, &body, &bytes);
        answer.ensure(
            answer.status() == whole.status() && said(&answer) == said(&whole),
            || {
                format!(
                    "in chunks the answer is another one than {}",
                    whole.exchange().answer
                )
            },
        )?;
    }
    Ok(())
}

/// What an answer says; of a decision about a request only which it is, since its text may have a number of its own.
fn said(answer: &Answer) -> Option<&Value> {
    let json = answer.json()?;
    json.get("Allow").or(Some(json))
}

fn verbs(bench: &Bench) -> Outcome {
    let name = bench.name("stays");
    let mut calls = harmless(bench);
    if bench.is(Kind::Volume) {
        bench
            .call("VolumeDriver.Create", &create(bench, &name))
            .succeeds()?;
        calls.push(("VolumeDriver.Remove", json!({"Name": name}).to_string()));
    }
    let before = State::of(bench)?;
    for (method, body) in calls {
        for verb in ["GET", "HEAD", "PUT"] {
            let headers = [USUAL, &[("Connection", "close")]].concat();
            let bytes = request(verb, &format!("/{method}"), &headers, body.as_bytes());
            let mut connection = Connection::open(bench.socket()).map_err(crate::Stop::fail)?;
            let said = connection
                .write(&bytes)
                .and_then(|()| connection.closing(soon(bench)))
                .map_err(|broken| crate::Stop::fail(broken).during(format!("{verb} {method}")))?;
            let line = String::from_utf8_lossy(&said)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            let status = line.split(' ').nth(1).unwrap_or_default();
            ensure(matches!(status, "404" | "405"), || {
                format!("{verb} /{method} is answered with {line:?}, and 404 or 405 was expected")
            })?;
        }
    }
    before.unchanged(bench)
}
