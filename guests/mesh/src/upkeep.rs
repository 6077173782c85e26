//! What happens between calls.

use std::collections::BTreeSet;

use dockside_driver::{
    Reconcile, Result, Timers, config, links, log, nat, reconcile::Fact, state, timers::Schedule,
};

use crate::{Mesh, cluster, endpoint, network};

/// Seconds until the endpoints of containers that ended without an engine are missed.
const EVERY: u32 = 10;

impl Reconcile for Mesh {
    fn reconcile(_facts: &[Fact]) -> Result<()> {
        // The endpoints of a machine that was started again have no container any more.
        endpoint::sweep()?;
        let links: BTreeSet<String> = links::list()?.into_iter().map(|link| link.key).collect();
        let rules: BTreeSet<String> = nat::keys()?.into_iter().collect();
        for network_id in network::all()? {
            if let Some(mut net) = network::get(&network_id)? {
                net.repair(&network_id, &links, &rules)?;
            }
        }
        Ok(())
    }
}

impl Timers for Mesh {
    fn schedules() -> Vec<Schedule> {
        vec![Schedule::new("upkeep", EVERY)]
    }

    fn tick(_name: &str) -> Result<()> {
        if network::all()?.is_empty() {
            return Ok(());
        }
        endpoint::sweep()?;
        endpoint::catch_up()?;
        let hosts = (config::get(cluster::PEERS)?, config::get("address")?);
        if state::get(network::FOLLOWED)?.as_ref() != Some(&hosts) {
            if let Err(error) = cluster::configured() {
                log::error!("{error}");
                return Err(error);
            }
            network::follow()?;
            state::set(network::FOLLOWED, &hosts)?;
        }
        Ok(())
    }
}
