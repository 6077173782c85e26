//! What the driver says it can do.

use serde_json::{Value, json};

use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N01",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "GetCapabilities",
        rule: "Scope is exactly \"local\" or \"global\", ConnectivityScope one of these or empty, GwAllocChecker a boolean, and all of it constant: with anything else the engine does not register the driver, and it asks once in its life.",
        slow: false,
        run: capabilities,
    },
    Check {
        id: "N02",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "GwAllocCheck",
        rule: "A driver with GwAllocChecker answers with the booleans SkipIPv4 and SkipIPv6, one without it says 404: the engine cannot decode anything else, and creates no network then.",
        slow: false,
        run: gateways,
    },
];

fn capabilities(bench: &Bench) -> Outcome {
    let mut first: Option<Value> = None;
    for _ in 0..bench.repeat() {
        // The engine has no arguments for it, and sends no body.
        let answer = bench.send("NetworkDriver.GetCapabilities", b"");
        let says = answer.succeeds()?;
        let scope = |field: &str| says.get(field).and_then(Value::as_str);
        answer.ensure(
            matches!(scope("Scope"), Some("local" | "global")),
            || "Scope is neither \"local\" nor \"global\"",
        )?;
        let reach = says.get("ConnectivityScope").unwrap_or(&Value::Null);
        answer.ensure(
            reach.is_null() || matches!(reach.as_str(), Some("" | "local" | "global")),
            || "ConnectivityScope is neither \"local\" nor \"global\"",
        )?;
        let checker = says.get("GwAllocChecker").unwrap_or(&Value::Null);
        answer.ensure(
            checker.is_null() || checker.is_boolean(),
            || "GwAllocChecker is no boolean",
        )?;
        if let Some(first) = &first {
            answer.ensure(first == says, || format!("before it was {first}"))?;
        }
        first.get_or_insert_with(|| says.clone());
    }
    Ok(())
}

fn gateways(bench: &Bench) -> Outcome {
    let capabilities = bench.send("NetworkDriver.GetCapabilities", b"");
    let advertised = capabilities
        .json()
        .and_then(|says| says.get("GwAllocChecker"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let answer = bench.call(
        "NetworkDriver.GwAllocCheck",
        &json!({"Options": {
            "com.docker.network.enable_ipv4": true,
            "com.docker.network.enable_ipv6": true,
            "com.docker.network.generic": bench.profile().network.options,
        }}),
    );
    if !advertised {
        return answer.ensure(
            answer.status() == 404,
            || "GwAllocChecker is not true, so this method is not there: 404",
        );
    }
    let says = answer.succeeds()?;
    for field in ["SkipIPv4", "SkipIPv6"] {
        let value = says.get(field).unwrap_or(&Value::Null);
        answer.ensure(value.is_null() || value.is_boolean(), || {
            format!("{field} is no boolean")
        })?;
    }
    Ok(())
}
