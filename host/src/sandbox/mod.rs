//! The only place that touches wasmtime: engine, linker, limits, deadlines, compiled code.

pub mod bindings;
mod chance;
mod compile;
mod context;
mod driver;
mod instance;
pub mod invoke;
mod lane;
mod limits;
pub mod tap;

pub use compile::{CompileError, CompileLimits, run_compile_worker};
pub use context::{CallContext, PluginEnvironment};
pub(crate) use driver::grant_of;
pub use driver::{Ask, Driver, LoadError};
pub use instance::{DeadlinePassed, Instance, WarmPool};
pub use limits::InstanceLimits;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use wasmtime::component::HasSelf;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use tap::Linker;

/// How often the epoch advances. A guest can overrun its deadline by about this much, and it keeps a thread for so long before others get it:
/// with 10 ms a neighbour's p99 grew from 0.5 to 9 ms beside a guest that computes.
const TICK: Duration = Duration::from_millis(1);

/// The largest linear memory that any plugin may be given. It bounds a bulk memory instruction, which no epoch interrupts.
pub const MAX_MEMORY: u64 = 1 << 30;

/// What the sandbox needs to know from the daemon's configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many instances may exist at once, kept ones included.
    pub instances: u32,
    /// Where compiled components are kept. Owned by the daemon, mode 0700.
    pub cache: PathBuf,
    /// What a compilation may use.
    pub compile: CompileLimits,
}

/// Wasmtime, set up for many small drivers and one call each.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<CallContext>,
    compiler: compile::Compiler,
    lane: Arc<lane::Lane>,
    loaded: parking_lot::Mutex<std::collections::HashMap<String, std::sync::Weak<Driver>>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

/// The part of the configuration that decides what compiled code looks like. The compile worker and the daemon have to agree on it.
fn code_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Asynchronous components cost every call a microsecond and have had panics that fuzzing does not find.
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_memory64(false)
        // Registering unwind tables is quadratic with many modules; wasm backtraces do not need them.
        .native_unwind_info(false)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable);
    config
}

impl Sandbox {
    /// Builds engine and linker and starts the epoch's clock.
    ///
    /// # Errors
    /// When the engine cannot be made, or the cache directory cannot be.
    pub fn new(settings: &Settings) -> anyhow::Result<Arc<Sandbox>> {
        let mut config = code_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(
            settings.instances,
        )));
        let engine = match Engine::new(&config) {
            Ok(engine) => engine,
            Err(error) => {
                // The pool reserves address space by the terabyte. Where that is forbidden (`ulimit -v`) instances are made on demand.
                tracing::warn!(%error, "no pooled instances: calls will be slower; is the address space limited (ulimit -v)?");
                Engine::new(&code_config())?
            }
        };
        start_ticker(&engine)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(linker.unwatched())?;
        bindings::host::Host_::add_to_linker::<_, HasSelf<CallContext>>(&mut linker, |context| {
            context
        })?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker.unwatched())?;
        // One by one: the generated world would define the interfaces once more that it only uses.
        macro_rules! link {
            ($($interface:ident),*) => {
                $(bindings::effects::$interface::add_to_linker::<_, HasSelf<CallContext>>(
                    &mut linker,
                    |context| context,
                )?;)*
            };
        }
        link!(mounts, images, links, nat, secrets, outbox, blobs, files);
        Ok(Arc::new(Sandbox {
            compiler: compile::Compiler::new(&engine, settings)?,
            engine,
            linker,
            lane: Arc::new(lane::Lane::new()),
            loaded: parking_lot::Mutex::default(),
        }))
    }

    /// How many instances exist now, and how many memories are kept warm, for the metrics.
    pub fn occupancy(&self) -> Option<(u64, usize)> {
        self.engine.pooling_allocator_metrics().map(|metrics| {
            (
                metrics.component_instances(),
                metrics.unused_warm_memories() as usize,
            )
        })
    }
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // A Rust or C driver is three to five core instances with one memory and two tables; Python brings about thirty.
    pool.total_component_instances(instances)
        .total_core_instances(instances * 8)
        .total_memories(instances * 2)
        .total_tables(instances * 8)
        .total_stacks(instances)
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(64)
        .max_memory_size(usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX))
        // With PAGEMAP_SCAN the kernel says which pages were touched, and only those are reset: 13 µs a call instead of 38. Without it
        // a large resident part is copied back on every call, which costs more than it saves.
        .pagemap_scan(Enabled::Auto);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.linear_memory_keep_resident(2 << 20)
            .table_keep_resident(16 << 10);
    } else {
        pool.linear_memory_keep_resident(64 << 10);
    }
    pool
}

fn start_ticker(engine: &Engine) -> anyhow::Result<()> {
    let weak = engine.weak();
    // A thread and not a task: a guest that spins on every worker must not stop the clock that ends it.
    std::thread::Builder::new()
        .name("epoch".into())
        .spawn(move || {
            loop {
                std::thread::sleep(TICK);
                match weak.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
            }
        })
        .context("cannot start the epoch thread")?;
    Ok(())
}
