#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use dockside_driver::{ErrorCode, ipam::AddressRequest, ipam::PoolRequest, testing};

use super::*;

const POOL: &str = "local/10.90.0.0/24";

fn pool(subnet: &str) {
    let request = PoolRequest {
        address_space: LOCAL.into(),
        pool: Some(subnet.parse().unwrap()),
        ..PoolRequest::default()
    };
    pools::request_pool(&request).unwrap();
}

fn ask(address: Option<&str>, mac: Option<&str>, name: &str) -> Result<String> {
    let mut options = KeyValues::new();
    options.insert("com.docker.network.endpoint.name", name);
    let request = AddressRequest {
        pool_id: POOL.into(),
        address: address.map(|address| address.parse().unwrap()),
        mac_address: mac.map(|mac| mac.parse().unwrap()),
        options,
        ..AddressRequest::default()
    };
    addresses::request_address(&request).map(|address| address.to_string())
}

fn ran(verb: &str, arguments: &[(&str, &str)]) -> Result<Value> {
    let arguments = arguments.iter().copied().collect();
    run(verb, &arguments).map(|text| serde_json::from_str(&text).unwrap())
}

#[test]
fn pools_and_leases_are_listed_with_who_holds_them() {
    testing::reset();
    pool("10.90.0.0/24");
    ask(None, Some("02:00:00:00:00:01"), "web").unwrap();
    ask(Some("10.90.0.9"), None, "").unwrap();
    let pools = ran("pools", &[]).unwrap();
    assert_eq!(
        (&pools[0]["pool"], &pools[0]["in-use"], &pools[0]["next"]),
        (&json!(POOL), &json!(2), &json!("10.90.0.2"))
    );
    let leases = ran("leases", &[("pool", "10.90.0.0/24")]).unwrap();
    let of = |row: usize| {
        let row = &leases[row];
        [&row["address"], &row["for"], &row["mac"], &row["name"]].map(Value::clone)
    };
    assert_eq!(
        of(0),
        [
            json!("10.90.0.1"),
            json!("endpoint"),
            json!("02:00:00:00:00:01"),
            json!("web")
        ]
    );
    assert_eq!(
        of(1),
        [
            json!("10.90.0.9"),
            json!("auxiliary"),
            Value::Null,
            Value::Null
        ]
    );
    assert_eq!(
        ran("leases", &[("limit", "1")])
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        ran("leases", &[("pool", "10.91.0.0/24")])
            .unwrap_err()
            .code(),
        ErrorCode::NotFound
    );
}

#[test]
fn a_reserved_address_is_for_one_ethernet_address_alone() {
    testing::reset();
    pool("10.90.0.0/24");
    ran(
        "reserve",
        &[("address", "10.90.0.1"), ("mac", "02:00:00:00:00:07")],
    )
    .unwrap();
    ran("reserve", &[("address", "10.90.0.2")]).unwrap();
    assert_eq!(
        ask(None, Some("02:00:00:00:00:01"), "").unwrap(),
        "10.90.0.3/24"
    );
    for (address, whom) in [("10.90.0.1", "02:00:00:00:00:07"), ("10.90.0.2", "nobody")] {
        let refused = ask(Some(address), Some("02:00:00:00:00:01"), "").unwrap_err();
        assert!(
            refused.message().contains(&format!("reserved for {whom}")),
            "{refused}"
        );
    }
    assert_eq!(
        ask(None, Some("02:00:00:00:00:07"), "").unwrap(),
        "10.90.0.1/24"
    );
    let listed = ran("reservations", &[]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    // Reservations outlive the network, and are gone when they are taken back.
    pools::release_pool(POOL).unwrap();
    assert_eq!(ran("reservations", &[]).unwrap(), listed);
    pool("10.90.0.0/24");
    assert_eq!(
        ask(None, Some("02:00:00:00:00:01"), "").unwrap(),
        "10.90.0.3/24"
    );
    ran(
        "unreserve",
        &[("address", "10.90.0.1"), ("pool", "10.90.0.0/24")],
    )
    .unwrap();
    assert_eq!(ask(Some("10.90.0.1"), None, "").unwrap(), "10.90.0.1/24");
    let refused = ran("unreserve", &[("address", "10.90.0.1")]).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NotFound, "{refused}");
}

#[test]
fn what_is_in_use_is_not_reserved_for_somebody_else() {
    testing::reset();
    pool("10.90.0.0/24");
    ask(None, Some("02:00:00:00:00:01"), "web").unwrap();
    let mine = [("address", "10.90.0.1"), ("mac", "02:00:00:00:00:01")];
    let other = [("address", "10.90.0.1"), ("mac", "02:00:00:00:00:02")];
    let refused = ran("reserve", &other).unwrap_err();
    assert!(
        refused.message().contains("in use by the container web"),
        "{refused}"
    );
    ran("reserve", &mine).unwrap();
    let second = [("address", "10.90.0.5"), ("mac", "02:00:00:00:00:01")];
    let refused = ran("reserve", &second).unwrap_err();
    assert!(
        refused.message().contains("has the reservation 10.90.0.1"),
        "{refused}"
    );
}

#[test]
fn the_operators_reservations_hold_in_every_pool() {
    testing::reset();
    testing::set_config(
        "reservations",
        "02:00:00:00:00:07 10.90.0.1, - 10.90.0.2\n# the printer\n- 10.90.0.3 # and its scanner\n02:00:00:00:00:07 fd00::7",
    );
    pool("10.90.0.0/24");
    assert_eq!(
        ask(None, Some("02:00:00:00:00:01"), "").unwrap(),
        "10.90.0.4/24"
    );
    assert_eq!(
        ask(None, Some("02:00:00:00:00:07"), "").unwrap(),
        "10.90.0.1/24"
    );
    for (text, why) in [
        ("10.90.0.1", "is not two words"),
        ("02:00 10.90.0.1", "does not begin with an Ethernet address"),
        ("- ten", "does not end with an IP address"),
        ("- 10.0.0.1, - 10.0.0.1", "a second time"),
    ] {
        testing::set_config("reservations", text);
        let refused = ask(None, None, "").unwrap_err();
        assert!(refused.message().contains(why), "{refused}");
    }
}

#[test]
fn a_pool_or_an_address_that_nobody_will_release_can_be_released() {
    testing::reset();
    pool("10.90.0.0/24");
    ask(Some("10.90.0.9"), None, "").unwrap();
    ran("release", &[("address", "10.90.0.9")]).unwrap();
    let again = ran("release", &[("address", "10.90.0.9")]).unwrap_err();
    assert_eq!(again.code(), ErrorCode::NotFound, "{again}");
    ask(Some("10.90.0.9"), None, "").unwrap();
    let freed = ran("release", &[("pool", "10.90.0.0/24")]).unwrap();
    assert_eq!(freed, json!([{ "pool": POOL, "addresses": 1 }]));
    assert_eq!(testing::state(), []);
    let none = ran("release", &[("pool", POOL)]).unwrap_err();
    assert_eq!(none.code(), ErrorCode::NotFound, "{none}");
    assert_eq!(
        ran("release", &[]).unwrap_err().code(),
        ErrorCode::InvalidArgument
    );
}

#[test]
fn times_are_dates() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_767_225_599, "2025-12-31T23:59:59Z"),
        (4_102_444_800, "2100-01-01T00:00:00Z"),
    ] {
        assert_eq!(rfc3339(seconds), text);
    }
}
