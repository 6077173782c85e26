//! What the author of a network driver says about it.

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

/// `[network]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct NetworkProfile {
    /// Options for each network, as of `docker network create -o NAME=VALUE`.
    pub options: BTreeMap<String, String>,
    /// Options that are not to be accepted, each with a value. They are tried beside some of which no driver knows anything.
    pub bad_options: BTreeMap<String, String>,
    /// An option whose text is free (a description, say), for tries with odd texts.
    pub text_option: Option<String>,
    /// What subnets are cut from, a /24 each.
    pub pool: Ipv4Net,
    /// The same for IPv6, a /64 each.
    pub pool6: Ipv6Net,
    /// Whether networks with an IPv4 subnet are possible.
    pub ipv4: bool,
    /// Whether networks with an IPv6 subnet are possible.
    pub ipv6: bool,
    /// Whether a subnet may overlap with another network's, or with a route of the machine.
    pub overlap: bool,
    /// How many networks and endpoints are possible at the same time.
    pub at_once: usize,
}

impl Default for NetworkProfile {
    fn default() -> Self {
        Self {
            options: BTreeMap::new(),
            bad_options: BTreeMap::new(),
            text_option: None,
            // Shared address space of RFC 6598, of which hosts seldom have a part, and a random prefix of RFC 4193.
            pool: Ipv4Net::new_assert([100, 101, 0, 0].into(), 16),
            pool6: Ipv6Net::new_assert([0xfd6b, 0x19c4, 0x82e7, 0, 0, 0, 0, 0].into(), 48),
            ipv4: true,
            ipv6: true,
            overlap: false,
            at_once: 64,
        }
    }
}
