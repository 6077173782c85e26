#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/src/wapi/grid.rs"]
mod grid;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use dockside_driver::{
    ErrorCode, IpNet, MacAddr,
    http::{Request, Response},
    testing,
};
use serde_json::Value;

use super::*;
use grid::Grid;

/// What happens to a request on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The grid never sees it.
    Before,
    /// The grid does it, and its answer is lost.
    After,
    /// The grid does it when the next request is done.
    Late,
    Status(u16),
}

#[derive(Default)]
struct Wire {
    grid: Grid,
    /// Faults of the POST requests to come, in order.
    faults: VecDeque<Fault>,
    is_down: bool,
    late: Option<(String, Value)>,
    requests: usize,
}

type Shared = Rc<RefCell<Wire>>;

impl Wire {
    fn answer(&mut self, request: &Request) -> Result<Response> {
        assert_eq!(
            request.headers[0],
            (
                "Authorization".into(),
                "{{basic docker wapi-password}}".into()
            )
        );
        let lost = || Err(Error::unavailable("the server does not answer in time"));
        self.requests += 1;
        if self.is_down {
            return lost();
        }
        let target = request
            .url
            .strip_prefix("https://grid.example.com:443/wapi/v2.0/")
            .unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let fault = match request.method.as_str() {
            "POST" => self.faults.pop_front().unwrap_or(Fault::None),
            _ => Fault::None,
        };
        match fault {
            Fault::Before => return lost(),
            Fault::Late => {
                self.late = Some((target.to_owned(), body));
                return lost();
            }
            Fault::Status(status) => {
                return Ok(Response {
                    status,
                    ..Response::default()
                });
            }
            Fault::None | Fault::After => {}
        }
        let (status, answer) = self.grid.answer(&request.method, target, body);
        if request.method == "POST"
            && let Some((target, body)) = self.late.take()
        {
            self.grid.answer("POST", &target, body);
        }
        if fault == Fault::After {
            return lost();
        }
        Ok(Response {
            status,
            body: answer.to_string().into_bytes(),
            ..Response::default()
        })
    }
}

fn start() -> Shared {
    testing::reset();
    for (key, value) in [
        ("grid-host", "grid.example.com"),
        ("wapi-username", "docker"),
        ("local-network-container", "10.90.0.0/23,10.95.0.0/24"),
        ("local-ipv6-network-container", "fd00::/63"),
        ("global-network-container", "10.99.0.0/16"),
        ("global-view", "cluster"),
        ("extattrs", "CMP Type=Docker"),
        ("settle-seconds", "0"),
    ] {
        testing::set_config(key, value);
    }
    let wire: Shared = Rc::new(RefCell::new(Wire {
        grid: Grid::new(&["Docker Request", "Network Name", "CMP Type", "Tenant ID"]),
        ..Wire::default()
    }));
    let answering = wire.clone();
    testing::answer_http(move |request| answering.borrow_mut().answer(request));
    wire
}

fn count(wire: &Shared, kind: &str) -> usize {
    wire.borrow().grid.all(kind).len()
}

fn pool(pool: Option<&str>, options: &[(&str, &str)]) -> PoolRequest {
    let pool: Option<IpNet> = pool.map(|pool| pool.parse().unwrap());
    PoolRequest {
        address_space: LOCAL.into(),
        pool,
        ipv6: matches!(pool, Some(IpNet::V6(_))),
        options: options.iter().copied().collect(),
        engine: "engine".into(),
        ..PoolRequest::default()
    }
}

fn request_pool(request: &PoolRequest) -> Result<String> {
    testing::call(|| Infoblox::request_pool(request)).map(|given| given.pool_id)
}

fn mac(number: u8) -> MacAddr {
    format!("02:00:00:00:00:{number:02x}").parse().unwrap()
}

fn request(
    pool: &str,
    address: Option<&str>,
    mac: Option<MacAddr>,
    gateway: bool,
) -> Result<String> {
    let request = AddressRequest {
        pool_id: pool.to_owned(),
        address: address.map(|address| address.parse().unwrap()),
        mac_address: mac,
        gateway,
        ..AddressRequest::default()
    };
    testing::call(|| Infoblox::request_address(&request)).map(|given| given.address.to_string())
}

fn release(pool: &str, address: &str) {
    let address = address.split('/').next().unwrap().parse().unwrap();
    testing::call(|| Infoblox::release_address(pool, address)).unwrap();
}

fn release_pool(pool: &str) {
    testing::call(|| Infoblox::release_pool(pool)).unwrap();
}

/// What the host does behind the calls, when the grid has nothing left to do.
fn settle(wire: &Shared) {
    let late = wire.borrow_mut().late.take();
    if let Some((target, body)) = late {
        wire.borrow_mut().grid.answer("POST", &target, body);
    }
    for (key, note) in testing::unsettled() {
        testing::call(|| Infoblox::compensate(&key, &note)).unwrap();
    }
    testing::call(|| Infoblox::tick("later")).unwrap();
}

#[test]
fn networks_come_from_the_containers_in_their_order() {
    let wire = start();
    let mut given = Vec::new();
    for _ in 0..3 {
        given.push(request_pool(&pool(None, &[])).unwrap());
    }
    assert_eq!(
        given,
        [
            "local/10.90.0.0/24",
            "local/10.90.1.0/24",
            "local/10.95.0.0/24"
        ]
    );
    let refused = request_pool(&pool(None, &[])).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Exhausted, "{refused}");
    assert_eq!(count(&wire, "networkcontainer"), 2);
    release_pool(&given[1]);
    assert_eq!(
        request_pool(&pool(None, &[("prefix-length", "26")])).unwrap(),
        "local/10.90.1.0/26"
    );
    let six = PoolRequest {
        ipv6: true,
        ..pool(None, &[])
    };
    assert_eq!(request_pool(&six).unwrap(), "local/fd00::/64");
    let global = PoolRequest {
        address_space: GLOBAL.into(),
        ..pool(None, &[])
    };
    assert_eq!(request_pool(&global).unwrap(), "global/10.99.0.0/24");
    let networks = wire.borrow().grid.all("network");
    assert!(
        networks
            .iter()
            .all(|one| one.attribute("CMP Type") == "Docker")
    );
    assert_eq!(networks.last().unwrap().text("network_view"), "cluster");
}

#[test]
fn addresses_are_fixed_addresses_of_their_containers() {
    let wire = start();
    let id = request_pool(&pool(Some("10.91.0.0/29"), &[])).unwrap();
    assert_eq!(
        request(&id, Some("10.91.0.1"), None, true).unwrap(),
        "10.91.0.1/29"
    );
    assert_eq!(
        request(&id, None, Some(mac(1)), false).unwrap(),
        "10.91.0.2/29"
    );
    assert_eq!(
        request(&id, Some("10.91.0.5"), Some(mac(2)), false).unwrap(),
        "10.91.0.5/29"
    );
    assert_eq!(
        request(&id, Some("10.91.0.6"), None, false).unwrap(),
        "10.91.0.6/29"
    );
    let held = wire.borrow().grid.all("fixedaddress");
    let of = |field: &str| {
        held.iter()
            .map(|one| one.text(field).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("mac"),
        [
            "00:00:00:00:00:00",
            "02:00:00:00:00:01",
            "02:00:00:00:00:02",
            "00:00:00:00:00:00"
        ]
    );
    assert_eq!(of("comment")[..2], ["Docker gateway", "Docker container"]);
    for wanted in ["10.91.0.1", "10.91.0.5"] {
        let refused = request(&id, Some(wanted), Some(mac(9)), false).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InUse, "{refused}");
    }
    let refused = request(&id, Some("10.92.0.1"), Some(mac(9)), false).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidArgument, "{refused}");
    for number in [3, 4] {
        request(&id, None, Some(mac(number)), false).unwrap();
    }
    let refused = request(&id, None, Some(mac(9)), false).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Exhausted, "{refused}");
    release(&id, "10.91.0.5");
    release(&id, "10.91.0.5");
    release(&id, "10.99.0.1");
    assert_eq!(
        request(&id, None, Some(mac(9)), false).unwrap(),
        "10.91.0.5/29"
    );
    release_pool(&id);
    assert_eq!(
        (count(&wire, "network"), count(&wire, "fixedaddress")),
        (0, 0)
    );
    assert!(request(&id, None, Some(mac(1)), false).is_err());
}

#[test]
fn a_range_and_ipv6_are_given_as_asked() {
    start();
    let ranged = PoolRequest {
        sub_pool: Some("10.91.0.64/26".parse().unwrap()),
        ..pool(Some("10.91.0.0/24"), &[])
    };
    let id = request_pool(&ranged).unwrap();
    assert_eq!(id, "local/10.91.0.0/24/10.91.0.64/26");
    assert_eq!(
        request(&id, None, Some(mac(1)), false).unwrap(),
        "10.91.0.64/24"
    );
    let six = request_pool(&pool(Some("fd01::/64"), &[])).unwrap();
    assert_eq!(
        request(&six, None, Some(mac(1)), false).unwrap(),
        "fd01::1/64"
    );
    release_pool(&id);
    release_pool(&six);
}

#[test]
fn what_the_grid_has_for_a_client_is_given_to_it_and_stays() {
    let wire = start();
    let id = request_pool(&pool(Some("10.91.0.0/24"), &[])).unwrap();
    let body = serde_json::json!({ "ipv4addr": "10.91.0.77", "mac": mac(7).to_string() });
    assert_eq!(wire.borrow_mut().grid.add("fixedaddress", body).0, 201);
    assert_eq!(
        request(&id, None, Some(mac(7)), false).unwrap(),
        "10.91.0.77/24"
    );
    let second = request(&id, None, Some(mac(7)), false).unwrap_err();
    assert_eq!(second.code(), ErrorCode::InUse, "{second}");
    release(&id, "10.91.0.77");
    assert_eq!(count(&wire, "fixedaddress"), 1);
    // What this driver made and forgot is its own again.
    request(&id, None, Some(mac(8)), false).unwrap();
    dockside_driver::state::delete("lease/local/10.91.0.0/24/10.91.0.1").unwrap();
    assert_eq!(
        request(&id, None, Some(mac(8)), false).unwrap(),
        "10.91.0.1/24"
    );
    release(&id, "10.91.0.1");
    assert_eq!(count(&wire, "fixedaddress"), 1);
}

#[test]
fn hosts_share_a_network_by_its_name() {
    let wire = start();
    let named = pool(None, &[("network-name", "blue")]);
    let id = request_pool(&named).unwrap();
    request(&id, None, None, true).unwrap();
    // Another host has a state of its own.
    let other_host = || {
        let grid = std::mem::take(&mut wire.borrow_mut().grid);
        let wire = start();
        wire.borrow_mut().grid = grid;
        wire
    };
    let wire = other_host();
    assert_eq!(request_pool(&named).unwrap(), id);
    assert_eq!(request(&id, None, None, true).unwrap(), "10.90.0.1/24");
    assert_eq!(
        request(&id, None, Some(mac(1)), false).unwrap(),
        "10.90.0.2/24"
    );
    let elsewhere =
        request_pool(&pool(Some("10.97.0.0/24"), &[("network-name", "blue")])).unwrap_err();
    assert!(
        elsewhere.message().contains("has the subnet 10.90.0.0/24"),
        "{elsewhere}"
    );
    let unnamed = request_pool(&pool(Some("10.90.0.0/24"), &[])).unwrap_err();
    assert_eq!(unnamed.code(), ErrorCode::InUse, "{unnamed}");
    assert_eq!(count(&wire, "network"), 1);
    release(&id, "10.90.0.1");
    release_pool(&id);
    // Its own addresses go; the network and its gateway are others' as well.
    assert_eq!(
        (count(&wire, "network"), count(&wire, "fixedaddress")),
        (1, 1)
    );
    let locks = wire.borrow().grid.all("extensibleattributedef");
    assert!(
        locks.iter().all(|one| !one.text("name").contains("lock")),
        "{locks:?}"
    );
    testing::set_config("delete-shared", "true");
    assert_eq!(request_pool(&named).unwrap(), id);
    release_pool(&id);
    assert_eq!(
        (count(&wire, "network"), count(&wire, "fixedaddress")),
        (0, 0)
    );
}

#[test]
fn a_name_that_another_host_is_making_is_not_made_twice() {
    let wire = start();
    let lock = serde_json::json!({ "name": "Docker lock default blue", "type": "STRING", "comment": "other" });
    wire.borrow_mut().grid.add("extensibleattributedef", lock);
    let refused = request_pool(&pool(None, &[("network-name", "blue")])).unwrap_err();
    assert!(
        refused.message().contains("being made by another host"),
        "{refused}"
    );
    settle(&wire);
    assert_eq!(
        (
            count(&wire, "network"),
            count(&wire, "extensibleattributedef")
        ),
        (0, 5)
    );
}

#[test]
fn nothing_is_allocated_twice_and_nothing_is_left_whatever_is_lost() {
    use Fault::{After, Before, Late, None as Fine, Status};
    let all = [Fine, Before, After, Late, Status(500), Status(503)];
    for first in all {
        for second in all {
            for name in [&[][..], &[("network-name", "blue")]] {
                let wire = start();
                testing::set_config("delete-shared", "true");
                let faults = |wire: &Shared, skip: usize| {
                    let fine = std::iter::repeat_n(Fine, skip);
                    wire.borrow_mut().faults = fine.chain([first, second]).collect();
                };
                // The container, and the lock of a name.
                faults(&wire, 1 + usize::from(!name.is_empty()));
                let id = request_pool(&pool(None, name));
                wire.borrow_mut().faults.clear();
                settle(&wire);
                let expected = usize::from(id.is_ok());
                assert_eq!(
                    count(&wire, "network"),
                    expected,
                    "{first:?} {second:?} {id:?}"
                );
                let id = id.or_else(|_| request_pool(&pool(None, name))).unwrap();
                faults(&wire, 0);
                let given = request(&id, None, Some(mac(1)), false);
                wire.borrow_mut().faults.clear();
                settle(&wire);
                let expected = usize::from(given.is_ok());
                assert_eq!(
                    count(&wire, "fixedaddress"),
                    expected,
                    "{first:?} {second:?} {given:?}"
                );
                release_pool(&id);
                settle(&wire);
                assert_eq!(
                    (
                        count(&wire, "network"),
                        count(&wire, "fixedaddress"),
                        count(&wire, "extensibleattributedef")
                    ),
                    (0, 0, 4),
                    "{first:?} {second:?}"
                );
            }
        }
    }
}

#[test]
fn a_call_that_the_host_runs_again_finds_what_it_made() {
    let wire = start();
    let id = request_pool(&pool(Some("10.91.0.0/24"), &[])).unwrap();
    let asked = AddressRequest {
        pool_id: id.clone(),
        mac_address: Some(mac(1)),
        ..AddressRequest::default()
    };
    let address = testing::call(|| {
        let first = Infoblox::request_address(&asked)?;
        // As after a conflict with another call: its writes are gone, and its key is the same.
        dockside_driver::state::delete(&format!(
            "lease/{}/{}",
            "local/10.91.0.0/24",
            first.address.addr()
        ))?;
        let again = Infoblox::request_address(&asked)?;
        assert_eq!(first, again);
        Ok(again.address)
    });
    assert_eq!(address.unwrap().to_string(), "10.91.0.1/24");
    assert_eq!(count(&wire, "fixedaddress"), 1);
}

#[test]
fn without_the_grid_what_was_given_is_given_again_and_released_later() {
    let wire = start();
    let id = request_pool(&pool(Some("10.91.0.0/24"), &[])).unwrap();
    request(&id, Some("10.91.0.1"), None, true).unwrap();
    request(&id, Some("10.91.0.9"), Some(mac(1)), false).unwrap();
    wire.borrow_mut().is_down = true;
    let before = wire.borrow().requests;
    // The engine starts again.
    let again = PoolRequest {
        engine: "next".into(),
        ..pool(Some("10.91.0.0/24"), &[])
    };
    assert_eq!(request_pool(&again).unwrap(), id);
    assert_eq!(
        request(&id, Some("10.91.0.1"), None, true).unwrap(),
        "10.91.0.1/24"
    );
    assert_eq!(
        request(&id, Some("10.91.0.9"), None, false).unwrap(),
        "10.91.0.9/24"
    );
    assert_eq!(wire.borrow().requests, before);
    let refused = request(&id, None, Some(mac(2)), false).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Unavailable, "{refused}");
    assert!(
        refused
            .message()
            .contains("the Infoblox grid cannot be asked"),
        "{refused}"
    );
    let refused = request_pool(&pool(None, &[])).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Unavailable, "{refused}");
    release(&id, "10.91.0.9");
    release_pool(&id);
    let pending = admin::run("pending", &KeyValues::new()).unwrap();
    assert_eq!(pending.matches("object").count(), 3, "{pending}");
    settle(&wire);
    assert_eq!(count(&wire, "fixedaddress"), 2);
    wire.borrow_mut().is_down = false;
    settle(&wire);
    assert_eq!(
        (count(&wire, "network"), count(&wire, "fixedaddress")),
        (0, 0)
    );
    assert_eq!(admin::run("pending", &KeyValues::new()).unwrap(), "[]");
}

#[test]
fn attributes_that_the_grid_lacks_are_named_and_created() {
    let wire = start();
    wire.borrow_mut().grid = Grid::new(&["Network Name"]);
    let refused = request_pool(&pool(None, &[])).unwrap_err();
    assert!(
        refused.message().contains("Unknown extensible attribute"),
        "{refused}"
    );
    let said = admin::run("check", &KeyValues::new()).unwrap();
    assert_eq!(said.matches("missing").count(), 2, "{said}");
    admin::run("create-attributes", &KeyValues::new()).unwrap();
    let said = admin::run("check", &KeyValues::new()).unwrap();
    assert_eq!(said.matches("defined").count(), 3, "{said}");
    request_pool(&pool(None, &[])).unwrap();
}

#[test]
fn a_wrong_password_is_said_so() {
    let wire = start();
    testing::answer_http(|_| {
        Ok(Response {
            status: 401,
            ..Response::default()
        })
    });
    let refused = request_pool(&pool(None, &[])).unwrap_err();
    assert!(
        refused.message().contains("refuses the user docker"),
        "{refused}"
    );
    drop(wire);
}
