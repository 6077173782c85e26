//! What cannot be found out about address management over the socket.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

/// Table `[ipam]` of the profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct IpamProfile {
    /// Where the checks' IPv4 subnets come from: at least a /22. They take the subnets of it that nobody holds for theirs.
    pub pool: Ipv4Net,
    /// The same for IPv6: at least a /60.
    pub pool6: Ipv6Net,
    /// The plugin manages IPv6 too.
    pub ipv6: bool,
    /// The address space to ask for; none: the plugin's local one.
    pub space: Option<String>,
    /// An address space in which the same addresses may be used once more; none: the plugin's global one.
    pub other_space: Option<String>,
    /// Options of every `RequestPool`, as of `docker network create --ipam-opt`.
    pub options: BTreeMap<String, String>,
    /// The plugin chooses pools itself if none is asked for.
    pub chooses: bool,
    /// Two networks may have one pool. `false`: the second `RequestPool` for it is refused.
    pub shared: bool,
    /// Options with which the answer to `RequestPool` names the gateway. None: it is looked for in the answers without.
    pub gateway_options: BTreeMap<String, String>,
    /// How many addresses a pool of this prefix gives, gateway included: `"/29" = 6`. `"/128"` means IPv6, `"4/30"` and `"6/30"` say it.
    /// 0: such a pool is refused.
    pub counts: BTreeMap<String, u32>,
    /// With `RequiresMACAddress`: a request for an endpoint's address without the Ethernet address is answered all the same.
    pub without_mac: bool,
    /// With `RequiresMACAddress`: the same Ethernet address gets the same address again.
    pub mac_keeps_address: bool,
    /// The plugin's socket on another machine, that gives addresses of the same global space.
    pub peer: Option<PathBuf>,
}

impl Default for IpamProfile {
    fn default() -> Self {
        Self {
            pool: Ipv4Net::new_assert([10, 201, 0, 0].into(), 16),
            pool6: Ipv6Net::new_assert([0xfd64, 0x6f63, 0x6b73, 0, 0, 0, 0, 0].into(), 48),
            ipv6: true,
            space: None,
            other_space: None,
            options: BTreeMap::new(),
            chooses: true,
            shared: true,
            gateway_options: BTreeMap::new(),
            counts: BTreeMap::new(),
            without_mac: false,
            mac_keeps_address: false,
            peer: None,
        }
    }
}

impl IpamProfile {
    /// How many addresses a pool gives, as far as its author said so.
    #[must_use]
    pub fn count(&self, net: IpNet) -> Option<u32> {
        let (family, prefix) = match net {
            IpNet::V4(net) => ("4", net.prefix_len()),
            IpNet::V6(net) => ("6", net.prefix_len()),
        };
        let four = family == "4" || prefix > 32;
        self.counts
            .get(&format!("{family}/{prefix}"))
            .or_else(|| self.counts.get(&format!("/{prefix}")).filter(|_| four))
            .copied()
    }
}
