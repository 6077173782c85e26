//! How long calls may take: the defaults, the bounds and the operator's own.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::error::unknown;
use super::units::{self, SpanVisitor};
use crate::protocol::{Kind, Method};

/// The least that a call can be given: the timers and the epoch ticker are not much finer.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);

/// The most that any call can be given.
pub(super) const LONGEST: Duration = Duration::from_secs(110);

/// The engine gives up `VolumeDriver.Create` and `VolumeDriver.Mount` after 120 s and other volume calls after 60 s. What remains is for
/// undoing the call and telling the engine. The other kinds it waits for without end.
pub(super) fn longest(method: &str) -> Duration {
    match method {
        "VolumeDriver.Create" | "VolumeDriver.Mount" => LONGEST,
        _ if method.starts_with("VolumeDriver.") => Duration::from_secs(55),
        _ => LONGEST,
    }
}

/// What a call is given if the operator does not say. Network, IPAM and authorization calls hold locks of the engine, so they get less than
/// they could.
pub(super) fn usual(method: &str) -> Duration {
    let kind = method.split_once('.').map_or(method, |(kind, _)| kind);
    match kind {
        "VolumeDriver" => longest(method),
        "NetworkDriver" => Duration::from_secs(25),
        "IpamDriver" => Duration::from_secs(10),
        _ => Duration::from_secs(5),
    }
}

/// Deadlines by method (`VolumeDriver.Create`) or kind (`VolumeDriver`).
pub(super) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Duration>, D::Error> {
    struct Table;
    impl<'de> Visitor<'de> for Table {
        type Value = BTreeMap<String, Duration>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("deadlines by method, such as \"VolumeDriver.Create\" = \"60s\"")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut deadlines = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                match map.next_value()? {
                    Entry::One(span) => insert(&mut deadlines, key, span)?,
                    // Without quotes the dot is TOML's, and the methods come as a table below the kind.
                    Entry::Methods(methods) => {
                        for (method, span) in methods {
                            insert(&mut deadlines, format!("{key}.{method}"), span)?;
                        }
                    }
                }
            }
            Ok(deadlines)
        }
    }
    deserializer.deserialize_map(Table)
}

enum Entry {
    One(Duration),
    Methods(BTreeMap<String, Duration>),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        struct OneOrMethods;
        impl<'de> Visitor<'de> for OneOrMethods {
            type Value = Entry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                SpanVisitor.expecting(f)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
                SpanVisitor.visit_str(text).map(Entry::One)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let mut methods = BTreeMap::new();
                while let Some((method, units::Span(span))) = map.next_entry::<String, _>()? {
                    methods.insert(method, span);
                }
                Ok(Entry::Methods(methods))
            }
        }
        deserializer.deserialize_any(OneOrMethods)
    }
}

fn insert<E: Error>(
    deadlines: &mut BTreeMap<String, Duration>,
    key: String,
    span: Duration,
) -> Result<(), E> {
    let kinds = Kind::ALL.iter().map(|kind| kind.prefix());
    let known: Vec<&str> = Method::ALL
        .iter()
        .map(|method| method.path())
        .chain(kinds)
        .collect();
    if !known.contains(&key.as_str()) {
        let near = super::error::closest(&key, &known);
        return Err(E::custom(match near {
            Some(_) => unknown("method", &key, &known),
            None => format!(
                "unknown method `{key}`: the keys are Docker's methods, such as \"VolumeDriver.Create\", or kinds, such as VolumeDriver"
            ),
        }));
    }
    // A kind stands for its methods, of which each has its own bound.
    let longest = if key.contains('.') {
        longest(&key)
    } else {
        LONGEST
    };
    let span = units::between(span, SHORTEST, longest).map_err(|error| {
        E::custom(format!(
            "{key}: {error}, so that the answer is there before the engine gives up"
        ))
    })?;
    if deadlines.insert(key.clone(), span).is_some() {
        return Err(E::custom(format!("{key} is given twice")));
    }
    Ok(())
}
