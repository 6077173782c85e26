//! What a real engine keeps of its volumes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop};
use crate::client::{Answer, Connection};
use crate::control::Fault;

pub(super) const CHECKS: &[Check] = &[Check {
    id: "V08",
    level: Level::Engine,
    kind: Some(Kind::Volume),
    needs: &[Need::Fault, Need::Engine],
    title: "a real engine restarts while the backend fails",
    rule: "When the backend is well again, `docker volume inspect` shows the labels and options that the volume was made with. An engine forgets them at its start if the plugin answers Get with an error.",
    slow: true,
    run: kept_by_engine,
}];

/// A request to the engine's API.
fn api(socket: &Path, verb: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let got = Connection::open(socket).and_then(|mut connection| {
        connection.write(request.as_bytes())?;
        connection.read(Duration::from_secs(120))
    });
    Answer::new(&format!("{verb} {path}"), body.as_bytes(), got)
}

fn kept_by_engine(bench: &Bench) -> Outcome {
    let (docker, plugin) = bench.docker()?;
    let control = bench.control()?;
    let Some(restart) = &bench.profile().hooks.restart_engine else {
        return Err(Stop::skip(
            "it is not known how to restart the engine: restart-engine under [hooks] in the profile",
        ));
    };
    let name = bench.name("labelled");
    let made = api(
        docker,
        "POST",
        "/volumes/create",
        &json!({
            "Name": name,
            "Driver": plugin,
            "DriverOpts": bench.profile().volume.filled(&name),
            "Labels": {"dockside-check": "kept"},
        }),
    );
    made.ensure(
        made.status() == 201,
        || "the engine does not make the volume",
    )?;
    let path = format!("/volumes/{name}");
    let before = api(docker, "GET", &path, &Value::Null);
    let outcome = (|| {
        control.inject(Fault::Fail).map_err(Stop::skip)?;
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", restart])
            .stdin(std::process::Stdio::null())
            .status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            return Err(Stop::skip(format!("the hook `restart-engine`: {status:?}")));
        }
        let end = Instant::now() + Duration::from_secs(120);
        while api(docker, "GET", "/_ping", &Value::Null).status() != 200 {
            if Instant::now() > end {
                return Err(Stop::skip("the engine does not answer after its restart"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // As `docker volume inspect` while the backend is away: this, too, can make the engine forget.
        let _ = api(docker, "GET", &path, &Value::Null);
        control.mend().map_err(Stop::fail)?;
        let after = api(docker, "GET", &path, &Value::Null);
        for field in ["Labels", "Options"] {
            let of = |answer: &Answer| answer.json().and_then(|json| json.get(field)).cloned();
            after.ensure(of(&after) == of(&before), || {
                format!(
                    "{field} are not what they were: {}",
                    before.exchange().answer
                )
            })?;
        }
        Ok(())
    })();
    let _ = control.mend();
    let _ = api(docker, "DELETE", &path, &Value::Null);
    outcome
}
