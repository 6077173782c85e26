#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;

use dockside_driver::{ErrorCode, testing};

use super::*;
use crate::state::cost;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn wish(pool: Option<&str>, sub_pool: Option<&str>) -> PoolRequest {
    let pool = pool.map(net);
    PoolRequest {
        address_space: LOCAL.into(),
        pool,
        sub_pool: sub_pool.map(net),
        ipv6: matches!(pool, Some(IpNet::V6(_))),
        ..PoolRequest::default()
    }
}

/// A pool of the user's, for tests that begin with one.
fn new_pool(pool: &str, sub_pool: Option<&str>) -> String {
    testing::reset();
    another_pool(pool, sub_pool)
}

fn another_pool(pool: &str, sub_pool: Option<&str>) -> String {
    request_pool(&wish(Some(pool), sub_pool)).unwrap().0
}

fn configure(settings: &[(&str, &str)]) {
    for key in ["ipv4", "ipv4-size", "ipv6", "ipv6-size"] {
        let value = settings.iter().find(|(name, _)| *name == key);
        let default = match key {
            "ipv4" => "10.64.0.0/10",
            "ipv4-size" => "24",
            "ipv6-size" => "64",
            _ => "",
        };
        testing::set_config(key, value.map_or(default, |(_, value)| value));
    }
}

fn offered(ipv6: bool) -> Result<String> {
    let wish = PoolRequest {
        ipv6,
        ..wish(None, None)
    };
    request_pool(&wish).map(|(_, subnet)| subnet.to_string())
}

fn next(id: &str) -> Result<String> {
    request_address(id, None, false).map(|address| address.to_string())
}

#[test]
fn every_usable_address_is_given_once_and_then_the_pool_says_that_it_is_exhausted() {
    for (subnet, sub_pool, count) in [
        ("10.90.0.0/29", None, 6),
        ("10.90.0.0/30", None, 2),
        ("10.90.0.0/31", None, 2),
        ("10.90.0.0/32", None, 1),
        ("10.90.0.0/24", None, 254),
        ("10.90.0.0/19", None, 8190),
        ("10.90.0.0/24", Some("10.90.0.0/28"), 15),
        ("10.90.0.0/24", Some("10.90.0.16/28"), 16),
        ("10.90.0.0/24", Some("10.90.0.240/28"), 15),
        ("fd00::/126", None, 3),
        ("fd00::/127", None, 2),
        ("fd00::/128", None, 1),
        ("fd00::/64", Some("fd00::5:0/120"), 256),
    ] {
        testing::reset();
        let (id, pool) = request_pool(&wish(Some(subnet), sub_pool)).unwrap();
        let range = sub_pool.map_or(pool, net);
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            let address = request_address(&id, None, false).unwrap();
            assert_eq!(address.prefix_len(), pool.prefix_len());
            assert!(range.contains(&address.addr()), "{address}");
            assert!(seen.insert(address.addr()), "{address} came twice");
        }
        let error = next(&id).unwrap_err();
        assert!(error.code() == ErrorCode::Exhausted, "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("{count} of {count} addresses")),
            "{text}"
        );
        // What is given back can be had again, and nothing more.
        let again = *seen.iter().next_back().unwrap();
        release_address(&id, again).unwrap();
        assert_eq!(next(&id).unwrap(), format!("{again}/{}", pool.prefix_len()));
        next(&id).unwrap_err();
    }
}

#[test]
fn the_text_of_exhaustion_says_what_to_do() {
    let id = new_pool("10.90.0.0/31", None);
    next(&id).unwrap();
    next(&id).unwrap();
    assert_eq!(
        next(&id).unwrap_err().to_string(),
        "pool 10.90.0.0/31 is exhausted: 2 of 2 addresses are in use; remove endpoints or create the network with a larger --subnet"
    );
    let id = new_pool("10.90.0.0/24", Some("10.90.0.8/32"));
    next(&id).unwrap();
    assert_eq!(
        next(&id).unwrap_err().to_string(),
        "pool 10.90.0.0/24 is exhausted: 1 of 1 addresses of its range 10.90.0.8/32 are in use; remove endpoints or create the network with a larger --ip-range"
    );
}

#[test]
fn a_wanted_address_is_given_if_it_is_free_and_can_be_used() {
    let id = new_pool("10.90.0.0/24", Some("10.90.0.128/25"));
    let id6 = another_pool("fd00::/64", None);
    for (id, address, expected) in [
        (&id, "10.90.0.1", Ok("10.90.0.1/24")),
        (&id, "10.90.0.200", Ok("10.90.0.200/24")),
        (
            &id,
            "10.90.0.200",
            Err("10.90.0.200 is in use already in pool 10.90.0.0/24"),
        ),
        (
            &id,
            "10.90.1.1",
            Err("10.90.1.1 is not in pool 10.90.0.0/24"),
        ),
        (
            &id,
            "10.90.0.0",
            Err(
                "is the network address of pool 10.90.0.0/24; the first usable address is 10.90.0.1",
            ),
        ),
        (&id, "10.90.0.255", Err("is the broadcast address")),
        (&id, "fd00::5", Err("fd00::5 is not in pool")),
        (&id, "::ffff:10.90.0.9", Err("is not in pool")),
        (&id6, "fd00::", Err("is the address of any router")),
        (
            &id6,
            "fd00::ffff:ffff:ffff:ffff",
            Ok("fd00::ffff:ffff:ffff:ffff/64"),
        ),
        (&id6, "10.90.0.9", Err("is not in pool")),
    ] {
        match (request_address(id, Some(ip(address)), false), expected) {
            (Ok(given), Ok(expected)) => assert_eq!(given.to_string(), expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (given, expected) => panic!("{address}: {given:?}, not {expected:?}"),
        }
    }
}

#[test]
fn the_gateway_is_at_the_start_and_given_to_nobody_else() {
    let id = new_pool("10.90.0.0/29", None);
    assert_eq!(next(&id).unwrap(), "10.90.0.1/29");
    release_address(&id, ip("10.90.0.1")).unwrap();
    let gateway = request_address(&id, None, true).unwrap();
    assert_eq!(gateway.to_string(), "10.90.0.1/29");
    for _ in 0..5 {
        assert_ne!(next(&id).unwrap(), "10.90.0.1/29");
    }
    next(&id).unwrap_err();
}

#[test]
fn an_address_is_not_given_again_right_after_its_release() {
    let id = new_pool("10.90.0.0/24", None);
    let mut order = Vec::new();
    for _ in 0..254 {
        let address = request_address(&id, None, false).unwrap().addr();
        release_address(&id, address).unwrap();
        order.push(address);
    }
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 254);
    // Only then the oldest comes again.
    assert_eq!(next(&id).unwrap(), format!("{}/24", order[0]));
}

#[test]
fn releasing_what_is_not_held_succeeds_and_frees_nothing() {
    let id = new_pool("10.90.0.0/30", None);
    next(&id).unwrap();
    next(&id).unwrap();
    for address in ["10.90.0.0", "10.90.0.3", "10.91.0.1", "fd00::1"] {
        release_address(&id, ip(address)).unwrap();
    }
    next(&id).unwrap_err();
    for _ in 0..2 {
        release_address(&id, ip("10.90.0.2")).unwrap();
    }
    assert_eq!(next(&id).unwrap(), "10.90.0.2/30");
    next(&id).unwrap_err();
    for id in ["", "local", "local/10.99.0.0/24", "nonsense/x"] {
        release_address(id, ip("10.99.0.1")).unwrap();
        release_pool(id).unwrap();
        let error = request_address(id, None, false).unwrap_err();
        assert!(error.code() == ErrorCode::NotFound, "{error:?}");
    }
}

#[test]
fn releasing_a_pool_frees_all_its_addresses_and_leaves_no_key() {
    testing::reset();
    for _ in 0..2 {
        let id = another_pool("10.90.0.0/16", None);
        for _ in 0..10_000 {
            next(&id).unwrap();
        }
        release_pool(&id).unwrap();
        release_pool(&id).unwrap();
        assert_eq!(cost::keys(), Vec::<String>::new());
    }
}

#[test]
fn a_wanted_pool_is_refused_if_it_cannot_be_had() {
    testing::reset();
    request_pool(&wish(Some("10.90.0.0/16"), None)).unwrap();
    for (subnet, sub_pool, expected) in [
        (
            "10.90.0.0/16",
            None,
            "10.90.0.0/16 overlaps with 10.90.0.0/16, which is held as pool \"local/10.90.0.0/16\"",
        ),
        (
            "10.90.7.0/24",
            None,
            "10.90.7.0/24 overlaps with 10.90.0.0/16, which is held as pool \"local/10.90.0.0/16\"",
        ),
        ("10.0.0.0/8", None, "10.0.0.0/8 overlaps with 10.90.0.0/16"),
        ("0.0.0.0/0", None, "0.0.0.0/8, which means this host"),
        ("127.0.0.0/24", None, "the loopback addresses"),
        ("224.1.0.0/16", None, "the multicast addresses"),
        ("10.91.0.1/24", None, "the subnet is 10.91.0.0/24"),
        (
            "10.91.0.0/24",
            Some("10.92.0.0/28"),
            "--ip-range 10.92.0.0/28 is not a part of 10.91.0.0/24",
        ),
        ("10.91.0.0/24", Some("10.91.0.0/16"), "is not a part of"),
        ("10.91.0.0/24", Some("fd00::/80"), "is not a part of"),
        (
            "10.91.0.0/24",
            Some("10.91.0.0/32"),
            "has no address that a container of 10.91.0.0/24 can have",
        ),
        ("::/0", None, "cannot be the subnet of a network"),
        ("ff02::/64", None, "the multicast addresses"),
        ("::ffff:10.0.0.0/104", None, "IPv4 addresses in IPv6 form"),
    ] {
        let error = request_pool(&wish(Some(subnet), sub_pool))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{subnet}: {error}");
    }
    let other = |space: &str, ipv6, wish: PoolRequest| PoolRequest {
        address_space: space.into(),
        ipv6,
        ..wish
    };
    for (wish, expected) in [
        (
            wish(None, Some("10.91.0.0/24")),
            "--ip-range needs a --subnet",
        ),
        (
            other(LOCAL, true, wish(Some("10.91.0.0/24"), None)),
            "10.91.0.0/24 is not an IPv6 subnet",
        ),
        (
            other(LOCAL, false, wish(Some("fd00::/64"), None)),
            "fd00::/64 is not an IPv4 subnet",
        ),
        (
            other("LocalDefault", false, wish(None, None)),
            "no address space \"LocalDefault\"",
        ),
        (other("", false, wish(None, None)), "no address space \"\""),
    ] {
        let error = request_pool(&wish).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
    // In another address space the same subnet is another network's.
    request_pool(&other(GLOBAL, false, wish(Some("10.90.0.0/16"), None))).unwrap();
}

#[test]
fn pools_that_nobody_named_are_different_until_none_is_left() {
    testing::reset();
    configure(&[("ipv4", "10.90.0.0/22 10.95.0.0/24")]);
    // A user's own network in the middle, smaller than a pool, and one that spans several.
    request_pool(&wish(Some("10.90.1.64/28"), None)).unwrap();
    let mut given = BTreeSet::new();
    for _ in 0..4 {
        assert!(given.insert(offered(false).unwrap()));
    }
    let expected = [
        "10.90.0.0/24",
        "10.90.2.0/24",
        "10.90.3.0/24",
        "10.95.0.0/24",
    ];
    assert_eq!(given, expected.map(String::from).into());
    let error = offered(false).unwrap_err();
    assert!(error.code() == ErrorCode::Exhausted);
    assert!(
        error
            .to_string()
            .contains("every /24 of 10.90.0.0/22, 10.95.0.0/24 is held"),
        "{error}"
    );
    release_pool("local/10.90.2.0/24").unwrap();
    assert_eq!(offered(false).unwrap(), "10.90.2.0/24");
    release_pool("local/10.90.1.64/28").unwrap();
    assert_eq!(offered(false).unwrap(), "10.90.1.0/24");
}

#[test]
fn a_pool_that_was_turned_down_is_not_offered_to_the_next_network() {
    testing::reset();
    assert_eq!(offered(false).unwrap(), "10.64.0.0/24");
    assert_eq!(offered(false).unwrap(), "10.64.1.0/24");
    release_pool("local/10.64.0.0/24").unwrap();
    assert_eq!(offered(false).unwrap(), "10.64.2.0/24");
}

#[test]
fn a_wide_pool_of_a_user_is_passed_in_one_step() {
    testing::reset();
    request_pool(&wish(Some("10.64.0.0/11"), None)).unwrap();
    cost::take();
    assert_eq!(offered(false).unwrap(), "10.96.0.0/24");
    request_pool(&wish(Some("10.96.1.0/26"), None)).unwrap();
    request_pool(&wish(Some("10.96.1.128/26"), None)).unwrap();
    assert_eq!(offered(false).unwrap(), "10.96.2.0/24");
    assert!(cost::take().0 < 12);
}

#[test]
fn ipv6_pools_come_from_a_random_prefix_that_is_kept() {
    testing::reset();
    let first = net(&offered(true).unwrap());
    assert!(net("fd00::/8").contains(&first));
    assert_eq!(first.prefix_len(), 64);
    let wish = PoolRequest {
        ipv6: true,
        ..wish(None, None)
    };
    let (id, second) = request_pool(&wish).unwrap();
    assert_eq!(Some(second), subnet::next(first));
    assert_eq!(
        next(&id).unwrap(),
        format!("{}/64", subnet::address(second, 1))
    );
    configure(&[("ipv6", "fd77::/32")]);
    assert_eq!(offered(true).unwrap(), "fd77::/64");
}

#[test]
fn changed_settings_never_offer_what_is_held() {
    testing::reset();
    let mut held: Vec<IpNet> = Vec::new();
    for settings in [
        &[][..],
        &[("ipv4-size", "26")],
        &[("ipv4-size", "20")],
        &[("ipv4", "10.65.0.0/16, 10.64.0.0/16")],
        &[("ipv4-size", "30")],
        &[],
    ] {
        configure(settings);
        for _ in 0..12 {
            let subnet = net(&offered(false).unwrap());
            assert!(
                held.iter().all(|other| !subnet::overlap(*other, subnet)),
                "{subnet}"
            );
            held.push(subnet);
        }
    }
}

#[test]
fn the_user_can_choose_the_size_alone() {
    testing::reset();
    let wish = |options: &[(&str, &str)]| PoolRequest {
        options: options.iter().copied().collect(),
        ..wish(None, None)
    };
    let (_, subnet) = request_pool(&wish(&[("ipv4-size", "28")])).unwrap();
    assert_eq!(subnet, net("10.64.0.0/28"));
    let (_, subnet) = request_pool(&wish(&[])).unwrap();
    assert_eq!(subnet, net("10.64.1.0/24"));
    let error = request_pool(&wish(&[("ipv4-size", "33")])).unwrap_err();
    assert_eq!(
        error.message(),
        "option ipv4-size=33 is not a prefix length from 1 to 32"
    );
}

#[test]
fn an_address_costs_a_few_keys_however_many_are_held() {
    let id = new_pool("10.0.0.0/8", None);
    let mut worst = (0, 0);
    for _ in 0..10_000 {
        cost::take();
        next(&id).unwrap();
        let (read, written) = cost::take();
        worst = (worst.0.max(read), worst.1.max(written));
    }
    assert!(worst.0 <= 6 && worst.1 <= 2048, "{worst:?}");
}

#[test]
fn ten_thousand_ipv6_addresses_take_little_room() {
    let id = new_pool("fd00::/64", None);
    for _ in 0..10_000 {
        next(&id).unwrap();
    }
    let state = testing::state();
    let bytes: usize = state
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    assert!(
        state.len() < 350 && bytes < 500_000,
        "{} keys, {bytes} bytes",
        state.len()
    );
}

fn ask_pool(
    engine: &str,
    subnet: &str,
    sub_pool: Option<&str>,
    options: &[(&str, &str)],
) -> Result<String> {
    let request = PoolRequest {
        engine: engine.into(),
        options: options.iter().copied().collect(),
        ..wish(Some(subnet), sub_pool)
    };
    request_shared_pool(&request).map(|(id, _)| id)
}

fn ask_as(id: &str, address: Option<&str>, mac: &str) -> Result<String> {
    let request = AddressRequest {
        pool_id: id.to_owned(),
        address: address.map(ip),
        mac_address: Some(mac.parse().unwrap()),
        ..AddressRequest::default()
    };
    addresses::request_address(&request).map(|address| address.to_string())
}

#[test]
fn networks_that_ask_for_one_subnet_share_it_until_the_last_is_gone() {
    testing::reset();
    let whole = ask_pool("a", "10.90.0.0/24", None, &[]).unwrap();
    assert_eq!(ask_pool("a", "10.90.0.0/24", None, &[]).unwrap(), whole);
    let part = ask_pool("a", "10.90.0.0/24", Some("10.90.0.0/30"), &[]).unwrap();
    assert_eq!(part, "local/10.90.0.0/24/10.90.0.0/30");
    assert_eq!(next(&whole).unwrap(), "10.90.0.1/24");
    assert_eq!(next(&part).unwrap(), "10.90.0.2/24");
    assert_eq!(next(&whole).unwrap(), "10.90.0.3/24");
    let refused = next(&part).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Exhausted, "{refused}");
    for id in [&part, &whole] {
        release_pool(id).unwrap();
        assert_eq!(
            request_address(&whole, Some(ip("10.90.0.1")), false)
                .unwrap_err()
                .code(),
            ErrorCode::InUse
        );
    }
    assert_eq!(next(&part).unwrap_err().code(), ErrorCode::NotFound);
    release_pool(&whole).unwrap();
    assert_eq!(cost::keys(), Vec::<String>::new());
}

#[test]
fn an_engine_that_starts_again_asks_for_what_it_had() {
    testing::reset();
    let id = ask_pool("first", "10.90.0.0/24", None, &[]).unwrap();
    let gateway = |id: &str| request_address(id, Some(ip("10.90.0.1")), true);
    gateway(&id).unwrap();
    ask_as(&id, Some("10.90.0.9"), "02:00:00:00:00:01").unwrap();
    // In the same life of the engine, it is somebody else who asks.
    assert_eq!(gateway(&id).unwrap_err().code(), ErrorCode::InUse);
    let repeat = |address| request_address(&id, Some(ip(address)), false);
    assert_eq!(repeat("10.90.0.9").unwrap_err().code(), ErrorCode::InUse);
    // A container that comes again under its Ethernet address is the same one.
    ask_as(&id, Some("10.90.0.9"), "02:00:00:00:00:01").unwrap();
    for engine in ["second", "third"] {
        assert_eq!(ask_pool(engine, "10.90.0.0/24", None, &[]).unwrap(), id);
        assert_eq!(gateway(&id).unwrap().to_string(), "10.90.0.1/24");
        assert_eq!(repeat("10.90.0.9").unwrap().to_string(), "10.90.0.9/24");
        // Once is enough, and what another container wants is no repetition.
        assert_eq!(gateway(&id).unwrap_err().code(), ErrorCode::InUse);
        assert_eq!(
            ask_as(&id, Some("10.90.0.9"), "02:00:00:00:00:02")
                .unwrap_err()
                .code(),
            ErrorCode::InUse
        );
        assert_eq!(
            ask_as(&id, Some("10.90.0.1"), "02:00:00:00:00:02")
                .unwrap_err()
                .code(),
            ErrorCode::InUse
        );
    }
    // However often it was asked for, it is one network's.
    release_pool(&id).unwrap();
    assert_eq!(cost::keys(), Vec::<String>::new());
}

#[test]
fn a_network_that_the_engine_forgot_keeps_its_range_and_nothing_else() {
    testing::reset();
    let gone = ask_pool("first", "10.90.0.0/24", Some("10.90.0.64/26"), &[]).unwrap();
    let kept = ask_pool("first", "10.90.0.0/24", None, &[]).unwrap();
    ask_pool("second", "10.90.0.0/24", None, &[]).unwrap();
    release_pool(&kept).unwrap();
    assert_eq!(next(&kept).unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(next(&gone).unwrap(), "10.90.0.65/24");
    release_pool(&gone).unwrap();
    assert_eq!(cost::keys(), Vec::<String>::new());
}

#[test]
fn addresses_of_a_range_begin_behind_what_looks_like_a_network() {
    for (subnet, sub_pool, expected) in [
        (
            "192.168.255.0/24",
            "192.168.255.128/26",
            "192.168.255.129/24",
        ),
        (
            "2001:db8::/32",
            "2001:db8:aaaa:bbbb::/64",
            "2001:db8:aaaa:bbbb::1/32",
        ),
        ("10.90.0.0/24", "10.90.0.64/31", "10.90.0.64/24"),
        ("10.90.0.0/24", "10.90.0.64/32", "10.90.0.64/24"),
        ("fd00::/64", "fd00::5/128", "fd00::5/64"),
    ] {
        let id = new_pool(subnet, Some(sub_pool));
        assert_eq!(next(&id).unwrap(), expected);
        let id = new_pool(subnet, Some(sub_pool));
        assert_eq!(
            request_address(&id, None, true).unwrap().to_string(),
            expected
        );
    }
    let id = new_pool("192.168.255.0/24", Some("192.168.255.128/26"));
    assert_eq!(
        request_address(&id, Some(ip("192.168.255.25")), false)
            .unwrap()
            .to_string(),
        "192.168.255.25/24"
    );
    let id = new_pool("2001:db8::/32", Some("2001:db8:aaaa:bbbb::/64"));
    for address in [
        "2001:db8:dddd:eeee:ffff:1:2:3",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        assert_eq!(
            request_address(&id, Some(ip(address)), false)
                .unwrap()
                .to_string(),
            format!("{address}/32")
        );
    }
}

#[test]
fn point_to_point_addresses_stand_alone_and_all_of_them_are_given() {
    for (subnet, expected) in [
        (
            "10.90.0.0/30",
            [
                "10.90.0.0/32",
                "10.90.0.1/32",
                "10.90.0.2/32",
                "10.90.0.3/32",
            ],
        ),
        (
            "fd00::/126",
            ["fd00::/128", "fd00::1/128", "fd00::2/128", "fd00::3/128"],
        ),
    ] {
        testing::reset();
        let id = ask_pool("", subnet, None, &[("ptp", "1")]).unwrap();
        for address in expected {
            assert_eq!(next(&id).unwrap(), address);
        }
        assert_eq!(next(&id).unwrap_err().code(), ErrorCode::Exhausted);
        release_address(&id, net(expected[3]).addr()).unwrap();
        let again = request_address(&id, Some(net(expected[3]).addr()), false).unwrap();
        assert_eq!(again.to_string(), expected[3]);
        let refused = ask_pool("", subnet, None, &[]).unwrap_err();
        assert!(
            refused.message().contains("is held with ptp=true"),
            "{refused}"
        );
    }
}

#[test]
fn without_validation_an_address_can_be_asked_for_twice() {
    testing::reset();
    let id = ask_pool("", "10.90.0.0/24", None, &[("validate", "0")]).unwrap();
    for _ in 0..2 {
        request_address(&id, Some(ip("10.90.0.1")), false).unwrap();
    }
    assert_eq!(next(&id).unwrap(), "10.90.0.2/24");
}
