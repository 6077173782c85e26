//! What a driver costs in each language: the same volume and authorization driver, as `dockside new` writes it, built and called.
//!
//! Prints Markdown for docs/languages.md.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use dockside_tests::bar::Arguments;
use dockside_tests::client::Caller;
use dockside_tests::daemon::Site;
use dockside_tests::files;
use dockside_tests::measure::{Latencies, anonymous_memory};
use serde_json::{Value, json};

const USAGE: &str = "\
languages: a table of what a driver costs in each language, as Markdown
  --calls N        calls of each kind that are measured (1000)
  --languages L    only these, with commas between (rust,js,python,c,go)";

/// A language, and the source file that is touched before it is built again.
const LANGUAGES: [(&str, &str, &str); 5] = [
    ("rust", "Rust", "src/volume.rs"),
    ("js", "JavaScript", "src/volume.js"),
    ("python", "Python", "src/volume.py"),
    ("c", "C", "src/volume.c"),
    ("go", "Go", "driver/volume.go"),
];

/// What the daemon gives its compiler: bytes of memory and seconds.
const COMPILER: [&str; 2] = ["4294967296", "600"];

/// Calls before the first that is measured.
const WARMING_UP: u64 = 20;

/// With this, an instance serves so many calls.
const REUSE: &str = "\n[instances]\nreuse = 100\n";

fn main() -> Result<()> {
    let arguments = Arguments::read(USAGE)?;
    let calls = arguments.number("--calls", 1000)?;
    let wanted = arguments.text("--languages", "rust,js,python,c,go");
    let idle = idle_memory()?;
    let mut rows = Vec::new();
    for (word, title, source) in LANGUAGES {
        if wanted.split(',').any(|language| language == word) {
            eprintln!("{title}");
            rows.push(measure(word, title, source, calls, idle)?);
        }
    }
    print_document(&rows, calls)
}

/// What one language costs.
struct Row {
    title: &'static str,
    cold: Duration,
    warm: Duration,
    size: u64,
    compile: Duration,
    fresh: Calls,
    reused: Calls,
}

/// The calls of one daemon.
struct Calls {
    get: Latencies,
    authz: Latencies,
    /// Bytes of anonymous memory that the daemon has more than one without drivers.
    memory: u64,
}

fn measure(word: &str, title: &'static str, source: &str, calls: u64, idle: u64) -> Result<Row> {
    let project = new_project(word)?;
    let cold = build(&project)?;
    let path = project.join(source);
    writeln!(
        OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot change {}", path.display()))?
    )?;
    let warm = build(&project)?;
    let component = project.join("example.wasm");
    let settings = fs::read_to_string(project.join("example.toml"))?;
    Ok(Row {
        title,
        cold,
        warm,
        size: fs::metadata(&component)?.len(),
        compile: compile(&component)?,
        fresh: call(&component, &settings, calls, idle)?,
        reused: call(&component, &format!("{settings}{REUSE}"), calls, idle)?,
    })
}

/// Writes the project, in place of one that was built before.
fn new_project(word: &str) -> Result<PathBuf> {
    let base = files::workspace().join("target/languages");
    let project = base.join(word);
    if project.exists() {
        fs::remove_dir_all(&project)?;
    }
    fs::create_dir_all(&base)?;
    run(Command::new(files::daemon()?)
        .args(["new", "example", "--kind", "volume,authz", "--lang", word])
        .arg(&project))?;
    Ok(project)
}

fn build(project: &Path) -> Result<Duration> {
    let began = Instant::now();
    run(Command::new("./build")
        .current_dir(project)
        .env("DOCKSIDE", files::daemon()?)
        // Go keeps what it has compiled for all projects; the others keep it in the project.
        .env("GOCACHE", project.join(".cache"))
        // The workspace's own would be found otherwise.
        .env_remove("CARGO_TARGET_DIR"))?;
    Ok(began.elapsed())
}

/// Compiles as the daemon does when it sees a driver first: in a process of its own.
fn compile(component: &Path) -> Result<Duration> {
    let scratch = tempfile::tempdir()?;
    let began = Instant::now();
    run(Command::new(files::daemon()?)
        .arg("compile-worker")
        .arg(scratch.path().join("compiled"))
        .args(COMPILER)
        .stdin(fs::File::open(component)?))?;
    Ok(began.elapsed())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdout(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn idle_memory() -> Result<u64> {
    let site = Site::new()?;
    let mut daemon = site.serve()?;
    let memory = anonymous_memory(daemon.pid())?;
    daemon.terminate()?;
    Ok(memory)
}

fn call(component: &Path, settings: &str, calls: u64, idle: u64) -> Result<Calls> {
    let site = Site::new()?;
    site.configure("example", settings)?;
    site.drop_in(component, "example")?;
    // The compiler's memory is no part of what a driver takes, and neither is the copy of the file that it was read from.
    site.serve()?.terminate()?;
    let mut daemon = site.serve()?;
    daemon.wait_plugin("example")?;
    let mut caller = site.caller("example");
    let volume = json!({"Name": "demo", "Opts": {"mode": "0750"}});
    let created = caller.call_once("VolumeDriver.Create", &volume)?;
    ensure!(created.is_success(), "{created:?}");
    let get = latencies(
        &mut caller,
        calls,
        "VolumeDriver.Get",
        &volume,
        "/Volume/Name",
        &json!("demo"),
    )?;
    let request = container_request();
    let authz = latencies(
        &mut caller,
        calls,
        "AuthZPlugin.AuthZReq",
        &request,
        "/Allow",
        &json!(true),
    )?;
    let memory = anonymous_memory(daemon.pid())?.saturating_sub(idle);
    daemon.terminate()?;
    Ok(Calls { get, authz, memory })
}

fn latencies(
    caller: &mut Caller,
    calls: u64,
    method: &str,
    body: &Value,
    pointer: &str,
    expected: &Value,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for number in 0..WARMING_UP + calls {
        let began = Instant::now();
        let answer = caller.call_once(method, body)?;
        let took = began.elapsed();
        ensure!(answer.at(pointer) == *expected, "{method}: {answer:?}");
        if number >= WARMING_UP {
            latencies.push(took);
        }
    }
    Ok(latencies)
}

/// What the engine asks before it makes a container with a volume.
fn container_request() -> Value {
    let body =
        json!({"Image": "busybox", "HostConfig": {"Binds": ["demo:/data"], "Privileged": false}})
            .to_string();
    json!({
        "RequestMethod": "POST",
        "RequestUri": "/v1.41/containers/create?name=demo",
        "RequestHeaders": {"Content-Type": "application/json", "Content-Length": body.len().to_string()},
        "RequestBody": base64::engine::general_purpose::STANDARD.encode(body),
    })
}

fn print_document(rows: &[Row], calls: u64) -> Result<()> {
    println!(
        "# What a driver costs in each language\n\n\
         The driver that `dockside new example --kind volume,authz --lang LANGUAGE` writes, which is the same in all of them.\n\
         Made by `tests/bars languages` on {}, on {}.\n",
        today()?,
        machine()?
    );
    println!(
        "| | built first | built again | size | compiled by dockside |\n| --- | --- | --- | --- | --- |"
    );
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {} |",
            row.title,
            seconds(row.cold),
            seconds(row.warm),
            size(row.size),
            seconds(row.compile)
        );
    }
    println!(
        "\n*Built first*: `./build` in a new project, on a machine that has the compiler; npm, pip and cargo take packages from their caches if they \
         have them. *Built again*: after a\nchange of one source file. *Compiled by dockside*: once for each version of a driver; the result is kept.\n"
    );
    for (title, what, calls_of) in [
        (
            "Each call in an instance of its own",
            "the default",
            (|row| &row.fresh) as fn(&Row) -> &Calls,
        ),
        (
            "An instance for 100 calls",
            "`reuse = 100` under `[instances]`",
            |row| &row.reused,
        ),
    ] {
        println!(
            "## {title}\n\nThat is {what}. Times of calls over the plugin's socket, one after another, as the engine sees them.\n\n\
             | | `VolumeDriver.Get`, median | p99 | `AuthZReq`, median | p99 | memory |\n| --- | --- | --- | --- | --- | --- |"
        );
        for row in rows {
            let calls = calls_of(row);
            let (mut get, mut authz) = (calls.get.clone(), calls.authz.clone());
            println!(
                "| {} | {} | {} | {} | {} | {} |",
                row.title,
                milliseconds(get.quantile(0.5)),
                milliseconds(get.quantile(0.99)),
                milliseconds(authz.quantile(0.5)),
                milliseconds(authz.quantile(0.99)),
                size(calls.memory)
            );
        }
        println!();
    }
    println!(
        "{calls} calls of each. *Memory*: anonymous memory of the daemon after them, less that of a daemon without drivers. The difference between the \
         two tables is what\nstarting an instance costs."
    );
    Ok(())
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        long if long >= 9.95 => format!("{long:.0} s"),
        short if short >= 0.995 => format!("{short:.1} s"),
        tiny => format!("{tiny:.2} s"),
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

fn size(bytes: u64) -> String {
    match bytes as f64 / 1024.0 {
        large if large >= 1000.0 => format!("{:.1} MiB", large / 1024.0),
        small => format!("{small:.0} KiB"),
    }
}

fn today() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%F"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unknown processor", |rest| {
            rest.trim_start_matches([':', '\t', ' '])
        });
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{cores} cores of {model}"))
}
