//! What the engine asks before it asks for addresses.

use serde_json::Value;

use super::check;
use super::lab::Lab;
use crate::Bench;
use crate::check::{Check, Level, Outcome};

pub(super) const CHECKS: &[Check] = &[
    check(
        "I01",
        Level::Engine,
        "GetDefaultAddressSpaces",
        "Two texts that are not empty, and always the same: the engine puts them into every RequestPool, and up to version 24 it asks only once.",
        names_address_spaces,
    ),
    check(
        "I02",
        Level::Engine,
        "GetCapabilities",
        "Status 404, or RequiresMACAddress and RequiresRequestReplay as booleans, always the same: the engine reads any other type as a failure, takes both for false, and then sends no Ethernet address and replays nothing.",
        tells_capabilities,
    ),
    check(
        "I09",
        Level::Engine,
        "a pool of an address space that there is not",
        "An error: a network that was made with another plugin of this name would otherwise get addresses that nobody keeps apart from others.",
        refuses_unknown_space,
    ),
];

fn names_address_spaces(bench: &Bench) -> Outcome {
    let method = "IpamDriver.GetDefaultAddressSpaces";
    let first = bench.send(method, b"");
    first.succeeds()?;
    for field in ["LocalDefaultAddressSpace", "GlobalDefaultAddressSpace"] {
        first.ensure(!first.text(&format!("/{field}")).is_empty(), || {
            format!("{field} is empty")
        })?;
    }
    let lab = Lab::new(bench)?;
    let pool = lab.pool(lab.four(24, 0)?)?;
    for _ in 0..bench.repeat() {
        let again = bench.send(method, b"");
        again.ensure(again.json() == first.json(), || {
            format!("before it was {}", first.exchange().answer)
        })?;
    }
    lab.free_pool(&pool.id).succeeds().map(drop)
}

fn tells_capabilities(bench: &Bench) -> Outcome {
    let method = "IpamDriver.GetCapabilities";
    let first = bench.send(method, b"");
    if first.status() == 404 {
        return Ok(());
    }
    let answer = first.succeeds()?;
    for field in ["RequiresMACAddress", "RequiresRequestReplay"] {
        // Absent is Go's way to say false.
        let fits = answer.get(field).is_none_or(Value::is_boolean);
        first.ensure(fits, || format!("{field} is no boolean"))?;
    }
    for _ in 0..bench.repeat() {
        let again = bench.send(method, b"");
        again.ensure(again.json() == first.json(), || {
            format!("before it was {}", first.exchange().answer)
        })?;
    }
    Ok(())
}

fn refuses_unknown_space(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench)?;
    let net = lab.four(24, 0)?.to_string();
    for space in [bench.name("space").as_str(), ""] {
        lab.ask_pool(space, &net, "", false).errs()?;
    }
    Ok(())
}
