//! Published ports, and the messages that only some drivers get.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::endpoints::field;
use super::life::{Endpoint, Net, Subnet, absent};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};
use crate::sandbox::Sandbox;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N25",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "Program- and RevokeExternalConnectivity of a driver that does neither",
        rule: "404 on both: the engine reads 404 as \"not implemented\" and goes on, and with any other error the container does not start.",
        slow: false,
        run: unsupported,
    },
    Check {
        id: "N26",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "Program- and RevokeExternalConnectivity, repeated and in any order",
        rule: "Success each time, the rules of the last call and no others, and none after Revoke: the engine repeats both when the gateway of a container changes, and Revoke also comes first.",
        slow: true,
        run: programmed,
    },
    Check {
        id: "N27",
        level: Level::Robustness,
        kind: Some(Kind::Network),
        needs: &[],
        title: "DiscoverNew and DiscoverDelete, of the own node and of another",
        rule: "Success or 404, repeated too: the engine sends them again at each start, and logs an error for each that fails.",
        slow: false,
        run: discovery,
    },
    Check {
        id: "N28",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[],
        title: "AllocateNetwork and FreeNetwork of a driver of scope global, repeated",
        rule: "The same answer each time, with options that are texts, and a success for what is free already: a swarm's manager repeats both after a change of leaders, and every node gets these options.",
        slow: false,
        run: allocation,
    },
];

fn publish(endpoint: &mut Endpoint, port: u16) {
    endpoint.options = json!({
        "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
        "com.docker.network.portmap": [
            {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": port, "HostPortEnd": port},
        ],
    });
}

fn unsupported(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let endpoint = net.endpoint(0)?;
    endpoint.join(&absent(bench)).succeeds()?;
    let (program, revoke) = (endpoint.program(), endpoint.revoke());
    for (this, other) in [(&program, &revoke), (&revoke, &program)] {
        this.ensure(
            this.status() == 404 || other.status() != 404,
            || "the other of the two gives 404",
        )?;
    }
    if program.status() != 404 {
        program.succeeds()?;
        revoke.succeeds()?;
    }
    endpoint.leave().succeeds()?;
    endpoint.delete().succeeds()?;
    net.delete().succeeds().map(drop)
}

fn programmed(bench: &Bench) -> Outcome {
    let net = Net::create(bench)?;
    let mut endpoint = net.endpoint(0)?;
    let sandbox = Sandbox::open()?;
    endpoint.enter(&sandbox)?;
    let quiet = rules();
    let first = endpoint.revoke();
    if first.status() == 404 {
        return Err(Stop::skip("the driver has no external connectivity"));
    }
    first
        .succeeds()
        .map_err(|stop| stop.during("Revoke before any Program"))?;
    let (one, two) = (28_091, 28_092);
    let mut lines = None;
    for port in [one, one, two, one] {
        publish(&mut endpoint, port);
        let program = endpoint.program();
        program.succeeds()?;
        let now = rules();
        let new: Vec<&str> = now
            .difference(&quiet)
            .map(|(_, rule)| rule.as_str())
            .collect();
        let count = *lines.get_or_insert(new.len());
        program.ensure(new.len() == count, || {
            format!(
                "the first Program has made {count} lines of rules, and now there are {}",
                new.len()
            )
        })?;
        let other = if port == one { two } else { one };
        let about = |port: u16| new.iter().find(|line| names_port(line, port));
        program.ensure(about(other).is_none(), || {
            format!(
                "port {other} is not published any more, and still has a rule: {}",
                about(other).map_or("", |line| line)
            )
        })?;
        program.ensure(count == 0 || about(port).is_some(), || {
            format!("no rule is about port {port}")
        })?;
    }
    for _ in 0..bench.repeat() {
        let revoke = endpoint.revoke();
        revoke.succeeds()?;
        let left = rules();
        let left: Vec<&str> = left
            .difference(&quiet)
            .map(|(_, rule)| rule.as_str())
            .collect();
        revoke.ensure(left.is_empty(), || {
            format!("rules are left: {}", left.join("; "))
        })?;
    }
    endpoint.program().succeeds()?;
    endpoint.end(&sandbox)?;
    bench.until(|| {
        let left = rules();
        let left: Vec<&str> = left
            .difference(&quiet)
            .map(|(_, rule)| rule.as_str())
            .collect();
        ensure(left.is_empty(), || {
            format!("after DeleteEndpoint rules are left: {}", left.join("; "))
        })
    })?;
    net.delete().succeeds().map(drop)
}

/// The machine's packet filters: each rule with the chain that it is in, and its number among those that read the same.
pub(super) fn rules() -> BTreeSet<(u32, String)> {
    let mut all = BTreeSet::new();
    for (program, arguments) in [
        ("nft", ["-s", "list", "ruleset"].as_slice()),
        ("iptables-legacy-save", &[]),
        ("ip6tables-legacy-save", &[]),
    ] {
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        let mut inside: Vec<String> = Vec::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.trim();
            // Comments have the time in them, and the policies of chains have counters.
            if line.is_empty() || line.starts_with(['#', ':']) {
                continue;
            }
            if line == "}" {
                inside.pop();
                continue;
            }
            let rule = format!("{program} {} {line}", inside.join(" "));
            let count = (1..).find(|count| !all.contains(&(*count, rule.clone())));
            all.insert((count.unwrap_or(0), rule));
            if let Some(block) = line.strip_suffix('{') {
                inside.push(block.trim().to_owned());
            }
        }
    }
    all
}

fn names_port(line: &str, port: u16) -> bool {
    let port = port.to_string();
    line.split(|c: char| !c.is_ascii_digit())
        .any(|word| word == port)
}

fn discovery(bench: &Bench) -> Outcome {
    for own in [true, false] {
        for method in ["DiscoverNew", "DiscoverDelete"] {
            for _ in 0..bench.repeat() {
                let address = if own { "192.0.2.1" } else { "192.0.2.2" };
                let node = json!({"Address": address, "BindAddress": "", "Self": own});
                let answer = bench.call(
                    &format!("NetworkDriver.{method}"),
                    &json!({"DiscoveryType": 1, "DiscoveryData": node}),
                );
                if answer.status() != 404 {
                    answer.succeeds()?;
                }
            }
        }
    }
    Ok(())
}

fn allocation(bench: &Bench) -> Outcome {
    let capabilities = bench.send("NetworkDriver.GetCapabilities", b"");
    if capabilities.text("/Scope") != "global" {
        return Err(Stop::skip("the driver is not of scope global"));
    }
    let net = Net::plan(bench);
    let id: String = net.id.chars().take(25).collect();
    let list = |subnet: Option<Subnet>| -> Value {
        subnet.map_or(Value::Null, |subnet| json!([subnet.data()]))
    };
    let body = json!({
        "NetworkID": id,
        "Options": net.options,
        "IPv4Data": list(net.v4),
        "IPv6Data": list(net.v6),
    });
    let first = bench.call("NetworkDriver.AllocateNetwork", &body);
    let options = field(first.succeeds()?, "Options");
    let texts = options
        .as_object()
        .is_none_or(|options| options.values().all(Value::is_string));
    first.ensure(
        texts && (options.is_null() || options.is_object()),
        || "Options is no object of texts",
    )?;
    for _ in 1..bench.repeat() {
        let again = bench.call("NetworkDriver.AllocateNetwork", &body);
        again.succeeds()?;
        again.ensure(again.json() == first.json(), || {
            format!("before it was {}", first.exchange().answer)
        })?;
    }
    for _ in 0..bench.repeat() {
        bench
            .call("NetworkDriver.FreeNetwork", &json!({"NetworkID": id}))
            .succeeds()?;
    }
    Ok(())
}
