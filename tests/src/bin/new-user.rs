//! The path of a new user, for each language: from `dockside new` to a volume on a real engine.
//!
//! Three commands: `dockside new`, `./build`, and, with the two files copied into the drivers directory, `docker volume create`. Whatever a
//! package manager keeps for later builds starts out empty, but for cargo's sources, beside which its configuration is; the compilers that the
//! README names are there.
//!
//! Bar: each takes less than 10 minutes.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::daemon::{Daemon, Site, until};
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;

const USAGE: &str = "\
new-user: from `dockside new` to `docker volume create` on a real engine
  --languages L   languages, with commas between (rust,js,python,c,go)
  --seconds N     most seconds for a language (600)";

/// What keeps downloads and compiled code of other projects out.
const CACHES: [&str; 4] = [
    "npm_config_cache",
    "PIP_CACHE_DIR",
    "GOCACHE",
    "XDG_CACHE_HOME",
];

/// How long each of the three commands took.
struct Times {
    new: Duration,
    build: Duration,
    create: Duration,
    /// Size of the component in bytes.
    size: u64,
}

impl Times {
    fn total(&self) -> Duration {
        self.new + self.build + self.create
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let limit = Duration::from_secs(arguments.number("--seconds", 600)?);
    let languages = arguments.text("--languages", "rust,js,python,c,go");
    let Some(engine) = Engine::prepare(Version::Distribution, "new-user")? else {
        return Ok(ExitCode::SUCCESS);
    };
    let site = Site::at(&engine.shared(), &engine.plugins())?;
    let mut daemon = site.serve()?;
    engine.up(&[])?;
    let mut slowest: Option<(String, Duration)> = None;
    println!("language    new    build   create    total   size of the driver");
    for language in languages.split(',') {
        let times = walk(language, &site, &daemon, &engine)
            .with_context(|| format!("{language}; the daemon's log ends\n{}", daemon.log_end()))?;
        println!(
            "{language:8} {:4.1} s {:6.1} s {:6.1} s {:6.1} s   {:.2} MiB",
            times.new.as_secs_f64(),
            times.build.as_secs_f64(),
            times.create.as_secs_f64(),
            times.total().as_secs_f64(),
            mebibytes(times.size)
        );
        if slowest
            .as_ref()
            .is_none_or(|(_, most)| *most < times.total())
        {
            slowest = Some((language.to_owned(), times.total()));
        }
    }
    daemon.terminate()?;
    engine.down()?;
    let Some((language, most)) = slowest else {
        bail!("no language is given\n{USAGE}");
    };
    Ok(verdict(
        "new-user",
        most < limit,
        &format!(
            "from `dockside new` to `docker volume create`: at most {:.0} s ({language}), {} allowed",
            most.as_secs_f64(),
            limit.as_secs()
        ),
    ))
}

#[allow(clippy::cast_precision_loss)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn walk(language: &str, site: &Site, daemon: &Daemon, engine: &Engine) -> Result<Times> {
    let scratch = tempfile::tempdir()?;
    let name = format!("my-{language}");
    let project = scratch.path().join(&name);
    let dockside = files::daemon()?;

    let began = Instant::now();
    run(Command::new(&dockside)
        .args(["new", &name, "--kind", "volume", "--lang", language])
        .current_dir(scratch.path()))?;
    let new = began.elapsed();

    let began = Instant::now();
    let mut build = Command::new("./build");
    build.current_dir(&project).env("DOCKSIDE", &dockside);
    build.env_remove("CARGO_TARGET_DIR");
    for cache in CACHES {
        build.env(cache, scratch.path().join(cache));
    }
    run(&mut build)?;
    let build = began.elapsed();

    let began = Instant::now();
    let component = project.join(format!("{name}.wasm"));
    let toml = fs::read_to_string(project.join(format!("{name}.toml")))?;
    site.configure(&name, &toml)?;
    site.drop_in(&component, &name)?;
    // Docker waits by itself, for as long as it takes to find out that there is no such plugin.
    until("the plugin's socket", || site.socket(&name).exists())?;
    daemon.wait_plugin(&name)?;
    let volume = format!("of-{language}");
    let said = engine.docker(&["volume", "create", "-d", &name, &volume])?;
    let create = began.elapsed();
    ensure!(said == volume, "docker said {said}");
    let driver = engine.docker(&["volume", "inspect", "-f", "{{.Driver}}", &volume])?;
    ensure!(driver == name, "the volume is one of {driver}");
    engine.docker(&["volume", "rm", &volume])?;
    Ok(Times {
        new,
        build,
        create,
        size: size(&component)?,
    })
}

fn size(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file)?.len())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
