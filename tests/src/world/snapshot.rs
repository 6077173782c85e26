//! Everything in a world, as lines that can be compared.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::World;

/// Names that the host mints have at least so many hexadecimal digits in a row.
const MINTED: usize = 10;

/// One fact of the world.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    /// As it is.
    exact: String,
    /// Without what the host mints and the kernel chooses, so that two worlds in which the same was done have the same.
    like: String,
}

/// Everything in a world at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: Vec<Line>,
}

/// What one snapshot has and another has not, a line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference(Vec<String>);

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

impl Snapshot {
    pub(super) fn take(world: &World) -> Result<Snapshot> {
        let mut lines = Vec::new();
        // First the rows: what has no intent any more is done already, whatever else is looked at later.
        rows(world, &mut lines)?;
        mounts(world, &mut lines)?;
        network(world, &mut lines)?;
        let loops = loops(world)?;
        for file in &loops {
            lines.push(line("loop", file));
        }
        files(world, &loops, &mut lines)?;
        for (_, command) in world.helpers()? {
            lines.push(line("process", &command));
        }
        lines.sort();
        Ok(Snapshot { lines })
    }

    /// What is in `other` and not here (+), and the other way round (-).
    pub fn difference(&self, other: &Snapshot) -> Difference {
        self.compare(other, |line| &line.exact)
    }

    /// The same, where names do not matter that the host has minted.
    pub fn unlikeness(&self, other: &Snapshot) -> Difference {
        self.compare(other, |line| &line.like)
    }

    fn compare(&self, other: &Snapshot, text: impl Fn(&Line) -> &String) -> Difference {
        let mut counts: BTreeMap<&String, i32> = BTreeMap::new();
        for line in &other.lines {
            *counts.entry(text(line)).or_default() += 1;
        }
        for line in &self.lines {
            *counts.entry(text(line)).or_default() -= 1;
        }
        Difference(
            counts
                .into_iter()
                .filter(|(_, count)| *count != 0)
                .map(|(line, count)| {
                    let sign = if count > 0 { '+' } else { '-' };
                    format!("{sign} {line}")
                })
                .collect(),
        )
    }

    /// Whether nothing remains that a daemon or the kernel would still do.
    pub fn is_settled(&self) -> bool {
        let count = |what: &str, part: &str| {
            let lines = self.lines.iter().map(|line| &line.exact);
            lines
                .filter(|line| line.starts_with(what) && line.contains(part))
                .count()
        };
        // The kernel lets go of a loop device a moment after the last mount of it.
        let held = count("loop", "") <= count("mount", " /dev/loop");
        held && !self.has("row intent")
            && !self.has("row doomed")
            && self.unknown_directories() == 0
            && self.has_routes_of_addresses()
    }

    /// Whether each IPv6 address has the route that the kernel makes for it, which takes it a moment.
    fn has_routes_of_addresses(&self) -> bool {
        let lines = |what: &'static str| {
            let all = self.lines.iter().map(|line| line.exact.as_str());
            all.filter(move |line| line.starts_with(what))
        };
        lines("link")
            // The table says nothing of ::1.
            .filter(|link| !link.contains("\"ifname\":\"lo\""))
            .flat_map(|link| link.split("\"family\":\"inet6\",\"local\":\"").skip(1))
            .filter_map(|rest| rest.split('"').next())
            .all(|address| {
                let destination = format!("\"dst\":\"{address}\"");
                lines("route").any(|route| {
                    route.contains(&destination) && route.contains("\"type\":\"local\"")
                })
            })
    }

    /// How many directories there are that no plugin has a record of. A daemon takes them away after its start, behind the intents.
    fn unknown_directories(&self) -> usize {
        let lines = || self.lines.iter().map(|line| line.exact.as_str());
        let rows: Vec<&str> = lines()
            .filter(|line| line.starts_with("row directory"))
            .collect();
        lines()
            .filter_map(|line| line.strip_prefix("file volumes/")?.split(' ').next())
            .filter_map(|path| match path.split('/').collect::<Vec<_>>()[..] {
                [_, id] => Some(format!("\"{id}\"")),
                _ => None,
            })
            .filter(|id| !rows.iter().any(|row| row.contains(id)))
            .count()
    }

    /// Whether there is a line that begins so: `link`, `mount`, `nft`, `iptables`, `loop`, `file`, `process`, `row object`.
    pub fn has(&self, beginning: &str) -> bool {
        self.lines
            .iter()
            .any(|line| line.exact.starts_with(beginning))
    }

    /// Without the lines that begin so.
    #[must_use]
    pub fn without(mut self, beginning: &str) -> Snapshot {
        self.lines.retain(|line| !line.exact.starts_with(beginning));
        self
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{}", line.exact)?;
        }
        Ok(())
    }
}

fn line(what: &str, text: &str) -> Line {
    let exact = format!("{what} {text}");
    Line {
        like: unminted(&exact),
        exact,
    }
}

/// Puts `#` for what is minted: long runs of hexadecimal digits, Ethernet addresses, numbers of loop devices.
fn unminted(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    let end = |run: &mut String, out: &mut String| {
        let is_mac = run.len() == 17 && run.split(':').all(|byte| byte.len() == 2);
        let parts: Vec<&str> = run
            .split(':')
            .map(|part| if part.len() >= MINTED { "#" } else { part })
            .collect();
        out.push_str(&if is_mac {
            "#".to_owned()
        } else {
            parts.join(":")
        });
        run.clear();
    };
    for character in text.chars() {
        let in_mac = character == ':' && matches!(run.len() % 3, 2);
        if character.is_ascii_digit() || ('a'..='f').contains(&character) || in_mac {
            run.push(character);
        } else {
            end(&mut run, &mut out);
            out.push(character);
        }
    }
    end(&mut run, &mut out);
    out
}

/// Mounts below the data directory, and whatever else there is that is not of the machine itself.
fn mounts(world: &World, lines: &mut Vec<Line>) -> Result<()> {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", world.holder()))?;
    let base = world.base();
    for entry in table.lines() {
        let fields: Vec<&str> = entry.split(' ').collect();
        let [_, _, _, root, point, options, rest @ ..] = fields.as_slice() else {
            continue;
        };
        if !point.starts_with(&base) {
            continue;
        }
        let mut rest: Vec<String> = rest
            .iter()
            .filter(|field| !field.contains(':') || field.contains('/'))
            .map(|field| (*field).to_owned())
            .collect();
        for field in &mut rest {
            if field.starts_with("/dev/loop") {
                "/dev/loop".clone_into(field);
            }
            // Only from the second mount on, when the first has written one down.
            *field = field.replace(",uuid=on", "");
        }
        lines.push(line(
            "mount",
            &format!("{point} {root} {options} {}", rest.join(" ")),
        ));
    }
    Ok(())
}

/// Commands that show a network, each with what its lines are called.
const NETWORK: [(&str, &str); 6] = [
    ("link", "ip -j -d addr show"),
    ("route", "ip -j route show table all"),
    ("fdb", "bridge -j fdb show"),
    ("neighbour", "ip -j neigh show nud permanent"),
    ("nft", "nft -s list ruleset"),
    ("iptables", "iptables-save; ip6tables-save"),
];

fn network(world: &World, lines: &mut Vec<Line>) -> Result<()> {
    let script: Vec<String> = NETWORK
        .iter()
        .map(|(_, command)| format!("({command}) && echo @@@@"))
        .collect();
    let output = world.run(&script.join("\n"))?;
    for ((what, _), text) in NETWORK.iter().zip(output.split("@@@@\n")) {
        match *what {
            "nft" => rules(text, lines),
            "iptables" => {
                for text in text.lines().filter(|line| !line.starts_with('#')) {
                    let text = text.split(" [").next().unwrap_or(text);
                    // What iptables makes when it is used for the first time, and leaves.
                    let is_frame = text.starts_with([':', '*']) || text == "COMMIT";
                    if !is_frame || text.contains("DOCKSIDE") {
                        lines.push(line(what, text));
                    }
                }
            }
            _ => json_lines(what, text, lines)?,
        }
    }
    Ok(())
}

/// Tables of nftables other than those in which iptables keeps its rules.
fn rules(text: &str, lines: &mut Vec<Line>) {
    let mut table = String::new();
    let mut chain = String::new();
    for raw in text.lines() {
        let trimmed = raw.trim();
        if let Some(name) = raw.strip_prefix("table ") {
            name.trim_end_matches(" {").clone_into(&mut table);
            chain.clear();
        } else if trimmed.ends_with('{') && raw.starts_with("\t") && !raw.starts_with("\t\t") {
            trimmed.clone_into(&mut chain);
        }
        // `made_` says whether iptables had been used before, which is forgotten with the table.
        let is_note = trimmed.starts_with("chain made_");
        if !table.starts_with("inet dockside") || is_note || trimmed.is_empty() || trimmed == "}" {
            continue;
        }
        // The elements of a set come in the kernel's order, several to a line.
        for element in trimmed
            .trim_start_matches("elements = {")
            .trim_end_matches('}')
            .split(", ")
            .map(|element| element.trim().trim_end_matches(','))
            .filter(|element| !element.is_empty())
        {
            lines.push(line("nft", &format!("{table} | {chain} | {element}")));
        }
    }
}

/// Fields of links that change by themselves, or that say in numbers what a name says too.
const PASSING: [&str; 35] = [
    "forward_delay_timer",
    "hold_timer",
    "message_age_timer",
    "config_pending",
    "topology_change_ack",
    "ifindex",
    "link_index",
    "iflink",
    "operstate",
    "qdisc",
    "txqlen",
    "flags",
    "group",
    "promiscuity",
    "allmulti",
    "gso_max_size",
    "gso_max_segs",
    "tso_max_size",
    "tso_max_segs",
    "gro_max_size",
    "gso_ipv4_max_size",
    "gro_ipv4_max_size",
    "num_tx_queues",
    "num_rx_queues",
    "link_netnsid",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "state",
    "state_str",
    "bridge_id",
    "root_id",
    "valid_life_time",
    "preferred_life_time",
];

fn json_lines(what: &str, text: &str, lines: &mut Vec<Line>) -> Result<()> {
    let text = text.trim();
    let list: Vec<Value> = if text.is_empty() {
        Vec::new()
    } else {
        serde_json::from_str(text).with_context(|| format!("{what}: {text}"))?
    };
    for mut item in list {
        if is_the_kernels_own(what, &item) {
            continue;
        }
        let is_up = item
            .get("flags")
            .and_then(Value::as_array)
            .is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
        without_passing(&mut item);
        if let Some(fields) = item.as_object_mut()
            && what == "link"
        {
            fields.insert("up".into(), Value::Bool(is_up));
        }
        lines.push(line(what, &item.to_string()));
    }
    Ok(())
}

/// Entries that the kernel makes and removes by itself.
fn is_the_kernels_own(what: &str, item: &Value) -> bool {
    let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
    match what {
        "route" => ["fe80", "ff00", "::1", "multicast", "anycast"]
            .iter()
            .any(|own| text("dst").starts_with(own) || text("type") == *own),
        // Others are learned from what passes.
        "fdb" => {
            !matches!(text("state"), "permanent" | "static")
                || text("mac").starts_with("33:33")
                || text("mac").starts_with("01:00:5e")
        }
        _ => false,
    }
}

fn without_passing(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in PASSING {
                fields.remove(field);
            }
            if let Some(addresses) = fields.get_mut("addr_info").and_then(Value::as_array_mut) {
                addresses
                    .retain(|address| address.get("scope").and_then(Value::as_str) != Some("link"));
            }
            fields.values_mut().for_each(without_passing);
        }
        Value::Array(items) => items.iter_mut().for_each(without_passing),
        _ => {}
    }
}

/// The files behind loop devices that are below the world's directory.
pub(super) fn loops(world: &World) -> Result<Vec<String>> {
    let base = world.base();
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block")?.flatten() {
        let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) else {
            continue;
        };
        if file.starts_with(&base) {
            found.push(file.trim().to_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// Files and directories that daemons made, without what is mounted on them.
fn files(world: &World, attached: &[String], lines: &mut Vec<Line>) -> Result<()> {
    let mut contents = Vec::new();
    for part in ["volumes", "mounts", "images", "secrets"] {
        let root = world.site.data.join(part);
        // A plugin's own directory is made once and stays.
        for plugin in entries(&root)? {
            for path in entries(&plugin)? {
                walk(&world.site.data, &path, attached, lines, &mut contents)?;
            }
        }
    }
    // Which files are alike says more than what is in them, which is new each time.
    let mut alike: HashMap<u64, usize> = HashMap::new();
    for (_, hash) in &contents {
        *alike.entry(*hash).or_default() += 1;
    }
    for (path, hash) in contents {
        let count = alike.get(&hash).copied().unwrap_or_default();
        lines.push(Line {
            exact: format!("content {path} {hash:016x}"),
            like: unminted(&format!("content {path}, {count} alike")),
        });
    }
    let runtime = world.seen("/run/dockside");
    for path in entries(&runtime)? {
        walk(&runtime, &path, attached, lines, &mut Vec::new())?;
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        list => Ok(list?.flatten().map(|entry| entry.path()).collect()),
    }
}

fn walk(
    base: &Path,
    path: &Path,
    attached: &[String],
    lines: &mut Vec<Line>,
    contents: &mut Vec<(String, u64)>,
) -> Result<()> {
    let Ok(about) = fs::symlink_metadata(path) else {
        // Gone in between.
        return Ok(());
    };
    let name = path.strip_prefix(base)?.display().to_string();
    let depth = name.split('/').count();
    // A lock stays, and so does what overlayfs keeps in the driver's own directory.
    if name == "firewall.lock"
        || (name.starts_with("volumes/") && depth > 3 && name.ends_with("/work"))
    {
        return Ok(());
    }
    // As many bytes as the number has digits.
    let is_pid = name.ends_with("/pid");
    let size = if about.is_file() && !is_pid {
        about.len()
    } else {
        0
    };
    let mode = about.permissions().mode();
    let owner = (about.uid(), about.gid());
    lines.push(line("file", &format!("{name} {mode:o} {owner:?} {size}")));
    if about.is_dir() {
        for entry in entries(path)? {
            walk(base, &entry, attached, lines, contents)?;
        }
    } else if about.is_file() && !attached.iter().any(|file| Path::new(file) == path) {
        contents.push((name, hash(path)?));
    }
    Ok(())
}

fn hash(path: &Path) -> Result<u64> {
    let mut file = fs::File::open(path)?;
    let mut hasher = DefaultHasher::new();
    let mut block = vec![0; 1 << 18];
    for number in 0_u64.. {
        let read = file.read(&mut block)?;
        let block = block.get(..read).unwrap_or_default();
        if read == 0 {
            break;
        }
        // Images are mostly holes.
        if block.iter().any(|byte| *byte != 0) {
            hasher.write_u64(number);
            hasher.write(block);
        }
    }
    Ok(hasher.finish())
}

/// What the database has of plugins, but for times and the numbers of commits.
const ROWS: &str = "
.mode list
SELECT 'object ' || json_array(plugin, name, id, record) FROM object;
SELECT 'intent ' || json_array(plugin, record, redo) FROM intent;
SELECT 'note ' || json_array(plugin, CAST(note AS TEXT)) FROM note;
SELECT 'state ' || json_array(plugin, key, CAST(value AS TEXT)) FROM state;
SELECT 'volume ' || json_array(plugin, name, directory, options, uses) FROM volume;
SELECT 'directory ' || json_array(plugin, key, id) FROM directory;
SELECT 'doomed ' || json_array(plugin, id) FROM doomed;
";

fn rows(world: &World, lines: &mut Vec<Line>) -> Result<()> {
    for row in query(world, ROWS)?.lines() {
        let mut line = line("row", row);
        if row.starts_with("object") || row.starts_with("intent") {
            line.like = without_numbers_of_macs(&line.like);
        }
        lines.push(line);
    }
    Ok(())
}

/// Records have Ethernet addresses as lists of six numbers.
fn without_numbers_of_macs(text: &str) -> String {
    let mut parts = text.split("[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push('[');
        let list = part.split(']').next().unwrap_or_default();
        let is_mac =
            list.split(',').count() == 6 && list.split(',').all(|n| n.parse::<u8>().is_ok());
        out.push_str(if is_mac {
            part.get(list.len()..).unwrap_or_default()
        } else {
            part
        });
    }
    out
}

/// Asks the database of the world's daemons, which may be running.
pub(super) fn query(world: &World, sql: &str) -> Result<String> {
    let database = world.site.data.join("dockside.db");
    ensure!(database.is_file(), "{} is not there", database.display());
    let mut child = Command::new("sqlite3")
        .args(["-bail", "-batch"])
        .arg(&database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start sqlite3")?;
    if let Some(mut input) = child.stdin.take() {
        std::io::Write::write_all(&mut input, format!(".timeout 5000\n{sql}").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "sqlite3: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_minted_does_not_count() {
        for (text, like) in [
            ("dk0123456789 up", "dk# up"),
            ("ba 0123456789abcdef0123456789abcdef.img", "ba #.img"),
            ("\"address\":\"02:aa:bb:cc:dd:ee\"", "\"address\":\"#\""),
            ("dockside:0123456789abcdef", "dockside:#"),
            ("10.1.2.3/24 65536", "10.1.2.3/24 65536"),
            ("tcp:8080:10.0.0.2:80", "tcp:8080:10.0.0.2:80"),
        ] {
            assert_eq!(unminted(text), like);
        }
        assert_eq!(
            without_numbers_of_macs(r#"{"mac":[2,1,2,3,4,5],"to":[10,0]}"#),
            r#"{"mac":[],"to":[10,0]}"#
        );
    }
}
