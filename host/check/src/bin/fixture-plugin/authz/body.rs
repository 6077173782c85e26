//! A JSON body as Go's decoder takes it, as far as it can be taken in one way only.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::breaks::Breaks;

/// The one value of a body, with all keys folded.
pub(super) fn read(body: &[u8], breaks: &Breaks) -> Result<Value, String> {
    let wrong = |error: serde_json::Error| format!("the body cannot be read: {error}");
    if breaks.on("A16") || breaks.on("A17") {
        return Ok(lax::read(body, breaks.on("A16")).unwrap_or_default());
    }
    if breaks.on("A15") && !body.is_ascii() {
        // Letters beyond ASCII stay what they are.
        return serde_json::from_slice(body).map_err(wrong);
    }
    if breaks.on("A18") {
        let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Folded>();
        return values
            .next()
            .ok_or("the body is empty")?
            .map(|folded| folded.0)
            .map_err(wrong);
    }
    serde_json::from_slice::<Folded>(body)
        .map(|folded| folded.0)
        .map_err(wrong)
}

/// A field's name as Go compares it: ASCII letters without case, and the two letters beyond ASCII that fold into it.
pub(super) fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

struct Folded(Value);

impl<'de> Deserialize<'de> for Folded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Folded(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((key, Folded(value))) = map.next_entry::<String, Folded>()? {
            let key = fold(&key);
            if values.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("it has {key:?} twice")));
            }
        }
        Ok(Value::Object(values))
    }
}

/// Mistakes with repeated keys.
mod lax {
    use super::{Deserialize, Deserializer, Error, MapAccess, Value, Visitor, fmt, fold};

    /// Of a repeated key at the top the first value that is not null, or the last one.
    pub(super) fn read(body: &[u8], first: bool) -> Option<Value> {
        let pairs: Pairs = serde_json::from_slice(body).ok()?;
        let mut values = serde_json::Map::new();
        for (key, value) in pairs.0 {
            let value: super::Folded = serde_json::from_value(value).ok()?;
            let known = values
                .get(&fold(&key))
                .is_some_and(|value: &Value| !value.is_null());
            if !(first && known) {
                values.insert(fold(&key), value.0);
            }
        }
        Some(Value::Object(values))
    }

    struct Pairs(Vec<(String, Value)>);

    impl<'de> Deserialize<'de> for Pairs {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Reader).map(Self)
        }
    }

    struct Reader;

    impl<'de> Visitor<'de> for Reader {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            if pairs.is_empty() {
                return Err(A::Error::custom("it is empty"));
            }
            Ok(pairs)
        }
    }
}
