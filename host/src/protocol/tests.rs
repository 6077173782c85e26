#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use serde_json::{Value, json};

use super::*;

/// A full request for each method that has arguments.
fn requests() -> Vec<(Method, Value)> {
    let endpoint = json!({ "NetworkID": "n", "EndpointID": "e" });
    let options = json!({
        "com.docker.network.endpoint.exposedports": [{ "Proto": 6, "Port": 80 }],
        "com.docker.network.portmap": [{ "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080 }],
        "com.docker.network.endpoint.macaddress": "AhEiM0RV",
        "com.docker.network.endpoint.dnsservers": ["8.8.8.8"],
    });
    let with_options = json!({ "NetworkID": "n", "EndpointID": "e", "SandboxKey": "/s", "Options": options,
        "Interface": { "Address": "10.0.0.2/24", "AddressIPv6": "", "MacAddress": "" } });
    let network = json!({ "NetworkID": "n",
        "Options": { "com.docker.network.enable_ipv6": false, "com.docker.network.generic": { "a": "b" } },
        "IPv4Data": [{ "AddressSpace": "l", "Pool": "10.0.0.0/24", "Gateway": "10.0.0.1/24", "AuxAddresses": { "h": "10.0.0.9/24" } }],
        "IPv6Data": [] });
    let discovery = json!({ "DiscoveryType": 1, "DiscoveryData": { "Address": "10.0.0.1", "BindAddress": "", "Self": true } });
    let authz = json!({ "RequestMethod": "GET", "RequestUri": "/v1.41/info", "RequestHeaders": { "User-Agent": "x" },
        "ResponseStatusCode": 200, "ResponseBody": "e30=", "ResponseHeaders": { "Server": "x" } });
    Method::ALL
        .iter()
        .filter(|method| method.needs_body())
        .map(|&method| {
            let body = match method {
                Method::VolumeCreate => json!({ "Name": "v", "Opts": { "k": "v" } }),
                Method::VolumeMount | Method::VolumeUnmount => json!({ "Name": "v", "ID": "i" }),
                Method::VolumeRemove | Method::VolumeGet | Method::VolumePath => json!({ "Name": "v" }),
                Method::NetworkCreateEndpoint | Method::NetworkJoin | Method::NetworkProgramExternalConnectivity => with_options.clone(),
                Method::NetworkCreateNetwork | Method::NetworkAllocateNetwork | Method::NetworkGwAllocCheck => network.clone(),
                Method::NetworkDiscoverNew | Method::NetworkDiscoverDelete => discovery.clone(),
                Method::IpamRequestPool => {
                    json!({ "AddressSpace": "l", "Pool": "10.0.0.0/16", "SubPool": "10.0.1.0/24", "Options": { "a": "b" }, "V6": false })
                }
                Method::IpamReleasePool => json!({ "PoolID": "p" }),
                Method::IpamRequestAddress => json!({ "PoolID": "p", "Address": "10.0.0.1",
                    "Options": { "com.docker.network.endpoint.macaddress": "02:11:22:33:44:55" } }),
                Method::IpamReleaseAddress => json!({ "PoolID": "p", "Address": "10.0.0.1" }),
                Method::AuthzReq | Method::AuthzRes => authz.clone(),
                _ => endpoint.clone(),
            };
            (method, body)
        })
        .collect()
}

/// Every value of a document, replaced in turn by `with`.
fn replaced(document: &Value, with: &Value) -> Vec<Value> {
    let mut all = vec![with.clone()];
    match document {
        Value::Object(fields) => {
            for (key, value) in fields {
                for inner in replaced(value, with) {
                    let mut copy = fields.clone();
                    copy.insert(key.clone(), inner);
                    all.push(Value::Object(copy));
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                for inner in replaced(value, with) {
                    let mut copy = list.clone();
                    copy[index] = inner;
                    all.push(Value::Array(copy));
                }
            }
        }
        _ => {}
    }
    all
}

#[test]
fn every_method_with_arguments_becomes_its_own_call() {
    for (method, body) in requests() {
        match decode(method, format!("{body}\n").as_bytes()) {
            Ok(Decoded::Call(call)) => {
                assert_eq!(call.method(), Some(method));
                assert_eq!(call.function(), method.function());
                assert_eq!(call.is_mutation(), method.is_mutation());
            }
            other => panic!("{method}: {other:?}"),
        }
    }
}

#[test]
fn a_request_that_is_cut_off_is_refused_at_every_byte() {
    for (method, body) in requests() {
        let body = body.to_string();
        for end in 0..body.len() {
            let Err(error) = decode(method, &body.as_bytes()[..end]) else {
                panic!("{method}: accepted {:?}", &body[..end]);
            };
            assert_eq!(
                matches!(error, BadRequest::EmptyBody(_)),
                end == 0,
                "{method}: {error}"
            );
            let text = error.to_string();
            assert!(
                text.contains(method.path()) && text.lines().count() == 1,
                "{text}"
            );
        }
    }
}

#[test]
fn a_value_of_another_type_is_refused_or_read_but_never_more_than_that() {
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("\u{1b}[31m\n\0"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({ "": {} }),
    ];
    for (method, body) in requests() {
        for value in &values {
            for changed in replaced(&body, value) {
                if let Err(error) = decode(method, changed.to_string().as_bytes()) {
                    let text = error.to_string();
                    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
                }
            }
        }
    }
}

#[test]
fn methods_without_arguments_take_an_empty_body_and_refuse_nonsense() {
    for &method in Method::ALL.iter().filter(|method| !method.needs_body()) {
        for body in ["", "{}", "{}\n", "null", " ", "{\"unknown\":1}"] {
            match decode(method, body.as_bytes()) {
                Ok(Decoded::Constant) => assert!(method.is_capabilities()),
                Ok(Decoded::Call(call)) => assert_eq!(call.method(), Some(method)),
                other => panic!("{method} {body:?}: {other:?}"),
            }
        }
        for body in ["[]", "1", "{", "x"] {
            assert!(
                decode(method, body.as_bytes()).is_err(),
                "{method} {body:?}"
            );
        }
    }
}

#[test]
fn options_can_be_checked_where_a_user_gives_them() {
    use describe::Subject;
    let with_options: Vec<(Method, Subject)> = requests()
        .into_iter()
        .filter_map(
            |(method, body)| match decode(method, body.to_string().as_bytes()) {
                Ok(Decoded::Call(mut call)) => {
                    call.options_mut().map(|(subject, _)| (method, subject))
                }
                _ => None,
            },
        )
        .collect();
    assert_eq!(
        with_options,
        [
            (Method::VolumeCreate, Subject::Volume),
            (Method::NetworkGwAllocCheck, Subject::Network),
            (Method::NetworkCreateNetwork, Subject::Network),
            (Method::NetworkAllocateNetwork, Subject::Network),
            (Method::IpamRequestPool, Subject::Ipam),
        ]
    );
}
