//! Sizes, spans and points in time as text.

use dockside_driver::{Error, Result};

/// Bytes with an optional unit, a power of 1024: `512`, `10m`, `1GiB`. Rounded up to whole blocks of an image.
pub(crate) fn parse_size(text: &str) -> Result<u64> {
    const BLOCK: u64 = 4096;
    let wrong = || Error::invalid(format!("{text:?} is no size such as 512m or 10GiB"));
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let unit = unit.to_ascii_lowercase();
    let power = match unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit)
    {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << (10 * power))
        .and_then(|size| size.checked_next_multiple_of(BLOCK))
        .ok_or_else(wrong)
}

/// Bytes as a person reads them: in the largest unit that leaves no fraction, or with one digit behind the point.
pub(crate) fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut unit, mut scale) = (0, 1_u64);
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        (unit, scale) = (unit + 1, scale * 1024);
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match bytes % scale {
        0 => format!("{}{name}", bytes / scale),
        rest => format!("{}.{}{name}", bytes / scale, rest * 10 / scale),
    }
}

/// A span of time: a whole number with `s`, `m`, `h`, `d` or `w`.
pub(crate) fn parse_span(text: &str) -> Result<u64> {
    let wrong = || {
        Error::invalid(format!(
            "{text:?} is no span of time such as 30m, 1h, 1d or 1w"
        ))
    };
    let (number, unit) = text
        .char_indices()
        .last()
        .map(|(last, unit)| (text.get(..last).unwrap_or_default(), unit))
        .ok_or_else(wrong)?;
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let seconds = number
        .parse::<u64>()
        .map_err(|_| wrong())?
        .checked_mul(scale);
    seconds.ok_or_else(wrong)
}

/// A span of time in the largest unit that leaves no rest.
pub(crate) fn show_span(seconds: u64) -> String {
    for (scale, unit) in [(604_800, 'w'), (86_400, 'd'), (3600, 'h'), (60, 'm')] {
        if seconds >= scale && seconds.is_multiple_of(scale) {
            return format!("{}{unit}", seconds / scale);
        }
    }
    format!("{seconds}s")
}

/// A point in time, in seconds since 1970, as `2026-11-21T11:01:02Z`.
pub(crate) fn show_time(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let time = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// The same as a name can have it: `20261121-110102`.
pub(crate) fn stamp(seconds: u64) -> String {
    show_time(seconds)
        .replace(['-', ':', 'Z'], "")
        .replace('T', "-")
}

/// Year, month and day of a day since 1970-01-01: the calendar repeats every 400 years, and a year that begins with March ends with the leap
/// day (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1", 4096),
            ("8k", 8192),
            ("10m", 10 << 20),
            ("10MB", 10 << 20),
            ("1GiB", 1 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "1.5g",
            "1x",
            "1gibi",
            "99999999999999999999",
            "20000p",
            "ü",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(show_size(0), "0B");
        assert_eq!(show_size(1 << 30), "1GiB");
        assert_eq!(show_size((1 << 30) + (512 << 20)), "1.5GiB");
    }

    #[test]
    fn spans_are_read_and_shown() {
        for text in ["10s", "30m", "1h", "36h", "1d", "2w"] {
            assert_eq!(show_span(parse_span(text).unwrap()), text);
        }
        assert_eq!(show_span(parse_span("60m").unwrap()), "1h");
        for text in [
            "",
            "h",
            "1",
            "-1h",
            "1.5h",
            "1y",
            "ü",
            "99999999999999999999d",
        ] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn points_in_time_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_258_862, "2026-11-21T11:01:02Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(show_time(seconds), text);
        }
        assert_eq!(stamp(1_795_258_862), "20261121-110102");
    }
}
