//! JSON with one reading only.
//!
//! Go's decoder takes the last of two equal keys, merges objects, and puts U+FFFD where a string is not UTF-8. What has more than one reading
//! is refused here. Numbers keep their text, because a policy's floating point must not round what the engine counts in integers.

use std::collections::HashSet;

use super::Denial;

/// Deepest nesting of arrays and objects. Docker's own requests stay below 15; Go's limit is 10,000.
pub(super) const MAX_DEPTH: usize = 100;

/// A JSON value. Members keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The one JSON value that `text` is.
    ///
    /// # Errors
    /// Text that is not exactly one JSON value, and text with more than one reading.
    pub(super) fn parse(text: &[u8]) -> Result<Value, Denial> {
        if text.starts_with(b"\xef\xbb\xbf") {
            return Err(Denial::new(
                "the body starts with a byte-order mark, which is not JSON: send it without",
            ));
        }
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.skip_space();
        if parser.peek().is_some() {
            return Err(Denial::new(
                "the body has more text after its JSON value, and engines differ in what they do with it: send one JSON value only",
            ));
        }
        Ok(value)
    }

    /// The value as compact JSON text.
    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(text) => out.push_str(text),
            Value::String(text) => write_string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The first of `keys` that was there before.
pub(super) fn first_duplicate(keys: impl Iterator<Item = String>) -> Option<String> {
    let mut seen = HashSet::new();
    for key in keys {
        if let Some(key) = seen.replace(key) {
            return Some(key);
        }
    }
    None
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn malformed(&self) -> Denial {
        Denial::new(format!(
            "the body is not JSON: unexpected text at byte {}",
            self.at
        ))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Denial> {
        if depth > MAX_DEPTH {
            return Err(Denial::new(format!(
                "the body nests more than {MAX_DEPTH} levels deep, which no Docker request needs"
            )));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.keyword(b"null") => Ok(Value::Null),
            _ if self.keyword(b"true") => Ok(Value::Bool(true)),
            _ if self.keyword(b"false") => Ok(Value::Bool(false)),
            _ => Err(self.malformed()),
        }
    }

    fn keyword(&mut self, word: &[u8]) -> bool {
        let found = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at += word.len();
        }
        found
    }

    fn object(&mut self, depth: usize) -> Result<Value, Denial> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if !self.take(b'}') {
            loop {
                self.skip_space();
                if self.peek() != Some(b'"') {
                    return Err(self.malformed());
                }
                let key = self.string()?;
                self.skip_space();
                if !self.take(b':') {
                    return Err(self.malformed());
                }
                members.push((key, self.value(depth + 1)?));
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.malformed());
                }
            }
        }
        match first_duplicate(members.iter().map(|(key, _)| key.clone())) {
            Some(key) => Err(Denial::new(format!(
                "the body has the key {key:?} twice in one object: send it once"
            ))),
            None => Ok(Value::Object(members)),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Denial> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if !self.take(b']') {
            loop {
                items.push(self.value(depth + 1)?);
                self.skip_space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.malformed());
                }
            }
        }
        Ok(Value::Array(items))
    }

    /// The string whose opening quote is next. Only its end is looked for here; `serde_json` decodes it, and refuses what is not UTF-8, half a
    /// surrogate pair, and a bare control character.
    fn string(&mut self) -> Result<String, Denial> {
        let start = self.at;
        let mut end = start + 1;
        loop {
            match self.text.get(end) {
                None => return Err(Denial::new("the body is not JSON: it ends inside a string")),
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        let raw = self.text.get(start..=end).unwrap_or_default();
        self.at = end + 1;
        serde_json::from_slice(raw).map_err(|_| {
            Denial::new(format!(
                "the string at byte {start} of the body is not valid: Docker would replace or refuse parts of it; send well-formed UTF-8 and whole surrogate pairs"
            ))
        })
    }

    fn number(&mut self) -> Result<Value, Denial> {
        let start = self.at;
        while let Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') = self.peek() {
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        match (
            serde_json::from_slice::<serde::de::IgnoredAny>(text),
            std::str::from_utf8(text),
        ) {
            (Ok(_), Ok(text)) => Ok(Value::Number(text.to_owned())),
            _ => Err(Denial::new(format!(
                "the body is not JSON: malformed number at byte {start}"
            ))),
        }
    }
}
