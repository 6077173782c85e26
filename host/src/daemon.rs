//! The daemon's life: lock, recover, load, listen, serve, drain.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::admin;
use crate::capability::directories;
use crate::catalog::{self, Catalog};
use crate::config::Daemon;
use crate::endpoint::{self, Owner};
use crate::failpoint;
use crate::ledger::Ledger;
use crate::plugin::Shared;
use crate::protocol::lifecycle::StartReason;
use crate::relay::{self, Relays};
use crate::sandbox::{CompileLimits, Sandbox, Settings};
use crate::store::Store;
use crate::upkeep;

/// How long calls in flight may take to end when the daemon is told to stop. Docker's own longest limit is 120 s.
const GRACE: Duration = Duration::from_secs(115);

/// How long a start waits for what the last daemon left half done. Taking a link away costs some 20 ms, and an unmount of a server that is gone
/// has no limit: Docker must not wait for either.
const TIDYING: Duration = Duration::from_millis(100);

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub async fn run(mut daemon: Daemon) -> anyhow::Result<()> {
    raise_file_limit();
    // Before anything is made: a signal during a long first compilation must not leave sockets behind.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;
    make_absolute(&mut daemon)?;
    let owner = owner(&daemon)?;
    let store = Store::open(&daemon.data)?;
    let boot = boot_id();
    let runtime = runtime_directory(&daemon.data)?;
    let ledger = Ledger::new(store.clone(), runtime.clone(), &boot);
    let unfinished = ledger.recover().await?;
    let unknown = directories::unknown(&store, &daemon.data)?;
    let mut tidying = tokio::spawn({
        let (ledger, store, data) = (Arc::clone(&ledger), store.clone(), daemon.data.clone());
        async move {
            // First what was made, then the directories that it was made in.
            ledger.finish(unfinished).await;
            directories::tidy(store, data, unknown).await;
        }
    });
    let _ = tokio::time::timeout(TIDYING, &mut tidying).await;
    let calls = daemon.limits.max_calls;
    let sandbox = Sandbox::new(&Settings {
        // Kept instances of heavy guests need slots too.
        instances: calls.saturating_mul(2),
        cache: daemon.data.join("cache"),
        compile: CompileLimits {
            memory: daemon.limits.compile_memory,
            time: daemon.limits.compile_time,
        },
    })?;
    let guests = GuestThreads::start()?;
    let relays = Arc::new(Relays::default());
    let shared = Shared {
        store: store.clone(),
        ledger: Arc::clone(&ledger),
        guests: guests.handle(),
        relays: Arc::clone(&relays),
        calls: Arc::new(Semaphore::new(calls as usize)),
    };
    std::fs::create_dir_all(&daemon.drivers).with_context(|| {
        format!(
            "cannot create the drivers directory {}",
            daemon.drivers.display()
        )
    })?;
    let reason = start_reason(&store, &boot).await?;
    let control = endpoint::bind(&daemon.control, owner)?;
    let control_path = daemon.control.clone();
    let relay_directory = daemon.relay_directory();
    let registry = daemon.registry;
    let running = Arc::clone(&shared.calls);
    let catalog = Catalog::new(daemon, sandbox, shared, owner);
    let begin = async {
        catalog.reconcile(reason).await;
        catalog.open_tombstones().await
    };
    let stopped_early = tokio::select! {
        begun = begin => begun.map(|()| false)?,
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
    };
    let (stop, stopped) = watch::channel(false);
    let administration = tokio::spawn(admin::serve(control, Arc::clone(&catalog), stopped.clone()));
    let (now, asked) = mpsc::channel(1);
    let watching = tokio::spawn(catalog::watch(Arc::clone(&catalog), asked, stopped.clone()));
    let caring = tokio::spawn(upkeep::run(Arc::clone(&catalog), ledger, stopped.clone()));
    if let Some(address) = registry {
        tokio::spawn(relay::registry::serve(
            address,
            Arc::clone(&catalog),
            stopped.clone(),
        ));
    }
    let relaying = match endpoint::relay::open(&relay_directory) {
        Ok(listener) => Some(tokio::spawn(endpoint::relay::serve(
            listener,
            relay_directory,
            catalog.relay_front(),
            stopped,
        ))),
        Err(error) => {
            tracing::warn!(directory = %relay_directory.display(), %error, "Docker's own plugins (relays) cannot reach this daemon: see `relay` in dockside.toml");
            None
        }
    };
    tracing::info!(
        plugins = catalog.plugins().len(),
        drivers = %catalog.drivers().display(),
        control = %control_path.display(),
        "ready"
    );
    announce("READY=1");
    let told = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = reload.recv() => { let _ = now.try_send(()); }
            }
        }
    };
    if !stopped_early {
        told.await;
    }
    tracing::info!("stopping: calls in flight are answered first");
    announce("STOPPING=1");
    let _ = stop.send(true);
    let drained = async {
        // A look at the directory that is under way would open sockets again.
        let _ = watching.await;
        let _ = caring.await;
        if let Some(relaying) = relaying {
            let _ = relaying.await;
        }
        catalog.stop().await;
        // Calls whose clients have gone still run, and what they commit must be whole.
        let _ = running.acquire_many(calls).await;
    };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::error!("some calls did not end within {} s", GRACE.as_secs());
    }
    let _ = tokio::time::timeout(Duration::from_secs(2), administration).await;
    endpoint::remove(&control_path);
    // It stays while a helper program has something in it.
    let _ = std::fs::remove_dir(&runtime);
    drop(guests);
    Ok(())
}

/// The threads that guests run on. Dropping a runtime waits for its threads, which tokio forbids where the daemon runs.
struct GuestThreads(Option<Runtime>);

impl GuestThreads {
    fn start() -> anyhow::Result<GuestThreads> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("guest")
            .enable_all()
            .build()
            .context("cannot start the guests' threads")?;
        Ok(GuestThreads(Some(runtime)))
    }

    fn handle(&self) -> Handle {
        self.0
            .as_ref()
            .map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Docker gets absolute paths, and the kernel's mount table has no links in it: a data directory behind a link would hide what is mounted
/// below it.
fn make_absolute(daemon: &mut Daemon) -> anyhow::Result<()> {
    for path in [
        &mut daemon.drivers,
        &mut daemon.plugins,
        &mut daemon.spec_directory,
        &mut daemon.control,
    ] {
        *path = std::path::absolute(&path)?;
    }
    if let Some(relay) = &mut daemon.relay {
        *relay = std::path::absolute(&relay)?;
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&daemon.data)
        .with_context(|| format!("cannot create the data directory {}", daemon.data.display()))?;
    daemon.data = daemon
        .data
        .canonicalize()
        .with_context(|| format!("cannot use the data directory {}", daemon.data.display()))?;
    Ok(())
}

/// Each plugin takes two descriptors and each connection one; the usual soft limit of 1,024 ends at some 300 plugins.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, "cannot raise the limit of open files from {soft}");
    }
}

fn owner(daemon: &Daemon) -> anyhow::Result<Owner> {
    let Some(name) = &daemon.socket_group else {
        return Ok(Owner::User);
    };
    let group = nix::unistd::Group::from_name(name)?.with_context(|| {
        format!("there is no group named {name:?} on this machine (socket-group in dockside.toml)")
    })?;
    Ok(Owner::Group(group.gid.as_raw()))
}

/// Which start of the machine this is.
pub fn boot_id() -> String {
    static BOOT: LazyLock<String> = LazyLock::new(|| {
        // So that tests can pretend that the machine was restarted.
        if failpoint::is_armed()
            && let Ok(boot) = std::env::var("DOCKSIDE_BOOT_ID")
        {
            return boot;
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        boot.trim().to_owned()
    });
    BOOT.clone()
}

/// Where secrets of helper programs lie as long as these run: in memory, and root's only. One for each data directory.
fn runtime_directory(data: &Path) -> anyhow::Result<PathBuf> {
    use sha2::Digest;
    use std::os::unix::ffi::OsStrExt;
    let digest = hex::encode(sha2::Sha256::digest(data.as_os_str().as_bytes()));
    let short = digest.get(..12).unwrap_or_default();
    let directory = Path::new("/run/dockside").join(short);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        // Without root there are no mounts either.
        .or_else(|_| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(data.join("run"))
        })
        .with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(if directory.is_dir() {
        directory
    } else {
        data.join("run")
    })
}

/// Whether the machine has been started since the daemon ran last.
async fn start_reason(store: &Store, boot: &str) -> anyhow::Result<StartReason> {
    let before = store.meta("", "boot-id")?;
    if before.as_deref() == Some(boot) {
        return Ok(StartReason::Restarted);
    }
    store.set_meta("", "boot-id", Some(boot)).await?;
    Ok(StartReason::Rebooted)
}

/// Tells systemd, if it started us.
fn announce(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let told = std::os::unix::net::UnixDatagram::unbound()
        .and_then(|socket| socket.send_to(state.as_bytes(), &path));
    if let Err(error) = told {
        tracing::warn!(%error, "systemd could not be told: {state}");
    }
}
