//! What the operator allows: lines such as `GET https://api.example.com/wapi/`.

use std::fmt;
use std::str::FromStr;

use http::{Method, Uri};

use super::target::{Host, Origin, Target};

/// A part of the web: scheme, host, port and the beginning of the path.
///
/// As text `https://api.example.com/wapi/`. The host may be `*.example.com`: all names below `example.com`, without itself. The port is the
/// scheme's own if none is given. The path means itself and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    origin: Origin,
    below: bool,
    segments: Vec<String>,
    text: String,
}

impl Place {
    /// Whether a request goes here.
    pub fn holds(&self, target: &Target) -> bool {
        self.holds_origin(&target.origin) && target.segments.starts_with(&self.segments)
    }

    fn holds_origin(&self, origin: &Origin) -> bool {
        let host = match (&self.origin.host, &origin.host) {
            (Host::Name(domain), Host::Name(name)) if self.below => name
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            (ours, theirs) => !self.below && ours == theirs,
        };
        host && self.origin.secure == origin.secure && self.origin.port == origin.port
    }

    /// Whether requests go there without TLS.
    pub fn is_plain(&self) -> bool {
        !self.origin.secure
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let wrong = |reason: &str| {
            format!(
                "{text:?} is no place such as \"https://api.example.com/path/\" or \"https://*.example.com:8443/\": {reason}"
            )
        };
        let (plain, below) = match text.split_once("://*.") {
            Some((scheme, rest)) => (format!("{scheme}://{rest}"), true),
            None => (text.to_owned(), false),
        };
        if plain.contains(['?', '#']) {
            return Err(wrong("it ends with the path, without query and fragment"));
        }
        if !plain.is_ascii() {
            return Err(wrong("write names that are not ASCII in their xn-- form"));
        }
        let uri: Uri = plain
            .parse()
            .map_err(|error| wrong(&format!("it is no URI: {error}")))?;
        let target = Target::of(&uri).map_err(|error| wrong(&error.message))?;
        if below && matches!(target.origin.host, Host::Address(_)) {
            return Err(wrong("an address has no names below it"));
        }
        let mut segments = target.segments;
        if segments.last().is_some_and(String::is_empty) {
            segments.pop();
        }
        if segments.iter().any(String::is_empty) {
            return Err(wrong("the path has two slashes"));
        }
        Ok(Place {
            origin: target.origin,
            below,
            segments,
            text: text.to_owned(),
        })
    }
}

/// A method, or `*` for any, and where to: `GET https://api.example.com/wapi/`. `GET` allows `HEAD` too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    method: Option<Method>,
    place: Place,
}

impl Rule {
    /// Whether a request is allowed by this.
    pub fn allows(&self, method: &Method, target: &Target) -> bool {
        let ours = match &self.method {
            None => true,
            Some(ours) => ours == method || (ours == Method::GET && method == Method::HEAD),
        };
        ours && self.place.holds(target)
    }

    /// Where to.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            Some(method) => write!(f, "{method} {}", self.place),
            None => write!(f, "* {}", self.place),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Rule, String> {
        let (method, place) = text.split_once(' ').ok_or_else(|| {
            format!(
                "{text:?} needs a method, or * for any, and a place: \"GET https://api.example.com/path/\""
            )
        })?;
        let method = match method {
            "*" => None,
            "CONNECT" | "TRACE" => return Err(format!("the method {method} is never allowed")),
            _ => Some(
                Method::from_bytes(method.as_bytes())
                    .ok()
                    .filter(|_| !method.contains(|letter: char| letter.is_ascii_lowercase()))
                    .ok_or_else(|| {
                        format!("{method:?} is no method such as GET or POST, nor * for any")
                    })?,
            ),
        };
        Ok(Rule {
            method,
            place: place.parse()?,
        })
    }
}
