//! Objects of the grid, by its WAPI: find, create once, delete.

use std::cell::Cell;
use std::collections::BTreeMap;

use dockside_driver::{
    Error, Result,
    http::{Request, Response},
    machine::Refusal,
    outbox, time,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{later, settings::Settings};

/// The Ethernet address of what is no client's: gateways and auxiliary addresses.
pub(crate) const NO_CLIENT: &str = "00:00:00:00:00:00";

/// What is asked for of each object.
const FIELDS: [(&str, &str); 5] = [
    ("fixedaddress", "ipv4addr,mac,comment,extattrs"),
    ("ipv6fixedaddress", "ipv6addr,duid,comment,extattrs"),
    ("network", "network,extattrs"),
    ("ipv6network", "network,extattrs"),
    ("extensibleattributedef", "name,comment"),
];

/// An object of the grid.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Object {
    /// Its reference.
    #[serde(rename = "_ref")]
    pub(crate) reference: String,
    /// A network's subnet.
    pub(crate) network: String,
    /// A fixed address.
    #[serde(alias = "ipv4addr", alias = "ipv6addr")]
    pub(crate) address: String,
    /// Whose it is: an Ethernet address or, for IPv6, a DUID.
    #[serde(alias = "mac", alias = "duid")]
    pub(crate) client: String,
    /// Text for people.
    pub(crate) comment: String,
    extattrs: BTreeMap<String, Attribute>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Attribute {
    value: Value,
}

impl Object {
    /// The value of an extensible attribute, if it is text.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.extattrs.get(name)?.value.as_str()
    }
}

/// What would settle a call: all objects of a type that it made, and a lock that it may have.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The objects' type.
    pub(crate) kind: String,
    /// What their attribute says.
    pub(crate) token: String,
    /// When it was noted, in seconds since 1970.
    pub(crate) at: u64,
}

/// Why the grid did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may have done it.
    Unsure(Error),
    /// It has not, and says why: the code and the text.
    Refused(String, String),
    /// It has not, and asking again would not help.
    Final(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsure(error) | Failure::Final(error) => error,
            Failure::Refused(_, text) => {
                Error::other(format!("the Infoblox grid refuses: {}", one_line(&text)))
            }
        }
    }
}

impl Failure {
    /// Whether there is something of that kind already.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(code, text) if code.contains("Conflict") || text.contains("already exist"))
    }

    /// Whether nothing is left of what was asked for.
    pub(crate) fn is_exhausted(&self) -> bool {
        matches!(self, Self::Refused(_, text) if text.contains("Cannot find 1 available"))
    }
}

/// The grid.
pub(crate) struct Wapi {
    pub(crate) settings: Settings,
    noted: Cell<bool>,
}

impl Wapi {
    /// With the operator's settings.
    pub(crate) fn open() -> Result<Self> {
        Ok(Self {
            settings: Settings::read()?,
            noted: Cell::new(false),
        })
    }

    /// Objects of a type for which all of this holds. The name of an extensible attribute has a star before it.
    pub(crate) fn find(
        &self,
        kind: &str,
        view: Option<&str>,
        filters: &[(&str, &str)],
    ) -> Result<Vec<Object>, Failure> {
        let mut query: Vec<String> = filters
            .iter()
            .chain(&view.map(|view| ("network_view", view)))
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        query.push(format!("_return_fields={}", encode(&fields_of(kind))));
        let answer = self.call("GET", &format!("{kind}?{}", query.join("&")), None)?;
        answer.json().map_err(Failure::Final)
    }

    /// The first of them.
    pub(crate) fn first(
        &self,
        kind: &str,
        view: &str,
        filters: &[(&str, &str)],
    ) -> Result<Option<Object>, Failure> {
        let found = self.find(kind, Some(view), filters)?;
        Ok(found.into_iter().next())
    }

    /// Makes an object, once: what this call has made already is found and not made again, whatever became of the answer.
    pub(crate) fn create(
        &self,
        kind: &str,
        view: &str,
        fields: Map<String, Value>,
        extra: &[(&str, &str)],
    ) -> Result<Object, Failure> {
        let token = outbox::call_key();
        if let Some(made) = self.made(kind, &token)? {
            return Ok(made);
        }
        self.note(kind, &token)?;
        let body = self.body(fields, view, &token, extra);
        let path = format!("{kind}?_return_fields={}", encode(&fields_of(kind)));
        let first = match self.call("POST", &path, Some(&body)) {
            Ok(answer) => return answer.json().map_err(Failure::Final),
            Err(failure) => failure,
        };
        let Failure::Unsure(error) = first else {
            return Err(first);
        };
        // The same fault may be in the way of this question: then the note settles it.
        if let Some(made) = self
            .made(kind, &token)
            .map_err(|_| Failure::Unsure(error))?
        {
            return Ok(made);
        }
        let made: Object = self
            .call("POST", &path, Some(&body))?
            .json()
            .map_err(Failure::Final)?;
        // The first request may be on its way yet.
        later::look_again(kind, &token, &made.reference).map_err(Failure::Final)?;
        Ok(made)
    }

    /// What a call has made already.
    fn made(&self, kind: &str, token: &str) -> Result<Option<Object>, Failure> {
        let found = self.find(kind, None, &[(&self.token_filter(), token)])?;
        Ok(found.into_iter().next())
    }

    /// The filter for the attribute that says which request made an object.
    pub(crate) fn token_filter(&self) -> String {
        format!("*{}", self.settings.token)
    }

    fn note(&self, kind: &str, token: &str) -> Result<(), Failure> {
        if self.noted.replace(true) {
            return Ok(());
        }
        let note = Note {
            kind: kind.to_owned(),
            token: token.to_owned(),
            at: time::unix_seconds(),
        };
        outbox::note_json(&note).map_err(Failure::Final)
    }

    fn body(
        &self,
        mut fields: Map<String, Value>,
        view: &str,
        token: &str,
        extra: &[(&str, &str)],
    ) -> Value {
        let own = [(self.settings.token.as_str(), token)];
        let common = self.settings.attributes.iter();
        let attributes: Map<String, Value> = common
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(extra.iter().copied())
            .chain(own)
            .map(|(name, value)| (name.to_owned(), json!({ "value": value })))
            .collect();
        fields.insert("network_view".to_owned(), json!(view));
        fields.insert("extattrs".to_owned(), Value::Object(attributes));
        Value::Object(fields)
    }

    /// Makes an object that is the same whoever makes it; that it is there already is no failure.
    pub(crate) fn ensure(&self, kind: &str, body: &Value) -> Result<(), Failure> {
        match self.call("POST", kind, Some(body)) {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_conflict() => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Makes an object whose name can be there once; false if it is there.
    pub(crate) fn claim(&self, kind: &str, name: &str, token: &str) -> Result<bool, Failure> {
        self.note(kind, token)?;
        let body = json!({ "name": name, "type": "STRING", "comment": token });
        match self.call("POST", kind, Some(&body)) {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_conflict() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes an object; one that is not there is no failure.
    pub(crate) fn delete(&self, reference: &str) -> Result<(), Failure> {
        let encoded: Vec<String> = reference.split('/').map(encode).collect();
        match self.call("DELETE", &encoded.join("/"), None) {
            Ok(_) => Ok(()),
            Err(Failure::Refused(code, _)) if code.contains("NotFound") => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Response, Failure> {
        let request = Request::new(method, format!("{}{path}", self.settings.base))
            .header("Authorization", &self.settings.authorization)
            .timeout(self.settings.timeout);
        let request = match body {
            Some(body) => request.json(body).map_err(Failure::Final)?,
            None => request,
        };
        let answer = request.send().map_err(|error| {
            let error = error.context("the Infoblox grid cannot be asked");
            match error.refusal() {
                Some(Refusal::NotGranted | Refusal::Missing | Refusal::Invalid) => {
                    Failure::Final(error)
                }
                _ => Failure::Unsure(Error::unavailable(error.into_message())),
            }
        })?;
        match answer.status {
            200..=299 => Ok(answer),
            401 => Err(Failure::Final(Error::unavailable(format!(
                "the Infoblox grid refuses the user {}: check wapi-username and the secret with the password",
                self.settings.user
            )))),
            408 | 429 | 500..=599 => Err(Failure::Unsure(Error::unavailable(format!(
                "the Infoblox grid answers {method} with status {}; try again",
                answer.status
            )))),
            status => {
                let said: Value = answer.json().unwrap_or_default();
                let text = |key: &str| said.get(key).and_then(Value::as_str).map(str::to_owned);
                let why = text("text")
                    .or_else(|| text("Error"))
                    .unwrap_or_else(|| format!("status {status}"));
                let code = text("code").unwrap_or_default();
                let code = if status == 404 && !code.contains("NotFound") {
                    "NotFound".to_owned()
                } else {
                    code
                };
                Err(Failure::Refused(code, why))
            }
        }
    }
}

fn fields_of(kind: &str) -> String {
    let known = FIELDS.iter().find(|(known, _)| *known == kind);
    known.map_or("name", |(_, fields)| fields).to_owned()
}

fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(300).collect()
}

/// Percent-encoding of what is not unreserved (RFC 3986, 2.3), nor a colon.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
