//! A real Docker Engine uses dockside's plugins: the distribution's engine and the newest one.
//!
//! Every scenario brings its own engine and its own daemon and checks at its end that the engine left nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod authz;
mod bridges;
mod differential;
mod effects;
mod exercises;
mod helpers;
mod hosts;
mod image;
mod infoblox;
mod kills;
mod mesh;
mod mobyfs;
mod mounts;
mod networks;
mod pool;
mod rbac;
mod rego;
mod relay;
mod ssh;
mod sshfs;
mod volumes;

use std::path::PathBuf;

use anyhow::{Context, Result};
use dockside_tests::daemon::{Daemon, Site};
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;
use serde_json::Value;

/// A plugin to install before the daemon starts.
struct Plugin {
    /// The name that Docker uses.
    name: &'static str,
    /// File name in the drop-in directory, without its ending.
    file: &'static str,
    component: PathBuf,
    toml: String,
}

/// Docker keeps the volume driver name `local` for its own.
fn local() -> Result<Plugin> {
    let toml = "names = [\"files\"]\n\n[grants]\ndirectories = {}\n".to_owned();
    Ok(Plugin {
        name: "files",
        file: "local",
        component: files::driver("local")?,
        toml,
    })
}

/// Docker keeps the IPAM driver name `null`, and `null` alone would be confused with it.
fn null() -> Result<Plugin> {
    Ok(Plugin {
        name: "blank",
        file: "null",
        component: files::driver("null")?,
        toml: "names = [\"blank\"]\n".to_owned(),
    })
}

fn pool() -> Result<Plugin> {
    Ok(Plugin {
        name: "pool",
        file: "pool",
        component: files::driver("pool")?,
        toml: String::new(),
    })
}

/// A daemon whose sockets are where an engine looks for them. The engine is not started.
struct Setup {
    /// The name of its first plugin.
    plugin: &'static str,
    engine: Engine,
    site: Site,
    daemon: Daemon,
}

impl Setup {
    fn new(version: Version, test: &str, plugins: &[Plugin]) -> Result<Option<Self>> {
        Self::serving(version, test, plugins, |_, site| site.serve())
    }

    /// With a daemon that can change the engine's network.
    fn inside(version: Version, test: &str, plugins: &[Plugin]) -> Result<Option<Self>> {
        Self::serving(version, test, plugins, |engine, site| {
            engine.serve_inside(site)
        })
    }

    fn serving(
        version: Version,
        test: &str,
        plugins: &[Plugin],
        serve: impl FnOnce(&Engine, &Site) -> Result<Daemon>,
    ) -> Result<Option<Self>> {
        let Some(engine) = Engine::prepare(version, test)? else {
            return Ok(None);
        };
        // Below the shared directory: the engine mounts what `Mountpoint` names, so both have to see it at the same path.
        let site = Site::at(&engine.shared(), &engine.plugins())?;
        for plugin in plugins {
            if !plugin.toml.is_empty() {
                site.configure(plugin.file, &plugin.toml)?;
            }
            site.drop_in(&plugin.component, plugin.file)?;
        }
        let daemon = serve(&engine, &site)?;
        for plugin in plugins {
            daemon.wait_plugin(plugin.name)?;
        }
        Ok(Some(Self {
            plugin: plugins.first().context("no plugin")?.name,
            engine,
            site,
            daemon,
        }))
    }

    fn down(mut self) -> Result<()> {
        self.daemon.terminate()?;
        self.engine.down()
    }
}

/// What `docker … inspect` says about one thing.
fn inspect(engine: &Engine, kind: &str, name: &str) -> Result<Value> {
    let text = engine.docker(&[kind, "inspect", name])?;
    let list: Value = serde_json::from_str(&text)
        .with_context(|| format!("`docker {kind} inspect {name}` printed {text}"))?;
    Ok(list[0].clone())
}

/// Makes a test of each scenario for each engine.
macro_rules! on_both_engines {
    ($($module:ident :: $scenario:ident,)*) => {
        mod distribution {
            $(#[test]
            fn $scenario() -> anyhow::Result<()> {
                super::$module::$scenario(dockside_tests::engine::Version::Distribution)
            })*
        }
        mod newest {
            $(#[test]
            fn $scenario() -> anyhow::Result<()> {
                super::$module::$scenario(dockside_tests::engine::Version::Newest)
            })*
        }
    };
}

on_both_engines! {
    relay::dockers_own_commands_manage_a_plugin,
    relay::volumes_of_a_relay_survive_restarts,
    relay::the_replicas_of_a_service_reach_each_other,
    volumes::data_outlives_containers_and_ends_with_the_volume,
    volumes::volumes_in_use_survive_a_restart_of_the_engine,
    volumes::volumes_in_use_survive_a_live_restore,
    volumes::volumes_in_use_survive_a_kill_of_the_engine,
    volumes::volumes_in_use_survive_a_kill_of_the_daemon,
    volumes::docker_cp_leaves_a_running_container_its_volume,
    volumes::labels_and_options_survive_a_broken_driver,
    networks::an_address_of_the_pool_is_given_taken_and_given_back,
    networks::a_bridge_with_both_address_families_connects_containers,
    networks::an_exhausted_pool_is_a_clear_error,
    networks::networks_and_addresses_survive_restarts,
    pool::ranges_and_point_to_point_are_as_pyipam_gives_them,
    pool::an_engine_that_starts_again_has_the_addresses_that_it_had,
    pool::a_reserved_address_goes_to_its_container,
    infoblox::containers_have_addresses_of_the_grid_and_leave_none,
    authz::a_read_only_policy_lets_ps_pass_and_denies_run,
    authz::without_the_daemon_the_engine_denies,
    rego::policies_change_and_mistakes_change_nothing,
    rego::no_spelling_and_no_hidden_body_gets_around_a_policy,
    rego::no_answer_is_wrong_while_policies_change,
    rego::a_read_only_engine_by_policy,
    rbac::users_are_told_apart_by_their_certificates,
    differential::what_the_engine_does_is_what_was_judged,
    bridges::a_bridge_connects_containers_with_each_other_and_the_outside,
    bridges::cables_of_killed_containers_are_forgotten,
    helpers::a_helper_that_dies_is_reported,
    helpers::a_helper_that_dies_is_started_again,
    helpers::a_helper_outlives_the_daemon,
    kills::nothing_is_unmounted_under_a_container_when_the_engine_is_killed,
    image::volumes_are_limited_grow_and_go_back,
    image::backups_survive_kills_and_come_back,
    mesh::networks_connect_their_containers_and_nobody_else,
    mesh::networks_survive_kills_and_restarts,
    hosts::containers_of_two_hosts_are_on_one_network,
    mobyfs::it_is_found_by_socket_spec_and_json,
    mobyfs::what_users_of_local_persist_type_works,
    hosts::containers_of_a_swarm_reach_each_other_by_name,
    mounts::a_disk_image_is_a_volume_with_a_size_limit,
    mounts::a_volume_in_memory_has_a_size_limit,
    mounts::the_driver_unmounts_after_the_last_use,
    mounts::containers_go_on_when_the_daemon_is_killed,
    mounts::a_long_create_goes_on_and_is_joined,
    exercises::volumes_over_ssh,
    exercises::a_service_on_a_network_of_a_plugin,
    sshfs::volumes_keep_their_files_and_the_server_its_own,
    sshfs::what_is_wrong_is_said_at_once,
    sshfs::dead_mounts_work_again,
}
