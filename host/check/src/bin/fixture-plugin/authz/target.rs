//! The request target as the engine's router takes it, as far as it can be taken in one way only.

use std::collections::BTreeMap;

use crate::breaks::Breaks;

/// A target.
pub(super) struct Target {
    /// The path behind the version.
    pub(super) path: Vec<String>,
    /// Each key once.
    pub(super) query: BTreeMap<String, String>,
}

impl Target {
    pub(super) fn read(uri: &str, breaks: &Breaks) -> Result<Self, String> {
        if !uri.bytes().all(|byte| byte.is_ascii_graphic()) || uri.contains(['\\', '#', '"']) {
            return Err("the target has characters that cannot stand there".into());
        }
        // Absolute form: routed by its path.
        let uri = match uri.strip_prefix("http://").filter(|_| !breaks.on("A25")) {
            Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
            None => uri,
        };
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let rest = path
            .strip_prefix('/')
            .ok_or("the target is no path of this engine")?;
        let mut segments = Vec::new();
        for raw in rest.split('/') {
            let mut segment = if breaks.on("A22") {
                raw.to_owned()
            } else {
                decoded(raw)?
            };
            if breaks.on("A23") {
                segment = decoded(&segment)?;
            }
            let plain = !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"/\\%".contains(&byte));
            let passed = breaks.on("A22") && raw.contains('%');
            if !(plain || passed) {
                return Err(format!("the path has the part {segment:?}"));
            }
            segments.push(segment);
        }
        let versioned = segments.first().is_some_and(|first| {
            let (digits, careless) = (first.strip_prefix('v'), first.strip_prefix(['v', 'V']));
            let versions = |text: &str| {
                !text.is_empty()
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'.')
            };
            match careless {
                Some(rest) if breaks.on("A21") => versions(rest),
                _ => digits.is_some_and(versions),
            }
        });
        if versioned {
            segments.remove(0);
        }
        Ok(Self {
            path: segments,
            query: parameters(query)?,
        })
    }
}

/// The query. Of a repeated key the engine takes the first: here there must be none.
fn parameters(query: &str) -> Result<BTreeMap<String, String>, String> {
    let mut parameters = BTreeMap::new();
    if query.contains(';') {
        return Err("the query has a semicolon".into());
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (
            decoded(&key.replace('+', " "))?,
            decoded(&value.replace('+', " "))?,
        );
        if parameters.insert(key.clone(), value).is_some() {
            return Err(format!("the query has {key:?} twice"));
        }
    }
    Ok(parameters)
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits: String = rest.by_ref().take(2).map(char::from).collect();
        let value = (digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .then(|| u8::from_str_radix(&digits, 16).ok())
            .flatten();
        bytes.push(value.ok_or("a percent sign stands before no number")?);
    }
    String::from_utf8(bytes).map_err(|_| "a percent-encoded text is no UTF-8".into())
}
