//! What a grid answers, without the network in between: the part of the WAPI that an IPAM driver uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

/// The Ethernet address of what belongs to no client; any number of fixed addresses can have it.
const NO_CLIENT: &str = "00:00:00:00:00:00";

/// An object of the grid.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its type: `network`, `fixedaddress` and so on.
    pub kind: String,
    /// Its reference, which names it in requests.
    pub reference: String,
    /// Its fields.
    pub fields: Map<String, Value>,
}

impl Object {
    /// A field that is text; empty if it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.fields
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The value of an extensible attribute; empty if it is not there.
    pub fn attribute(&self, name: &str) -> &str {
        self.fields
            .get("extattrs")
            .and_then(|all| all.get(name))
            .and_then(|one| one.get("value"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// A status and a body.
pub type Answer = (u16, Value);

/// A grid in memory.
#[derive(Debug, Default)]
pub struct Grid {
    objects: Vec<Object>,
    serial: u64,
}

impl Grid {
    /// An empty grid with the network view `default`, and definitions of these extensible attributes.
    pub fn new(attributes: &[&str]) -> Self {
        let mut grid = Self::default();
        grid.add("networkview", json!({ "name": "default" }));
        for name in attributes {
            let body = json!({ "name": name, "type": "STRING" });
            grid.add("extensibleattributedef", body);
        }
        grid
    }

    /// All objects of a type.
    pub fn all(&self, kind: &str) -> Vec<Object> {
        let of = |object: &&Object| object.kind == kind;
        self.objects.iter().filter(of).cloned().collect()
    }

    /// Makes an object as somebody else would.
    pub fn add(&mut self, kind: &str, body: Value) -> Answer {
        self.create(kind, body, &[])
    }

    /// Answers a request: `target` is the path behind `/wapi/VERSION/`, with the query.
    pub fn answer(&mut self, method: &str, target: &str, body: Value) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = decode(path);
        let query: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        match (method, KINDS.contains(&path.as_str())) {
            ("GET", true) => self.search(&path, &query),
            ("POST", true) => self.create(&path, body, &query),
            ("GET" | "PUT" | "DELETE", false) => self.one(method, &path, body),
            _ => refused(
                "Client.Ibap.Proto",
                &format!("Unknown object type ({path})"),
            ),
        }
    }

    fn search(&self, kind: &str, query: &[(String, String)]) -> Answer {
        let filters = query.iter().filter(|(name, _)| !name.starts_with('_'));
        for (name, _) in filters.clone() {
            if !name.starts_with('*') && !SEARCHABLE.contains(&name.as_str()) {
                return refused(
                    "Client.Ibap.Proto",
                    &format!("Field is not searchable: {name}"),
                );
            }
        }
        let matches = |object: &&Object| {
            object.kind == kind
                && filters
                    .clone()
                    .all(|(name, value)| match name.strip_prefix('*') {
                        Some(attribute) => object.attribute(attribute) == value,
                        None => object.text(name).eq_ignore_ascii_case(value),
                    })
        };
        let found = self.objects.iter().filter(matches);
        (200, found.map(|object| shown(object, query)).collect())
    }

    fn one(&mut self, method: &str, reference: &str, body: Value) -> Answer {
        let Some(at) = self
            .objects
            .iter()
            .position(|one| one.reference == reference)
        else {
            let text = format!("Reference {reference} not found");
            let error = format!("AdmConDataNotFoundError: {text}");
            return (
                404,
                json!({ "Error": error, "code": "Client.Ibap.Data.NotFound", "text": text }),
            );
        };
        match method {
            "DELETE" => {
                let gone = self.objects.remove(at);
                if gone.kind.ends_with("network") {
                    // What lies in a network goes with it.
                    let of = |one: &Object| {
                        one.kind.ends_with("fixedaddress")
                            && one.text("network") == gone.text("network")
                            && one.text("network_view") == gone.text("network_view")
                    };
                    self.objects.retain(|one| !of(one));
                }
                (200, json!(reference))
            }
            "PUT" => {
                if let (Some(object), Value::Object(body)) = (self.objects.get_mut(at), body) {
                    object.fields.extend(body);
                }
                (200, json!(reference))
            }
            _ => (
                200,
                self.objects
                    .get(at)
                    .map_or(Value::Null, |one| shown(one, &[])),
            ),
        }
    }

    fn create(&mut self, kind: &str, body: Value, query: &[(String, String)]) -> Answer {
        let Value::Object(mut fields) = body else {
            return refused("Client.Ibap.Proto", "Invalid JSON");
        };
        if let Some(unknown) = self.unknown_attribute(&fields) {
            let text = format!("Unknown extensible attribute '{unknown}'");
            return refused("Client.Ibap.Proto", &text);
        }
        let has_view =
            kind.contains("network") && kind != "networkview" || kind.contains("address");
        if has_view {
            fields
                .entry("network_view")
                .or_insert_with(|| json!("default"));
            let view = text(&fields, "network_view");
            if !self
                .all("networkview")
                .iter()
                .any(|one| one.text("name") == view)
            {
                return refused(
                    "Client.Ibap.Data",
                    &format!("Network view '{view}' not found"),
                );
            }
        }
        let checked = match kind {
            "network" | "ipv6network" => self.check_network(kind, &mut fields),
            "networkcontainer" | "ipv6networkcontainer" => self.check_container(kind, &fields),
            "fixedaddress" | "ipv6fixedaddress" => self.check_address(kind, &mut fields),
            _ => self.check_name(kind, &fields),
        };
        let label = match checked {
            Ok(label) => label,
            Err(answer) => return answer,
        };
        self.serial += 1;
        let reference = format!("{kind}/ZG5zLm9iamVjdCR{}:{label}", self.serial);
        let object = Object {
            kind: kind.to_owned(),
            reference,
            fields,
        };
        let answer = if query.iter().any(|(name, _)| name == "_return_fields") {
            shown(&object, query)
        } else {
            json!(object.reference)
        };
        self.objects.push(object);
        (201, answer)
    }

    fn unknown_attribute(&self, fields: &Map<String, Value>) -> Option<String> {
        let known = self.all("extensibleattributedef");
        let used = fields.get("extattrs")?.as_object()?;
        used.keys()
            .find(|name| !known.iter().any(|one| one.text("name") == *name))
            .cloned()
    }

    fn check_name(&self, kind: &str, fields: &Map<String, Value>) -> Result<String, Answer> {
        let name = text(fields, "name");
        if name.is_empty() {
            return Err(refused("Client.Ibap.Proto", "Field is required: name"));
        }
        if self.all(kind).iter().any(|one| one.text("name") == name) {
            let text =
                format!("Duplicate object '{name}' of type '{kind}' exists in the database.");
            return Err(conflict(&text));
        }
        Ok(name)
    }

    fn check_container(&self, kind: &str, fields: &Map<String, Value>) -> Result<String, Answer> {
        let (wanted, view) = (text(fields, "network"), text(fields, "network_view"));
        subnet(&wanted).ok_or_else(|| invalid(&wanted))?;
        let taken =
            |one: &Object| (one.text("network"), one.text("network_view")) == (&*wanted, &*view);
        if self.all(kind).iter().any(taken) {
            return Err(conflict(&format!("The network {wanted} already exists.")));
        }
        Ok(format!("{wanted}/{view}"))
    }

    fn check_network(&self, kind: &str, fields: &mut Map<String, Value>) -> Result<String, Answer> {
        let (wanted, view) = (text(fields, "network"), text(fields, "network_view"));
        let held: Vec<Subnet> = self
            .all(kind)
            .iter()
            .filter(|one| one.text("network_view") == view)
            .filter_map(|one| subnet(one.text("network")))
            .collect();
        let free = |one: Subnet| !held.iter().any(|other| other.overlaps(one));
        let given = match wanted.strip_prefix("func:nextavailablenetwork:") {
            None => {
                let given = subnet(&wanted).ok_or_else(|| invalid(&wanted))?;
                if !free(given) {
                    return Err(conflict(&format!(
                        "The network {wanted} already exists, or overlaps with another one."
                    )));
                }
                given
            }
            Some(rest) => {
                let mut parts = rest.split(',').map(str::trim);
                let container = parts.next().unwrap_or_default();
                let length = parts.next_back().and_then(|length| length.parse().ok());
                let (Some(around), Some(length)) = (subnet(container), length) else {
                    return Err(invalid(&wanted));
                };
                let containers = self.all(&format!("{kind}container"));
                let is_it = |one: &Object| {
                    (one.text("network"), one.text("network_view")) == (container, &*view)
                };
                if !containers.iter().any(is_it) {
                    let text = format!("The network container {container} was not found.");
                    return Err(refused("Client.Ibap.Data.NotFound", &text));
                }
                around.parts(length).find(|one| free(*one)).ok_or_else(|| {
                    refused("Client.Ibap.Data", "Cannot find 1 available network(s).")
                })?
            }
        };
        fields.insert("network".to_owned(), json!(given.to_string()));
        Ok(format!("{given}/{view}"))
    }

    fn check_address(&self, kind: &str, fields: &mut Map<String, Value>) -> Result<String, Answer> {
        let (field, client, networks) = match kind {
            "fixedaddress" => ("ipv4addr", "mac", "network"),
            _ => ("ipv6addr", "duid", "ipv6network"),
        };
        let (wanted, view) = (text(fields, field), text(fields, "network_view"));
        let who = text(fields, client).to_ascii_lowercase();
        if who.is_empty() {
            return Err(refused(
                "Client.Ibap.Proto",
                &format!("Field is required: {client}"),
            ));
        }
        let held = self.all(kind);
        let mut held = held.iter().filter(|one| one.text("network_view") == view);
        let is_held = |address: &str| held.clone().any(|one| one.text(field) == address);
        let given = match wanted.strip_prefix("func:nextavailableip:") {
            None => wanted.clone(),
            Some(rest) => {
                let of = rest.split(',').next().unwrap_or_default().trim();
                let (first, last) = match of.split_once('-') {
                    Some((first, last)) => (address(first), address(last)),
                    None => {
                        let around = subnet(of).ok_or_else(|| invalid(of))?;
                        let (first, last) = around.hosts();
                        (Some(first), Some(last))
                    }
                };
                let (Some(first), Some(last)) = (first, last) else {
                    return Err(invalid(&wanted));
                };
                let six = kind.starts_with("ipv6");
                (first..=last)
                    .map(|number| shown_address(number, six))
                    .find(|one| !is_held(one))
                    .ok_or_else(|| {
                        refused(
                            "Client.Ibap.Data",
                            "Cannot find 1 available IP address(es) in this network.",
                        )
                    })?
            }
        };
        let number = address(&given).ok_or_else(|| invalid(&given))?;
        let networks = self.all(networks);
        let network = networks
            .iter()
            .filter(|one| one.text("network_view") == view)
            .find(|one| subnet(one.text("network")).is_some_and(|one| one.contains(number)))
            .ok_or_else(|| {
                refused(
                    "Client.Ibap.Data",
                    &format!("Cannot find a network for the address {given}."),
                )
            })?;
        if is_held(&given) {
            return Err(conflict(&format!(
                "The IP address {given} cannot be used, since it is in use already."
            )));
        }
        let within = network.text("network");
        if who != NO_CLIENT
            && !who.ends_with(NO_CLIENT)
            && held.any(|one| one.text("network") == within && one.text(client) == who)
        {
            return Err(conflict(&format!(
                "The client {who} is used in two fixed addresses of the network {within}."
            )));
        }
        fields.insert(field.to_owned(), json!(given));
        fields.insert(client.to_owned(), json!(who));
        fields.insert("network".to_owned(), json!(within));
        Ok(format!("{given}/{view}"))
    }
}

/// The types that there are.
const KINDS: [&str; 9] = [
    "network",
    "ipv6network",
    "networkcontainer",
    "ipv6networkcontainer",
    "fixedaddress",
    "ipv6fixedaddress",
    "networkview",
    "extensibleattributedef",
    "grid",
];

/// Fields that can be searched for.
const SEARCHABLE: [&str; 9] = [
    "network",
    "network_view",
    "ipv4addr",
    "ipv6addr",
    "mac",
    "duid",
    "name",
    "comment",
    "container",
];

fn shown(object: &Object, query: &[(String, String)]) -> Value {
    let wanted = query.iter().find(|(name, _)| name == "_return_fields");
    let mut fields = object.fields.clone();
    if let Some((_, wanted)) = wanted {
        fields.retain(|name, _| wanted.split(',').any(|one| one == name));
    } else {
        fields.remove("extattrs");
    }
    fields.insert("_ref".to_owned(), json!(object.reference));
    Value::Object(fields)
}

fn text(fields: &Map<String, Value>, name: &str) -> String {
    let value = fields.get(name).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

fn refused(code: &str, text: &str) -> Answer {
    let error = format!("AdmConProtoError: {text}");
    (400, json!({ "Error": error, "code": code, "text": text }))
}

fn conflict(text: &str) -> Answer {
    let error = format!("AdmConDataError: None (IBDataConflictError: IB.Data.Conflict:{text})");
    (
        400,
        json!({ "Error": error, "code": "Client.Ibap.Data.Conflict", "text": text }),
    )
}

fn invalid(value: &str) -> Answer {
    refused(
        "Client.Ibap.Proto",
        &format!("Invalid value for field: {value}"),
    )
}

/// A subnet as a number and the number of its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subnet {
    first: u128,
    length: u32,
    six: bool,
}

fn subnet(text: &str) -> Option<Subnet> {
    let (base, length) = text.split_once('/')?;
    let six = base.contains(':');
    Some(Subnet {
        first: address(base)?,
        length: length.parse().ok()?,
        six,
    })
}

fn address(text: &str) -> Option<u128> {
    Some(match text.trim().parse().ok()? {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    })
}

fn shown_address(number: u128, six: bool) -> String {
    match u32::try_from(number) {
        Ok(number) if !six => Ipv4Addr::from(number).to_string(),
        _ => Ipv6Addr::from(number).to_string(),
    }
}

impl Subnet {
    fn bits(self) -> u32 {
        if self.six { 128 } else { 32 }
    }

    fn last(self) -> u128 {
        let host = self.bits().saturating_sub(self.length);
        self.first + (1u128.checked_shl(host).unwrap_or(0)).wrapping_sub(1)
    }

    fn hosts(self) -> (u128, u128) {
        (
            self.first + 1,
            if self.six {
                self.last()
            } else {
                self.last() - 1
            },
        )
    }

    fn contains(self, number: u128) -> bool {
        (self.first..=self.last()).contains(&number)
    }

    fn overlaps(self, other: Subnet) -> bool {
        self.six == other.six && self.first <= other.last() && other.first <= self.last()
    }

    fn parts(self, length: u32) -> impl Iterator<Item = Subnet> {
        let step = 1u128 << (self.bits().saturating_sub(length));
        let end = if length < self.length {
            self.first
        } else {
            self.last()
        };
        (0..)
            .map(move |number| Subnet {
                first: self.first + number * step,
                length,
                six: self.six,
            })
            .take_while(move |one| one.last() <= end)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", shown_address(self.first, self.six), self.length)
    }
}

/// Percent-decoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
