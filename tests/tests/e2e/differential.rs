//! Whether the engine does what the authorization driver judged, for requests that try to make the two read something else.

use std::io::Write as _;
use std::net::Shutdown;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use dockside_tests::authz_variants::{State, Verdict, judge, variants};
use dockside_tests::client::{Answer, Caller, Connection};
use dockside_tests::engine::Version;
use dockside_tests::files;
use serde_json::{Value, json};

use crate::{Plugin, Setup};

/// At least this many requests for each engine.
const COUNT: usize = 320;

/// One request to the engine's API.
fn api(engine: &Path, method: &str, path: &str) -> Result<Answer> {
    let mut connection = Connection::open(engine)?;
    connection.send(format!("{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
    Ok(connection.receive()?)
}

/// The objects that a listing names, each as its inspect call tells.
fn inspect_all(
    engine: &Path,
    list: &str,
    pointer: &str,
    id: &str,
    one: impl Fn(&str) -> String,
) -> Result<Vec<Value>> {
    let listed = api(engine, "GET", list)?;
    let objects = listed.at(pointer).as_array().cloned().unwrap_or_default();
    let mut all = Vec::new();
    for object in objects {
        let id = object[id].as_str().context("an object without a name")?;
        let answer = api(engine, "GET", &one(id))?;
        ensure!(answer.status == 200, "{id}: {answer:?}");
        all.push(answer.json());
    }
    Ok(all)
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn state(engine: &Path) -> Result<State> {
    Ok(State {
        volumes: inspect_all(engine, "/volumes", "/Volumes", "Name", |name| {
            format!("/volumes/{}", segment(name))
        })?,
        networks: inspect_all(engine, "/networks", "", "Id", |id| {
            format!("/networks/{id}")
        })?,
        containers: inspect_all(engine, "/containers/json?all=1", "", "Id", |id| {
            format!("/containers/{id}/json")
        })?,
    })
}

/// Removes every container and volume, and the networks that are not the engine's own.
fn remove_all(engine: &Path, state: &State) -> Result<()> {
    for container in &state.containers {
        api(
            engine,
            "DELETE",
            &format!(
                "/containers/{}?force=1&v=1",
                container["Id"].as_str().unwrap_or_default()
            ),
        )?;
    }
    for volume in &state.volumes {
        api(
            engine,
            "DELETE",
            &format!(
                "/volumes/{}?force=1",
                segment(volume["Name"].as_str().unwrap_or_default())
            ),
        )?;
    }
    for network in &state.networks {
        if !["bridge", "host", "none"].contains(&network["Name"].as_str().unwrap_or_default()) {
            api(
                engine,
                "DELETE",
                &format!("/networks/{}", network["Id"].as_str().unwrap_or_default()),
            )?;
        }
    }
    Ok(())
}

/// What the driver was asked since its records were forgotten.
fn records(witness: &mut Caller) -> Result<Vec<Value>> {
    let answer = witness.call("VolumeDriver.Get", &json!({ "Name": "records" }))?;
    ensure!(answer.is_success(), "{answer:?}");
    let status = answer.at("/Volume/Status");
    let mut fields: Vec<(&String, &Value)> = status.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(number, _)| *number);
    fields
        .into_iter()
        .map(|(_, record)| {
            Ok(serde_json::from_str(
                record.as_str().context("a record that is no text")?,
            )?)
        })
        .collect()
}

/// Sends bytes on a connection of their own and reads what comes, to the end.
fn send(engine: &Path, request: &[u8]) -> Result<Vec<u8>> {
    let mut connection = Connection::open(engine)?;
    // The engine may refuse and close before it has read everything.
    let _ = connection.stream().write_all(request);
    let _ = connection.stream().shutdown(Shutdown::Write);
    Ok(connection.receive_rest().unwrap_or_default())
}

pub(crate) fn what_the_engine_does_is_what_was_judged(version: Version) -> Result<()> {
    let toml = "[grants]\ndirectories = {}\n".to_owned();
    let witness = Plugin {
        name: "witness",
        file: "witness",
        component: files::fixture("witness")?,
        toml,
    };
    let Some(setup) = Setup::new(
        version,
        "what_the_engine_does_is_what_was_judged",
        &[witness],
    )?
    else {
        return Ok(());
    };
    // An import is a stream that no driver sees, so it is denied under one.
    setup.engine.up(&[])?;
    setup.engine.image()?;
    setup.engine.stop()?;
    setup.engine.up(&["--authorization-plugin=witness"])?;
    let engine = setup.engine.socket();
    let mut witness = setup.site.caller("witness");
    let seed = std::env::var("DOCKSIDE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);

    let (mut as_judged, mut refused, mut not_executed, mut wrong) = (0, 0, 0, Vec::new());
    let all = variants(seed, COUNT, "busybox:local");
    for variant in &all {
        if let Some(request) = &variant.setup {
            send(&engine, request)?;
        }
        let before = state(&engine)?;
        ensure!(
            witness
                .call("VolumeDriver.Remove", &json!({ "Name": "records" }))?
                .is_success()
        );
        let answer = send(&engine, &variant.request)?;
        let records = records(&mut witness)?;
        let after = state(&engine)?;
        match judge(variant, &records, &after.since(&before)) {
            Verdict::AsJudged => as_judged += 1,
            Verdict::Denied => refused += 1,
            // The driver allows everything, so a denial is the host's, which the driver never sees.
            Verdict::NotExecuted
                if String::from_utf8_lossy(&answer).contains("authorization denied") =>
            {
                refused += 1
            }
            Verdict::NotExecuted => not_executed += 1,
            Verdict::Differently(why) => wrong.push(format!(
                "{why}\nrequest (base64): {}\nrecords: {records:?}",
                variant.request_base64()
            )),
        }
        remove_all(&engine, &after)?;
    }
    println!(
        "{version:?}, seed {seed}, {} requests: {as_judged} executed as judged, {refused} denied by the host, {not_executed} refused by the engine, {} differently",
        all.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Otherwise the test has proven nothing.
    assert!(
        all.len() >= 300 && as_judged > all.len() / 10,
        "{as_judged} of {}",
        all.len()
    );
    setup.down()
}
