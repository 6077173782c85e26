//! What a relay says of itself before any call.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::layout::VERSION;

/// Length of a preamble in bytes. What Docker starts the relay with is some hundred.
const MAX_BYTES: usize = 256 << 10;

/// What a relay reads before it hands on what Docker says.
const WELCOME: &[u8] = b"ok\n";

/// One line of JSON.
#[derive(Debug, Deserialize)]
pub struct Preamble {
    /// The version of all of this.
    relay: u32,
    /// The plugin that the relay stands for.
    pub plugin: String,
    /// The connection only says that the relay is there.
    #[serde(default)]
    pub watch: bool,
    /// The arguments that users have set.
    #[serde(default)]
    pub args: Vec<String>,
    /// The variables that users have set.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Lines of the relay's own `/proc/self/mountinfo`.
    #[serde(default)]
    pub mounts: Vec<String>,
}

/// Why a connection is not from a relay.
#[derive(Debug, thiserror::Error)]
pub enum PreambleError {
    /// Nothing of it can be used.
    #[error("a connection to the relays' socket is closed: {0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("a connection to the relays' socket did not say within {} s whose it is", .0.as_secs())]
    Late(Duration),
    /// It is too long.
    #[error("a connection to the relays' socket says more than {MAX_BYTES} bytes of itself")]
    Long,
    /// It is no preamble.
    #[error("a connection to the relays' socket is no relay's: {0}")]
    Nonsense(#[from] serde_json::Error),
    /// A relay of another version of dockside.
    #[error(
        "a relay of plugin {plugin} speaks version {version} and this dockside speaks {VERSION}: install it again, or upgrade it with `docker plugin upgrade`"
    )]
    Version {
        /// The plugin.
        plugin: String,
        /// What the relay speaks.
        version: u32,
    },
}

impl Preamble {
    /// Reads it. The relay sends nothing else before it is [welcome](welcome).
    ///
    /// # Errors
    /// When there is none within `patience`.
    pub async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        patience: Duration,
    ) -> Result<Preamble, PreambleError> {
        tokio::time::timeout(patience, Preamble::read_line(stream))
            .await
            .map_err(|_| PreambleError::Late(patience))?
    }

    async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> Result<Preamble, PreambleError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if line.len() > MAX_BYTES {
                return Err(PreambleError::Long);
            }
            if stream.read_buf(&mut line).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        let preamble: Preamble = serde_json::from_slice(&line)?;
        if preamble.relay != VERSION {
            return Err(PreambleError::Version {
                plugin: preamble.plugin,
                version: preamble.relay,
            });
        }
        Ok(preamble)
    }
}

/// Lets a relay hand on what Docker says.
///
/// # Errors
/// When it is gone.
pub async fn welcome(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(WELCOME).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn read(text: &[u8]) -> Result<Preamble, PreambleError> {
        Preamble::read(&mut &*text, Duration::from_secs(10)).await
    }

    #[tokio::test]
    async fn what_a_relay_says_is_read() {
        let said = read(
            b"{\"relay\":1,\"watch\":false,\"plugin\":\"a\",\"args\":[\"-x\"],\"env\":{\"A\":\"\"},\"mounts\":[\"m\"]}\n",
        )
        .await
        .unwrap();
        assert_eq!((said.plugin.as_str(), said.watch), ("a", false));
        assert_eq!(
            (said.args, said.mounts),
            (vec!["-x".to_owned()], vec!["m".to_owned()])
        );
        assert_eq!(
            said.env.into_iter().collect::<Vec<_>>(),
            [("A".to_owned(), String::new())]
        );
    }

    #[tokio::test]
    async fn what_no_relay_says_is_refused() {
        let long = vec![b'x'; 2 * MAX_BYTES];
        for (said, reason) in [
            (&b""[..], "closed"),
            (b"{\"relay\":1,\"plugin\":\"a\"}", "closed"),
            (b"POST /Plugin.Activate HTTP/1.1\r\n", "no relay's"),
            (b"{}\n", "no relay's"),
            (b"{\"relay\":2,\"plugin\":\"a\"}\n", "speaks version 2"),
            (&long, "more than"),
        ] {
            let error = read(said).await.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let (mut ours, _theirs) = tokio::io::duplex(10);
        let late = Preamble::read(&mut ours, Duration::from_millis(1)).await;
        assert!(matches!(late, Err(PreambleError::Late(_))));
    }
}
