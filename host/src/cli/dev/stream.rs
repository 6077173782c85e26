//! The daemon's events.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::Sender;

use anyhow::Context as _;

use super::Message;

/// Tells of every event until the daemon ends.
///
/// # Errors
/// The daemon cannot be asked.
pub(super) fn follow(control: &Path, name: &str, sender: Sender<Message>) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(control)
        .with_context(|| format!("no daemon at {}", control.display()))?;
    // Of HTTP/1.0 an answer has no chunks: it is lines until the end.
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    write!(
        stream,
        "GET /v1/events?name={name} HTTP/1.0\r\nHost: dockside\r\n\r\n"
    )?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next().transpose()?.unwrap_or_default();
    anyhow::ensure!(
        status.split(' ').nth(1) == Some("200"),
        "the daemon does not tell of its calls: {status}"
    );
    // The head is over with an empty line.
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok).filter(|line| !line.is_empty()) {
            if sender.send(Message::Told(line)).is_err() {
                return;
            }
        }
    });
    Ok(())
}
