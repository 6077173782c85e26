//! Sizes, durations and counts, as people write them.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Units of size and their powers of 1024, as Docker counts.
const UNITS: &[(&str, u32)] = &[("", 0), ("k", 1), ("m", 2), ("g", 3), ("t", 4), ("p", 5)];

/// Reads a number of bytes: digits, and a unit of `b`, `k`, `kb`, `kib` and so on up to `p`, in either case, with at most one space
/// between. Units are powers of 1024. There are no fractions, signs and exponents.
///
/// # Errors
/// One sentence without the value, which may be secret.
///
/// ```
/// # use dockside::config::units::parse_size;
/// assert_eq!(parse_size("10m"), Ok(10 << 20));
/// assert_eq!(parse_size("1 GiB"), Ok(1 << 30));
/// assert!(parse_size("1.5g").is_err());
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    const FORM: &str =
        "must be a whole number of bytes with an optional unit, such as 512, 10m or 1GiB";
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    if number.is_empty() || (unit.is_empty() && text.ends_with(' ')) {
        return Err(FORM.to_owned());
    }
    let unit = unit
        .strip_suffix("ib")
        .filter(|letter| !letter.is_empty())
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let Some((_, power)) = UNITS.iter().find(|(letter, _)| *letter == unit) else {
        return Err(FORM.to_owned());
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1024_u64.checked_pow(*power)?))
        .ok_or_else(|| "must be less than 16384 PiB".to_owned())
}

/// Writes a number of bytes so that [`parse_size`] reads it as the same: in the largest unit that leaves it whole.
pub fn show_size(bytes: u64) -> String {
    for (unit, power) in UNITS.iter().rev().filter(|(_, power)| *power > 0) {
        let one = 1024_u64.pow(*power);
        if bytes >= one && bytes.is_multiple_of(one) {
            return format!("{}{}iB", bytes / one, unit.to_ascii_uppercase());
        }
    }
    bytes.to_string()
}

/// A size between `MIN` and `MAX` bytes: a whole number, or text for [`parse_size`].
pub(crate) fn size<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<u64, D::Error> {
    struct Size;
    impl Visitor<'_> for Size {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size such as \"64MiB\" or a whole number of bytes")
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
            u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            parse_size(text).map_err(|error| E::custom(format!("{text:?}: a size {error}")))
        }
    }
    let bytes = deserializer.deserialize_any(Size)?;
    if bytes < MIN {
        return Err(D::Error::custom(format!(
            "{} is too small: at least {}",
            show_size(bytes),
            show_size(MIN)
        )));
    }
    if bytes > MAX {
        return Err(D::Error::custom(format!(
            "{} is too large: at most {}",
            show_size(bytes),
            show_size(MAX)
        )));
    }
    Ok(bytes)
}

/// A duration as text with units, such as `500ms`, `30s` or `5m`.
pub(super) struct Span(pub(super) Duration);

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        deserializer.deserialize_any(SpanVisitor).map(Span)
    }
}

pub(super) struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Duration;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration in quotes with its unit, such as \"500ms\", \"30s\" or \"5m\"")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// A duration between `MIN` and `MAX` milliseconds.
pub(crate) fn span<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    use serde::Deserialize;
    let Span(span) = Span::deserialize(deserializer)?;
    between(span, Duration::from_millis(MIN), Duration::from_millis(MAX)).map_err(D::Error::custom)
}

/// [`span`] for a key that has no default.
pub(super) fn some_span<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    span::<D, MIN, MAX>(deserializer).map(Some)
}

pub(super) fn between(span: Duration, min: Duration, max: Duration) -> Result<Duration, String> {
    let show = humantime::format_duration;
    if span < min {
        return Err(format!(
            "{} is too short: at least {}",
            show(span),
            show(min)
        ));
    }
    if span > max {
        return Err(format!("{} is too long: at most {}", show(span), show(max)));
    }
    Ok(span)
}

/// A whole number between `MIN` and `MAX`.
pub(crate) fn count<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(
    deserializer: D,
) -> Result<u32, D::Error> {
    struct Count(u32, u32);
    impl Visitor<'_> for Count {
        type Value = u32;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from {} to {}", self.0, self.1)
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
            u32::try_from(number)
                .ok()
                .filter(|number| (self.0..=self.1).contains(number))
                .ok_or_else(|| E::custom(format!("{number} must be from {} to {}", self.0, self.1)))
        }
    }
    deserializer.deserialize_any(Count(MIN, MAX))
}

/// [`count`] for a key that has no default.
pub(super) fn some_count<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    count::<D, MIN, MAX>(deserializer).map(Some)
}
