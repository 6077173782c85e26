//! What must not be shown: found by what it is called, and wherever else it turns up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Bytes below which a secret is only hidden where its name gives it away: a password `1` would otherwise hide every 1.
const MIN_LENGTH: usize = 4;

/// Bytes of a line of a secret that is hidden by itself, because logs break keys of several lines up.
const MIN_LINE: usize = 12;

/// Forms of secrets that one plugin's events are searched for: some 150 secrets. Beyond it the oldest are forgotten.
const MAX_FORMS: usize = 1_024;

/// Parts of names that tell a secret, in lower case and without `-`, `_` and `.`.
const TELLING: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "privatekey",
    "apikey",
    "accesskey",
    "authorization",
    "registryauth",
    "registryconfig",
    "cookie",
    "unlockkey",
];

/// Names that tell one only as a whole.
const TELLING_ALONE: [&str; 5] = ["auth", "pass", "pwd", "pw", "psk"];

/// Fields of Docker's requests for authorization whose texts are in base64.
const BODIES: [&str; 2] = ["RequestBody", "ResponseBody"];

/// Docker's own options, as libnetwork and its drivers spell them (moby's `libnetwork/netlabel`).
const DOCKERS: [&str; 15] = [
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.driver.mtu",
    "com.docker.network.enable_ipv4",
    "com.docker.network.enable_ipv6",
    "com.docker.network.endpoint.dnsservers",
    "com.docker.network.endpoint.exposedports",
    "com.docker.network.endpoint.ifname",
    "com.docker.network.endpoint.macaddress",
    "com.docker.network.endpoint.sysctls",
    "com.docker.network.gateway",
    "com.docker.network.generic",
    "com.docker.network.internal",
    "com.docker.network.portmap",
];

/// Secrets, in the forms in which they can turn up.
#[derive(Default)]
pub struct Secrets {
    forms: Vec<Form>,
}

/// A form in which a secret can turn up, and what stands in its place: the mask in the same form, so that who reads it finds the mask.
#[derive(Clone, PartialEq)]
struct Form {
    text: Zeroizing<Vec<u8>>,
    mask: &'static str,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} forms of secrets", self.forms.len())
    }
}

impl Clone for Secrets {
    fn clone(&self) -> Secrets {
        Secrets {
            forms: self.forms.clone(),
        }
    }
}

impl Secrets {
    /// From now on hides this one too.
    pub fn add(&mut self, secret: &[u8]) {
        let secret = secret.trim_ascii();
        if secret.len() < MIN_LENGTH || secret == MASK.as_bytes() {
            return;
        }
        let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
        let mut encoded = vec![
            (STANDARD.encode(secret), "Kioq"),
            (decimal.join(","), "42,42,42"),
            (decimal.join(", "), "42, 42, 42"),
        ];
        if secret.len() >= 8 {
            encoded.push((hex::encode(secret), "2a2a2a"));
        }
        let mut forms = vec![secret.to_vec()];
        if let Ok(text) = std::str::from_utf8(secret) {
            forms.push(escaped(text));
            // A form within a form, as in a request whose body is JSON with JSON in it.
            forms.push(escaped(&String::from_utf8_lossy(&escaped(text))));
            forms.push(
                utf8_percent_encode(text, NON_ALPHANUMERIC)
                    .to_string()
                    .into_bytes(),
            );
            let lines = text.lines().map(str::trim);
            forms.extend(
                lines
                    .filter(|line| line.len() >= MIN_LINE)
                    .map(|line| line.as_bytes().to_vec()),
            );
        }
        let plain = forms.into_iter().map(|form| (form, MASK));
        let encoded = encoded
            .into_iter()
            .map(|(form, mask)| (form.into_bytes(), mask));
        for (text, mask) in plain.chain(encoded) {
            let form = Form {
                text: Zeroizing::new(text),
                mask,
            };
            if !self.forms.contains(&form) {
                self.forms.push(form);
            }
        }
        let surplus = self.forms.len().saturating_sub(MAX_FORMS);
        self.forms.drain(..surplus);
    }

    /// Adds all of another's.
    pub fn add_all(&mut self, other: &Secrets) {
        for form in &other.forms {
            if !self.forms.contains(form) {
                self.forms.push(form.clone());
            }
        }
    }

    /// The text without them.
    pub fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        // The longest first: the rest of a secret of which another is the beginning would stay.
        let mut forms: Vec<&Form> = self.forms.iter().collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.text.len()));
        for form in forms {
            if let Ok(text) = std::str::from_utf8(&form.text)
                && hidden.contains(text)
            {
                hidden = replaced(&hidden, text, form.mask);
            }
        }
        hidden
    }

    fn hide_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut hidden: Option<Vec<u8>> = None;
        for form in &self.forms {
            while let Some(at) = position(hidden.as_deref().unwrap_or(bytes), &form.text) {
                let all = hidden.get_or_insert_with(|| bytes.to_vec());
                all.splice(at..at + form.text.len(), form.mask.bytes());
            }
        }
        hidden
    }
}

/// The text with `mask` in place of the secret, but for the names of Docker's own options: with a user called `docker`, a recording of them
/// would be no request of Docker's any more.
fn replaced(text: &str, secret: &str, mask: &str) -> String {
    let mut hidden = String::new();
    let mut rest = text;
    while let Some((before, name, behind)) = dockers(rest, secret) {
        hidden += &before.replace(secret, mask);
        hidden += name;
        rest = behind;
    }
    hidden + &rest.replace(secret, mask)
}

/// The first whole name of Docker's with the secret in it: what is before it, itself, and what is behind.
fn dockers<'a>(text: &'a str, secret: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let of_name = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    let names = DOCKERS.iter().filter(|name| name.contains(secret));
    let found = names
        .flat_map(|name| text.match_indices(name))
        .filter(|(at, name)| {
            let before = text.get(..*at).unwrap_or_default();
            let behind = text.get(at + name.len()..).unwrap_or_default();
            !before.ends_with(of_name) && !behind.starts_with(of_name)
        });
    let (at, name) = found.min_by_key(|(at, _)| *at)?;
    Some((text.get(..at)?, name, text.get(at + name.len()..)?))
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    bytes.windows(part.len()).position(|window| window == part)
}

/// As JSON has it between its quotes.
fn escaped(text: &str) -> Vec<u8> {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.trim_matches('"').as_bytes().to_vec()
}

/// Hides what is secret in one event.
#[derive(Debug)]
pub struct Mask<'a> {
    /// Names that the driver has declared secret.
    names: &'a [String],
    /// What is known to be secret, and what the names in this event have told.
    secrets: Secrets,
}

impl<'a> Mask<'a> {
    /// A mask for a plugin whose driver has declared `names` secret.
    pub fn new(names: &'a [String], secrets: Secrets) -> Mask<'a> {
        Mask { names, secrets }
    }

    /// What it has found and been told of.
    pub fn into_secrets(self) -> Secrets {
        self.secrets
    }

    /// One more secret.
    pub fn add(&mut self, secret: &[u8]) {
        self.secrets.add(secret);
    }

    /// Whether something of this name is secret.
    pub fn tells(&self, name: &str) -> bool {
        if self.names.iter().any(|known| known == name) {
            return true;
        }
        let plain: String = name
            .chars()
            .filter(|char| !matches!(char, '-' | '_' | '.' | ' '))
            .flat_map(char::to_lowercase)
            .collect();
        TELLING.iter().any(|part| plain.contains(part)) || TELLING_ALONE.contains(&plain.as_str())
    }

    /// Replaces what names give away, and remembers it, so that [`hide`](Self::hide) finds it in other places.
    pub fn find(&mut self, value: &mut Value) {
        self.find_in(value, false);
    }

    fn find_in(&mut self, value: &mut Value, secret: bool) {
        match value {
            Value::Object(object) => {
                for (name, inner) in object.iter_mut() {
                    if BODIES.contains(&name.as_str())
                        && let Some(hidden) = within_base64(inner, |text| self.find_in_text(text))
                    {
                        *inner = hidden;
                        continue;
                    }
                    // What the host calls a secret is not its value.
                    let handle = name == "handle" || name == "cut";
                    self.find_in(inner, !handle && (secret || self.tells(name)));
                }
            }
            Value::Array(list) => {
                let is_name = |text: &str| {
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                    text.bytes().all(plain)
                };
                if let [Value::String(name), inner] = list.as_mut_slice()
                    && is_name(name)
                    && self.tells(name)
                {
                    self.find_in(inner, true);
                    return;
                }
                list.iter_mut()
                    .for_each(|inner| self.find_in(inner, secret));
            }
            Value::String(text) if secret => {
                if !text.is_empty() {
                    self.secrets.add(text.as_bytes());
                    MASK.clone_into(text);
                }
            }
            Value::Number(number) if secret => {
                self.secrets.add(number.to_string().as_bytes());
                *value = Value::from(MASK);
            }
            Value::String(text) => {
                if let Some(hidden) = self.find_in_text(text) {
                    *text = hidden;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// What is secret in a text: JSON in it, passwords of URLs, `name=value` with a telling name, the words behind `Bearer` and `Basic`.
    pub fn find_in_text(&mut self, text: &str) -> Option<String> {
        if text.trim_start().starts_with(['{', '['])
            && let Ok(mut inner) = serde_json::from_str::<Value>(text)
        {
            let before = inner.clone();
            self.find_in(&mut inner, false);
            return (inner != before).then(|| inner.to_string());
        }
        let mut found: Vec<(usize, usize)> = Vec::new();
        for (at, _) in text.match_indices("://") {
            let rest = text.get(at + 3..).unwrap_or_default();
            let end = rest
                .find(['/', '?', '#', ' ', '"', '\''])
                .unwrap_or(rest.len());
            let authority = rest.get(..end).unwrap_or_default();
            if let Some(sign) = authority.rfind('@')
                && let Some(colon) = authority.get(..sign).and_then(|user| user.find(':'))
            {
                found.push((at + 3 + colon + 1, at + 3 + sign));
            }
        }
        for (at, _) in text.match_indices('=') {
            let name = text.get(..at).unwrap_or_default();
            let from = name
                .rfind(|char: char| !(char.is_alphanumeric() || "-_.".contains(char)))
                .map_or(0, |end| {
                    end + name
                        .get(end..)
                        .and_then(|rest| rest.chars().next())
                        .map_or(1, char::len_utf8)
                });
            if self.tells(name.get(from..).unwrap_or_default()) {
                found.push((at + 1, word_end(text, at + 1)));
            }
        }
        for scheme in ["Bearer ", "Basic ", "bearer ", "basic "] {
            for (at, _) in text.match_indices(scheme) {
                let from = at + scheme.len();
                let end = word_end(text, from);
                // English sentences have basic things in them too.
                if end - from >= 8 {
                    found.push((from, end));
                }
            }
        }
        found.retain(|(from, end)| from < end);
        if found.is_empty() {
            return None;
        }
        found.sort_unstable();
        let mut hidden = String::new();
        let mut last = 0;
        for (from, end) in found {
            if from < last {
                continue;
            }
            let value = text.get(from..end).unwrap_or_default();
            self.secrets.add(value.as_bytes());
            hidden.push_str(text.get(last..from).unwrap_or_default());
            hidden.push_str(MASK);
            last = end;
        }
        hidden.push_str(text.get(last..).unwrap_or_default());
        Some(hidden)
    }

    /// Replaces what is known to be secret wherever it turns up, in texts, in names and in bytes.
    pub fn hide(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                *text = self.hide_text(text);
            }
            Value::Array(list) => list.iter_mut().for_each(|inner| self.hide(inner)),
            Value::Object(object) => {
                if let Some(Value::String(encoded)) = object.get_mut("base64")
                    && let Ok(bytes) = STANDARD.decode(&encoded)
                    && let Some(hidden) = self.secrets.hide_bytes(&bytes)
                {
                    *encoded = STANDARD.encode(hidden);
                }
                let telling = object.keys().any(|name| self.hide_text(name) != *name);
                if telling {
                    let all = std::mem::take(object);
                    object.extend(
                        all.into_iter()
                            .map(|(name, inner)| (self.hide_text(&name), inner)),
                    );
                }
                for (name, inner) in object.iter_mut() {
                    if BODIES.contains(&name.as_str()) {
                        let hide = |text: &str| Some(self.hide_text(text));
                        if let Some(hidden) = within_base64(inner, hide) {
                            *inner = hidden;
                        }
                    }
                    self.hide(inner);
                }
            }
            Value::Number(number) => {
                let text = number.to_string();
                if text.len() >= MIN_LENGTH && self.hide_text(&text) == MASK {
                    *value = Value::from(MASK);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// As [`hide`](Self::hide), for a text.
    pub fn hide_text(&self, text: &str) -> String {
        self.secrets.hide(text)
    }
}

/// The text with something changed that is in a field as base64.
fn within_base64(value: &Value, change: impl FnOnce(&str) -> Option<String>) -> Option<Value> {
    let bytes = STANDARD.decode(value.as_str()?).ok()?;
    let changed = change(std::str::from_utf8(&bytes).ok()?)?;
    Some(Value::from(STANDARD.encode(changed)))
}

fn word_end(text: &str, from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let end = rest.find(|char: char| char.is_whitespace() || "&,;\"'<>)}]".contains(char));
    from + end.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const SECRET: &str = "s3cret\"w\\rd";

    fn hidden(names: &[&str], known: &[&str], mut value: Value) -> Value {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut secrets = Secrets::default();
        known
            .iter()
            .for_each(|secret| secrets.add(secret.as_bytes()));
        let mut mask = Mask::new(&names, secrets);
        mask.find(&mut value);
        mask.hide(&mut value);
        value
    }

    /// Text with the secret in it, and in every form in which it is looked for.
    fn shows(value: &Value) -> bool {
        let text = value.to_string();
        let decoded = value.as_object().into_iter().flatten();
        let bytes = decoded
            .filter_map(|(_, inner)| STANDARD.decode(inner.as_str()?).ok())
            .any(|bytes| position(&bytes, SECRET.as_bytes()).is_some());
        let quoted = json!(SECRET).to_string();
        let within = json!(quoted).to_string();
        let list = json!(SECRET.as_bytes()).to_string();
        bytes
            || text.contains(&list)
            || text.contains(&STANDARD.encode(SECRET))
            || [SECRET, quoted.trim_matches('"'), within.trim_matches('"')]
                .iter()
                .any(|form| text.contains(form))
    }

    #[test]
    fn names_give_secrets_away_and_they_are_hidden_wherever_they_turn_up() {
        let within = json!({ "password": SECRET, "user": "me" }).to_string();
        let body = STANDARD.encode(json!({ "Spec": { "DB_PASSWORD": SECRET } }).to_string());
        for value in [
            json!({ "Opts": { "password": SECRET } }),
            json!({ "Opts": { "pin": SECRET }, "seen": format!("x{SECRET}y") }),
            json!({ "RequestHeaders": { "X-Registry-Auth": SECRET, "Authorization": SECRET } }),
            json!({ "options": [["api-token", SECRET], ["other", "x"]] }),
            json!({ "auth": { "name": SECRET } }),
            json!({ "utf8": within, "again": SECRET }),
            json!({ "RequestBody": body }),
            json!({ "password": SECRET, SECRET: 1 }),
            json!({ "password": SECRET, "base64": STANDARD.encode([&[0xff], SECRET.as_bytes()].concat()) }),
            json!({ "password": SECRET, "encoded": STANDARD.encode(SECRET) }),
            json!({ "password": SECRET, "encoded": json!(SECRET.as_bytes()).to_string() }),
            json!({ "password": SECRET, "nested": json!({ "a": json!({ "b": SECRET }).to_string() }).to_string() }),
        ] {
            assert!(
                shows(&value) || value.get("RequestBody").is_some(),
                "{value}"
            );
            let hidden = hidden(&["pin"], &[], value);
            assert!(!shows(&hidden), "{hidden}");
            assert!(hidden.to_string().contains(MASK) || hidden.get("RequestBody").is_some());
        }
    }

    #[test]
    fn texts_are_searched_for_passwords() {
        for (text, expected) in [
            ("https://me:pass1@host/x", "https://me:***@host/x"),
            (
                "https://me@host/x?token=abcd&y=1",
                "https://me@host/x?token=***&y=1",
            ),
            (
                "//host -o username=u,password=abcd,vers=3",
                "//host -o username=u,password=***,vers=3",
            ),
            ("Bearer abcdefgh.ijk", "Bearer ***"),
            ("a basic thing", "a basic thing"),
            ("uid=0,mode=0755", "uid=0,mode=0755"),
            ("MY_SECRET=äöü b", "MY_SECRET=*** b"),
        ] {
            assert_eq!(hidden(&[], &[], json!(text)), json!(expected));
        }
    }

    #[test]
    fn what_is_short_is_hidden_in_its_field_and_nowhere_else() {
        let value = json!({ "pin": "12", "Name": "volume 12", "token": 7, "secret": null });
        let expected = json!({ "pin": MASK, "Name": "volume 12", "token": MASK, "secret": null });
        assert_eq!(hidden(&["pin"], &[], value), expected);
    }

    #[test]
    fn dockers_own_names_stay_whole_when_a_secret_is_a_part_of_them() {
        let mac = "com.docker.network.endpoint.macaddress";
        let value = json!({
            "password": "docker",
            "Options": { mac: "x", "io.docker.x": "", "RequestAddressType": "com.docker.network.gateway" },
            "text": format!("docker {mac}=docker, com.docker.network.docker, x{mac}"),
        });
        let expected = json!({
            "password": MASK,
            "Options": { mac: "x", "io.***.x": "", "RequestAddressType": "com.docker.network.gateway" },
            "text": format!("*** {mac}=***, com.***.network.***, xcom.***.network.endpoint.macaddress"),
        });
        assert_eq!(hidden(&[], &[], value), expected);
    }

    #[test]
    fn handles_of_secrets_are_no_secrets() {
        let value = json!([{ "password": { "handle": { "name": "smb", "record": "smb" } } }]);
        assert_eq!(hidden(&[], &[], value.clone()), value);
    }

    #[test]
    fn keys_of_several_lines_are_hidden_line_by_line() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----";
        let log = json!(["first MIIEvQIBADANBgkq", "hkiG9w0BAQEFAASC then"]);
        assert_eq!(hidden(&[], &[key], log), json!(["first ***", "*** then"]));
    }
}
