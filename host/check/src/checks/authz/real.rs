//! The plugin in front of a real engine.

use std::path::Path;

use base64::Engine as _;
use rand::Rng;
use serde_json::{Value, json};

use super::check;
use super::lab::{Ask, Lab, VERSION};
use crate::Bench;
use crate::check::{Check, Level, Need, Outcome, Stop, ensure};
use crate::client::{Broken, Connection, Response};

pub(super) const CHECKS: &[Check] = &[Check {
    needs: &[Need::Engine],
    slow: true,
    ..check(
        "A44",
        Level::Security,
        "harmful requests in many forms, to a real engine",
        "None of them makes a container: what the engine does is what counts.",
        lets_nothing_through,
    )
}];

/// A request to the engine itself.
fn to_engine(bench: &Bench, socket: &Path, ask: &Ask) -> Result<Response, Broken> {
    let mut request = format!(
        "{} {} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n",
        ask.method, ask.uri
    );
    for (name, value) in &ask.headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(ask.body.as_deref().unwrap_or_default());
    let mut connection = Connection::open(socket)?;
    let _ = connection.write(&bytes);
    connection.read(bench.patience().seconds(30.0))
}

/// The containers there are, by name.
fn containers(bench: &Bench, lab: &Lab<'_>, socket: &Path) -> Outcome<Vec<(String, String)>> {
    let ask = lab.plain("GET /containers/json?all=1");
    let response = to_engine(bench, socket, &ask).map_err(Stop::skip)?;
    let list: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let list = list
        .as_array()
        .ok_or_else(|| Stop::skip("the policy does not let the engine's containers be listed"))?;
    Ok(list
        .iter()
        .map(|one| {
            let text = |at: &str| {
                let value = one.pointer(at).and_then(Value::as_str);
                value.unwrap_or_default().to_owned()
            };
            (text("/Names/0"), text("/Id"))
        })
        .collect())
}

fn lets_nothing_through(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let (socket, _) = bench.docker()?;
    let mut random = bench.random();
    let rounds = bench.patience().times(300);
    let prefix = bench.name("c");
    let with_image = |body: &Value| {
        let mut body = body.clone();
        if let Some(body) = body.as_object_mut() {
            body.insert("Image".into(), json!(lab.own.image));
        }
        body
    };
    // Without an engine that makes containers nothing would be shown.
    if lab.own.harmless.is_object() {
        let uri = format!("{VERSION}{}?name={prefix}-harmless", lab.own.path);
        let ask = lab.post(&uri, with_image(&lab.own.harmless).to_string());
        let made = to_engine(bench, socket, &ask).map_err(Stop::skip)?;
        if made.status != 201 {
            return Err(Stop::skip(format!(
                "the engine does not make the harmless container: {} {}",
                made.status,
                String::from_utf8_lossy(&made.body)
            )));
        }
    }
    let harmful = with_image(&lab.own.harmful).to_string();
    let mut through = Vec::new();
    for number in 0..rounds {
        let name = format!("{prefix}-{number}");
        let body = body_variant(&harmful, random.random_range(0..6));
        let uri = uri_variant(&lab.own.path, &name, random.random_range(0..8));
        let ask = header_variant(lab.post(&uri, body), random.random_range(0..6));
        let answer = to_engine(bench, socket, &ask);
        if matches!(answer, Ok(Response { status: 201, .. })) {
            through.push(format!("{ask:?}"));
        }
    }
    let left = containers(bench, &lab, socket)?;
    for (name, id) in &left {
        if name.trim_start_matches('/').starts_with(&prefix) {
            let gone = lab.plain(&format!("DELETE {VERSION}/containers/{id}?force=1"));
            let _ = to_engine(bench, socket, &gone);
            if !name.ends_with("-harmless") {
                through.push(format!("there is a container {name}"));
            }
        }
    }
    ensure(through.is_empty(), || {
        format!(
            "{} of {rounds} passed: {}",
            through.len(),
            through.join("; ")
        )
    })
}

fn body_variant(body: &str, number: u32) -> Vec<u8> {
    match number {
        0 => body
            .to_uppercase()
            .replace("TRUE", "true")
            .replace("FALSE", "false"),
        1 => body.replace('s', "\u{17f}"),
        2 => body.replacen('{', "{\"HostConfig\":null,", 1),
        3 => format!("{}{body}", "{\"HostConfig\":{}}"),
        4 => body.replacen('}', ",\"Memory\":0}", 1),
        _ => body.to_owned(),
    }
    .into_bytes()
}

fn uri_variant(path: &str, name: &str, number: u32) -> String {
    let query = format!("?name={name}");
    match number {
        0 => format!("{path}{query}"),
        1 => format!("{VERSION}{}{query}", path.replacen('c', "%63", 1)),
        2 => format!("http://any{VERSION}{path}{query}"),
        3 => format!("/{VERSION}{path}{query}"),
        4 => format!("{VERSION}{path}{query}&x=/auth"),
        5 => format!("{VERSION}/auth/..{path}{query}"),
        6 => format!("{VERSION}{path}{query};x=1"),
        _ => format!("{VERSION}{path}{query}"),
    }
}

fn header_variant(ask: Ask, number: u32) -> Ask {
    match number {
        0 => ask.with("Content-Type", "application/json; charset=utf-8"),
        1 => ask.with("content-type", "text/plain"),
        2 => {
            let body = ask.body.clone().unwrap_or_default();
            let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
            chunked.extend_from_slice(&body);
            chunked.extend_from_slice(b"\r\n0\r\n\r\n");
            let mut ask = ask
                .without("Content-Length")
                .with("Transfer-Encoding", "chunked");
            ask.body = Some(chunked);
            ask
        }
        3 => ask.with("X-Http-Method-Override", "GET"),
        4 => {
            let token = base64::prelude::BASE64_STANDARD.encode("{}");
            ask.with("X-Registry-Auth", &token)
        }
        _ => ask,
    }
}
