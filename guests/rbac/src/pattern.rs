//! Patterns of names: `*` stands for any text, `{user}` for the user's name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A pattern, as the operator writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// Whether a text fits. A user whose name has something else in it than letters, digits and `_.@-` fits no pattern with `{user}`: a name
    /// must not be able to say what a pattern means.
    pub(crate) fn fits(&self, text: &str, user: &str) -> bool {
        if !self.0.contains("{user}") {
            return fits(&self.0, text);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
        !user.is_empty()
            && user.chars().all(is_plain)
            && fits(&self.0.replace("{user}", user), text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Patterns in a row, for messages.
pub(crate) fn list(patterns: &[Pattern]) -> String {
    if patterns.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<&str> = patterns.iter().map(|pattern| pattern.0.as_str()).collect();
    texts.join(", ")
}

fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut rest) = text.strip_prefix(head) else {
        return false;
    };
    let mut pieces: Vec<&str> = tail.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_user_is_the_user() {
        for (pattern, text, user, expected) in [
            ("*", "", "", true),
            ("web", "web", "", true),
            ("web", "web2", "", false),
            ("dev-*", "dev-", "", true),
            ("dev-*", "xdev-1", "", false),
            ("*_list", "container_list", "", true),
            ("*_list", "container_listed", "", false),
            ("a*b*c", "a1b2c", "", true),
            ("a*b*c", "a1c2b", "", false),
            ("a*a", "a", "", false),
            ("{user}-*", "alice-web", "alice", true),
            ("{user}-*", "bob-web", "alice", false),
            ("{user}-*", "-web", "", false),
            // A certificate for the name `*` is nobody in particular.
            ("{user}-*", "bob-web", "*", false),
            ("/home/{user}", "/home/a/b", "a/b", false),
        ] {
            assert_eq!(
                Pattern::from(pattern).fits(text, user),
                expected,
                "{pattern} {text} {user}"
            );
        }
    }
}
