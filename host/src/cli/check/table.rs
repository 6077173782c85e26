//! `dockside check --list`

use dockside_check::{Check, Need};
use serde::Serialize;

use crate::cli::{OK, print_json, table};

/// A check as others read it.
#[derive(Serialize)]
struct Row {
    id: &'static str,
    level: char,
    kind: Option<&'static str>,
    needs: Vec<&'static str>,
    title: &'static str,
    rule: &'static str,
    slow: bool,
}

fn need(need: Need) -> &'static str {
    match need {
        Need::Root => "root",
        Need::Process => "process",
        Need::Fault => "fault",
        Need::Driver => "driver",
        Need::Engine => "engine",
    }
}

fn row(check: &Check) -> Row {
    Row {
        id: check.id,
        level: check.level.letter(),
        kind: check.kind.map(dockside_check::Kind::implements),
        needs: check.needs.iter().map(|one| need(*one)).collect(),
        title: check.title,
        rule: check.rule,
        slow: check.slow,
    }
}

pub(super) fn print(json: bool) -> anyhow::Result<u8> {
    let rows: Vec<Row> = dockside_check::all().iter().map(row).collect();
    if json {
        print_json(&rows)?;
        return Ok(OK);
    }
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            [
                row.id.to_owned(),
                row.level.to_string(),
                row.needs.join(","),
                row.title.to_owned(),
            ]
        })
        .collect();
    table::print(&["ID", "LEVEL", "NEEDS", "TITLE"], &lines);
    for (id, reason) in dockside_check::left_out() {
        say!("{id} is left out: {reason}");
    }
    Ok(OK)
}
