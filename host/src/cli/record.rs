//! `dockside record`: a plugin's calls into a file.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use http_body_util::BodyExt as _;

use super::{ATTENTION, OK, print_json};
use crate::admin::client::stream;
use crate::config::Daemon;

/// Bytes of a recording that nobody ends.
const MAX_BYTES: u64 = 256 << 20;

/// When a recording ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    /// After so many calls.
    pub(super) calls: Option<u64>,
    /// After so long.
    pub(super) span: Option<Duration>,
}

pub(super) async fn run(
    daemon: &Daemon,
    name: &str,
    out: Option<PathBuf>,
    until: Until,
    json: bool,
) -> anyhow::Result<u8> {
    let query = [("name", name), ("header", "true")];
    let mut events = stream(
        &daemon.control,
        Method::GET,
        "/v1/events",
        &query,
        Vec::new(),
    )
    .await?;
    let out = out.unwrap_or_else(|| PathBuf::from(format!("{}.recording", name.replace('/', "_"))));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&out)
        .with_context(|| {
            format!(
                "cannot make the recording {}: --out names another file",
                out.display()
            )
        })?;
    if !json {
        eprintln!(
            "dockside: recording the calls of plugin {name} into {}; Ctrl-C ends it",
            out.display()
        );
    }
    let mut pending = Vec::new();
    let (mut calls, mut lost, mut bytes) = (0_u64, 0_u64, 0_u64);
    let mut ended = std::pin::pin!(async {
        match until.span {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    });
    let mut interrupted =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let why = 'recording: loop {
        let frame = tokio::select! {
            frame = events.frame() => frame,
            () = &mut ended => break "the time is over",
            _ = interrupted.recv() => break "it was interrupted",
            _ = terminated.recv() => break "it was interrupted",
        };
        let data = match frame {
            None => break "the daemon ended",
            Some(frame) => frame.context("the daemon is gone")?.into_data(),
        };
        pending.extend_from_slice(&data.unwrap_or_default());
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let is_call = line.starts_with(br#"{"event":"end""#);
            let is_lost = line.starts_with(br#"{"event":"lost""#);
            let is_header = line.starts_with(br#"{"format":"#);
            if !is_call && !is_lost && !is_header {
                continue;
            }
            file.write_all(&line)
                .with_context(|| format!("cannot write {}", out.display()))?;
            bytes += line.len() as u64;
            calls += u64::from(is_call);
            lost += u64::from(is_lost);
            if until.calls.is_some_and(|most| calls >= most) {
                break 'recording "all calls are there";
            }
            if bytes > MAX_BYTES {
                break 'recording "the file has 256 MiB";
            }
        }
    };
    if bytes == 0 {
        bail!("plugin {name} was not recorded: {why} before anything came");
    }
    if json {
        print_json(&serde_json::json!({
            "file": out, "calls": calls, "gaps": lost, "ended": why
        }))?;
    } else {
        say!("{}: {calls} calls of plugin {name}; {why}", out.display());
        if lost > 0 {
            say!("{lost} times calls came too fast: the recording has gaps");
        }
    }
    Ok(if lost > 0 { ATTENTION } else { OK })
}
