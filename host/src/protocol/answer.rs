//! Answers to Docker.

use std::net::IpAddr;
use std::path::PathBuf;

use http::StatusCode;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::address::Mac;
use super::method::Kind;
use super::wire::KeyValue;
use crate::sandbox::bindings::types::ErrorCode;

/// The longest error text that Docker gets, in bytes. An engine prints it verbatim and has no limit of its own.
pub const MAX_ERROR: usize = 4096;

/// A successful answer, checked: whatever can be written as such a value is safe to hand to an engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is done, and there is nothing to say.
    Done,
    /// `VolumeDriver.Mount` and `VolumeDriver.Path`: where the files are, absolute; none only for `Path`, when it is not known.
    Mountpoint(Option<PathBuf>),
    /// `VolumeDriver.Get`.
    Volume(Volume),
    /// `VolumeDriver.List`.
    Volumes(Vec<Volume>),
    /// `NetworkDriver.AllocateNetwork`: the options that replace the user's.
    NetworkOptions(Vec<KeyValue>),
    /// `NetworkDriver.GwAllocCheck`.
    GatewayAllocation {
        /// Allocate no IPv4 gateway.
        skip_ipv4: bool,
        /// Allocate no IPv6 gateway.
        skip_ipv6: bool,
    },
    /// `NetworkDriver.CreateEndpoint`: what the driver adds to what the engine sent.
    Endpoint(EndpointAddresses),
    /// `NetworkDriver.EndpointOperInfo`.
    OperInfo(Vec<KeyValue>),
    /// `NetworkDriver.Join`.
    Joined(Joined),
    /// `IpamDriver.RequestPool`.
    Pool(Pool),
    /// `IpamDriver.RequestAddress`.
    Address {
        /// The address with the prefix that the interface gets.
        address: IpNet,
        /// What Docker should keep.
        data: Vec<KeyValue>,
    },
    /// `AuthZPlugin.AuthZReq` and `AuthZPlugin.AuthZRes`.
    Decision(Decision),
    /// What a verb answers, as JSON text. Docker never gets it.
    Json(String),
}

/// A volume as `VolumeDriver.Get` and `VolumeDriver.List` show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where its files are, if that is known. Absolute.
    pub mountpoint: Option<PathBuf>,
    /// When it was made, in seconds since 1970.
    pub created_at: Option<i64>,
    /// What `docker volume inspect` shows.
    pub status: Vec<KeyValue>,
}

/// Addresses of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EndpointAddresses {
    /// IPv4 address and prefix.
    pub address: Option<IpNet>,
    /// IPv6 address and prefix.
    pub address_ipv6: Option<IpNet>,
    /// Ethernet address.
    pub mac_address: Option<Mac>,
}

/// What Docker does with a container that joins a network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Joined {
    /// The link that becomes the container's interface.
    pub interface: Option<InterfaceName>,
    /// Default gateway for IPv4.
    pub gateway: Option<IpAddr>,
    /// Default gateway for IPv6.
    pub gateway_ipv6: Option<IpAddr>,
    /// Further routes: the destination, and the next hop unless it is on the link.
    pub static_routes: Vec<(IpNet, Option<IpAddr>)>,
    /// Whether to keep Docker from giving the container its own bridge to the outside.
    pub disable_gateway_service: bool,
}

/// A link of the host on its way into a container.
#[derive(Debug, Clone, PartialEq)]
pub struct InterfaceName {
    /// The link's name on the host.
    pub src_name: String,
    /// The first part of its name in the container.
    pub dst_prefix: String,
}

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// The driver's name for it.
    pub id: String,
    /// The subnet.
    pub pool: IpNet,
    /// The gateway that the driver fixes.
    pub gateway: Option<IpNet>,
    /// What else Docker should keep.
    pub data: Vec<KeyValue>,
}

/// The verdict on an API request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let it pass.
    Allow,
    /// Refuse it, for this reason.
    Deny(String),
}

/// The key under which an IPAM driver's data names the gateway.
pub(crate) const GATEWAY_DATA: &str = "com.docker.network.gateway";

/// The body of a successful answer. Its status is 200; no other is a success to an engine.
pub fn encode(answer: &Answer) -> Vec<u8> {
    let mut fields = match answer {
        Answer::Done => json!({}),
        Answer::Mountpoint(path) => json!({ "Mountpoint": mountpoint(path.as_ref()) }),
        Answer::Volume(volume) => json!({ "Volume": volume_json(volume) }),
        Answer::Volumes(volumes) => {
            json!({ "Volumes": volumes.iter().map(volume_json).collect::<Vec<_>>() })
        }
        Answer::NetworkOptions(options) => json!({ "Options": map_json(options) }),
        Answer::GatewayAllocation {
            skip_ipv4,
            skip_ipv6,
        } => {
            json!({ "SkipIPv4": skip_ipv4, "SkipIPv6": skip_ipv6 })
        }
        Answer::Endpoint(endpoint) => json!({ "Interface": endpoint_json(endpoint) }),
        Answer::OperInfo(value) => json!({ "Value": map_json(value) }),
        Answer::Joined(joined) => joined_json(joined),
        Answer::Pool(pool) => pool_json(pool),
        Answer::Address { address, data } => {
            json!({ "Address": address.to_string(), "Data": map_json(data) })
        }
        Answer::Decision(Decision::Allow) => json!({ "Allow": true, "Msg": "" }),
        Answer::Decision(Decision::Deny(reason)) => {
            json!({ "Allow": false, "Msg": error_text(reason) })
        }
        Answer::Json(text) => return text.clone().into_bytes(),
    };
    // Every answer has the field, and an engine takes a non-empty one for a failure. IPAM's is called otherwise, and that it is done a driver
    // of any kind can say.
    if let Some(fields) = fields.as_object_mut() {
        let ipam = matches!(answer, Answer::Pool(_) | Answer::Address { .. });
        if !ipam {
            fields.insert("Err".to_owned(), json!(""));
        }
        if ipam || *answer == Answer::Done {
            fields.insert("Error".to_owned(), json!(""));
        }
    }
    fields.to_string().into_bytes()
}

/// The body of a failed answer, to be sent with the status of [`status_of`].
pub fn encode_error(kind: Kind, text: &str) -> Vec<u8> {
    let text = error_text(text);
    let fields = match kind {
        Kind::Volume | Kind::Network => json!({ "Err": text }),
        // Engines read `Err` when the status is not 200 and `Error` when it is.
        Kind::Ipam => json!({ "Err": text, "Error": text }),
        Kind::Authz => json!({ "Allow": false, "Msg": text, "Err": text }),
    };
    fields.to_string().into_bytes()
}

/// The body of a failed handshake or of a failure that belongs to no kind: every field in which some client looks for it.
pub fn encode_plain_error(text: &str) -> Vec<u8> {
    let text = error_text(text);
    json!({ "Err": text, "Error": text })
        .to_string()
        .into_bytes()
}

/// The HTTP status of a failure. Two methods of a network driver may be missing, and engines know that by 404.
pub fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::NotImplemented => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A text fit for an engine's user: [`one_line`] of at most [`MAX_ERROR`] bytes, and never empty, which would mean success.
pub fn error_text(text: &str) -> String {
    let line = one_line(text, MAX_ERROR);
    if line.is_empty() {
        "no reason was given".to_owned()
    } else {
        line
    }
}

/// Text as one printable line of at most `max` bytes: white space at its ends goes, what would move a cursor, change the
/// direction of writing or start an escape sequence is written as an escape, and what is too long is cut.
pub fn one_line(text: &str, max: usize) -> String {
    const CUT: &str = "…";
    let room = max.saturating_sub(CUT.len());
    let mut line = String::new();
    // Where the text ends if it turns out to be too long.
    let mut cut = 0;
    for c in text.trim().chars() {
        if is_printable(c) {
            line.push(c);
        } else {
            line.extend(c.escape_default());
        }
        if line.len() <= room {
            cut = line.len();
        }
        if line.len() > max {
            line.truncate(cut);
            line.push_str(CUT);
            break;
        }
    }
    line
}

fn is_printable(c: char) -> bool {
    let separator = matches!(c, '\u{2028}' | '\u{2029}');
    // What changes the direction of the text behind it or cannot be seen at all.
    let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !(c.is_control() || separator || invisible)
}

fn mountpoint(path: Option<&PathBuf>) -> String {
    path.map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn map_json(entries: &[KeyValue]) -> Map<String, Value> {
    entries
        .iter()
        .map(|(key, value)| (key.clone(), Value::String(value.clone())))
        .collect()
}

fn volume_json(volume: &Volume) -> Value {
    let mut fields = json!({
        "Name": volume.name,
        "Mountpoint": mountpoint(volume.mountpoint.as_ref()),
    });
    if let Some(fields) = fields.as_object_mut() {
        // An engine cannot read an empty time, so the field is absent instead.
        if let Some(created_at) = volume
            .created_at
            .and_then(|at| Timestamp::from_second(at).ok())
        {
            fields.insert("CreatedAt".to_owned(), json!(created_at.to_string()));
        }
        if !volume.status.is_empty() {
            fields.insert("Status".to_owned(), Value::Object(map_json(&volume.status)));
        }
    }
    fields
}

fn endpoint_json(endpoint: &EndpointAddresses) -> Value {
    let mut fields = Map::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            fields.insert(key.to_owned(), Value::String(value));
        }
    };
    add("Address", endpoint.address.map(|net| net.to_string()));
    add(
        "AddressIPv6",
        endpoint.address_ipv6.map(|net| net.to_string()),
    );
    add(
        "MacAddress",
        endpoint.mac_address.map(|mac| mac.to_string()),
    );
    Value::Object(fields)
}

fn joined_json(joined: &Joined) -> Value {
    let ip = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    let routes: Vec<Value> = joined
        .static_routes
        .iter()
        .map(|(destination, next_hop)| {
            let route_type = u8::from(next_hop.is_none());
            json!({ "Destination": destination.to_string(), "RouteType": route_type, "NextHop": ip(*next_hop) })
        })
        .collect();
    let mut fields = json!({
        "Gateway": ip(joined.gateway),
        "GatewayIPv6": ip(joined.gateway_ipv6),
        "StaticRoutes": routes,
        "DisableGatewayService": joined.disable_gateway_service,
    });
    if let (Some(name), Some(fields)) = (&joined.interface, fields.as_object_mut()) {
        fields.insert(
            "InterfaceName".to_owned(),
            json!({ "SrcName": name.src_name, "DstPrefix": name.dst_prefix }),
        );
    }
    fields
}

fn pool_json(pool: &Pool) -> Value {
    let mut data = map_json(&pool.data);
    if let Some(gateway) = pool.gateway {
        data.insert(GATEWAY_DATA.to_owned(), Value::String(gateway.to_string()));
    }
    json!({ "PoolID": pool.id, "Pool": pool.pool.to_string(), "Data": data })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pair(key: &str, value: &str) -> KeyValue {
        (key.to_owned(), value.to_owned())
    }

    fn volume() -> Volume {
        Volume {
            name: "v1".to_owned(),
            mountpoint: Some("/var/lib/example/v1".into()),
            created_at: Some(1_767_323_045),
            status: vec![pair("health", "ok")],
        }
    }

    #[test]
    fn answers_have_the_fields_that_engines_read() {
        let bare = Volume {
            mountpoint: None,
            created_at: None,
            status: vec![],
            ..volume()
        };
        let cases = [
            (Answer::Done, json!({"Err":"","Error":""})),
            (
                Answer::Mountpoint(Some("/var/lib/example/v1".into())),
                json!({"Mountpoint":"/var/lib/example/v1","Err":""}),
            ),
            (Answer::Mountpoint(None), json!({"Mountpoint":"","Err":""})),
            (
                Answer::Volume(volume()),
                json!({"Volume":{"Name":"v1","Mountpoint":"/var/lib/example/v1","CreatedAt":"2026-01-02T03:04:05Z","Status":{"health":"ok"}},"Err":""}),
            ),
            (
                Answer::Volumes(vec![bare]),
                json!({"Volumes":[{"Name":"v1","Mountpoint":""}],"Err":""}),
            ),
            (Answer::Volumes(vec![]), json!({"Volumes":[],"Err":""})),
            (
                Answer::NetworkOptions(vec![pair("vni", "4097")]),
                json!({"Options":{"vni":"4097"},"Err":""}),
            ),
            (
                Answer::GatewayAllocation {
                    skip_ipv4: true,
                    skip_ipv6: false,
                },
                json!({"SkipIPv4":true,"SkipIPv6":false,"Err":""}),
            ),
            (
                Answer::Endpoint(EndpointAddresses {
                    mac_address: Some(Mac([2, 0x42, 0xec, 0x57, 0xba, 0x5b])),
                    ..Default::default()
                }),
                json!({"Interface":{"MacAddress":"02:42:ec:57:ba:5b"},"Err":""}),
            ),
            (
                Answer::Endpoint(EndpointAddresses::default()),
                json!({"Interface":{},"Err":""}),
            ),
            (Answer::OperInfo(vec![]), json!({"Value":{},"Err":""})),
            (
                Answer::Joined(Joined {
                    interface: Some(InterfaceName {
                        src_name: "vcec57ba5".into(),
                        dst_prefix: "eth".into(),
                    }),
                    gateway: Some("10.77.0.1".parse().unwrap()),
                    gateway_ipv6: None,
                    static_routes: vec![
                        (net("10.99.0.0/16"), None),
                        (net("10.98.0.0/16"), Some("10.77.0.9".parse().unwrap())),
                    ],
                    disable_gateway_service: false,
                }),
                json!({"InterfaceName":{"SrcName":"vcec57ba5","DstPrefix":"eth"},"Gateway":"10.77.0.1","GatewayIPv6":"",
                    "StaticRoutes":[{"Destination":"10.99.0.0/16","RouteType":1,"NextHop":""},
                        {"Destination":"10.98.0.0/16","RouteType":0,"NextHop":"10.77.0.9"}],
                    "DisableGatewayService":false,"Err":""}),
            ),
            (
                Answer::Joined(Joined::default()),
                json!({"Gateway":"","GatewayIPv6":"","StaticRoutes":[],"DisableGatewayService":false,"Err":""}),
            ),
            (
                Answer::Pool(Pool {
                    id: "x/10.88.0.0/16".into(),
                    pool: net("10.88.0.0/16"),
                    gateway: Some(net("10.88.0.1/16")),
                    data: vec![pair("a", "b")],
                }),
                json!({"PoolID":"x/10.88.0.0/16","Pool":"10.88.0.0/16","Data":{"a":"b","com.docker.network.gateway":"10.88.0.1/16"},"Error":""}),
            ),
            (
                Answer::Address {
                    address: net("10.88.0.9/16"),
                    data: vec![],
                },
                json!({"Address":"10.88.0.9/16","Data":{},"Error":""}),
            ),
            (
                Answer::Decision(Decision::Allow),
                json!({"Allow":true,"Msg":"","Err":""}),
            ),
            (
                Answer::Decision(Decision::Deny("read only\n".into())),
                json!({"Allow":false,"Msg":"read only","Err":""}),
            ),
        ];
        for (answer, expected) in cases {
            let body: Value = serde_json::from_slice(&encode(&answer)).unwrap();
            assert_eq!(body, expected, "{answer:?}");
        }
    }

    #[test]
    fn errors_have_the_fields_that_engines_read() {
        let cases = [
            (Kind::Volume, json!({"Err":"x"})),
            (Kind::Network, json!({"Err":"x"})),
            (Kind::Ipam, json!({"Err":"x","Error":"x"})),
            (Kind::Authz, json!({"Allow":false,"Msg":"x","Err":"x"})),
        ];
        for (kind, expected) in cases {
            let body: Value = serde_json::from_slice(&encode_error(kind, " x\n")).unwrap();
            assert_eq!(body, expected);
        }
    }

    #[test]
    fn an_error_is_one_printable_line_and_never_empty() {
        let cases = [
            ("", "no reason was given"),
            (" \n\t", "no reason was given"),
            ("two\nlines\r\n", "two\\nlines"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("nul\0", "nul\\u{0}"),
            (
                "a\u{202e}b\u{2028}c\u{85}d",
                "a\\u{202e}b\\u{2028}c\\u{85}d",
            ),
            (
                "keeps ü€ and \"quotes\" and \\",
                "keeps ü€ and \"quotes\" and \\",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(error_text(text), expected);
        }
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        for unit in ["a", "ü", "€", "\u{1f600}", "\n", "\u{1b}"] {
            let text = format!("x{}x", unit.repeat(MAX_ERROR));
            let line = error_text(&text);
            assert!(
                line.len() <= MAX_ERROR && line.len() > MAX_ERROR - 16,
                "{unit:?}: {}",
                line.len()
            );
            assert!(line.ends_with('…'), "{unit:?}");
        }
        assert_eq!(error_text(&"a".repeat(MAX_ERROR)), "a".repeat(MAX_ERROR));
    }

    #[test]
    fn a_method_that_is_missing_is_not_found() {
        assert_eq!(status_of(ErrorCode::NotImplemented), 404);
        assert_eq!(status_of(ErrorCode::NotFound), 500);
    }
}
