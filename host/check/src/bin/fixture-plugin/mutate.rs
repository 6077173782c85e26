//! The checks against a plugin that is broken in one place, in namespaces of their own.

use std::path::Path;
use std::process::Command;

use dockside_check::control::{Control, Started};
use dockside_check::{Options, Profile, Selection};
use nix::sched::{CloneFlags, unshare};

use crate::Arguments;

pub(crate) fn mutate(arguments: &Arguments) -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        alone()?;
    }
    let dir = tempdir()?;
    let result = run(arguments, &dir);
    let _ = rustix::mount::unmount(dir.join("state"), rustix::mount::UnmountFlags::DETACH);
    let _ = std::fs::remove_dir_all(&dir);
    println!("{}", result?);
    Ok(())
}

fn run(arguments: &Arguments, dir: &Path) -> Result<String, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let socket = dir.join("plugin.sock");
    let state = dir.join("state");
    if rustix::process::geteuid().is_root() {
        small_disk(&state)?;
    }
    let neighbour = state.join("neighbour.sock");
    let patience = arguments.patience.seconds(1.0).as_secs_f64();
    let mut command = format!(
        "'{}' serve --socket {{socket}} --dir '{}' --neighbour '{}' --peer '{}' --patience {patience}",
        me.display(),
        state.display(),
        neighbour.display(),
        state.join("peer.sock").display()
    );
    if let Some(id) = arguments.breaks.id() {
        command += &format!(" --break {id}");
    }
    if !arguments.kinds.is_empty() {
        command += &format!(" --kinds {}", arguments.kinds.join(","));
    }
    if !arguments.variants.is_empty() {
        command += &format!(" --with {}", arguments.variants.join(","));
    }
    let profile = include_str!("profile.toml").replace("{state}", &state.display().to_string());
    let profile: Profile = toml::from_str(&profile).map_err(|error| error.to_string())?;
    let control = Started::new(&command, &socket, profile.hooks.clone(), &dir.join("log"));
    control.start()?;
    let options = Options {
        socket,
        profile,
        selection: Selection {
            only: arguments.only.clone(),
            quick: arguments.quick,
            ..Selection::default()
        },
        patience: arguments.patience,
        repeat: 3,
        seed: 1,
        control: Some(Box::new(control)),
        engine: vec![me.into(), "engine".into()],
        docker: None,
        watch_machine: true,
    };
    let report = dockside_check::run(options, &mut |tried| eprintln!("{}", tried.lines()));
    eprintln!("{}", report.summary());
    serde_json::to_string(&report).map_err(|error| error.to_string())
}

/// A disk of the plugin's own, that can be filled.
fn small_disk(at: &Path) -> Result<(), String> {
    std::fs::create_dir_all(at).map_err(|error| format!("{}: {error}", at.display()))?;
    rustix::mount::mount(
        "tmpfs",
        at,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        c"size=64m,mode=755",
    )
    .map_err(|error| format!("{}: {error}", at.display()))
}

/// Mounts and links that nobody else sees.
fn alone() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("unshare: {error}"))?;
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .map_err(|error| format!("private mounts: {error}"))?;
    let _ = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    Ok(())
}

fn tempdir() -> Result<std::path::PathBuf, String> {
    let dir = std::env::temp_dir().join(format!("dockside-check-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(dir)
}
