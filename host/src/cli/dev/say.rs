//! What the author types.

use std::io::BufRead as _;
use std::sync::mpsc::Sender;

use serde_json::{Map, Value, json};

use super::Message;
use super::caller::Call;

/// A line that was typed.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// An empty one.
    Nothing,
    /// What can be typed?
    Help,
    /// Build and serve again.
    Build,
    /// That was all.
    Quit,
    /// One of Docker's methods.
    Call(Call),
    /// One of dockside's own verbs, with its arguments.
    Verb(Vec<String>),
    /// None of these; a sentence.
    Wrong(String),
}

/// Tells of each line.
pub(super) fn listen(sender: Sender<Message>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(Message::Typed(Some(line))).is_err() {
                return;
            }
        }
        let _ = sender.send(Message::Typed(None));
    });
}

/// An ID that mounts get that were not given one.
const ID: &str = "dev";

/// Reads a line.
pub(super) fn understand(line: &str) -> Said {
    match line.trim().strip_suffix('&') {
        Some(rest) => match read(rest.trim_end()) {
            Said::Call(call) => Said::Call(Call {
                aside: true,
                ..call
            }),
            said => said,
        },
        None => read(line.trim()),
    }
}

fn read(line: &str) -> Said {
    let (first, rest) = line
        .split_once(char::is_whitespace)
        .map_or((line, ""), |(first, rest)| (first, rest.trim()));
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let volume =
        |method: &str, body: Value| call(&format!("VolumeDriver.{method}"), &body.to_string());
    match (first, words.get(1).map(String::as_str)) {
        ("", _) => Said::Nothing,
        ("help" | "?", _) => Said::Help,
        ("quit" | "exit", _) => Said::Quit,
        ("build", _) => Said::Build,
        ("run" | "inspect" | "logs" | "check" | "reconcile", _) => Said::Verb(words),
        ("list", _) => volume("List", json!({})),
        ("create", Some(name)) => match options(words.get(2..).unwrap_or_default()) {
            Ok(options) => volume("Create", json!({"Name": name, "Opts": options})),
            Err(word) => Said::Wrong(format!("{word:?} is no option: KEY=VALUE")),
        },
        ("mount" | "unmount", Some(name)) => {
            let id = words.get(2).map_or(ID, String::as_str);
            volume(
                if first == "mount" { "Mount" } else { "Unmount" },
                json!({"Name": name, "ID": id}),
            )
        }
        ("get" | "path" | "remove", Some(name)) => {
            let method = match first {
                "get" => "Get",
                "path" => "Path",
                _ => "Remove",
            };
            volume(method, json!({"Name": name}))
        }
        ("create" | "mount" | "unmount" | "get" | "path" | "remove", None) => {
            Said::Wrong(format!("{first} what? Name a volume"))
        }
        (method, _) if method.contains('.') => {
            if rest.is_empty() {
                return call(method, "{}");
            }
            match serde_json::from_str::<Value>(rest) {
                Ok(_) => call(method, rest),
                Err(error) => Said::Wrong(format!(
                    "behind {method} goes a JSON object, and this is none: {error}"
                )),
            }
        }
        (other, _) => Said::Wrong(format!("{other:?} is nothing that can be typed here: help")),
    }
}

fn call(method: &str, body: &str) -> Said {
    Said::Call(Call {
        method: method.to_owned(),
        body: body.to_owned(),
        aside: false,
    })
}

fn options(words: &[String]) -> Result<Map<String, Value>, String> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.into())),
            _ => Err(word.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_become_docker_s_calls() {
        for (line, said) in [
            ("", Said::Nothing),
            ("  help ", Said::Help),
            (
                "create v1 size=1g mode=",
                call(
                    "VolumeDriver.Create",
                    r#"{"Name":"v1","Opts":{"size":"1g","mode":""}}"#,
                ),
            ),
            (
                "mount v1",
                call("VolumeDriver.Mount", r#"{"Name":"v1","ID":"dev"}"#),
            ),
            (
                "unmount v1 other",
                call("VolumeDriver.Unmount", r#"{"Name":"v1","ID":"other"}"#),
            ),
            ("remove v1", call("VolumeDriver.Remove", r#"{"Name":"v1"}"#)),
            (
                "IpamDriver.GetCapabilities",
                call("IpamDriver.GetCapabilities", "{}"),
            ),
            (
                r#"VolumeDriver.Get {"Name": "a b"}"#,
                call("VolumeDriver.Get", r#"{"Name": "a b"}"#),
            ),
            (
                "run find word=a",
                Said::Verb(vec!["run".into(), "find".into(), "word=a".into()]),
            ),
        ] {
            assert_eq!(understand(line), said, "{line}");
        }
        for line in [
            "create",
            "create v1 size",
            "VolumeDriver.Get {",
            "frobnicate",
        ] {
            assert!(matches!(understand(line), Said::Wrong(_)), "{line}");
        }
    }
}
