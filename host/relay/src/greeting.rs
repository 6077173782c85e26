//! What a relay says of itself before it hands anything on.

use std::fmt::Write as _;

use crate::layout::{MOUNTS, VERSION, VOLUMES};

/// Everything that a relay knows of itself.
#[derive(Debug, Default)]
pub(crate) struct Greeting {
    /// dockside's name of the plugin.
    pub(crate) plugin: String,
    /// What the user gave as arguments.
    pub(crate) arguments: Vec<String>,
    /// What the user gave as environment.
    pub(crate) environment: Vec<(String, String)>,
    /// The kernel's table of mounts, as the relay sees it.
    pub(crate) mounts: String,
}

impl Greeting {
    /// One line of JSON. `watch` is for the connection that carries no calls: it says that the relay is there.
    pub(crate) fn line(&self, watch: bool) -> String {
        let mut line = format!(
            "{{\"relay\":{VERSION},\"watch\":{watch},\"plugin\":{}",
            text(&self.plugin)
        );
        line.push_str(",\"args\":[");
        join(&mut line, self.arguments.iter().map(|one| text(one)));
        line.push_str("],\"env\":{");
        let environment = self.environment.iter();
        join(
            &mut line,
            environment.map(|(name, value)| format!("{}:{}", text(name), text(value))),
        );
        line.push_str("},\"mounts\":[");
        let mounts = self.mounts.lines().filter(|line| tells(line));
        join(&mut line, mounts.map(text));
        line.push_str("]}\n");
        line
    }
}

fn join(line: &mut String, parts: impl Iterator<Item = String>) {
    for (number, part) in parts.enumerate() {
        if number > 0 {
            line.push(',');
        }
        line.push_str(&part);
    }
}

/// Whether a mount says something of the plugin: its root shows Docker's ID of it, the others where directories of the machine are.
fn tells(line: &str) -> bool {
    line.split(' ').nth(4).is_some_and(|point| {
        point == "/" || point == VOLUMES || point.starts_with(&format!("{MOUNTS}/"))
    })
}

/// JSON's form of a text.
fn text(plain: &str) -> String {
    let mut quoted = String::with_capacity(plain.len() + 2);
    quoted.push('"');
    for character in plain.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // Writing to a string does not fail.
            control if u32::from(control) < 0x20 => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_one_line_of_json_with_the_mounts_that_matter() {
        let greeting = Greeting {
            plugin: "a/\"b\"".to_owned(),
            arguments: vec!["-x".to_owned(), "one\ntwo\\".to_owned()],
            environment: vec![("DEBUG".to_owned(), "1\u{1f}é".to_owned())],
            mounts: "1 0 8:1 /p/id/rootfs / rw - ext4 /dev/a rw\n\
                     2 1 0:5 / /proc rw - proc proc rw\n\
                     3 1 8:1 /p/id/propagated-mount /volumes rw shared:1 - ext4 /dev/a rw\n\
                     4 1 8:1 / /volumes/x rw - ext4 /dev/b rw\n\
                     5 1 8:1 /root/.ssh /mounts/sshkey rw - ext4 /dev/a rw\n"
                .to_owned(),
        };
        assert_eq!(
            greeting.line(false),
            "{\"relay\":1,\"watch\":false,\"plugin\":\"a/\\\"b\\\"\",\"args\":[\"-x\",\"one\\u000atwo\\\\\"],\
             \"env\":{\"DEBUG\":\"1\\u001fé\"},\"mounts\":[\
             \"1 0 8:1 /p/id/rootfs / rw - ext4 /dev/a rw\",\
             \"3 1 8:1 /p/id/propagated-mount /volumes rw shared:1 - ext4 /dev/a rw\",\
             \"5 1 8:1 /root/.ssh /mounts/sshkey rw - ext4 /dev/a rw\"]}\n"
        );
        let bare = Greeting::default().line(true);
        assert_eq!(
            bare,
            "{\"relay\":1,\"watch\":true,\"plugin\":\"\",\"args\":[],\"env\":{},\"mounts\":[]}\n"
        );
    }
}
