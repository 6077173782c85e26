//! Reading the JSON that Docker sends.
//!
//! Names of fields are matched exactly, as every engine writes them. A field that is not known is ignored, `null` is the
//! same as an absent field, and a key that comes twice in one object is refused, at any depth.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::address;

/// The longest name, ID or address space that is accepted, in bytes. Engines pass on whatever a user wrote; beyond this size it
/// is no name any more, and it would be kept in state and logs.
pub const MAX_NAME: usize = 64 * 1024;

/// A name and a value.
pub type KeyValue = (String, String);

/// What is wrong with a request: one sentence without the method's name.
pub(super) type Problem = String;

/// A JSON value without repeated keys.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "the key {} comes twice",
                    quoted(&key)
                )));
            }
            let Strict(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Text from a request inside an error: quoted, and cut when it is long.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{:?}…", text.get(..at).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads a whole body: one object, or `null` for an empty one.
pub(super) fn parse(body: &[u8]) -> Result<Object, Problem> {
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err("the body starts with a byte-order mark, which JSON does not have".into());
    }
    let Strict(value) = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not sound JSON: {error}"))?;
    Object::new(String::new(), value)
}

/// An object of a request, which knows where it stands in it.
pub(super) struct Object {
    path: String,
    fields: Map<String, Value>,
}

impl Object {
    fn new(path: String, value: Value) -> Result<Object, Problem> {
        match value {
            Value::Object(fields) => Ok(Object { path, fields }),
            Value::Null => Ok(Object {
                path,
                fields: Map::new(),
            }),
            other => {
                let what = if path.is_empty() { "the body" } else { &path };
                Err(format!(
                    "{what} is {} and should be an object",
                    kind_of(&other)
                ))
            }
        }
    }

    /// How the field is called in an error.
    fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The field, if it is there and not `null`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// Removes the field.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.fields
            .shift_remove(key)
            .filter(|value| !value.is_null())
    }

    /// All fields.
    pub(super) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The object as compact JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(&self.fields).unwrap_or_else(|_| "{}".to_owned())
    }

    /// A text; an absent one is empty.
    pub(super) fn text(&self, key: &str) -> Result<String, Problem> {
        match self.get(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(format!(
                "{} is {} and should be text",
                self.at(key),
                kind_of(other)
            )),
        }
    }

    /// A text of the length of a name.
    pub(super) fn name(&self, key: &str) -> Result<String, Problem> {
        let text = self.text(key)?;
        if text.len() > MAX_NAME {
            return Err(format!(
                "{} is {} bytes long and at most {MAX_NAME} are accepted",
                self.at(key),
                text.len()
            ));
        }
        Ok(text)
    }

    /// A name that must be there.
    pub(super) fn required_name(&self, key: &str) -> Result<String, Problem> {
        let text = self.name(key)?;
        if text.is_empty() {
            let how = if self.get(key).is_some() {
                "empty"
            } else {
                "missing"
            };
            return Err(format!("{} is {how}", self.at(key)));
        }
        Ok(text)
    }

    /// A boolean, which some clients write as text.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(other) => Err(format!(
                "{} is {} and should be true or false",
                self.at(key),
                kind_of(other)
            )),
        }
    }

    /// A whole number; an absent one is zero.
    pub(super) fn number<N: TryFrom<u64>>(&self, key: &str) -> Result<N, Problem> {
        let Some(value) = self.get(key) else {
            return N::try_from(0).map_err(|_| format!("{} is missing", self.at(key)));
        };
        value
            .as_u64()
            .and_then(|number| N::try_from(number).ok())
            .ok_or_else(|| {
                let shown = if value.is_number() {
                    value.to_string()
                } else {
                    kind_of(value).to_owned()
                };
                let bits = std::mem::size_of::<N>().saturating_mul(8);
                format!(
                    "{} is {shown} and should be a whole number of {bits} bits",
                    self.at(key)
                )
            })
    }

    /// An object of texts.
    pub(super) fn text_map(&self, key: &str) -> Result<Vec<KeyValue>, Problem> {
        let mut entries = Vec::new();
        for (name, value) in &self.object(key)?.fields {
            match value {
                Value::String(text) => entries.push((name.clone(), text.clone())),
                Value::Null => entries.push((name.clone(), String::new())),
                other => {
                    return Err(format!(
                        "{}: the value of {} is {} and should be text",
                        self.at(key),
                        quoted(name),
                        kind_of(other)
                    ));
                }
            }
        }
        Ok(entries)
    }

    /// An object, absent or not.
    pub(super) fn object(&self, key: &str) -> Result<Object, Problem> {
        Object::new(self.at(key), self.get(key).cloned().unwrap_or(Value::Null))
    }

    /// An object as its names and values; a value that is not text becomes JSON.
    pub(super) fn loose_map(&self, key: &str) -> Result<Vec<KeyValue>, Problem> {
        Ok(self.object(key)?.into_loose_entries())
    }

    /// All fields; a value that is not text becomes JSON.
    pub(super) fn into_loose_entries(self) -> Vec<KeyValue> {
        self.fields
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })
            .collect()
    }

    /// A list of objects, absent or not.
    pub(super) fn objects(&self, key: &str) -> Result<Vec<Object>, Problem> {
        self.list(key)?
            .iter()
            .enumerate()
            .map(|(index, value)| Object::new(format!("{}[{index}]", self.at(key)), value.clone()))
            .collect()
    }

    /// A list of texts, absent or not.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, Problem> {
        self.list(key)?
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.clone()),
                other => Err(format!(
                    "{} holds {} and should hold text",
                    self.at(key),
                    kind_of(other)
                )),
            })
            .collect()
    }

    fn list(&self, key: &str) -> Result<&[Value], Problem> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(format!(
                "{} is {} and should be a list",
                self.at(key),
                kind_of(other)
            )),
        }
    }

    /// An address without prefix; an empty text is none.
    pub(super) fn ip(&self, key: &str) -> Result<Option<IpAddr>, Problem> {
        self.parsed(key, "an IP address like 10.0.0.1", address::parse_ip)
    }

    /// An address with prefix; an empty text is none.
    pub(super) fn cidr(&self, key: &str) -> Result<Option<IpNet>, Problem> {
        self.parsed(
            key,
            "an address with prefix like 10.0.0.1/24",
            address::parse_cidr,
        )
    }

    /// A subnet: bits behind the prefix are cleared, as Docker's own drivers do; an empty text is none.
    pub(super) fn subnet(&self, key: &str) -> Result<Option<IpNet>, Problem> {
        let net = self.parsed(key, "a subnet like 10.0.0.0/24", address::parse_cidr)?;
        Ok(net.map(|net| net.trunc()))
    }

    /// An Ethernet address in text form; an empty text is none.
    pub(super) fn mac(&self, key: &str) -> Result<Option<address::Mac>, Problem> {
        self.parsed(
            key,
            "an Ethernet address like 02:42:ac:11:00:02",
            address::Mac::parse,
        )
    }

    /// An object of addresses with prefixes.
    pub(super) fn cidr_map(&self, key: &str) -> Result<Vec<(String, IpNet)>, Problem> {
        let object = self.object(key)?;
        object
            .fields
            .keys()
            .map(|name| match object.cidr(name)? {
                Some(net) => Ok((name.clone(), net)),
                None => Err(format!("{} is empty", object.at(name))),
            })
            .collect()
    }

    fn parsed<T>(
        &self,
        key: &str,
        what: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let text = self.text(key)?;
        if text.is_empty() {
            return Ok(None);
        }
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(format!(
                "{} is {} and should be {what}",
                self.at(key),
                quoted(&text)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;

    #[test]
    fn unsound_bodies_are_refused_with_the_reason() {
        let deep = "[".repeat(10_000);
        let digits = format!("{{\"a\":{}}}", "9".repeat(10_000));
        let cases: [(&[u8], &str); 17] = [
            (b"{", "EOF"),
            (b"{\"Name\":\"v", "EOF"),
            (b"[]", "a list and should be an object"),
            (b"7", "a number and should be an object"),
            (b"\"x\"", "text and should be an object"),
            (b"true", "a boolean"),
            (b"{} {}", "trailing"),
            (b"{}x", "trailing"),
            (b"\xef\xbb\xbf{}", "byte-order mark"),
            (b"\xff\xfe{\x00}\x00", "expected value"),
            (b"{\"Name\":\"\xff\"}", "unicode"),
            (b"{\"Name\":\"\\ud800\"}", "hex escape"),
            (b"{\"Name\":\"a\nb\"}", "control character"),
            (b"{\"a\":1,\"a\":2}", "the key \"a\" comes twice"),
            (
                b"{\"x\":[{\"b\":{\"a\":1,\"a\":1}}]}",
                "the key \"a\" comes twice",
            ),
            (deep.as_bytes(), "recursion limit"),
            (digits.as_bytes(), "out of range"),
        ];
        for (body, reason) in cases {
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            let problem = parse(body)
                .err()
                .unwrap_or_else(|| panic!("{shown} was accepted"));
            assert!(problem.contains(reason), "{shown}: {problem}");
        }
    }

    #[test]
    fn sound_bodies_are_accepted() {
        for body in [
            "{}",
            "null",
            "{}\n",
            " {} \r\n\t",
            "{\"unknown\":{\"a\":{\"b\":[1,2.5,-3,true,null]}}}",
            "{\"a\":1,\"A\":2}",
        ] {
            assert!(parse(body.as_bytes()).is_ok(), "{body}");
        }
    }

    #[test]
    fn text_keeps_every_character() {
        let object = parse(br#"{"Name":"a\u0000b\n\u003c\ud83d\ude00"}"#).unwrap();
        assert_eq!(object.text("Name").unwrap(), "a\0b\n<\u{1f600}");
    }

    #[test]
    fn names_end_at_64_kib() {
        let body = |length: usize| format!("{{\"Name\":\"{}\"}}", "n".repeat(length));
        assert!(
            parse(body(MAX_NAME).as_bytes())
                .unwrap()
                .name("Name")
                .is_ok()
        );
        let problem = parse(body(MAX_NAME + 1).as_bytes())
            .unwrap()
            .name("Name")
            .unwrap_err();
        assert_eq!(
            problem,
            "Name is 65537 bytes long and at most 65536 are accepted"
        );
    }

    #[test]
    fn field_names_are_matched_exactly() {
        let object = parse(br#"{"name":"v"}"#).unwrap();
        assert_eq!(object.required_name("Name").unwrap_err(), "Name is missing");
    }
}
