//! Requests as the engine tells them to a policy, and what the answers mean to it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::Bench;
use crate::check::{Outcome, Stop};
use crate::client::Answer;
use crate::profile::AuthzProfile;

/// The version that most requests are made in.
pub(super) const VERSION: &str = "/v1.41";

/// A request to the engine, told to the plugin.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) user: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    /// `None`: the engine shows none.
    pub(super) body: Option<Vec<u8>>,
    pub(super) certificates: Option<Value>,
}

impl Ask {
    /// One with a header.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One without a header.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// One to another target.
    pub(super) fn to(mut self, uri: impl Into<String>) -> Self {
        self.uri = uri.into();
        self
    }

    /// One with another method.
    pub(super) fn by(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    /// One by a user.
    pub(super) fn from(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// One whose body the engine does not show, though it has so many bytes.
    pub(super) fn withheld(mut self) -> Self {
        self.body = None;
        self
    }

    /// As the engine puts it: what is empty is left out.
    pub(super) fn message(&self) -> Value {
        let mut message = Map::new();
        let mut put = |key: &str, value: Value| {
            message.insert(key.to_owned(), value);
        };
        if let Some(user) = &self.user {
            put("User", json!(user));
            put("UserAuthNMethod", json!("TLS"));
        }
        if !self.method.is_empty() {
            put("RequestMethod", json!(self.method));
        }
        if !self.uri.is_empty() {
            put("RequestUri", json!(self.uri));
        }
        if let Some(body) = self.body.as_ref().filter(|body| !body.is_empty()) {
            put("RequestBody", json!(BASE64_STANDARD.encode(body)));
        }
        let headers: Map<String, Value> = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        if !headers.is_empty() {
            put("RequestHeaders", Value::Object(headers));
        }
        if let Some(certificates) = &self.certificates {
            put("RequestPeerCertificates", certificates.clone());
        }
        Value::Object(message)
    }
}

/// What the engine does after an answer.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) allow: bool,
    pub(super) answer: Answer,
}

/// The plugin as a check sees it.
pub(super) struct Lab<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) own: &'a AuthzProfile,
}

impl<'a> Lab<'a> {
    pub(super) fn new(bench: &'a Bench<'a>) -> Self {
        Self {
            bench,
            own: &bench.profile().authz,
        }
    }

    /// A request without a body: `"GET /_ping"`.
    pub(super) fn plain(&self, line: &str) -> Ask {
        let (method, uri) = line.split_once(' ').unwrap_or(("GET", line));
        let ask = Ask {
            method: method.to_owned(),
            uri: uri.to_owned(),
            user: self.own.user.clone(),
            headers: vec![(
                "User-Agent".to_owned(),
                "Docker-Client/28.5.2 (linux)".to_owned(),
            )],
            body: None,
            certificates: None,
        };
        // As Docker's own client sends it, which is how one without a body can be told from one with a hidden one.
        match method {
            "POST" | "PUT" | "PATCH" => ask.with("Content-Length", "0"),
            _ => ask,
        }
    }

    /// A POST with a JSON body.
    pub(super) fn post(&self, uri: &str, body: impl Into<Vec<u8>>) -> Ask {
        let body = body.into();
        let length = body.len().to_string();
        Ask {
            body: Some(body),
            ..self.plain(&format!("POST {uri}"))
        }
        .with("Content-Type", "application/json")
        .with("Content-Length", &length)
    }

    /// The sample that is judged by its body.
    pub(super) fn sample(&self, body: impl Into<Vec<u8>>) -> Ask {
        self.post(&format!("{VERSION}{}", self.own.path), body)
    }

    /// The sample that is denied.
    pub(super) fn harmful(&self) -> Ask {
        self.sample(self.own.harmful.to_string())
    }

    /// The sample that is allowed, if there is one.
    pub(super) fn harmless(&self) -> Option<Ask> {
        self.own
            .harmless
            .is_object()
            .then(|| self.sample(self.own.harmless.to_string()))
    }

    /// The plugin's decision before the engine acts.
    pub(super) fn judge(&self, ask: &Ask) -> Outcome<Decision> {
        self.judge_as("AuthZPlugin.AuthZReq", &ask.message())
    }

    pub(super) fn judge_as(&self, method: &str, message: &Value) -> Outcome<Decision> {
        decision(self.bench.call(method, message))
    }

    /// Fails the check if the request is allowed.
    pub(super) fn denied(&self, what: &str, ask: &Ask) -> Outcome {
        let decision = self.judge(ask)?;
        decision
            .answer
            .ensure(!decision.allow, || format!("{what}: it is allowed"))
    }

    /// Fails the check if the request is denied.
    pub(super) fn allowed(&self, what: &str, ask: &Ask) -> Outcome {
        let decision = self.judge(ask)?;
        decision
            .answer
            .ensure(decision.allow, || format!("{what}: it is denied"))
    }

    /// Fails the check unless both samples, each changed in the same way, are judged as they are unchanged.
    pub(super) fn same(&self, what: &str, change: &dyn Fn(Ask) -> Ask) -> Outcome {
        self.denied(&format!("{what}, harmful"), &change(self.harmful()))?;
        match self.harmless() {
            Some(harmless) => self.allowed(&format!("{what}, harmless"), &change(harmless)),
            None => Ok(()),
        }
    }

    /// Fails the check unless both samples, each changed in the same way, are denied.
    pub(super) fn neither(&self, what: &str, change: &dyn Fn(Ask) -> Ask) -> Outcome {
        self.denied(&format!("{what}, harmful"), &change(self.harmful()))?;
        match self.harmless() {
            Some(harmless) => self.denied(&format!("{what}, harmless"), &change(harmless)),
            None => Ok(()),
        }
    }

    /// The same for a target that the engine has no endpoint for. A policy that lets what is harmless pass at any endpoint tells nothing with it
    /// of how it reads targets.
    pub(super) fn nowhere(&self, uri: &str) -> Outcome {
        let odd = format!("{VERSION}{}-{}", self.own.path, self.bench.name("no"));
        let passes = match self.harmless() {
            Some(harmless) => self.judge(&harmless.to(odd))?.allow,
            None => true,
        };
        if passes {
            return self.denied(&format!("{uri}, harmful"), &self.harmful().to(uri));
        }
        self.neither(uri, &|ask| ask.to(uri))
    }

    /// Runs a command of the profile.
    pub(super) fn shell(&self, key: &str, command: Option<&String>) -> Outcome {
        let command = command
            .ok_or_else(|| Stop::skip(format!("the profile has no `{key}` under [authz]")))?;
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Stop::skip(format!("`{key}` ended with {status}"))),
            Err(error) => Err(Stop::skip(format!("`{key}`: {error}"))),
        }
    }
}

/// What an answer means to the engine: only `Allow` in a 200 lets a request pass; an answer that cannot be read, another status
/// and a connection that breaks end it.
pub(super) fn decision(answer: Answer) -> Outcome<Decision> {
    if answer.response().is_none() {
        return Err(answer.fail("no decision"));
    }
    let allow = answer.status() == 200
        && answer
            .json()
            .and_then(|json| json.get("Allow"))
            .and_then(Value::as_bool)
            == Some(true);
    Ok(Decision { allow, answer })
}
