//! What a request says before its body.

use std::io;

use crate::breaks::Breaks;

/// What was asked.
#[derive(Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The status with which a plugin refuses that is broken in how it reads headers.
    pub(crate) fn refused(&self, breaks: &Breaks) -> Option<u16> {
        let kind = self.header("content-type");
        if breaks.on("P06") && kind.is_none() && self.header("user-agent").is_none() {
            return Some(415);
        }
        if breaks.on("P07") && kind == Some("text/plain") {
            return Some(415);
        }
        let accept = self.header("accept").unwrap_or_default();
        if breaks.on("P08") && accept.contains("v1.1") {
            return Some(406);
        }
        if breaks.on("P09") && self.header("host") == Some("") {
            return Some(400);
        }
        if breaks.on("P10") && self.header("transfer-encoding").is_some() {
            return Some(411);
        }
        None
    }
}

/// Why a connection ends.
pub(crate) enum End {
    /// The client went away, or is to be cut off.
    Quietly,
    /// With this status.
    With(u16),
    /// The body of a request did not come to its end.
    Half,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Quietly
    }
}

pub(crate) enum Framing {
    Length(usize),
    Chunks,
}

pub(crate) fn framing(headers: &[httparse::Header<'_>], breaks: &Breaks) -> Result<Framing, End> {
    let mut length = None;
    let mut chunks = false;
    for header in headers {
        let value = std::str::from_utf8(header.value)
            .map_err(|_| End::With(400))?
            .trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            let said: usize = value.parse().map_err(|_| End::With(400))?;
            if length.is_some_and(|before| before != said) && !breaks.on("P30") {
                return Err(End::With(400));
            }
            length = Some(said);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunks = true;
        }
    }
    match (length, chunks) {
        (Some(_), true) => Err(End::With(400)),
        (_, true) => Ok(Framing::Chunks),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

pub(crate) fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let pair: Vec<u8> = if byte == b'%' {
            rest.clone().take(2).collect()
        } else {
            Vec::new()
        };
        match std::str::from_utf8(&pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .filter(|_| pair.len() == 2)
        {
            Some(decoded) => {
                bytes.push(decoded);
                rest.nth(1);
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An error as it may go into a terminal.
pub(crate) fn one_line(error: &str) -> String {
    const LONGEST: usize = 1000;
    error
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
