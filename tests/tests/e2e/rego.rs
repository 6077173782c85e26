//! The driver `rego` with policies in files, and what users of opa-docker-authz type.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use dockside_tests::client::{Answer, Connection};
use dockside_tests::daemon::{Site, until};
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;
use serde_json::Value;
use tempfile::TempDir;

use crate::exercises::exercise;
use crate::{Plugin, Setup};

/// The name that the book gives to the plugin.
const NAME: &str = "opa-docker-authz:readonly";
/// The policy of opa-docker-authz's users, in its old spelling.
const READ_ONLY: &str = "package docker.authz\n\nallow { input.Method = \"GET\" }\n";
/// Looking, and volumes.
const VOLUMES: &str = "package docker.authz\nimport rego.v1\nallow if input.Method == \"GET\"\nallow if input.Segments[0] == \"volumes\"\n";
/// What the engine says for the plugin.
const REJECTED: &str = "authorization denied by plugin opa-docker-authz:readonly: request rejected by administrative policy";

/// The operator's file, with a break-glass file in `safe`, where only root can write.
fn toml(engine: &Engine, safe: &Path, name: &str, more: &str) -> String {
    format!(
        "names = [{name:?}]\n{more}\n[grants.files]\nresolve = true\n\
         read = {{ policies = {:?}, break-glass = {{ path = {:?}, root-only = true }} }}\n\
         [instances]\nreuse = 1000\n",
        engine.shared().join("policies"),
        safe.join("break-glass")
    )
}

fn setup(version: Version, test: &str, safe: &TempDir) -> Result<Option<Setup>> {
    let plugin = Plugin {
        name: NAME,
        file: "rego",
        component: files::driver("rego")?,
        toml: String::new(),
    };
    let Some(setup) = Setup::serving(version, test, &[plugin], |engine, site| {
        fs::create_dir(engine.shared().join("policies"))?;
        write(engine, READ_ONLY)?;
        let more = "[config]\nargs = \"-policy-file /opa/policies/authz.rego -log-only-denied\"";
        site.configure("rego", &toml(engine, safe.path(), NAME, more))?;
        site.serve()
    })?
    else {
        return Ok(None);
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    setup.engine.stop()?;
    setup
        .engine
        .up(&[&format!("--authorization-plugin={NAME}")])?;
    Ok(Some(setup))
}

/// A directory that nobody but root can write to, nor to those above it.
fn safe() -> Result<TempDir> {
    Ok(tempfile::Builder::new()
        .prefix("dockside-e2e-")
        .tempdir_in("/run")?)
}

fn write(engine: &Engine, policy: &str) -> Result<()> {
    let directory = engine.shared().join("policies");
    let partial = directory.join(".partial");
    fs::write(&partial, policy)?;
    Ok(fs::rename(partial, directory.join("authz.rego"))?)
}

/// One request to the engine's API.
fn api(engine: &Engine, method: &str, path: &str, body: &str) -> Result<Answer> {
    let mut connection = Connection::open(&engine.socket())?;
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // The engine may refuse before it has read everything.
    let _ = connection.stream().write_all(request.as_bytes());
    Ok(connection.receive()?)
}

/// What a verb of the driver answers.
fn verb(site: &Site, verb: &str) -> Result<Value> {
    let output = site.command("run")?.args([NAME, verb, "--json"]).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub(crate) fn policies_change_and_mistakes_change_nothing(version: Version) -> Result<()> {
    let safe = safe()?;
    let test = "policies_change_and_mistakes_change_nothing";
    let Some(setup) = setup(version, test, &safe)? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let is_read_only = || -> Result<()> {
        assert!(engine.docker(&["ps"])?.starts_with("CONTAINER ID"));
        let refused = engine.docker_fails(&["run", "--rm", "busybox:local", "true"])?;
        ensure!(refused.contains(REJECTED), "{refused}");
        Ok(())
    };
    is_read_only()?;
    assert_eq!(verb(&setup.site, "status")?["rejected"], Value::Null);
    for broken in [
        "",
        "package docker.authz\n\nallow {",
        "package other\nallow := true",
    ] {
        write(engine, broken)?;
        is_read_only()?;
        let status = verb(&setup.site, "status")?;
        assert!(status["rejected"].is_string(), "{broken}: {status}");
    }
    fs::remove_file(engine.shared().join("policies/authz.rego"))?;
    is_read_only()?;
    write(engine, VOLUMES)?;
    engine.docker(&["volume", "create", "vol"])?;
    engine.docker(&["volume", "rm", "vol"])?;
    let refused = engine.docker_fails(&["network", "create", "net"])?;
    assert!(refused.contains(REJECTED), "{refused}");
    assert_eq!(verb(&setup.site, "status")?["rejected"], Value::Null);

    let glass = safe.path().join("break-glass");
    fs::write(&glass, "a test\n")?;
    engine.docker(&["run", "--rm", "busybox:local", "true"])?;
    fs::remove_file(&glass)?;
    let refused = engine.docker_fails(&["run", "--rm", "busybox:local", "true"])?;
    assert!(refused.contains(REJECTED), "{refused}");
    let log = setup.site.command("logs")?.arg(NAME).output()?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(
        log.contains("BREAK GLASS") && log.contains("a test"),
        "{log}"
    );
    setup.down()
}

pub(crate) fn no_spelling_and_no_hidden_body_gets_around_a_policy(version: Version) -> Result<()> {
    let safe = safe()?;
    let test = "no_spelling_and_no_hidden_body_gets_around_a_policy";
    let Some(setup) = setup(version, test, &safe)? else {
        return Ok(());
    };
    let engine = &setup.engine;
    write(
        engine,
        "package docker.authz\nimport rego.v1\nallow if not bad\nbad if input.Body.HostConfig.Privileged\nbad if input.Segments == [\"volumes\", \"create\"]\n",
    )?;
    let privileged = r#"{"Image": "busybox:local", "HostConfig": {"Privileged": true}}"#;
    for (method, path, body) in [
        ("POST", "/containers/create", privileged),
        ("POST", "/containers/%63reate", privileged),
        ("POST", "/%63ontainers/create", privileged),
        ("POST", "//containers/create", privileged),
        ("POST", "/containers/./create", privileged),
        ("POST", "/x/../containers/create", privileged),
        ("POST", "/containers/x/../create", privileged),
        ("POST", "/containers/create/", privileged),
        ("POST", "/containers%2Fcreate", privileged),
        ("POST", "http://engine/containers/create", privileged),
        (
            "POST",
            "/containers/create",
            r#"{"Image": "busybox:local", "hostconfig": {"PRIVILEGED": true}}"#,
        ),
        (
            "POST",
            "/containers/create",
            r#"{"Image": "busybox:local", "HostConfig": {"Privileged": false}, "hostConfig": {"privileged": true}}"#,
        ),
        ("POST", "/volumes/create", r#"{"Name": "vol"}"#),
        ("POST", "/volumes/%63reate", r#"{"Name": "vol"}"#),
        ("post", "/volumes/create", r#"{"Name": "vol"}"#),
        ("POST", "/volumes/create?x=%2e%2e", r#"{"Name": "vol"}"#),
        ("POST", "/volumes//create", r#"{"Name": "vol"}"#),
    ] {
        let answer = api(engine, method, path, body)?;
        assert!(answer.status >= 300, "{method} {path} {body}: {answer:?}");
    }
    // Engines up to 29.3 show nothing of a body of more than 1 MiB.
    let long = format!(
        r#"{{"Image": "busybox:local", "Labels": {{"a": "{}"}}, "HostConfig": {{"Privileged": true}}}}"#,
        "x".repeat(1_100_000)
    );
    let answer = api(engine, "POST", "/containers/create", &long)?;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(engine.docker(&["ps", "-aq"])?, "");
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?, "");
    // What is allowed works.
    let plain = api(
        engine,
        "POST",
        "/containers/create?name=plain",
        r#"{"Image": "busybox:local"}"#,
    )?;
    assert_eq!(plain.status, 201, "{plain:?}");
    engine.docker(&["rm", "plain"])?;
    setup.down()
}

pub(crate) fn no_answer_is_wrong_while_policies_change(version: Version) -> Result<()> {
    let safe = safe()?;
    let test = "no_answer_is_wrong_while_policies_change";
    let Some(setup) = setup(version, test, &safe)? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let is_over = AtomicBool::new(false);
    let wrong = std::thread::scope(|scope| -> Result<Vec<String>> {
        let ask = |method: &'static str, path: &'static str, right: u16| {
            let is_over = &is_over;
            move || -> Result<(usize, Vec<String>)> {
                let (mut count, mut wrong) = (0, Vec::new());
                while !is_over.load(Ordering::Relaxed) {
                    let answer = api(engine, method, path, "")?;
                    count += 1;
                    if answer.status != right {
                        wrong.push(format!("{method} {path}: {answer:?}"));
                    }
                }
                Ok((count, wrong))
            }
        };
        // Right under every policy that comes.
        let askers = [
            scope.spawn(ask("GET", "/containers/json", 200)),
            scope.spawn(ask("POST", "/networks/prune", 403)),
        ];
        for number in 0..60 {
            write(
                engine,
                match number % 4 {
                    0 => VOLUMES,
                    1 => "package docker.authz\nallow {",
                    2 => READ_ONLY,
                    _ => "",
                },
            )?;
            // Each policy meets some requests.
            api(engine, "GET", "/version", "")?;
        }
        is_over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for asker in askers {
            let (count, wrong) = asker.join().ok().context("a thread panicked")??;
            ensure!(count > 0, "nothing was asked");
            all.extend(wrong);
        }
        Ok(all)
    })?;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    write(engine, VOLUMES)?;
    engine.docker(&["volume", "create", "vol"])?;
    engine.docker(&["volume", "rm", "vol"])?;
    setup.down()
}

/// Where the engine is told to look for what it would get from the Internet.
const MIRROR: &str = "http://127.0.0.1:5081";

pub(crate) fn a_read_only_engine_by_policy(version: Version) -> Result<()> {
    let safe = safe()?;
    let plugin = Plugin {
        name: "rego",
        file: "rego",
        component: files::driver("rego")?,
        toml: String::new(),
    };
    let test = "a_read_only_engine_by_policy";
    let Some(setup) = Setup::serving(version, test, &[plugin], |engine, site| {
        fs::write(&site.config, "registry = \"127.0.0.1:5081\"\n")?;
        let more = "[relay]\nnames = [\"openpolicyagent/opa-docker-authz-v2\"]\nargs = { name = \"opa-args\" }";
        site.configure("rego", &toml(engine, safe.path(), "rego", more))?;
        engine.serve_within(site)
    })?
    else {
        return Ok(());
    };
    let engine = &setup.engine;
    engine.up(&["--registry-mirror", MIRROR])?;
    engine.image()?;
    let pid = fs::read_to_string(engine.socket().with_file_name("pid"))?;
    let pid = pid
        .split_whitespace()
        .next()
        .context("no process")?
        .to_owned();
    let policies = engine.shared().join("policies");
    let json = engine.socket().with_file_name("etc").join("daemon.json");
    let variables = [
        ("POLICIES", policies.display().to_string()),
        ("DAEMON_JSON", json.display().to_string()),
        ("ENGINE", pid),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    exercise(engine, "15.01", &variables)?;
    until("the engine to answer without the plugin", || {
        engine.try_docker(&["ps"]).is_ok_and(|said| said.success)
    })?;
    // The directory of all daemons of a machine: that of another machine here.
    let _ = engine.shell("rmdir /run/dockside 2>/dev/null || true");
    setup.down()
}
