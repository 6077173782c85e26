//! Decisions by number: what the user reads and what the log keeps have the same ID.

use dockside_driver::random;

/// A new random ID, in the form of a UUID of version 4.
pub fn id() -> String {
    let mut bytes = random::bytes(16);
    bytes.resize(16, 0);
    if let Some(byte) = bytes.get_mut(6) {
        *byte = (*byte & 0x0f) | 0x40;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = (*byte & 0x3f) | 0x80;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
        .iter()
        .map(|(from, to)| hex.get(*from..*to).unwrap_or_default())
        .collect::<Vec<_>>()
        .join("-")
}

/// One line of what may have several.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let (one, other) = (id(), id());
        assert_ne!(one, other);
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes().get(14), Some(&b'4'), "{one}");
        assert!(
            matches!(one.as_bytes().get(19), Some(b'8' | b'9' | b'a' | b'b')),
            "{one}"
        );
    }
}
