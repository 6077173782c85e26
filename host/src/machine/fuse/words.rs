//! What a helper said before it gave up, made fit for the user of `docker`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use zeroize::Zeroizing;

use super::FuseMount;
use crate::machine::{ErrorKind, MachineError};

/// How much of the end of a log is looked at, in bytes.
const TAIL: u64 = 8192;

/// How many lines of it are told, and how many characters of each.
const LINES: usize = 3;
const COLUMNS: usize = 300;

/// What servers, ssh and the helpers say, and what it means. The first that is found counts.
const MEANINGS: [(&str, ErrorKind, &str); 28] = [
    (
        "host key verification failed",
        ErrorKind::Unreachable,
        "; if this is the right server, put its key (ssh-keyscan) into the secret known-hosts",
    ),
    (
        "knownhosts: key is unknown",
        ErrorKind::Unreachable,
        "; if this is the right server, put its key (ssh-keyscan) into the secret known-hosts",
    ),
    (
        "knownhosts: key mismatch",
        ErrorKind::Unreachable,
        "; if this is the right server, put its key (ssh-keyscan) into the secret known-hosts",
    ),
    (
        "permission denied (",
        ErrorKind::Unreachable,
        "; check user and secret",
    ),
    (
        "unable to authenticate",
        ErrorKind::Unreachable,
        "; check user and secret",
    ),
    (
        "invalid credentials",
        ErrorKind::Unreachable,
        "; check the secret",
    ),
    ("accessdenied", ErrorKind::Unreachable, "; check the secret"),
    (
        "invalidaccesskeyid",
        ErrorKind::Unreachable,
        "; check the secret",
    ),
    (
        "signaturedoesnotmatch",
        ErrorKind::Unreachable,
        "; check the secret",
    ),
    (
        "unauthorized",
        ErrorKind::Unreachable,
        "; check user and secret",
    ),
    (
        "login incorrect",
        ErrorKind::Unreachable,
        "; check user and secret",
    ),
    ("could not resolve", ErrorKind::Unreachable, ""),
    ("no such host", ErrorKind::Unreachable, ""),
    ("connection refused", ErrorKind::Unreachable, ""),
    ("no route to host", ErrorKind::Unreachable, ""),
    ("network is unreachable", ErrorKind::Unreachable, ""),
    ("timed out", ErrorKind::Unreachable, ""),
    ("i/o timeout", ErrorKind::Unreachable, ""),
    ("unable to connect", ErrorKind::Unreachable, ""),
    ("connection closed", ErrorKind::Unreachable, ""),
    ("no such file or directory", ErrorKind::NotFound, ""),
    ("bucket or key not found", ErrorKind::NotFound, ""),
    ("nosuchbucket", ErrorKind::NotFound, ""),
    ("directory not found", ErrorKind::NotFound, ""),
    ("not a directory", ErrorKind::NotFound, ""),
    ("permission denied", ErrorKind::Unreachable, ""),
    ("connection reset", ErrorKind::Unreachable, ""),
    ("dial tcp", ErrorKind::Unreachable, ""),
];

/// The error of a helper that did not mount. `happened` is what was seen of it from outside.
pub(super) fn failure(
    mount: &FuseMount,
    happened: &str,
    log: &File,
    hidden: &[Zeroizing<String>],
    otherwise: ErrorKind,
) -> MachineError {
    let log = tail(log);
    let said = said(&log, hidden);
    let lower = said.to_lowercase();
    let (kind, hint) = MEANINGS
        .iter()
        .find(|(words, _, _)| lower.contains(words))
        .map_or((otherwise, ""), |(_, kind, hint)| (*kind, *hint));
    let hint = match forgetting(mount, &log) {
        Some(command) => format!(
            "; the key that was taken for good when this server was first seen is another one. If it is right that it changed, run: {command}"
        ),
        None => hint.to_owned(),
    };
    let said = match said.as_str() {
        "" => "it said nothing".to_owned(),
        said => format!("it said: {said}"),
    };
    let remote: String = mount.remote.chars().take(200).collect();
    MachineError::new(
        kind,
        format!(
            "{} cannot mount {remote}: {happened}; {said}{hint}",
            mount.program
        ),
    )
}

/// The command that forgets the key of the server that was learned, as ssh says it, if that is why it refused the one that it was shown.
fn forgetting(mount: &FuseMount, log: &[u8]) -> Option<String> {
    let learned = mount.learned.as_ref()?.display().to_string();
    let log = String::from_utf8_lossy(log);
    let mut lines = log.lines().map(str::trim);
    let line = lines.find(|line| line.starts_with("ssh-keygen -f") && line.contains(&learned))?;
    Some(line.chars().filter(|letter| !letter.is_control()).collect())
}

fn tail(log: &File) -> Vec<u8> {
    let length = log.metadata().map_or(0, |found| found.len());
    let start = length.saturating_sub(TAIL);
    let mut buffer = vec![0; usize::try_from(length - start).unwrap_or(0)];
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..) {
        match log.read_at(rest, start + u64::try_from(read).unwrap_or(0)) {
            Ok(0) | Err(_) => break,
            Ok(more) => read += more,
        }
    }
    buffer.truncate(read);
    buffer
}

/// The last lines that say something, without secrets, times and places in the helper's source.
fn said(log: &[u8], hidden: &[Zeroizing<String>]) -> String {
    let mut text = String::from_utf8_lossy(log).into_owned();
    for secret in hidden {
        if !secret.is_empty() {
            text = text.replace(secret.as_str(), "***");
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(bare) {
        // s3fs greets; an answer of a server in XML follows what s3fs makes of it.
        let noise = line.is_empty()
            || line.starts_with("<?xml")
            || line.contains("[INF]")
            || line.starts_with("Warning: Permanently added")
            // How to forget a key that may be in a file of this mount, which is gone.
            || line.starts_with("remove with:")
            || line.starts_with("ssh-keygen -f");
        if !noise && lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    // sshfs adds this to whatever ssh said.
    if lines.len() > 1 {
        lines.retain(|line| line != "read: Connection reset by peer");
    }
    let skipped = lines.len().saturating_sub(LINES);
    lines.split_off(skipped).join("; ")
}

fn bare(line: &str) -> String {
    let mut line = line.trim();
    // rclone: 2026/11/21 07:53:44 ERROR : ...
    let dated = line.get(..20).is_some_and(|start| {
        start
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"/: ".contains(&byte))
    });
    if dated {
        line = line.get(20..).unwrap_or(line);
    }
    // s3fs: 2026-11-21T07:48:38.040Z [CRT] s3fs.cpp:s3fs_check_service(3593): ...
    for level in ["[CRT] ", "[ERR] ", "[WAN] "] {
        if let Some((_, rest)) = line.split_once(level) {
            line = rest.split_once("): ").map_or(rest, |(_, message)| message);
        }
    }
    let mut line: String = line
        .chars()
        .filter(|character| !character.is_control())
        .take(COLUMNS)
        .collect();
    line.truncate(line.trim_end_matches(['.', ' ']).len());
    line
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_last_words_without_secrets_and_noise() {
        let secret = [Zeroizing::new("hunter2".to_owned())];
        for (log, told) in [
            ("", ""),
            (
                "ssh: connect to host h port 22: No route to host\r\nread: Connection reset by peer\n",
                "ssh: connect to host h port 22: No route to host",
            ),
            (
                "read: Connection reset by peer\n",
                "read: Connection reset by peer",
            ),
            ("a\nb\nb\n\nc\nd\n", "b; c; d"),
            (
                "Offending ED25519 key in /k:1\r\n  remove with:\r\n  ssh-keygen -f \"/k\" -R \"h\"\r\nHost key verification failed.\r\n",
                "Offending ED25519 key in /k:1; Host key verification failed",
            ),
            ("bad password hunter2\u{7}!", "bad password ***!"),
            (
                "2026-11-21T07:48:38.023Z [INF] s3fs version 1.90\n2026-11-21T07:48:38.040Z [CRT] s3fs.cpp:s3fs_check_service(3593): \
                 bucket or key not found(host=http://h) - result of checking service.\n",
                "bucket or key not found(host=http://h) - result of checking service",
            ),
            (
                "2026/11/21 07:53:44 Failed to lsjson: directory not found\n",
                "Failed to lsjson: directory not found",
            ),
        ] {
            assert_eq!(said(log.as_bytes(), &secret), told);
        }
        assert!(said(&[b'x'; 5000], &[]).len() <= COLUMNS);
        assert!(said(&[0xff; 5000], &[]).chars().count() <= COLUMNS);
    }
}
