//! Recording calls, replaying them to other versions, and versions that are refused for what a replay shows.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::{Daemon, Site, until};
use dockside_tests::files;
use dockside_tests::wapi::PASSWORD;
use serde_json::{Value, json};

use crate::{infoblox, ok, refused, status};

/// What the driver asks for, with a deadline that a test can wait for.
const SETTINGS: &str = "[grants]\ndirectories = {}\n[grants.secrets]\nuse = [\"revealed\"]\nreveal = [\"revealed\"]\nkeep = 100\n[limits]\ndeadline = \"1s\"\n[secrets]\nrevealed = { file = \"revealed\" }\n";

const REVEALED: &str = "Rev3aled-by-the-host";

/// A version of the driver `recorded` that differs in one thing; the number makes it another version all the same.
fn variant(site: &Site, name: &str, number: u32) -> Result<PathBuf> {
    let bytes = fs::read(files::fixture("recorded")?)?;
    let mark = b"variant=same";
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)
        .context("the driver has no variants")?;
    let mut bytes = bytes;
    bytes[at + 8..at + 12].copy_from_slice(name.as_bytes());
    let path = site.data.with_file_name(format!("{name}-{number}.wasm"));
    fs::write(&path, files::another_version(&bytes, number))?;
    Ok(path)
}

fn serving(more: &str) -> Result<(Site, Daemon)> {
    let site = Site::new()?;
    let secret = site.drivers.join("revealed");
    fs::write(&secret, REVEALED)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    site.configure("recorded", &format!("{more}{SETTINGS}"))?;
    site.drop_in(&files::fixture("recorded")?, "recorded")?;
    let daemon = site.serve()?;
    daemon.wait_plugin("recorded")?;
    Ok((site, daemon))
}

/// `dockside record` under way.
struct Recorder {
    child: Child,
    file: PathBuf,
}

impl Recorder {
    fn begin(site: &Site, plugin: &str, calls: u32) -> Result<Recorder> {
        let file = site.data.with_file_name("calls.recording");
        let child = site
            .command("record")?
            .args([plugin, "--calls", &calls.to_string(), "--out"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let recorder = Recorder { child, file };
        until("the recording to begin", || {
            fs::metadata(&recorder.file).is_ok_and(|file| file.len() > 0)
        })?;
        Ok(recorder)
    }

    fn end(mut self) -> Result<PathBuf> {
        let ended = self.child.wait()?;
        ensure!(ended.success(), "dockside record ended with {ended}");
        Ok(self.file.clone())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit status and output of `dockside replay`.
fn replay(recording: &Path, driver: &Path, more: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new(files::daemon()?)
        .arg("replay")
        .arg(recording)
        .arg(driver)
        .args(more)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((
        output.status.code(),
        text + &String::from_utf8_lossy(&output.stderr),
    ))
}

/// A recording of some calls that change and some that do not.
fn recording(site: &Site) -> Result<PathBuf> {
    let recorder = Recorder::begin(site, "recorded", 5)?;
    let mut caller = site.caller("recorded");
    ok(
        &mut caller,
        "VolumeDriver.Create",
        json!({ "Name": "plain" }),
    )?;
    ok(
        &mut caller,
        "VolumeDriver.Create",
        json!({ "Name": "boom" }),
    )?;
    ok(&mut caller, "VolumeDriver.Get", json!({ "Name": "plain" }))?;
    ok(
        &mut caller,
        "VolumeDriver.Mount",
        json!({ "Name": "plain", "ID": "m" }),
    )?;
    ok(&mut caller, "VolumeDriver.List", json!({}))?;
    recorder.end()
}

#[test]
fn a_replay_tells_in_what_a_version_differs_and_changes_nothing() -> Result<()> {
    let (site, mut daemon) = serving("")?;
    let recording = recording(&site)?;
    let mode = fs::metadata(&recording)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.terminate()?;
    let held =
        || -> Result<usize> { Ok(fs::read_dir(site.data.join("volumes/recorded"))?.count()) };
    let before = held()?;
    for (name, code, expected) in [
        ("same", 0, "5 same\n"),
        ("trap", 3, "DIFFERS   VolumeDriver.Create boom: traps\n"),
        ("fail", 3, "DIFFERS   VolumeDriver.Create boom: fails\n"),
        (
            "slow",
            3,
            "DIFFERS   VolumeDriver.Create boom: is too slow\n",
        ),
        (
            "tell",
            3,
            "DIFFERS   VolumeDriver.Get plain: answer differs\n",
        ),
        (
            "more",
            3,
            "DIFFERS   VolumeDriver.Create plain: effects differ\n",
        ),
        (
            "note",
            3,
            "DIFFERS   VolumeDriver.Create plain: state writes differ\n",
        ),
        (
            "read",
            3,
            "DIFFERS   VolumeDriver.Create plain: read what was not recorded\n",
        ),
    ] {
        let driver = variant(&site, name, 1)?;
        let (ended, text) = replay(&recording, &driver, &[])?;
        assert_eq!(ended, Some(code), "{name}: {text}");
        assert!(text.contains(expected), "{name}: {text}");
    }
    let driver = variant(&site, "tell", 2)?;
    let (ended, text) = replay(&recording, &driver, &["--ignore", "told"])?;
    assert_eq!(ended, Some(0), "{text}");
    let (_, text) = replay(&recording, &driver, &["--json"])?;
    let report: Value = serde_json::from_str(&text)?;
    assert_eq!(report["summary"]["answers"], 1, "{report}");
    assert_eq!(held()?, before);
    Ok(())
}

#[test]
fn damaged_recordings_lose_the_damaged_lines_and_say_so() -> Result<()> {
    let (site, _daemon) = serving("")?;
    let recording = recording(&site)?;
    let driver = variant(&site, "same", 1)?;
    let whole = fs::read_to_string(&recording)?;
    let lines: Vec<&str> = whole.lines().collect();
    let old = lines[0].replace("\"version\":1", "\"version\":0");
    for (text, code, expected) in [
        (whole[..whole.len() - 20].to_owned(), 3, "line 6 is cut off"),
        (
            whole.replacen(lines[2], "{\"event\":", 1),
            3,
            "line 3 is damaged",
        ),
        (whole.replacen(lines[0], &old, 1), 1, "format 0"),
        (lines[1..].join("\n"), 1, "is no recording"),
        (String::new(), 1, "is no recording"),
    ] {
        fs::write(&recording, &text)?;
        let (ended, said) = replay(&recording, &driver, &[])?;
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
        assert_eq!(code == 3, said.contains("4 same"), "{said}");
    }
    Ok(())
}

fn preflight(site: &Site) -> Result<String> {
    let detail = site.ask("/v1/plugin?name=recorded")?;
    Ok(detail["preflight"].as_str().unwrap_or_default().to_owned())
}

/// Whether the calls that were made are kept: what records them is behind the calls.
fn wait_kept(site: &Site, calls: usize) -> Result<()> {
    let file = site.data.join("recordings/recorded/calls.ndjson");
    until("the calls to be kept", || {
        fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == calls + 1)
    })
}

#[test]
fn a_version_that_fails_recorded_calls_does_not_serve_unless_the_operator_says_so() -> Result<()> {
    let (site, _daemon) = serving("[record]\nkeep = 100\n")?;
    let mut caller = site.caller("recorded");
    ok(
        &mut caller,
        "VolumeDriver.Create",
        json!({ "Name": "boom" }),
    )?;
    ok(&mut caller, "VolumeDriver.Get", json!({ "Name": "boom" }))?;
    wait_kept(&site, 2)?;
    for (name, says) in [
        ("trap", "traps"),
        ("fail", "fails"),
        ("slow", "is too slow"),
    ] {
        site.drop_in(&variant(&site, name, 1)?, "recorded@1.1.0")?;
        let shown = || -> Result<String> {
            let shown = site.command("ls")?.output()?;
            Ok(String::from_utf8_lossy(&shown.stdout).into_owned())
        };
        let parts = ["VolumeDriver.Create boom", "preflight = \"warn\"", says];
        until(&format!("{name} to be refused"), || {
            shown().is_ok_and(|shown| parts.iter().all(|part| shown.contains(part)))
        })
        .with_context(|| site.log_end())?;
        assert!(preflight(&site)?.contains(says));
        assert_eq!(status(&mut caller, "boom", "told")?, "usual");
    }
    // An answer that differs may be meant.
    site.drop_in(&variant(&site, "tell", 1)?, "recorded@1.2.0")?;
    until("the version with other answers to serve", || {
        status(&mut caller, "boom", "told").is_ok_and(|told| told == "other")
    })?;
    assert!(
        preflight(&site)?.contains("come out otherwise"),
        "{}",
        preflight(&site)?
    );
    // The operator's word.
    site.remove("recorded@1.2.0.wasm")?;
    site.remove("recorded@1.1.0.wasm")?;
    until("the first version to serve", || {
        status(&mut caller, "boom", "told").is_ok_and(|told| told == "usual")
    })?;
    site.configure(
        "recorded",
        &format!("[record]\nkeep = 100\npreflight = \"warn\"\n{SETTINGS}"),
    )?;
    site.drop_in(&variant(&site, "fail", 2)?, "recorded@1.3.0")?;
    until("the version that fails to serve", || {
        site.ask("/v1/plugin?name=recorded")
            .is_ok_and(|detail| detail["version"] == "1.3.0")
    })
    .with_context(|| site.log_end())?;
    Ok(())
}

#[test]
fn requests_to_servers_are_replayed_without_the_servers() -> Result<()> {
    let (wapi, site, daemon) = infoblox::with_grid()?;
    let recorder = Recorder::begin(&site, "infoblox", 4)?;
    let mut caller = site.caller("infoblox");
    let request = infoblox::pool("10.91.0.0/24", json!({}));
    let pool = ok(&mut caller, "IpamDriver.RequestPool", request)?.at("/PoolID");
    let request = infoblox::address(&pool, "", 1);
    let given = ok(&mut caller, "IpamDriver.RequestAddress", request)?.at("/Address");
    let given = given.as_str().and_then(|given| given.split('/').next());
    let release = json!({ "PoolID": pool, "Address": given });
    ok(&mut caller, "IpamDriver.ReleaseAddress", release)?;
    ok(
        &mut caller,
        "IpamDriver.ReleasePool",
        json!({ "PoolID": pool }),
    )?;
    let recording = recorder.end()?;
    drop((daemon, wapi));
    let text = fs::read_to_string(&recording)?;
    assert!(
        text.contains("wasi:http") && !text.contains(PASSWORD),
        "{text}"
    );
    let driver = site.data.with_file_name("infoblox-2.wasm");
    let bytes = fs::read(files::driver("infoblox")?)?;
    fs::write(&driver, files::another_version(&bytes, 2))?;
    let (ended, said) = replay(&recording, &driver, &[])?;
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.contains("4 same"), "{said}");
    Ok(())
}

/// A secret for each door, and where it comes in.
const SECRETS: [&str; 7] = [
    "0pt-declared-w0rd",
    "0pt-by-its-name-w0rd",
    "in-an-url-w0rd",
    "c0nfig-from-a-file",
    "c0nfig-by-its-name",
    REVEALED,
    "mult\"i\\ple-f0rms",
];

#[test]
fn no_secret_is_in_any_event_by_whatever_door_it_came() -> Result<()> {
    let (site, _daemon) = {
        let site = Site::new()?;
        let file = |name: &str, text: &str| -> Result<()> {
            let path = site.drivers.join(name);
            fs::write(&path, text)?;
            Ok(fs::set_permissions(
                &path,
                fs::Permissions::from_mode(0o600),
            )?)
        };
        file("revealed", REVEALED)?;
        file("from-file", SECRETS[3])?;
        let config = format!(
            "[record]\nkeep = 100\n[config]\nplain = \"nothing to hide\"\nvalue = {{ file = \"from-file\" }}\napi-token = \"{}\"\n",
            SECRETS[4]
        );
        site.configure("recorded", &format!("{config}{SETTINGS}"))?;
        site.drop_in(&files::fixture("recorded")?, "recorded")?;
        let daemon = site.serve()?;
        daemon.wait_plugin("recorded")?;
        (site, daemon)
    };
    let mut caller = site.caller("recorded");
    // Before anybody but the ring listens, to be read from the state later.
    let early = json!({ "Name": "early", "Opts": { "pin": SECRETS[6] } });
    ok(&mut caller, "VolumeDriver.Create", early)?;
    let recorder = Recorder::begin(&site, "recorded", 5)?;
    let all = json!({ "Name": "spread", "Opts": {
        "pin": SECRETS[0],
        "password": SECRETS[1],
        "url": format!("https://user:{}@example.com/path", SECRETS[2]),
    } });
    ok(&mut caller, "VolumeDriver.Create", all)?;
    ok(&mut caller, "VolumeDriver.Get", json!({ "Name": "spread" }))?;
    ok(&mut caller, "VolumeDriver.Get", json!({ "Name": "early" }))?;
    refused(
        &mut caller,
        "VolumeDriver.Remove",
        json!({ "Name": "spread" }),
    )?;
    refused(
        &mut caller,
        "VolumeDriver.Create",
        json!({ "Name": "x", "Opts": { "wrong": SECRETS[0] } }),
    )?;
    let recording = recorder.end()?;
    wait_kept(&site, 5)?;
    let mut all = fs::read_to_string(&recording)?;
    all.push_str(&fs::read_to_string(
        site.data.join("recordings/recorded/calls.ndjson"),
    )?);
    assert!(
        all.contains("nothing to hide") && all.contains("on stdout"),
        "{all}"
    );
    for secret in SECRETS {
        let quoted = json!(secret).to_string();
        let within = json!(quoted).to_string();
        let bytes = json!(secret.as_bytes()).to_string();
        let forms = [
            secret.to_owned(),
            bytes.trim_matches(['[', ']']).to_owned(),
            quoted.trim_matches('"').to_owned(),
            within.trim_matches(['"', '\\']).to_owned(),
        ];
        for form in forms {
            if let Some(at) = all.find(&form) {
                let around = &all[at.saturating_sub(300)..(at + 100).min(all.len())];
                panic!("{secret} is in an event: …{around}…");
            }
        }
    }
    // What is hidden does not keep a version from being replayed.
    let (ended, text) = replay(&recording, &variant(&site, "same", 1)?, &[])?;
    assert!(
        ended == Some(0) || text.contains("read what was not recorded"),
        "{text}"
    );
    Ok(())
}
