use std::{
    collections::BTreeMap,
    fmt::{Debug, Write},
};

use crate::sys::Machine;

/// How much of one thing is shown, in characters.
const SHOWN: usize = 300;

fn lines<T: Debug>(what: &str, things: &BTreeMap<String, T>, all: &mut BTreeMap<String, String>) {
    for (key, thing) in things {
        all.insert(format!("{what} {key:?}"), format!("{thing:?}"));
    }
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

impl Machine {
    fn lines(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for (key, value) in &self.state {
            all.insert(format!("state {key:?}"), text(value));
        }
        lines("directory", &self.directories, &mut all);
        lines("mount", &self.mounts, &mut all);
        lines("path", &self.paths, &mut all);
        lines("made path", &self.made_paths, &mut all);
        lines("image", &self.images, &mut all);
        lines("link", &self.links, &mut all);
        lines("rules", &self.rules, &mut all);
        for (key, value) in &self.kept {
            // A test's secret is one all the same.
            let same = format!("{} bytes", value.len());
            all.insert(format!("secret {key:?}"), same);
        }
        all
    }

    /// What another one has more, less or different, one thing a line; empty if they are equal.
    pub(super) fn difference(&self, other: &Self) -> String {
        if self == other {
            return String::new();
        }
        let (here, there) = (self.lines(), other.lines());
        let mut report = String::new();
        let cut = |thing: &str| thing.chars().take(SHOWN).collect::<String>();
        for (what, thing) in &here {
            let shown = match there.get(what) {
                Some(same) if same == thing => continue,
                Some(other) => format!("{what} was {} and is {}", cut(thing), cut(other)),
                None => format!("{what} is gone: {}", cut(thing)),
            };
            let _ = writeln!(report, "  {shown}");
        }
        for (what, thing) in there.iter().filter(|(what, _)| !here.contains_key(*what)) {
            let _ = writeln!(report, "  {what} is new: {}", cut(thing));
        }
        if report.is_empty() {
            report.push_str("  a secret in the host's keeping has another value\n");
        }
        report
    }
}
