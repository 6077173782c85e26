//! VXLAN network identifiers.

use dockside_driver::{IpNet, KeyValues, Result, Table, state};

use crate::options;

/// Derived identifiers have the highest bit: what people and Docker's own overlay choose begins at the other end.
const DERIVED: u32 = 0x0080_0000;

/// Each identifier that this manager gave to a network of the swarm.
static GIVEN: Table<String> = Table::new("given/");

/// The identifier that all hosts derive from the subnet of a network that they share.
pub(crate) fn of_subnet(subnet: IpNet) -> u32 {
    derived(&subnet.trunc().to_string())
}

/// FNV-1a: the same on every host and in every version.
fn derived(text: &str) -> u32 {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    DERIVED | ((hash ^ (hash >> 23)) & (DERIVED - 1))
}

fn of_network(network_id: &str) -> String {
    format!("identifier/{network_id}")
}

/// Chooses the identifier of a swarm's network, on its manager: the same one each time.
pub(crate) fn allocate(network_id: &str, given: &KeyValues) -> Result<u32> {
    if let Some(vni) = options::vni(given)? {
        return Ok(vni);
    }
    let key = of_network(network_id);
    if let Some(vni) = state::get(&key)? {
        return Ok(vni);
    }
    let mut vni = derived(network_id);
    while GIVEN.contains(&vni.to_string())? {
        vni = DERIVED | ((vni + 1) & (DERIVED - 1));
    }
    GIVEN.put(&vni.to_string(), &network_id.to_owned())?;
    state::set(&key, &vni)?;
    Ok(vni)
}

/// Gives the identifier of a swarm's network back.
pub(crate) fn free(network_id: &str) -> Result<()> {
    let key = of_network(network_id);
    if let Some(vni) = state::get::<u32>(&key)? {
        GIVEN.remove(&vni.to_string())?;
        state::delete(&key)?;
    }
    Ok(())
}
