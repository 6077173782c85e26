//! The relay as Docker runs it, between a caller and the daemon.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use dockside_tests::client::{Caller, Connection};
use dockside_tests::daemon::{Site, until};
use serde_json::json;

use crate::with_fixtures;

/// A relay. It ends with this value.
struct Relay {
    child: Child,
    /// Where it listens.
    socket: PathBuf,
}

impl Relay {
    /// Starts the program that `dockside relay` writes.
    fn start(
        site: &Site,
        name: &str,
        connect: &Path,
        plugin: &str,
        arguments: &[&str],
    ) -> Result<Relay> {
        let directory = site.data.with_file_name(name);
        let written = site
            .command("relay")?
            .args(["echo", "--output"])
            .arg(&directory)
            .output()?;
        ensure!(written.status.success(), "{written:?}");
        let socket = directory.join("listen.sock");
        let child = Command::new(directory.join("rootfs/relay"))
            .arg(&socket)
            .arg(connect)
            .arg(plugin)
            .args(arguments)
            .env_clear()
            .env("PATH", "/bin")
            .env("DEBUG", "1")
            .stdin(Stdio::null())
            .spawn()?;
        let relay = Relay { child, socket };
        until("the relay to listen", || {
            UnixStream::connect(&relay.socket).is_ok()
        })?;
        Ok(relay)
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        number
            .context("no such field")?
            .parse()
            .context("no number")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn daemons_socket(site: &Site) -> PathBuf {
    site.control.with_file_name("relay").join("relay.sock")
}

#[test]
fn what_users_set_goes_over_the_configuration_of_calls_through_the_relay_alone() -> Result<()> {
    let (site, daemon) = with_fixtures(&["echo"])?;
    site.configure(
        "echo",
        "[config]\n\"env.DEBUG\" = \"operator\"\nserver = \"s\"\n[grants]\ndirectories = {}\n",
    )?;
    let relay = Relay::start(
        &site,
        "relay-1",
        &daemons_socket(&site),
        "echo",
        &["-a", "b c"],
    )?;
    let mut through = Caller::new(&relay.socket);
    let mut own = site.caller("echo");
    own.call("VolumeDriver.Create", &json!({ "Name": "vol", "Opts": {} }))?;
    let get = json!({ "Name": "vol" });
    until("the settings to be read", || {
        let seen = own.call("VolumeDriver.Get", &get);
        seen.is_ok_and(|seen| seen.at("/Volume/Status/config.server") == "s")
    })?;
    let seen = through.call("VolumeDriver.Get", &get)?;
    let status = seen.at("/Volume/Status");
    ensure!(status["config.env.DEBUG"] == "1", "{status}");
    ensure!(status["config.args"] == "-a\nb c", "{status}");
    ensure!(status["config.server"] == "s", "{status}");
    ensure!(status["config.env.PATH"].is_null(), "{status}");
    let status = own.call("VolumeDriver.Get", &get)?.at("/Volume/Status");
    ensure!(status["config.env.DEBUG"] == "operator", "{status}");
    ensure!(status["config.args"].is_null(), "{status}");
    // The values can be secret, so people see the names.
    let said = site.command("inspect")?.arg("echo").output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(
        said.contains("sets args, env.DEBUG") && !said.contains("b c"),
        "{said}"
    );
    // Without an engine there is no directory of Docker's.
    let refused = through.call("VolumeDriver.Mount", &json!({ "Name": "vol", "ID": "1" }))?;
    ensure!(
        refused.err().contains("cannot be shown to containers"),
        "{}",
        refused.err()
    );
    drop(daemon);
    Ok(())
}

#[test]
fn a_relay_waits_for_a_daemon_that_restarts() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["echo"])?;
    let relay = Relay::start(&site, "relay-1", &daemons_socket(&site), "echo", &[])?;
    site.caller("echo")
        .call("VolumeDriver.Create", &json!({ "Name": "vol", "Opts": {} }))?;
    for kill in [true, false] {
        if kill {
            daemon.kill()?;
        } else {
            daemon.terminate()?;
        }
        let socket = relay.socket.clone();
        let asking = thread::spawn(move || {
            Connection::open(&socket)?.exchange("VolumeDriver.Get", &json!({ "Name": "vol" }))
        });
        daemon = site.serve()?;
        let answer = asking.join().ok().context("the caller died")??;
        ensure!(answer.is_success(), "{answer:?}");
    }
    drop(daemon);
    Ok(())
}

#[test]
fn a_plugin_that_is_not_there_is_named() -> Result<()> {
    let (site, daemon) = with_fixtures(&["echo"])?;
    let relay = Relay::start(&site, "relay-1", &daemons_socket(&site), "nobody", &[])?;
    let create = json!({ "Name": "vol", "Opts": {} });
    let answer = Connection::open(&relay.socket)?.exchange("VolumeDriver.Create", &create)?;
    ensure!(answer.status == 500, "{answer:?}");
    ensure!(
        answer.err().contains("no plugin named nobody"),
        "{}",
        answer.err()
    );
    // An answer to this one would make Docker forget the volume.
    let get =
        Connection::open(&relay.socket)?.exchange("VolumeDriver.Get", &json!({ "Name": "vol" }));
    ensure!(get.is_err(), "{get:?}");
    // Whoever is no relay is not served, and harms nobody.
    let mut stranger = Connection::open(&daemons_socket(&site))?;
    stranger.send_post("/Plugin.Activate", "", b"")?;
    ensure!(stranger.receive().is_err());
    ensure!(
        site.caller("echo")
            .call("Plugin.Activate", &json!({}))?
            .is_success()
    );
    drop(daemon);
    Ok(())
}

/// Something in the place of the daemon: lets relays in, and gives each connection that carries calls to `serve`.
fn instead(socket: &Path, serve: fn(UnixStream)) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let mut line = Vec::new();
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && byte != *b"\n" {
                    line.extend(byte);
                }
                let line = String::from_utf8_lossy(&line).into_owned();
                if stream.write_all(b"ok\n").is_ok() {
                    match line.contains("\"watch\":true") {
                        true => drop(stream.read(&mut byte)),
                        false => serve(stream),
                    }
                }
            });
        }
    });
    Ok(())
}

/// Sends back what comes, and ends when that ends.
fn echo(mut stream: UnixStream) {
    let mut chunk = [0; 5_000];
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        if stream.write_all(&chunk[..length]).is_err() {
            return;
        }
    }
    let _ = stream.write_all(b"end");
}

#[test]
fn no_byte_is_lost_either_way_and_an_end_is_handed_on() -> Result<()> {
    let (site, daemon) = with_fixtures(&["echo"])?;
    let there = site.data.with_file_name("instead.sock");
    instead(&there, echo)?;
    let relay = Relay::start(&site, "relay-1", &there, "echo", &[])?;
    let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut docker = UnixStream::connect(&relay.socket)?;
    let mut writer = docker.try_clone()?;
    let bytes = sent.clone();
    let writing = thread::spawn(move || -> std::io::Result<()> {
        for piece in bytes.chunks(77_777) {
            writer.write_all(piece)?;
        }
        writer.shutdown(Shutdown::Write)
    });
    let mut back = Vec::new();
    docker.read_to_end(&mut back)?;
    writing.join().ok().context("the writer died")??;
    ensure!(
        back.len() == sent.len() + 3,
        "{} bytes of {}",
        back.len(),
        sent.len()
    );
    ensure!(back.starts_with(&sent) && back.ends_with(b"end"));
    drop(daemon);
    Ok(())
}

#[test]
fn a_relay_takes_few_threads_and_little_memory() -> Result<()> {
    let (site, daemon) = with_fixtures(&["echo"])?;
    let there = site.data.with_file_name("instead.sock");
    instead(&there, echo)?;
    let relay = Relay::start(&site, "relay-1", &there, "echo", &[])?;
    let mut all = Vec::new();
    for number in 0..300_u32 {
        let mut stream = UnixStream::connect(&relay.socket)?;
        stream.write_all(&number.to_le_bytes())?;
        all.push(stream);
    }
    until("all slots to be taken", || {
        relay.status("Threads").is_ok_and(|threads| threads > 500)
    })?;
    ensure!(
        relay.status("Threads")? <= 2 + 2 * 256,
        "{}",
        relay.status("Threads")?
    );
    println!(
        "300 connections: {} threads, {} KiB of anonymous memory",
        relay.status("Threads")?,
        relay.status("RssAnon")?
    );
    ensure!(
        relay.status("RssAnon")? < 16 << 10,
        "{}",
        relay.status("RssAnon")?
    );
    // Each is served in the end, whoever has to wait.
    for (number, mut stream) in (0_u32..).zip(all) {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        ensure!(answer == number.to_le_bytes(), "{number}");
    }
    until("all slots to be free", || {
        relay.status("Threads").is_ok_and(|threads| threads == 2)
    })?;
    drop(daemon);
    Ok(())
}
