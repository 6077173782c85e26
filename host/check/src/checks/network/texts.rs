//! Texts of users that end up in names, notes and rules.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::life::{Net, absent};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, ensure};
use crate::sandbox::links;

pub(super) const CHECKS: &[Check] = &[Check {
    id: "N36",
    level: Level::Security,
    kind: Some(Kind::Network),
    needs: &[Need::Root],
    title: "options and IDs with quotes, newlines, semicolons, `%s` and 200 bytes",
    rule: "Taken as they are or refused, never as commands, rules or formats: users choose options, and the plugin runs as root.",
    slow: true,
    run: odd_texts,
}];

/// A file that only an injected command makes.
struct Mark(PathBuf);

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const LINK: &str = "dkcinject";

fn odd_texts(bench: &Bench) -> Outcome {
    let mark = Mark(std::env::temp_dir().join(bench.name("mark")));
    let touch = format!("touch {}", mark.0.display());
    let texts = [
        "a b".to_owned(),
        "'".to_owned(),
        "\"".to_owned(),
        "%s%n%d".to_owned(),
        "-help".to_owned(),
        "../../../etc".to_owned(),
        "l".repeat(200),
        format!("x; {touch}"),
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("x' ; {touch} ; '"),
        format!("x\" ; {touch} ; \""),
        format!("x\n{touch}\n"),
        format!("x\nlink add {LINK} type bridge\n"),
        format!("x\n}}\n}}\ntable inet {LINK} {{\nchain x {{\n"),
        format!("\"; }} add table inet {LINK}; #"),
    ];
    for text in &texts {
        let judge =
            |what: &str| clean(&mark.0).map_err(|stop| stop.during(format!("{what} {text:?}")));
        if let Some(option) = &bench.profile().network.text_option {
            let mut net = Net::plan(bench);
            net.options.insert(option.clone(), json!(text));
            whole_life(bench, &net, None)?;
            judge(&format!("the option {option} with the text"))?;
        }
        let mut net = Net::plan(bench);
        net.id = format!("{text}{}", net.id);
        whole_life(bench, &net, None)?;
        judge("a network's ID with")?;
        let net = Net::plan(bench);
        whole_life(bench, &net, Some(text))?;
        judge("an endpoint's ID, option and sandbox with")?;
    }
    Ok(())
}

/// Whatever the driver refuses is well refused.
fn whole_life(bench: &Bench, net: &Net, text: Option<&str>) -> Outcome {
    if net.make().is_success() {
        let mut endpoint = net.plan_endpoint(0);
        let mut key = absent(bench);
        if let Some(text) = text {
            endpoint.id = format!("{text}{}", endpoint.id);
            key.push_str(text);
            if let Some(options) = endpoint.options.as_object_mut() {
                options.insert("note".into(), json!(text));
                options.insert(text.to_owned(), json!("x"));
            }
        }
        let _ = endpoint.make();
        let _ = endpoint.join(&key);
        let names: Vec<String> = net.new_links().into_iter().map(|link| link.name).collect();
        let odd = names.iter().find(|name| {
            !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.@:".contains(c))
        });
        ensure(odd.is_none(), || format!("a link has the name {odd:?}"))?;
        let _ = endpoint.leave();
        let _ = endpoint.delete();
    }
    let _ = net.delete();
    Ok(())
}

fn clean(mark: &Path) -> Outcome {
    ensure(!mark.exists(), || "it was run as a command")?;
    ensure(
        !links().iter().any(|link| link.name == LINK),
        || "it was run as a command of iproute2",
    )?;
    let rules = super::external::rules();
    ensure(
        !rules.iter().any(|(_, rule)| rule.contains(LINK)),
        || "it was taken as rules of the packet filter",
    )
}
