//! A driver's answer, and its verbs, for people.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::{print_json, table};
use crate::protocol::describe::{Parameter, ValueType, Verb};
use crate::protocol::one_line;

/// Bytes of one cell or line. What is longer is cut: JSON has all of it.
const MAX_CELL: usize = 64 << 10;

/// Prints what there is to run.
pub(super) fn verbs(plugin: &str, verbs: &[Verb]) {
    if verbs.is_empty() {
        say!("The driver of {plugin} has no verbs.");
        return;
    }
    for (index, verb) in verbs.iter().enumerate() {
        if index > 0 {
            say!("");
        }
        say!("dockside run {plugin} {}{}", verb.name, usage(verb));
        if !verb.help.is_empty() {
            say!("    {}", cell(&verb.help));
        }
        let name = |argument: &Parameter| argument.name.chars().count();
        let width = verb.arguments.iter().map(name).max().unwrap_or(0);
        for argument in &verb.arguments {
            let line = format!("{:width$}  {}", argument.name, explained(argument));
            say!("      {}", line.trim_end());
        }
    }
}

fn usage(verb: &Verb) -> String {
    let shown = |argument: &Parameter| {
        let value = if argument.secret { "@FILE" } else { "…" };
        let text = format!("{}={value}", argument.name);
        if argument.required && argument.default.is_none() {
            format!(" {text}")
        } else {
            format!(" [{text}]")
        }
    };
    verb.arguments.iter().map(shown).collect()
}

/// What an argument can be and is for.
fn explained(argument: &Parameter) -> String {
    let kind = match &argument.value_type {
        ValueType::Text if argument.secret => "secret".to_owned(),
        ValueType::Text => String::new(),
        ValueType::Boolean => "true or false".to_owned(),
        ValueType::Integer { min, max } => format!("a whole number from {min} to {max}"),
        ValueType::Size => "a size such as 10GiB".to_owned(),
        ValueType::Choice(words) => words.join(", "),
    };
    let mut parts = Vec::new();
    if !argument.help.is_empty() {
        parts.push(argument.help.clone());
    }
    if !kind.is_empty() {
        parts.push(format!("({kind})"));
    }
    let default = argument.default.as_ref();
    if let Some(default) = default.filter(|default| !default.is_empty() && !argument.secret) {
        parts.push(format!("[default: {default}]"));
    }
    cell(&parts.join(" "))
}

/// Prints an answer.
pub(super) fn answer(answer: &RawValue, json: bool) -> anyhow::Result<()> {
    // Members stay in the order in which the driver wrote them.
    let value: Value = serde_json::from_str(answer.get())?;
    if json {
        return print_json(&value);
    }
    match &value {
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if items.iter().all(Value::is_object) => {
            let columns = columns(items);
            let headings: Vec<String> = columns.iter().map(|name| heading(name)).collect();
            let rows: Vec<Vec<String>> = items
                .iter()
                .map(|item| columns.iter().map(|name| shown(item.get(name))).collect())
                .collect();
            table::print(&headings, &rows);
        }
        Value::Array(items) => {
            for item in items {
                say!("{}", shown(Some(item)));
            }
        }
        Value::Object(fields) => {
            let width = fields.keys().map(|name| cell(name).chars().count()).max();
            let width = width.unwrap_or(0);
            for (name, value) in fields {
                let line = format!("{:width$}  {}", cell(name), shown(Some(value)));
                say!("{}", line.trim_end());
            }
        }
        Value::Null => {}
        Value::String(text) => {
            for line in text.lines() {
                say!("{}", indented(line));
            }
        }
        other => say!("{other}"),
    }
    Ok(())
}

/// The names of all members, each where it comes first.
fn columns(items: &[Value]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for name in items
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|item| item.keys())
    {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    columns
}

fn heading(name: &str) -> String {
    cell(name).to_uppercase()
}

/// One value in one line.
fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cell(text),
        Some(Value::Array(items))
            if !items.iter().any(|item| item.is_array() || item.is_object()) =>
        {
            let items: Vec<String> = items.iter().map(|item| shown(Some(item))).collect();
            items.join(", ")
        }
        Some(other) => cell(&other.to_string()),
    }
}

/// Nothing that a driver says may move the cursor.
fn cell(text: &str) -> String {
    one_line(text, MAX_CELL)
}

/// A line of text, with the white space at its beginning.
fn indented(line: &str) -> String {
    let text = line.trim_start_matches([' ', '\t']);
    let (space, _) = line.split_at(line.len() - text.len());
    format!("{space}{}", cell(text))
}
