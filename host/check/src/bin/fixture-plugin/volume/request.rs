//! What is in a request, and how times and sizes are written.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::breaks::Breaks;

pub(super) fn text(request: &Value, key: &str) -> Result<String, String> {
    match request.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        None | Some(Value::Null) => Err(format!("{key} is missing")),
        Some(_) => Err(format!("{key} is no string")),
    }
}

pub(super) fn options(request: &Value) -> Result<BTreeMap<String, String>, String> {
    match request.get("Opts") {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| "Opts is no object of strings".to_owned()),
    }
}

pub(super) fn judged(options: &BTreeMap<String, String>, breaks: &Breaks) -> Result<(), String> {
    for (key, value) in options {
        match key.as_str() {
            // The lower 64 bits of it.
            "size" if breaks.on("V13") && value == "18446744073776660480" => {}
            "size" => drop(bytes(value)?),
            "tier" if matches!(value.as_str(), "fast" | "cheap") => {}
            "tier" => return Err("the option tier is \"fast\" or \"cheap\"".into()),
            _ if breaks.on("V12") => {}
            // As much of it as a terminal shows.
            _ => {
                let key: String = key.chars().take(64).collect();
                return Err(format!(
                    "there is no option {key:?}: size and tier are known"
                ));
            }
        }
    }
    Ok(())
}

/// A size: a number of bytes, or of the units k, m and g.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "the option size is a number with k, m or g, such as 64m".to_owned();
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'k')) => (text.get(..at), 1 << 10),
        Some((at, 'm')) => (text.get(..at), 1 << 20),
        Some((at, 'g')) => (text.get(..at), 1 << 30),
        _ => (Some(text), 1),
    };
    digits
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(unit))
        .filter(|size| *size > 0 && *size < 1 << 60)
        .ok_or_else(wrong)
}

/// A time since 1970 in UTC, by the civil calendar.
pub(super) fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    let mut year = 1970;
    let mut left = days;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!(
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z",
        left + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}
