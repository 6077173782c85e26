//! `kill -9` of the daemon at random moments of a load that changes the machine, with the record of what was acknowledged kept outside.
//!
//! Bar: every acknowledged write is present; what is on the machine is what the volumes that are there hold, and nothing else; the first
//! answer after a restart comes within 250 ms (99 of 100).

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::Caller;
use dockside_tests::files;
use dockside_tests::world::{Program, World};
use rand::Rng;
use serde_json::{Value, json};

const USAGE: &str = "\
effect-storm: kill -9 of the daemon in the middle of a load of mounts, images, links and rules
  --kills N     kills (500)
  --writers N   connections that create and remove (6)
  --longest N   most milliseconds from readiness to the kill (300)
  --first N     most milliseconds from the start to the first answer, for 99 of 100 (250)";

/// The plugin.
const PLUGIN: &str = "machine";

const SETTINGS: &str = r#"
[grants]
directories = {}
[grants.mounts]
max = 100000
tmpfs = "64MiB"
[grants.images]
max = 100000
max-size = "1GiB"
max-total = "1TiB"
[grants.links]
max = 100000
kinds = ["bridge", "veth", "vxlan", "macvlan"]
[grants.nat]
max = 100000
publish = ["1024-65535"]
[grants.http]
[grants.secrets]
[grants.outbox]
"#;

/// What volumes are made of: the script, and what it holds then. `@` stands for the volume's name.
const KINDS: [(&str, &[&str]); 5] = [
    ("mkdir @", &[]),
    ("tmpfs @ 1m", &["mount/@"]),
    ("mkdir @; bind @ @", &["mount/@"]),
    (
        "bridge @; pair @p @q; up @; master @p @; mtu @p 1400",
        &["link/@", "link/@p", "link/@q"],
    ),
    (
        "bridge @; nat @ forward@@,isolate@@",
        &["link/@", "rules/@"],
    ),
];

/// As above; with a disk image, which takes longer than all others and is chosen less often.
const IMAGE: (&str, &[&str]) = ("image @ 8m ext4; imgmount @ @", &["image/@", "mount/@"]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The create was acknowledged.
    Present,
    /// The remove was acknowledged.
    Absent,
    /// The daemon was killed before it answered.
    Open,
}

type Oracle = BTreeMap<String, (usize, Known)>;

fn kind(number: usize) -> (&'static str, &'static [&'static str]) {
    KINDS.get(number).copied().unwrap_or(IMAGE)
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let kills = arguments.number("--kills", 500)?;
    let writers = arguments.number("--writers", 6)?;
    let longest = Duration::from_millis(arguments.number("--longest", 300)?);
    let limit = Duration::from_millis(arguments.number("--first", 250)?);

    let Some(world) = World::new("effect-storm")? else {
        return Ok(ExitCode::SUCCESS);
    };
    world.site.configure(PLUGIN, SETTINGS)?;
    world.site.drop_in(&files::fixture("machine")?, PLUGIN)?;
    {
        // Compiled once, so that restarts are restarts.
        let daemon = world.serve(Program::Plain)?;
        daemon.wait_plugin(PLUGIN)?;
    }
    let before = world.snapshot()?;
    let mut oracle = Oracle::new();
    let mut acknowledged = 0_usize;
    let mut wrong = Vec::new();
    let mut first = Vec::new();
    let started = Instant::now();
    for round in 0..kills {
        let begun = Instant::now();
        let mut daemon = world.spawn(Program::Plain, &[])?;
        first.push(first_answer(&world, begun)?);
        settle(&world, &mut oracle)?;
        wrong.extend(compare(&world, &oracle).with_context(|| format!("after kill {round}"))?);
        let (report, reports) = mpsc::channel();
        let load: Vec<_> = (0..writers)
            .map(|writer| {
                let caller = world.site.caller(PLUGIN);
                let mine: Vec<String> = oracle
                    .iter()
                    .filter(|(name, (_, known))| {
                        *known == Known::Present && name.ends_with(&format!("w{writer}"))
                    })
                    .map(|(name, _)| name.clone())
                    .collect();
                let report = report.clone();
                thread::spawn(move || write(caller, round, writer, mine, &report))
            })
            .collect();
        drop(report);
        thread::sleep(rand::rng().random_range(Duration::ZERO..longest));
        daemon.kill()?;
        for writer in load {
            writer.join().map_err(|_| anyhow!("a writer panicked"))?;
        }
        for (name, made_of, known) in reports {
            acknowledged += usize::from(known != Known::Open);
            let entry = oracle.entry(name).or_insert((made_of, known));
            entry.1 = known;
        }
    }
    let daemon = world.serve(Program::Plain)?;
    daemon.wait_plugin(PLUGIN)?;
    settle(&world, &mut oracle)?;
    wrong.extend(compare(&world, &oracle)?);
    let present = oracle
        .values()
        .filter(|(_, known)| *known == Known::Present)
        .count();
    let mut caller = world.site.caller(PLUGIN);
    for (name, (_, known)) in &oracle {
        if *known == Known::Present {
            let removed = caller.call_once("VolumeDriver.Remove", &json!({ "Name": name }))?;
            ensure!(removed.is_success(), "{name}: {removed:?}");
        }
    }
    let left = before.difference(&world.settled()?);
    if !left.is_empty() {
        wrong.push(format!("left at the end:\n{left}"));
    }
    for line in wrong.iter().take(20) {
        eprintln!("{line}");
    }
    first.sort();
    let at = |share: usize| {
        first
            .get((first.len() * share / 100).min(first.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    let figures = format!(
        "{kills} kills in {:.1?}, {acknowledged} acknowledged writes, {present} volumes at the end: {} lost, leaked or half; first answer after a restart p50 {:.0?}, p99 {:.0?}, max {:.0?}",
        started.elapsed(),
        wrong.len(),
        at(50),
        at(99),
        at(100),
    );
    Ok(verdict(
        "effect-storm",
        wrong.is_empty() && acknowledged > 0 && at(99) <= limit,
        &figures,
    ))
}

/// How long it took until the plugin answered, since `begun`.
fn first_answer(world: &World, begun: Instant) -> Result<Duration> {
    loop {
        let mut caller = world.site.caller(PLUGIN);
        if let Ok(answer) = caller.call_once("VolumeDriver.List", &json!({}))
            && answer.is_success()
        {
            return Ok(begun.elapsed());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(30),
            "no answer:\n{}",
            world.site.log_end()
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// Creates and removes volumes of its own until the daemon is gone. Reports before each call that its outcome is open, and behind it what it
/// is.
fn write(
    mut caller: Caller,
    round: u64,
    writer: u64,
    mut mine: Vec<String>,
    report: &mpsc::Sender<(String, usize, Known)>,
) {
    let mut random = rand::rng();
    for number in 0_u64.. {
        let remove = mine.len() > 3 || (!mine.is_empty() && random.random_bool(0.4));
        let (method, name, made_of, body, outcome) = if remove {
            let name = mine.swap_remove(random.random_range(0..mine.len()));
            let body = json!({ "Name": name });
            ("VolumeDriver.Remove", name, 0, body, Known::Absent)
        } else {
            let name = format!("r{round}n{number}w{writer}");
            let made_of = match random.random_range(0..20) {
                0 => KINDS.len(),
                other => other % KINDS.len(),
            };
            let script = kind(made_of).0.replace("@@", "\u{1}").replace('@', &name);
            let script = script.replace('\u{1}', &format!("@{name}"));
            let body = json!({ "Name": name, "Opts": { "do": script } });
            ("VolumeDriver.Create", name, made_of, body, Known::Present)
        };
        let _ = report.send((name.clone(), made_of, Known::Open));
        // Without retries: a second try comes without its body and says nothing about the first.
        match caller.call_once(method, &body) {
            Ok(answer) if answer.is_success() => {
                if outcome == Known::Present {
                    mine.push(name.clone());
                }
                let _ = report.send((name, made_of, outcome));
            }
            Ok(answer) => {
                eprintln!("{method} {name}: {answer:?}");
                return;
            }
            Err(_) => return,
        }
    }
}

/// The names that the plugin lists.
fn listed(world: &World) -> Result<BTreeSet<String>> {
    let answer = world
        .site
        .caller(PLUGIN)
        .call_once("VolumeDriver.List", &json!({}))?;
    ensure!(answer.is_success(), "VolumeDriver.List: {answer:?}");
    let volumes = answer.at("/Volumes");
    let volumes = volumes.as_array().cloned().unwrap_or_default();
    Ok(volumes
        .iter()
        .filter_map(|volume| Some(volume.get("Name")?.as_str()?.to_owned()))
        .collect())
}

/// What the daemon holds and what is on the machine against what was acknowledged; one line for each difference.
fn compare(world: &World, oracle: &Oracle) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let listed = listed(world)?;
    let mut expected = BTreeSet::new();
    for (name, (made_of, known)) in oracle {
        match (known, listed.contains(name)) {
            (Known::Present, false) => wrong.push(format!("{name}: acknowledged and lost")),
            (Known::Absent, true) => wrong.push(format!("{name}: removed and back")),
            _ => {}
        }
        if *known == Known::Present {
            let holds = kind(*made_of).1;
            expected.extend(holds.iter().map(|object| object.replace('@', name)));
        }
    }
    let plugin = world.site.ask(&format!("/v1/plugin?name={PLUGIN}"))?;
    let holds = plugin.get("holds").and_then(Value::as_array);
    let held: BTreeSet<String> = holds
        .into_iter()
        .flatten()
        .filter_map(|item| {
            let text = |field| item.get(field).and_then(Value::as_str);
            Some(format!("{}/{}", text("kind")?, text("key")?))
        })
        .collect();
    wrong.extend(
        expected
            .symmetric_difference(&held)
            .map(|object| format!("{object}: on the machine or in the volumes, not both")),
    );
    // What the records say is there, and nothing else is, as soon as what the killed daemon left is undone.
    world.settled()?;
    let checked = world.dockside(&["reconcile", "--dry-run"])?;
    if !checked.status.success() {
        wrong.push(String::from_utf8_lossy(&checked.stdout).into_owned());
    }
    let data = world.site.data.canonicalize()?;
    let data = data.display();
    let count = |kind: &str| {
        expected
            .iter()
            .filter(|name| name.starts_with(kind))
            .count()
    };
    for (what, line, expected) in [
        (
            "mounts",
            format!("grep -c ' {data}/mounts/' /proc/self/mountinfo || :"),
            count("mount/"),
        ),
        (
            "links",
            "ip -o link show | grep -c ': dk' || :".to_owned(),
            count("link/"),
        ),
        (
            "loop devices",
            format!("losetup --noheadings --output BACK-FILE --list | grep -c '^{data}/' || :"),
            count("image/"),
        ),
        (
            "rule sets",
            "nft list table inet dockside 2>/dev/null | grep -c 'chain f_' || :".to_owned(),
            count("rules/"),
        ),
    ] {
        let found = world.run(&line)?;
        if found.trim() != expected.to_string() {
            wrong.push(format!("{} {what} in place of {expected}", found.trim()));
        }
    }
    Ok(wrong)
}

/// Turns what was open into what it turned out to be: from now on it must stay so.
fn settle(world: &World, oracle: &mut Oracle) -> Result<()> {
    let listed = listed(world)?;
    for (name, (_, known)) in oracle {
        if *known == Known::Open {
            *known = if listed.contains(name) {
                Known::Present
            } else {
                Known::Absent
            };
        }
    }
    Ok(())
}
