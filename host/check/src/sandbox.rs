//! A container's network namespace, and what the engine does with the links that a driver names for it.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::sched::{CloneFlags, setns, unshare};
use rand::Rng;
use serde::Deserialize;

use crate::check::{Outcome, Stop};

/// Where the engine keeps its own.
const DIRECTORY: &str = "/run/docker/netns";

/// A link, as iproute2 shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Link {
    /// Its name.
    #[serde(rename = "ifname")]
    pub name: String,
    /// Its number, which no other link in the namespace gets while this one is there.
    #[serde(rename = "ifindex")]
    pub number: u32,
    /// Its Ethernet address, if it has one.
    #[serde(default)]
    pub address: String,
}

/// The links of the namespace in which this process is.
#[must_use]
pub fn links() -> Vec<Link> {
    let output = Command::new("ip")
        .args(["-j", "link"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output
        .ok()
        .and_then(|output| serde_json::from_slice(&output.stdout).ok())
        .unwrap_or_default()
}

/// Runs commands of iproute2, one a line.
///
/// # Errors
///
/// What it complains about first.
pub fn ip(lines: &[String]) -> Result<(), String> {
    let run = || -> std::io::Result<std::process::Output> {
        let mut child = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all((lines.join("\n") + "\n").as_bytes())?;
        }
        child.wait_with_output()
    };
    match run() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr)
            .lines()
            .next()
            .unwrap_or("ip failed")
            .to_owned()),
        Err(error) => Err(format!("ip: {error}")),
    }
}

/// What the engine does with a link once it is in the container.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The link's name on the host.
    pub source: String,
    /// The start of its name in the container, to which a number is added.
    pub prefix: String,
    /// With prefix length.
    pub addresses: Vec<String>,
    /// The Ethernet address, if it is to have a certain one.
    pub mac: String,
    /// Destination and, if it is not on the link itself, the next hop.
    pub routes: Vec<(String, Option<String>)>,
}

/// A network namespace, with a file that names it while it is open.
pub struct Sandbox {
    namespace: File,
    key: PathBuf,
    /// Directories that were not there before.
    directories: Vec<&'static Path>,
    /// Names inside and outside.
    taken: Mutex<Vec<(String, String)>>,
}

impl Sandbox {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The check is skipped: there can be none here.
    pub fn open() -> Outcome<Self> {
        let reason = |error: &dyn std::fmt::Display| {
            Stop::skip(format!("no network namespace can be made here: {error}"))
        };
        let namespace = std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                File::open("/proc/thread-self/ns/net")
            });
            made.join()
                .unwrap_or_else(|_| Err(std::io::Error::other("the thread for it ended")))
        })
        .map_err(|error| reason(&error))?;
        let number = rand::rng().random::<u64>() & 0xffff_ffff_ffff;
        let key = Path::new(DIRECTORY).join(format!("{number:012x}"));
        let directories = [DIRECTORY, "/run/docker"]
            .into_iter()
            .map(Path::new)
            .filter(|directory| !directory.exists())
            .collect();
        // Another run may take the directory away when it is empty.
        let made = (0..100).find_map(|_| {
            std::fs::create_dir_all(DIRECTORY).ok()?;
            File::create_new(&key).ok()
        });
        if made.is_none() {
            return Err(reason(&format!("{} cannot be made", key.display())));
        }
        let sandbox = Self {
            namespace,
            key,
            directories,
            taken: Mutex::default(),
        };
        let source = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&sandbox.namespace)
        );
        rustix::mount::mount_bind(&source, &sandbox.key).map_err(|error| reason(&error))?;
        sandbox
            .inside(|| ip(&["link set lo up".into()]))?
            .map_err(|error| reason(&error))?;
        Ok(sandbox)
    }

    /// The file that names it, as `Join` has it.
    #[must_use]
    pub fn key(&self) -> String {
        self.key.display().to_string()
    }

    /// Does something in it.
    ///
    /// # Errors
    ///
    /// The check is skipped: it cannot be entered.
    pub fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Outcome<T> {
        let entered = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok::<_, nix::Error>(f())
            });
            thread.join().ok()
        });
        match entered {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(Stop::skip(format!(
                "a network namespace cannot be entered: {error}"
            ))),
            None => Err(Stop::fail("what was done in a network namespace panicked")),
        }
    }

    /// The links in it, but the loopback.
    ///
    /// # Errors
    ///
    /// See [`Sandbox::inside`].
    pub fn links(&self) -> Outcome<Vec<Link>> {
        let mut all = self.inside(links)?;
        all.retain(|link| link.name != "lo");
        Ok(all)
    }

    /// Moves a link into the container and sets it up, as the engine does behind `Join`. Gives its name there.
    ///
    /// # Errors
    ///
    /// A sentence with what did not work.
    pub fn take(&self, wanted: &Wanted) -> Result<String, String> {
        let Wanted { source, prefix, .. } = wanted;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{prefix}{}", taken.len());
        if [source, prefix]
            .iter()
            .any(|name| name.is_empty() || name.contains(char::is_whitespace))
        {
            return Err(format!(
                "{source:?} and {prefix:?} cannot be names of links"
            ));
        }
        ip(&[format!("link set dev {source} netns {}", self.key())])
            .map_err(|error| format!("{source} cannot be moved into a container: {error}"))?;
        taken.push((name.clone(), source.clone()));
        let mut lines = vec![format!("link set dev {source} down name {name}")];
        if !wanted.mac.is_empty() {
            lines.push(format!("link set dev {name} address {}", wanted.mac));
        }
        for address in &wanted.addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            lines.push(format!("address add {address} dev {name} {nodad}"));
        }
        lines.push(format!("link set dev {name} up"));
        for (destination, next) in &wanted.routes {
            // The engine lets one network be the way outward.
            if destination == "default" && taken.len() > 1 {
                continue;
            }
            let via = match next {
                Some(next) => format!("via {next}"),
                None => "scope link".into(),
            };
            lines.push(format!("route add {destination} {via} dev {name}"));
        }
        match self.inside(|| ip(&lines)) {
            Ok(Ok(())) => Ok(name),
            Ok(Err(error)) => Err(format!("{source} cannot be set up in a container: {error}")),
            Err(_) => Err("the container's network namespace cannot be entered".into()),
        }
    }

    /// Moves all links out again under their old names, as the engine does behind `Leave`. One that the driver has deleted by then is
    /// none of the engine's business.
    pub fn give_back(&self) {
        let Ok(outside) = File::open("/proc/thread-self/ns/net") else {
            return;
        };
        let outside = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&outside)
        );
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, source) in taken.drain(..) {
            let _ = self.inside(|| {
                ip(&[
                    format!("link set dev {name} down name {source}"),
                    format!("link set dev {source} netns {outside}"),
                ])
            });
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.key, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_file(&self.key);
        for directory in &self.directories {
            // Only when there is nothing else in it.
            let _ = std::fs::remove_dir(directory);
        }
    }
}
