//! Whether the engine did what the plugin judged.
//!
//! The comparison reads the plugin's view the way a plain policy would: by exact keys, without folding anything.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Kind, Variant};

/// What the engine has, as its inspect calls tell: one JSON object for each. Everything, so that objects without a name of ours count too.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// `GET /volumes/NAME`.
    pub volumes: Vec<Value>,
    /// `GET /networks/NAME`.
    pub networks: Vec<Value>,
    /// `GET /containers/NAME/json`, stopped ones too.
    pub containers: Vec<Value>,
}

impl State {
    /// What is here under a name that was not there in `before`. A renamed container is one of them.
    pub fn since(&self, before: &State) -> State {
        let new = |now: &[Value], then: &[Value]| {
            let known: HashSet<&Value> = then.iter().map(|object| at(object, &["Name"])).collect();
            now.iter()
                .filter(|object| !known.contains(at(object, &["Name"])))
                .cloned()
                .collect()
        };
        State {
            volumes: new(&self.volumes, &before.volumes),
            networks: new(&self.networks, &before.networks),
            containers: new(&self.containers, &before.containers),
        }
    }
}

/// The outcome of one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The engine did just what the plugin allowed.
    AsJudged,
    /// The engine did what the plugin did not allow, or something else; the text says what. This must never happen.
    Differently(String),
    /// The plugin denied, and the engine did nothing.
    Denied,
    /// The engine did nothing by itself: it never asked the plugin, or refused afterwards.
    NotExecuted,
}

/// Compares what the plugin recorded while `variant` was sent with what the engine has [since](State::since).
///
/// A record is one judged request: `{"allowed": true, "method": "POST", "path": ["volumes", "create"], "query": [["name", "x"]], "body": …}`.
/// A denied one needs only `"allowed": false`. `query` may also be a list of `{"key": …, "value": …}`, or an object; `body` is the canonical
/// JSON, as a value or as text, bare or as `{"json": …}`; null or other text means that there is none. Several records are several requests on
/// one connection.
pub fn judge(variant: &Variant, records: &[Value], made: &State) -> Verdict {
    let allowed: Vec<View> = records.iter().filter_map(View::new).collect();
    let containers = if variant.kind == Kind::Rename {
        Kind::Rename
    } else {
        Kind::Container
    };
    let made: Vec<(Kind, &Value)> = [
        (Kind::Volume, &made.volumes),
        (Kind::Network, &made.networks),
        (containers, &made.containers),
    ]
    .into_iter()
    .flat_map(|(kind, objects)| objects.iter().map(move |object| (kind, object)))
    .collect();
    for (kind, object) in &made {
        let why: Vec<String> = allowed
            .iter()
            .map(|view| view.mismatch(*kind, variant, object))
            .collect();
        if !why.iter().any(String::is_empty) {
            return Verdict::Differently(format!(
                "{}: the engine has {kind:?} {object}, and of the {} allowed requests none asks for that: {}",
                variant.label,
                allowed.len(),
                why.join(" | ")
            ));
        }
    }
    if made.len() > allowed.len() {
        return Verdict::Differently(format!(
            "{}: {} objects from {} allowed requests",
            variant.label,
            made.len(),
            allowed.len()
        ));
    }
    match (made.is_empty(), allowed.len() < records.len()) {
        (false, _) => Verdict::AsJudged,
        (true, true) => Verdict::Denied,
        (true, false) => Verdict::NotExecuted,
    }
}

/// A request that the plugin allowed, as it saw it.
struct View {
    method: String,
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: Value,
}

impl View {
    fn new(record: &Value) -> Option<View> {
        if record.get("allowed") != Some(&Value::Bool(true)) {
            return None;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pair = |value: &Value| match value {
            Value::Array(pair) => match pair.as_slice() {
                [key, value] => Some((text(key), text(value))),
                _ => None,
            },
            Value::Object(pair) => Some((text(pair.get("key")?), text(pair.get("value")?))),
            _ => None,
        };
        let query = match record.get("query") {
            Some(Value::Array(pairs)) => pairs.iter().filter_map(pair).collect(),
            Some(Value::Object(pairs)) => pairs
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
            _ => Vec::new(),
        };
        let body = record.get("body").cloned().unwrap_or(Value::Null);
        let body = body.get("json").cloned().unwrap_or(body);
        let body = match body {
            Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
            value => value,
        };
        Some(View {
            method: text(record.get("method").unwrap_or(&Value::Null)),
            path: record
                .get("path")
                .and_then(Value::as_array)
                .map(|parts| parts.iter().map(text).collect())
                .unwrap_or_default(),
            query,
            body,
        })
    }

    /// In what `object` is not what this request asks for; empty when it is.
    fn mismatch(&self, kind: Kind, variant: &Variant, object: &Value) -> String {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let victim = variant.victim();
        let fits = match (kind, path.as_slice()) {
            (Kind::Volume, ["volumes", "create"])
            | (Kind::Network, ["networks", "create"])
            | (Kind::Container, ["containers", "create"]) => true,
            (Kind::Rename, ["containers", old, "rename"]) => *old == victim,
            _ => false,
        };
        if self.method != "POST" || !fits {
            return format!("it was judged as {} /{}", self.method, path.join("/"));
        }
        let mut differences = Differences::default();
        match kind {
            Kind::Volume => self.compare_volume(object, &mut differences),
            Kind::Network => self.compare_network(object, &mut differences),
            Kind::Container => self.compare_container(object, &mut differences),
            Kind::Rename => differences.name(&self.query_name(), object),
        }
        differences.0.join(", ")
    }

    fn query_name(&self) -> Value {
        let name = self
            .query
            .iter()
            .find(|(key, _)| key == "name")
            .map_or("", |(_, value)| value.as_str());
        if name.is_empty() {
            Value::Null
        } else {
            // Docker takes one slash in front of a name, and always shows one.
            Value::from(format!("/{}", name.strip_prefix('/').unwrap_or(name)))
        }
    }

    fn compare_volume(&self, object: &Value, differences: &mut Differences) {
        let mut labels = at(object, &["Labels"]).clone();
        let name = at(&self.body, &["Name"]);
        if is_zero(name) {
            // The engine marks volumes that it has named itself.
            if let Value::Object(labels) = &mut labels {
                labels.remove("com.docker.volume.anonymous");
            }
        }
        differences.name(name, object);
        differences.same(
            "Driver",
            &or(at(&self.body, &["Driver"]), "local"),
            at(object, &["Driver"]),
        );
        differences.same("Labels", at(&self.body, &["Labels"]), &labels);
        differences.same(
            "DriverOpts",
            at(&self.body, &["DriverOpts"]),
            at(object, &["Options"]),
        );
    }

    fn compare_network(&self, object: &Value, differences: &mut Differences) {
        differences.name(at(&self.body, &["Name"]), object);
        differences.same(
            "Driver",
            &or(at(&self.body, &["Driver"]), "bridge"),
            at(object, &["Driver"]),
        );
        for key in ["Internal", "Attachable", "EnableIPv6", "Labels"] {
            differences.same(key, at(&self.body, &[key]), at(object, &[key]));
        }
    }

    fn compare_container(&self, object: &Value, differences: &mut Differences) {
        differences.name(&self.query_name(), object);
        differences.same(
            "Image",
            at(&self.body, &["Image"]),
            at(object, &["Config", "Image"]),
        );
        let cmd = at(&self.body, &["Cmd"]);
        if !is_zero(cmd) {
            differences.same("Cmd", cmd, at(object, &["Config", "Cmd"]));
        }
        // An image may have labels of its own.
        let empty = Map::new();
        let asked = at(&self.body, &["Labels"]).as_object().unwrap_or(&empty);
        let has = at(object, &["Config", "Labels"])
            .as_object()
            .unwrap_or(&empty);
        for (key, value) in asked {
            differences.same(
                &format!("Labels.{key}"),
                value,
                has.get(key).unwrap_or(&Value::Null),
            );
        }
        for key in has
            .keys()
            .filter(|key| key.to_lowercase() == "level" || *key == "dsv")
        {
            differences.same(
                &format!("Labels.{key}"),
                asked.get(key).unwrap_or(&Value::Null),
                at(object, &["Config", "Labels", key]),
            );
        }
        for key in ["Privileged", "PidMode", "Binds"] {
            differences.same(
                key,
                at(&self.body, &["HostConfig", key]),
                at(object, &["HostConfig", key]),
            );
        }
        let (asked, has) = (
            at(&self.body, &["HostConfig", "CapAdd"]),
            at(object, &["HostConfig", "CapAdd"]),
        );
        differences.same("CapAdd", &capabilities(asked), &capabilities(has));
        // An engine whose kernel lacks the limit drops it.
        for key in ["Memory", "CpusetCpus"] {
            let has = at(object, &["HostConfig", key]);
            if !is_zero(has) {
                differences.same(key, at(&self.body, &["HostConfig", key]), has);
            }
        }
    }
}

/// Fields that are not as asked.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn same(&mut self, field: &str, asked: &Value, has: &Value) {
        if asked != has && !(is_zero(asked) && is_zero(has)) {
            self.0
                .push(format!("{field} is {has} and was judged as {asked}"));
        }
    }

    /// Without a name the engine makes one up.
    fn name(&mut self, asked: &Value, object: &Value) {
        if !is_zero(asked) {
            self.same("Name", asked, at(object, &["Name"]));
        }
    }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter()
        .fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

/// Whether Go keeps nothing of it, or shows it for nothing.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn or(value: &Value, default: &str) -> Value {
    if is_zero(value) {
        Value::from(default)
    } else {
        value.clone()
    }
}

/// Newer engines write capabilities in full.
fn capabilities(value: &Value) -> Value {
    let Value::Array(items) = value else {
        return value.clone();
    };
    items
        .iter()
        .map(|item| {
            let name = item.as_str().unwrap_or_default().to_uppercase();
            Value::from(name.strip_prefix("CAP_").unwrap_or(&name))
        })
        .collect()
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use serde_json::json;

    use super::super::{Variant, variants};
    use super::*;

    fn plain(kind: Kind) -> Variant {
        variants(3, 10, "busybox")
            .into_iter()
            .find(|variant| variant.kind == kind)
            .unwrap()
    }

    fn volume(marker: &str, level: &str) -> State {
        State {
            volumes: vec![
                json!({"Name": format!("{marker}a"), "Driver": "local", "Labels": {"dsv": marker, "level": level}, "Options": null}),
            ],
            ..State::default()
        }
    }

    #[test]
    fn a_volume_is_compared_with_what_was_allowed() {
        let variant = plain(Kind::Volume);
        let body = json!({"Name": format!("{}a", variant.marker), "DriverOpts": {}, "Labels": {"dsv": variant.marker, "level": "good"}});
        let record = |body: Value| {
            vec![
                json!({"allowed": true, "method": "POST", "path": ["volumes", "create"], "query": [], "body": body}),
            ]
        };
        let good = volume(&variant.marker, "good");
        for shown in [
            body.clone(),
            json!({"json": body.to_string()}),
            Value::from(body.to_string()),
        ] {
            assert_eq!(judge(&variant, &record(shown), &good), Verdict::AsJudged);
        }
        let evil = volume(&variant.marker, "evil");
        assert!(
            matches!(judge(&variant, &record(body.clone()), &evil), Verdict::Differently(why) if why.contains("Labels"))
        );
        // A policy does not fold keys, so that a body in another case was judged as something else.
        let folded = json!({"name": format!("{}a", variant.marker), "labels": {"dsv": variant.marker, "level": "good"}});
        assert!(matches!(
            judge(&variant, &record(folded), &good),
            Verdict::Differently(_)
        ));
        let denied = vec![json!({"allowed": false})];
        assert!(matches!(
            judge(&variant, &denied, &good),
            Verdict::Differently(_)
        ));
        assert!(matches!(
            judge(&variant, &[], &good),
            Verdict::Differently(_)
        ));
        assert_eq!(judge(&variant, &denied, &State::default()), Verdict::Denied);
        assert_eq!(
            judge(&variant, &[], &State::default()),
            Verdict::NotExecuted
        );
        assert_eq!(
            judge(&variant, &record(body.clone()), &State::default()),
            Verdict::NotExecuted
        );
        let elsewhere = vec![
            json!({"allowed": true, "method": "POST", "path": ["info"], "query": [], "body": body}),
        ];
        assert!(matches!(
            judge(&variant, &elsewhere, &good),
            Verdict::Differently(_)
        ));
    }

    #[test]
    fn a_container_is_compared_by_its_privileges() {
        let variant = plain(Kind::Container);
        let name = format!("{}a", variant.marker);
        let record = |host: Value| {
            vec![
                json!({"allowed": true, "method": "POST", "path": ["containers", "create"], "query": [["name", name]],
                "body": {"Image": "busybox", "Cmd": ["true"], "Labels": {"level": "good"}, "HostConfig": host}}),
            ]
        };
        let state = |host: Value| State {
            containers: vec![json!({"Name": format!("/{name}"), "HostConfig": host,
                "Config": {"Image": "busybox", "Cmd": ["true"], "Labels": {"level": "good", "of": "the image"}}})],
            ..State::default()
        };
        let calm = json!({"Privileged": false, "CapAdd": null, "Memory": 0});
        assert_eq!(
            judge(&variant, &record(json!({})), &state(calm)),
            Verdict::AsJudged
        );
        let caps = json!({"Privileged": false, "CapAdd": ["CAP_NET_ADMIN"]});
        assert_eq!(
            judge(
                &variant,
                &record(json!({"CapAdd": ["net_admin"], "Memory": 5})),
                &state(caps.clone())
            ),
            Verdict::AsJudged
        );
        for host in [
            json!({"Privileged": true}),
            caps,
            json!({"Memory": 5}),
            json!({"Binds": ["/:/x"]}),
        ] {
            assert!(matches!(
                judge(&variant, &record(json!({})), &state(host)),
                Verdict::Differently(_)
            ));
        }
    }

    #[test]
    fn a_renamed_container_must_have_the_judged_name() {
        let variant = plain(Kind::Rename);
        let state = |name: &str| State {
            containers: vec![json!({"Name": format!("/{name}")})],
            ..State::default()
        };
        let record = |query: Value| {
            vec![
                json!({"allowed": true, "method": "POST", "path": ["containers", variant.victim(), "rename"], "query": query}),
            ]
        };
        let (good, evil) = (
            format!("{}a", variant.marker),
            format!("{}b", variant.marker),
        );
        assert_eq!(
            judge(&variant, &record(json!({"name": good})), &state(&good)),
            Verdict::AsJudged
        );
        assert_eq!(
            judge(
                &variant,
                &record(json!([{"key": "name", "value": good}])),
                &state(&good)
            ),
            Verdict::AsJudged
        );
        assert_eq!(
            judge(
                &variant,
                &record(json!([["name", good]])),
                &state(&variant.victim()).since(&state(&variant.victim()))
            ),
            Verdict::NotExecuted
        );
        assert_eq!(
            judge(
                &variant,
                &[json!({"allowed": false})],
                &state(&variant.victim()).since(&state(&variant.victim()))
            ),
            Verdict::Denied
        );
        assert!(matches!(
            judge(&variant, &record(json!([["name", good]])), &state(&evil)),
            Verdict::Differently(_)
        ));
        assert!(matches!(
            judge(&variant, &[], &state(&good)),
            Verdict::Differently(_)
        ));
    }

    #[test]
    fn only_what_is_new_or_renamed_counts() {
        let named = |names: &[&str]| State {
            containers: names.iter().map(|name| json!({"Name": name})).collect(),
            ..State::default()
        };
        let made = named(&["/a", "/c"]).since(&named(&["/a", "/b"]));
        assert_eq!(made.containers, [json!({"Name": "/c"})]);
        assert!(made.volumes.is_empty() && made.networks.is_empty());
    }

    #[test]
    fn an_object_without_a_name_of_ours_counts_too() {
        let variant = plain(Kind::Volume);
        let made = State {
            volumes: vec![
                json!({"Name": "0123", "Driver": "local", "Labels": {"com.docker.volume.anonymous": ""}}),
            ],
            ..State::default()
        };
        let record = |body: Value| {
            [
                json!({"allowed": true, "method": "POST", "path": ["volumes", "create"], "query": [], "body": body}),
            ]
        };
        assert_eq!(
            judge(&variant, &record(Value::Null), &made),
            Verdict::AsJudged
        );
        assert_eq!(
            judge(&variant, &record(json!({"Name ": "x"})), &made),
            Verdict::AsJudged
        );
        assert!(matches!(
            judge(&variant, &record(json!({"Name": "x"})), &made),
            Verdict::Differently(_)
        ));
        assert!(matches!(
            judge(&variant, &[json!({"allowed": false})], &made),
            Verdict::Differently(_)
        ));
    }
}
