//! Values of the WIT as JSON, and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use wasmtime::component::{Resource, ResourceTable};

use crate::sandbox::bindings::effects::mounts::MountFlags;

/// Bytes of one value that an event shows. What is longer is shown by its length and its SHA-256.
pub const MAX_VALUE: usize = 64 << 10;

/// A type that guests and host exchange: shown in a recording, made again in a replay.
///
/// `#[derive(dockside_derive::Traced)]` implements it for everything that `bindgen!` makes of the WIT; a new resource needs [`Handle`].
pub trait Traced: Sized {
    /// As JSON. Records are objects, cases their names or objects of one field, lists of bytes as [`show_bytes`] has them.
    fn show(&self, table: &ResourceTable) -> Value;

    /// What was shown. None if the value is of another type or was too long to be shown as a whole.
    fn restore(value: &Value, table: &mut ResourceTable) -> Option<Self>;

    /// The value that says no as the host would, with a reason if there is a place for one. None if the type has no such value.
    fn refusal(reason: &str) -> Option<Self>;

    /// A list of them.
    fn show_list(list: &[Self], table: &ResourceTable) -> Value {
        list.iter().map(|item| item.show(table)).collect()
    }

    /// What [`show_list`](Self::show_list) has shown.
    fn restore_list(value: &Value, table: &mut ResourceTable) -> Option<Vec<Self>> {
        let list = value.as_array()?;
        list.iter().map(|item| Self::restore(item, table)).collect()
    }
}

/// What stands behind a handle of a guest's.
pub trait Handle: Sized + Send + 'static {
    /// What it stands for. The same thing is always shown the same way.
    fn show(&self) -> Value;

    /// The same once more.
    fn restore(value: &Value) -> Option<Self>;
}

/// Bytes as JSON: `{"utf8": "…"}` if they are text, else `{"base64": "…"}`; what is longer than [`MAX_VALUE`] is [cut](show_cut).
pub fn show_bytes(bytes: &[u8]) -> Value {
    if bytes.len() > MAX_VALUE {
        return show_cut(bytes);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "utf8": text }),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// In place of a value that is too long: `{"cut": {"bytes": …, "sha256": "…"}}`.
pub fn show_cut(bytes: &[u8]) -> Value {
    json!({ "cut": { "bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes)) } })
}

/// What [`show_bytes`] has shown, if it was not cut.
pub fn restore_bytes(value: &Value) -> Option<Vec<u8>> {
    match value.get("utf8") {
        Some(text) => text.as_str().map(|text| text.as_bytes().to_vec()),
        None => STANDARD.decode(value.get("base64")?.as_str()?).ok(),
    }
}

/// Whether anything in it was cut.
pub fn is_cut(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().any(is_cut),
        Value::Object(object) => {
            let cut = object.get("cut").and_then(|cut| cut.get("sha256"));
            cut.is_some() || object.values().any(is_cut)
        }
        _ => false,
    }
}

macro_rules! numbers {
    ($($number:ty => $read:ident),*) => {
        $(impl Traced for $number {
            fn show(&self, _: &ResourceTable) -> Value {
                Value::from(*self)
            }
            fn restore(value: &Value, _: &mut ResourceTable) -> Option<Self> {
                <$number>::try_from(value.$read()?).ok()
            }
            fn refusal(_: &str) -> Option<Self> {
                Some(0)
            }
        })*
    };
}

numbers!(u16 => as_u64, u32 => as_u64, u64 => as_u64, i32 => as_i64, i64 => as_i64);

impl Traced for u8 {
    fn show(&self, _: &ResourceTable) -> Value {
        Value::from(*self)
    }

    fn restore(value: &Value, _: &mut ResourceTable) -> Option<Self> {
        u8::try_from(value.as_u64()?).ok()
    }

    fn refusal(_: &str) -> Option<Self> {
        Some(0)
    }

    fn show_list(list: &[u8], _: &ResourceTable) -> Value {
        show_bytes(list)
    }

    fn restore_list(value: &Value, _: &mut ResourceTable) -> Option<Vec<u8>> {
        restore_bytes(value)
    }
}

impl Traced for bool {
    fn show(&self, _: &ResourceTable) -> Value {
        Value::from(*self)
    }

    fn restore(value: &Value, _: &mut ResourceTable) -> Option<Self> {
        value.as_bool()
    }

    fn refusal(_: &str) -> Option<Self> {
        Some(false)
    }
}

impl Traced for String {
    fn show(&self, _: &ResourceTable) -> Value {
        if self.len() > MAX_VALUE {
            return show_cut(self.as_bytes());
        }
        Value::from(self.as_str())
    }

    fn restore(value: &Value, _: &mut ResourceTable) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn refusal(reason: &str) -> Option<Self> {
        Some(reason.to_owned())
    }
}

impl<V: Traced> Traced for Vec<V> {
    fn show(&self, table: &ResourceTable) -> Value {
        V::show_list(self, table)
    }

    fn restore(value: &Value, table: &mut ResourceTable) -> Option<Self> {
        V::restore_list(value, table)
    }

    fn refusal(_: &str) -> Option<Self> {
        Some(Vec::new())
    }
}

impl<V: Traced> Traced for Option<V> {
    fn show(&self, table: &ResourceTable) -> Value {
        match self {
            Some(value) => value.show(table),
            None => Value::Null,
        }
    }

    fn restore(value: &Value, table: &mut ResourceTable) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => V::restore(value, table).map(Some),
        }
    }

    fn refusal(_: &str) -> Option<Self> {
        Some(None)
    }
}

impl<V: Traced, E: Traced> Traced for Result<V, E> {
    fn show(&self, table: &ResourceTable) -> Value {
        let (name, inner) = match self {
            Ok(value) => ("ok", value.show(table)),
            Err(error) => ("err", error.show(table)),
        };
        Value::Object(Map::from_iter([(name.to_owned(), inner)]))
    }

    fn restore(value: &Value, table: &mut ResourceTable) -> Option<Self> {
        match value.get("ok") {
            Some(inner) => V::restore(inner, table).map(Ok),
            None => E::restore(value.get("err")?, table).map(Err),
        }
    }

    fn refusal(reason: &str) -> Option<Self> {
        E::refusal(reason).map(Err)
    }
}

macro_rules! tuples {
    ($(($($item:ident $index:tt),*))*) => {
        $(impl<$($item: Traced),*> Traced for ($($item,)*) {
            #[allow(unused_variables)]
            fn show(&self, table: &ResourceTable) -> Value {
                Value::Array(vec![$(self.$index.show(table)),*])
            }
            #[allow(unused_variables)]
            fn restore(value: &Value, table: &mut ResourceTable) -> Option<Self> {
                let items = value.as_array()?;
                Some(($($item::restore(items.get($index)?, table)?,)*))
            }
            #[allow(unused_variables)]
            fn refusal(reason: &str) -> Option<Self> {
                Some(($($item::refusal(reason)?,)*))
            }
        })*
    };
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

impl Traced for () {
    fn show(&self, _: &ResourceTable) -> Value {
        Value::Null
    }

    fn restore(_: &Value, _: &mut ResourceTable) -> Option<Self> {
        Some(())
    }

    fn refusal(_: &str) -> Option<Self> {
        Some(())
    }
}

impl<H: Handle> Traced for Resource<H> {
    fn show(&self, table: &ResourceTable) -> Value {
        // One that is not in the table is a guest's fault, which the function says itself.
        let inner = table.get(self).map(Handle::show).unwrap_or_default();
        json!({ "handle": inner })
    }

    fn restore(value: &Value, table: &mut ResourceTable) -> Option<Self> {
        table.push(H::restore(value.get("handle")?)?).ok()
    }

    fn refusal(_: &str) -> Option<Self> {
        None
    }
}

/// `bindgen!` derives nothing for flags.
const FLAGS: [(&str, MountFlags); 5] = [
    ("read-only", MountFlags::READ_ONLY),
    ("no-exec", MountFlags::NO_EXEC),
    ("no-atime", MountFlags::NO_ATIME),
    ("allow-suid", MountFlags::ALLOW_SUID),
    ("allow-dev", MountFlags::ALLOW_DEV),
];

impl Traced for MountFlags {
    fn show(&self, _: &ResourceTable) -> Value {
        let names = FLAGS.iter().filter(|(_, flag)| (*self & *flag) == *flag);
        names.map(|(name, _)| Value::from(*name)).collect()
    }

    fn restore(value: &Value, _: &mut ResourceTable) -> Option<Self> {
        let mut flags = Self::default();
        for name in value.as_array()? {
            flags |= FLAGS.iter().find(|(known, _)| name == known)?.1;
        }
        Some(flags)
    }

    fn refusal(_: &str) -> Option<Self> {
        Some(Self::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::capability::directories::{DirectoryHandle, Proof};
    use crate::sandbox::bindings::addresses::{Cidr, IpAddress};
    use crate::sandbox::bindings::effects::mounts::{Overlay, Source};
    use crate::sandbox::bindings::host::dockside::host::directories;
    use crate::sandbox::bindings::machine::{Error, ErrorCode};

    fn back<V: Traced>(value: &V, table: &mut ResourceTable) -> Value {
        let shown = value.show(table);
        let text = shown.to_string();
        let read: Value = serde_json::from_str(&text).unwrap();
        let again = V::restore(&read, table).unwrap();
        assert_eq!(again.show(table), shown);
        shown
    }

    #[test]
    fn values_come_back_as_they_were() {
        let mut table = ResourceTable::new();
        let table = &mut table;
        let cidr = Cidr {
            address: IpAddress::Ipv4((10, 0, 0, 1)),
            prefix_length: 24,
        };
        let shown = json!({ "address": { "ipv4": [10, 0, 0, 1] }, "prefix-length": 24 });
        assert_eq!(back(&cidr, table), shown);
        assert_eq!(back(&b"text".to_vec(), table), json!({ "utf8": "text" }));
        assert_eq!(back(&vec![0xff_u8], table), json!({ "base64": "/w==" }));
        assert_eq!(back(&u64::MAX, table), json!(u64::MAX));
        let result: Result<Option<String>, Error> = Ok(Some("x".to_owned()));
        assert_eq!(back(&result, table), json!({ "ok": "x" }));
        let flags = MountFlags::READ_ONLY | MountFlags::ALLOW_DEV;
        assert_eq!(back(&flags, table), json!(["read-only", "allow-dev"]));
        let handle = DirectoryHandle {
            key: "k".to_owned(),
            path: "/p".into(),
            proof: Proof::Mount("id".to_owned()),
        };
        let own = |table: &mut ResourceTable| table.push(handle.clone()).unwrap();
        let source = Source::Overlay(Overlay {
            lower: vec![own(table)],
            upper: own(table),
            work: own(table),
        });
        let shown = back(&source, table);
        let lower = shown.pointer("/overlay/lower/0/handle");
        assert_eq!(
            lower,
            Some(&json!({ "key": "k", "path": "/p", "mount": "id" }))
        );
    }

    #[test]
    fn what_was_cut_is_told_and_does_not_come_back() {
        let mut table = ResourceTable::new();
        let long = vec![b'x'; MAX_VALUE + 1];
        let shown = long.show(&table);
        assert!(is_cut(&json!({ "deep": [shown.clone()] })));
        assert!(Vec::<u8>::restore(&shown, &mut table).is_none());
        assert!(!is_cut(&json!({ "cut": 1 })));
    }

    #[test]
    fn refusals_are_the_errors_for_anything_else() {
        let refused: Result<u8, Error> = Traced::refusal("no").unwrap();
        let error = refused.unwrap_err();
        assert!(
            error.code == ErrorCode::Other && error.message == "no",
            "{error:?}"
        );
        let refused: Result<(), directories::Error> = Traced::refusal("no").unwrap();
        assert_eq!(refused, Err(directories::Error::Other("no".to_owned())));
        assert_eq!(Vec::<String>::refusal("no"), Some(Vec::new()));
    }
}
