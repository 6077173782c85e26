//! `dockside run`: what a driver does beside Docker's methods, and the files that it is let read.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::{Daemon, Site, until};
use dockside_tests::files;
use serde_json::{Value, json};

use crate::{listed, ok};

/// A daemon with the fixture `verbs`, and the directory of its set of files `set`.
fn with_verbs(limits: &str) -> Result<(Site, Daemon, PathBuf)> {
    let site = Site::new()?;
    let set = site.data.with_file_name("set");
    fs::create_dir(&set)?;
    let place = set.display();
    site.configure(
        "verbs",
        &format!(
            "[grants]\ndirectories = {{}}\n[grants.files]\nread = {{ set = \"{place}\" }}\nresolve = true\n{limits}"
        ),
    )?;
    site.drop_in(&files::fixture("verbs")?, "verbs")?;
    let daemon = site.serve()?;
    daemon.wait_plugin("verbs")?;
    Ok((site, daemon, set))
}

fn run(site: &Site, arguments: &[&str]) -> Result<Output> {
    Ok(site.command("run")?.arg("verbs").args(arguments).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a verb that has to succeed prints.
fn answer(site: &Site, arguments: &[&str]) -> Result<String> {
    let output = run(site, arguments)?;
    ensure!(
        output.status.code() == Some(0) && output.stderr.is_empty(),
        "{arguments:?}: {output:?}"
    );
    Ok(text(&output.stdout))
}

/// What a verb that has to fail with this exit status says.
fn refusal(site: &Site, status: i32, arguments: &[&str]) -> Result<String> {
    let output = run(site, arguments)?;
    ensure!(
        output.status.code() == Some(status) && output.stdout.is_empty(),
        "{arguments:?}: {output:?}"
    );
    Ok(text(&output.stderr))
}

/// Starts a verb and waits until it runs.
fn begin(site: &Site, arguments: &[&str]) -> Result<Child> {
    let child = site
        .command("run")?
        .arg("verbs")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    until("the verb to run", || log(site).contains("waits for"))?;
    Ok(child)
}

fn log(site: &Site) -> String {
    let output = site
        .command("logs")
        .and_then(|mut logs| Ok(logs.arg("verbs").output()?));
    output.map_or_else(|_| String::new(), |output| text(&output.stdout))
}

#[test]
fn answers_are_tables_for_people_and_json_for_programs() -> Result<()> {
    let (site, _daemon, _) = with_verbs("")?;
    assert_eq!(
        answer(&site, &["rows"])?,
        "NAME              COUNT  ABOUT\nsecond\\u{1b}[31m  2      true\nfirst\n"
    );
    let rows: Value = serde_json::from_str(&answer(&site, &["rows", "--json"])?)?;
    assert_eq!(rows[0]["name"], "second\u{1b}[31m");
    assert_eq!(
        rows[1],
        json!({"name": "first", "count": null, "About": null})
    );
    assert_eq!(
        answer(&site, &["show", "text=@@x = y", "level=high"])?,
        "count  3\nlevel  high\ntext   @x = y\n"
    );
    assert_eq!(answer(&site, &["get", "key=none"])?, "");
    assert_eq!(
        answer(&site, &["put", "key=k", "value=two\nlines"])?,
        "two\nlines\n"
    );
    assert_eq!(
        answer(&site, &["get", "key=k", "--json"])?,
        "\"two\\nlines\"\n"
    );
    let list = answer(&site, &[])?;
    for part in [
        "dockside run verbs put key=",
        "[default: 3]",
        "low, high",
        "password=@FILE",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let list: Value = serde_json::from_str(&answer(&site, &["--json"])?)?;
    assert_eq!(list[0]["name"], "show");
    let shown = site.command("inspect")?.arg("verbs").output()?;
    assert!(text(&shown.stdout).contains("Answer with a table"));
    let shown = site.command("ls")?.output()?;
    assert!(text(&shown.stdout).contains("show,rows,put"));
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_before_the_driver_runs() -> Result<()> {
    let (site, _daemon, _) = with_verbs("")?;
    for (arguments, expected) in [
        (&["shwo"][..], "did you mean `show`"),
        (&["remove-everything"], "known here are `show`, `rows`"),
        (&["show", "cuont=1"], "did you mean `count`"),
        (&["show", "count=11"], "from 1 to 10, not \"11\""),
        (&["show", "flag=perhaps"], "\"flag\" must be one of true"),
        (
            &["show", "size=big"],
            "\"size\" must be a whole number of bytes",
        ),
        (&["show", "level=middle"], "must be one of low, high"),
        (&["show", "count=1", "count=2"], "given twice"),
        (&["show", "count"], "write KEY=VALUE"),
        (&["put", "key=a"], "\"value\" is required"),
        (&["show", "text=-", "level=-"], "cannot both be read"),
    ] {
        let said = refusal(&site, 2, arguments)?;
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let said = refusal(&site, 1, &["show", "text=@/no/such/file"])?;
    assert!(said.contains("/no/such/file"), "{said}");
    let output = site.command("run")?.args(["missing", "verb"]).output()?;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("missing"));
    Ok(())
}

#[test]
fn secrets_come_from_files_and_standard_input_only() -> Result<()> {
    let (site, _daemon, set) = with_verbs("")?;
    let said = refusal(&site, 2, &["show", "password=hunter2"])?;
    assert!(
        said.contains("password=@FILE") && !said.contains("hunter2"),
        "{said}"
    );
    let file = set.join("password");
    fs::write(&file, "from a file\n")?;
    let argument = format!("password=@{}", file.display());
    let shown = answer(&site, &["show", &argument, "--json"])?;
    assert_eq!(
        serde_json::from_str::<Value>(&shown)?["password"],
        "from a file"
    );
    let mut child = site
        .command("run")?
        .args(["verbs", "show", "password=-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no stdin")?
        .write_all(b"typed\n")?;
    let shown = text(&child.wait_with_output()?.stdout);
    assert_eq!(serde_json::from_str::<Value>(&shown)?["password"], "typed");
    assert!(!log(&site).contains("typed"));
    Ok(())
}

#[test]
fn a_verb_that_fails_in_any_way_leaves_nothing() -> Result<()> {
    let (site, _daemon, _) = with_verbs("[limits]\nrun = \"300ms\"\n")?;
    for (then, expected) in [
        ("fail", "failed as it was told"),
        ("trap", "the driver crashed"),
        ("nonsense", "makes no sense"),
        ("spin", "did not answer within"),
    ] {
        let then = format!("then={then}");
        let said = refusal(&site, 1, &["put", "key=k", "value=v", &then])?;
        assert!(said.contains(expected), "{then}: {said}");
        assert_eq!(answer(&site, &["get", "key=k"])?, "", "{then}");
        let held = site.ask("/v1/plugin?name=verbs")?;
        assert_eq!(held["directories"], json!([]), "{then}");
    }
    answer(&site, &["put", "key=k", "value=v"])?;
    assert_eq!(answer(&site, &["get", "key=k"])?, "v\n");
    let held = site.ask("/v1/plugin?name=verbs")?;
    assert_eq!(held["directories"][0]["key"], "k");
    Ok(())
}

#[test]
fn docker_is_answered_while_a_verb_runs() -> Result<()> {
    // Not even one call may wait.
    let (site, _daemon, set) = with_verbs("[limits]\nconcurrency = 1\nqueue = 0\n")?;
    let mut child = begin(&site, &["wait", "set=set", "name=go"])?;
    let mut caller = site.caller("verbs");
    for number in 0..20 {
        let name = format!("v{number}");
        ok(&mut caller, "VolumeDriver.Create", json!({ "Name": name }))?;
    }
    assert_eq!(listed(&mut caller)?.len(), 20);
    assert_eq!(answer(&site, &["get", "key=none"])?, "");
    assert!(child.try_wait()?.is_none());
    fs::write(set.join("go"), "")?;
    let output = child.wait_with_output()?;
    assert_eq!(text(&output.stdout), "there it is\n", "{output:?}");
    Ok(())
}

#[test]
fn a_verb_ends_with_the_command_that_asked_for_it() -> Result<()> {
    let (site, mut daemon, _) = with_verbs("")?;
    let mut child = begin(&site, &["wait", "set=set", "name=never"])?;
    child.kill()?;
    child.wait()?;
    until("the verb to end", || log(&site).contains("abandoned"))?;
    // And with the daemon, which does not wait for it.
    let child = site
        .command("run")?
        .args(["verbs", "wait", "set=set", "name=never"])
        .stderr(Stdio::piped())
        .spawn()?;
    until("the verb to run", || {
        log(&site).matches("waits for").count() == 2
    })?;
    daemon.terminate()?;
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    Ok(())
}

#[test]
fn a_plugin_that_does_not_serve_says_why() -> Result<()> {
    let (site, _daemon, _) = with_verbs("")?;
    let standing = |state: &str| {
        until("the plugin's standing to change", || {
            site.ask("/v1/plugin?name=verbs")
                .is_ok_and(|plugin| plugin["state"] == state)
        })
    };
    site.remove("verbs.wasm")?;
    standing("removed")?;
    let said = refusal(&site, 1, &["rows"])?;
    assert!(said.contains("removed"), "{said}");
    site.configure("verbs", "")?;
    site.drop_in(&files::fixture("verbs")?, "verbs")?;
    standing("blocked")?;
    for arguments in [&["rows"][..], &[]] {
        let output = run(&site, arguments)?;
        let said = text(&output.stderr);
        assert!(said.contains("[grants.files]"), "{said}");
        assert_ne!(output.status.code(), Some(0));
    }
    Ok(())
}

#[test]
fn a_driver_reads_what_the_operator_names_and_nothing_else() -> Result<()> {
    let (site, _daemon, set) = with_verbs("")?;
    let stamp = || answer(&site, &["stamp", "set=set"]);
    fs::write(set.join("a.rego"), "package a")?;
    let before = stamp()?;
    fs::create_dir(set.join("sub"))?;
    fs::write(set.join("sub/b.rego"), "package b")?;
    std::os::unix::fs::symlink("/etc/passwd", set.join("passwd"))?;
    assert_ne!(stamp()?, before);
    assert_eq!(
        answer(&site, &["files", "set=set"])?,
        "NAME        SIZE\na.rego      9\nsub/b.rego  9\n"
    );
    assert_eq!(
        answer(&site, &["read", "set=set", "name=sub/b.rego"])?,
        "package b\n"
    );
    for (name, expected) in [
        ("passwd", "symbolic link"),
        ("../control.sock", "without . and .."),
        ("none", "find"),
    ] {
        let name = format!("name={name}");
        let said = refusal(&site, 1, &["read", "set=set", &name])?;
        assert!(said.contains(expected), "{name}: {said}");
    }
    let said = refusal(&site, 1, &["files", "set=other"])?;
    assert!(said.contains("other = \"/etc/dockside/other\""), "{said}");
    std::os::unix::fs::symlink("/etc", set.join("link"))?;
    let path = format!("path={}/link/./x/../y", set.display());
    assert_eq!(answer(&site, &["resolve", &path])?, "/etc/y\n");
    Ok(())
}
