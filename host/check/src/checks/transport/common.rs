//! What most of the section's checks do.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Bench;
use crate::check::{Kind, Outcome, ensure};
use crate::client::{ACCEPT, Answer, Broken, Connection, HOST};

/// Calls that change nothing and that every plugin of its kind answers.
pub(super) fn harmless(bench: &Bench) -> Vec<(&'static str, String)> {
    let mut calls = vec![("Plugin.Activate", String::new())];
    for kind in bench.kinds() {
        match kind {
            Kind::Volume => calls.extend([
                ("VolumeDriver.List", "{}\n".to_owned()),
                ("VolumeDriver.Capabilities", "{}\n".to_owned()),
            ]),
            Kind::Network => calls.push(("NetworkDriver.GetCapabilities", String::new())),
            Kind::Ipam => calls.push(("IpamDriver.GetDefaultAddressSpaces", String::new())),
            Kind::Authz => calls.push(("AuthZPlugin.AuthZReq", ping().to_string() + "\n")),
        }
    }
    calls
}

/// A request that the engine asks an authorization plugin about: somebody asks whether the engine is there.
pub(super) fn ping() -> Value {
    json!({"RequestMethod": "GET", "RequestUri": "/_ping", "RequestHeaders": {}})
}

/// The methods that mean nothing without the field that follows, for the kinds that the plugin is. `VolumeDriver.Get` is not among
/// them: to Docker every answer without a volume says that there is none.
pub(super) fn needing(bench: &Bench) -> Vec<(&'static str, &'static str)> {
    let mut methods = Vec::new();
    for kind in bench.kinds() {
        let (field, names): (_, &[&str]) = match kind {
            Kind::Volume => (
                "Name",
                &[
                    "VolumeDriver.Create",
                    "VolumeDriver.Remove",
                    "VolumeDriver.Mount",
                    "VolumeDriver.Unmount",
                    "VolumeDriver.Path",
                ],
            ),
            Kind::Network => (
                "NetworkID",
                &[
                    "NetworkDriver.CreateNetwork",
                    "NetworkDriver.DeleteNetwork",
                    "NetworkDriver.CreateEndpoint",
                    "NetworkDriver.DeleteEndpoint",
                    "NetworkDriver.EndpointOperInfo",
                    "NetworkDriver.Join",
                    "NetworkDriver.Leave",
                ],
            ),
            Kind::Ipam => (
                "PoolID",
                &[
                    "IpamDriver.ReleasePool",
                    "IpamDriver.RequestAddress",
                    "IpamDriver.ReleaseAddress",
                ],
            ),
            Kind::Authz => ("RequestUri", &["AuthZPlugin.AuthZReq"]),
        };
        methods.extend(names.iter().map(|name| (*name, field)));
    }
    methods
}

/// Whether the plugin refused: with an error, or an authorization plugin with a denial.
pub(super) fn refused(answer: &Answer) -> bool {
    answer.is_error()
        || answer.json().and_then(|json| json.get("Allow")) == Some(&Value::Bool(false))
}

/// Fails unless the plugin refused.
pub(super) fn refuses(answer: &Answer) -> Outcome {
    answer.ensure(refused(answer), || "an error was expected")
}

/// A request with these headers, and no others but its length.
pub(super) fn request(verb: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{verb} {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The engine's headers.
pub(super) const USUAL: &[(&str, &str)] = &[
    ("Host", HOST),
    ("User-Agent", "Go-http-client/1.1"),
    ("Accept", ACCEPT),
];

/// Sends bytes on a connection of their own. `shown` is what the report says of them.
pub(super) fn raw(bench: &Bench, method: &str, shown: &str, bytes: &[u8]) -> Answer {
    let got = Connection::open(bench.socket()).and_then(|mut connection| {
        let written = connection.write(bytes);
        match connection.read(soon(bench)) {
            Err(Broken::Closed) => written.and(Err(Broken::Closed)),
            other => other,
        }
    });
    Answer::new(method, shown.as_bytes(), got)
}

/// How long a call may take that has nothing to wait for. The shortest time is for a machine that is busy.
pub(super) fn soon(bench: &Bench) -> Duration {
    bench.patience().seconds(10.0).max(Duration::from_secs(3))
}

/// What can be seen of the plugin's state from outside.
#[derive(Debug, PartialEq)]
pub(super) struct State(Option<Vec<String>>);

impl State {
    pub(super) fn of(bench: &Bench) -> Outcome<Self> {
        if !bench.is(Kind::Volume) {
            return Ok(Self(None));
        }
        let answer = bench.call("VolumeDriver.List", &json!({}));
        let mut names: Vec<String> = answer
            .succeeds()?
            .get("Volumes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|volume| volume.get("Name")?.as_str().map(str::to_owned))
            .collect();
        names.sort_unstable();
        Ok(Self(Some(names)))
    }

    /// Fails if it is another one now.
    pub(super) fn unchanged(&self, bench: &Bench) -> Outcome {
        let now = Self::of(bench)?;
        ensure(now == *self, || {
            format!(
                "the list of volumes was {:?} before and is {:?}",
                self.0.as_deref().unwrap_or_default(),
                now.0.as_deref().unwrap_or_default()
            )
        })
    }
}

/// `Create` with the options that every volume gets.
pub(super) fn create(bench: &Bench, name: &str) -> Value {
    json!({"Name": name, "Opts": bench.profile().volume.filled(name)})
}
