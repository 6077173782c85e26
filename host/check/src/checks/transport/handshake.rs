//! What the plugin says it is.

use serde_json::{Value, json};

use crate::check::{Check, Kind, Level, Outcome, Stop, ensure};
use crate::{Bench, bench::invariants::activate};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P01",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "Plugin.Activate with an empty body",
        rule: "Status 200 and {\"Implements\": [...]} with at least one kind: without it the engine does not use the plugin.",
        slow: false,
        run: activates,
    },
    Check {
        id: "P02",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "Plugin.Activate 100 times",
        rule: "The same answer each time, and no state lost: a restarted engine sends it again while volumes are in use.",
        slow: false,
        run: activates_again,
    },
    Check {
        id: "P03",
        level: Level::Engine,
        kind: None,
        needs: &[],
        title: "the names of the kinds",
        rule: "Only VolumeDriver, NetworkDriver, IpamDriver and authz, spelled exactly so: the engine compares them byte for byte.",
        slow: false,
        run: names_kinds,
    },
];

fn activates(bench: &Bench) -> Outcome {
    let answer = activate(bench.socket(), bench.patience());
    let list = answer
        .succeeds()?
        .get("Implements")
        .and_then(Value::as_array);
    answer.ensure(
        list.is_some_and(|list| !list.is_empty()),
        || "no list of kinds under `Implements`",
    )
}

fn activates_again(bench: &Bench) -> Outcome {
    let name = bench.name("kept");
    if bench.is(Kind::Volume) {
        bench
            .call(
                "VolumeDriver.Create",
                &json!({"Name": name, "Opts": bench.profile().volume.filled(&name)}),
            )
            .succeeds()?;
    }
    let first = activate(bench.socket(), bench.patience());
    first.succeeds()?;
    for _ in 1..100 {
        let again = activate(bench.socket(), bench.patience());
        again.ensure(again.json() == first.json(), || {
            format!("before it was {}", first.exchange().answer)
        })?;
    }
    if bench.is(Kind::Volume) {
        bench
            .call("VolumeDriver.Get", &json!({"Name": name}))
            .succeeds()
            .map(drop)
            .map_err(|stop| stop.during("after a hundred handshakes"))?;
    }
    Ok(())
}

fn names_kinds(bench: &Bench) -> Outcome {
    let answer = activate(bench.socket(), bench.patience());
    let names = answer
        .succeeds()?
        .get("Implements")
        .and_then(Value::as_array)
        .ok_or_else(|| Stop::skip("there is no list of kinds"))?;
    for name in names {
        let known = Kind::ALL
            .iter()
            .any(|kind| name.as_str() == Some(kind.implements()));
        answer.ensure(known, || format!("{name} is none of the engine's kinds"))?;
    }
    ensure(!names.is_empty(), || "no kind at all")
}
