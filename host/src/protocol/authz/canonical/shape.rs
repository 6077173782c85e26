//! Where the engine's JSON decoder folds the case of keys, and where keys are data.
//!
//! Go's `encoding/json` matches an object's keys against a struct's fields without regard to case, so `privILEGED` sets `Privileged`.
//! A map's keys are taken as they are. Which of the two an object is depends on its place alone, and a [`Shape`] says so.

use super::Denial;
use super::json::{Value, first_duplicate};

/// A field of one of Docker's structs: its name in JSON, in Docker's spelling, and what it holds.
pub(super) type Field = (&'static str, Shape);

/// What the engine decodes a place of a document into.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A scalar, a list of scalars, or something that the tables do not describe. Kept as it is; keys that differ in case alone are denied,
    /// because the engine could take them for one.
    Free,
    /// A list of strings for which the engine also takes one bare string.
    Words,
    /// A list.
    List(&'static Shape),
    /// A map with data for keys.
    Map(&'static Shape),
    /// A struct: groups of fields, as Go's embedded structs make them.
    Struct(&'static [&'static [Field]]),
}

/// Whether Go takes `a` for `b` when `b` is a field's name. Field names are ASCII, and two letters outside ASCII fold into it.
pub(super) fn folds_to(a: &str, b: &str) -> bool {
    let mut left = a.chars().map(fold);
    let mut right = b.chars().map(fold);
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (x, y) if x == y => {}
            _ => return false,
        }
    }
}

fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 'S',
        '\u{212a}' => 'K',
        other => other.to_ascii_uppercase(),
    }
}

/// `key` with the case folded away: equal for two keys exactly if the engine could take both for one field.
pub(super) fn folded(key: &str) -> String {
    key.chars().map(fold).collect()
}

impl Shape {
    /// `value` as the engine reads it here: keys of structs in Docker's spelling.
    ///
    /// # Errors
    /// Two keys of one object that the engine would take for the same field.
    pub(super) fn apply(&self, value: Value) -> Result<Value, Denial> {
        match (self, value) {
            (Shape::Words, Value::String(word)) => Ok(Value::Array(vec![Value::String(word)])),
            (Shape::List(item), Value::Array(items)) => items
                .into_iter()
                .map(|value| item.apply(value))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            (Shape::Map(item), Value::Object(members)) => members
                .into_iter()
                .map(|(key, value)| Ok((key, item.apply(value)?)))
                .collect::<Result<_, _>>()
                .map(Value::Object),
            (Shape::Struct(groups), Value::Object(members)) => {
                let members = members
                    .into_iter()
                    .map(|(key, value)| match find(groups, &key) {
                        Some((name, shape)) => Ok(((*name).to_owned(), shape.apply(value)?)),
                        None => Ok((key, Shape::Free.apply(value)?)),
                    })
                    .collect::<Result<Vec<_>, Denial>>()?;
                refuse_folded_twins(&members)?;
                Ok(Value::Object(members))
            }
            // The engine refuses a value of the wrong type, so the rest only has to have one reading.
            (_, Value::Array(items)) => items
                .into_iter()
                .map(|value| Shape::Free.apply(value))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            (_, Value::Object(members)) => {
                refuse_folded_twins(&members)?;
                members
                    .into_iter()
                    .map(|(key, value)| Ok((key, Shape::Free.apply(value)?)))
                    .collect::<Result<_, _>>()
                    .map(Value::Object)
            }
            (_, scalar) => Ok(scalar),
        }
    }
}

/// The field that the engine puts `key` into: the one of that very name, else the first that folds to it.
pub(super) fn find(groups: &'static [&'static [Field]], key: &str) -> Option<&'static Field> {
    let fields = || groups.iter().copied().flatten();
    fields()
        .find(|(name, _)| *name == key)
        .or_else(|| fields().find(|(name, _)| folds_to(key, name)))
}

fn refuse_folded_twins(members: &[(String, Value)]) -> Result<(), Denial> {
    match first_duplicate(members.iter().map(|(key, _)| folded(key))) {
        Some(key) => Err(Denial::new(format!(
            "the body has two keys that Docker takes for one, {key:?} in different spellings: send it once, in Docker's spelling"
        ))),
        None => Ok(()),
    }
}
