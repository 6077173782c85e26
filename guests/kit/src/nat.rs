//! Address translation and filtering, in a table of dockside's own (`dockside:host/nat`). Needs the grant `nat`.
//!
//! ```
//! use dockside_driver::{links::{self, Bridge, Settings}, nat::{self, Rule}};
//!
//! let bridge = links::create("net", Bridge::default(), Settings::up())?;
//! nat::apply("net", [
//!     Rule::Masquerade { source: "10.0.0.0/24".parse()?, link: &bridge },
//!     Rule::Forward(&bridge),
//! ])?;
//! # Ok::<(), dockside_driver::Error>(())
//! ```
//!
//! Rules come in sets with a key. A set takes effect as a whole; it is gone again if the call fails, and a removed one is removed once the call
//! has succeeded. Docker's own rules are not touched.

use ipnet::IpNet;
use std::net::IpAddr;

use crate::{Link, Result, Transport, sys};

/// A port of the machine that leads to a container.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// The protocol.
    pub transport: Transport,
    /// The machine's address; none is each that it has, the unspecified one of an IP version each of that version.
    pub host_address: Option<IpAddr>,
    /// The machine's port; 0 lets the host choose one of the granted ones.
    pub host_port: u16,
    /// The container's address, in a subnet of one of the link's addresses or routes.
    pub container_address: IpAddr,
    /// The container's port.
    pub container_port: u16,
    /// The bridge that the container is on.
    pub link: &'a Link,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// Traffic of a subnet leaves the machine under the machine's address. Needs `masquerade` in the grant.
    Masquerade {
        /// The subnet.
        source: IpNet,
        /// The bridge that the subnet is on.
        link: &'a Link,
    },
    /// A port of the machine leads to a container. Needs the port under `publish` in the grant.
    Publish(Publish<'a>),
    /// Traffic of this bridge may pass between its ports and outward, and answers may come back. Needs `forward` in the grant.
    Forward(&'a Link),
    /// Nothing passes between this bridge and any other link.
    Internal(&'a Link),
    /// Nothing passes between this bridge and other links that dockside made.
    Isolate(&'a Link),
}

/// Puts a set of rules into effect. There must be none of that key. Returns the machine's ports of the rules [`Rule::Publish`], in their order.
pub fn apply<'a>(key: &str, rules: impl IntoIterator<Item = Rule<'a>>) -> Result<Vec<u16>> {
    let rules: Vec<Rule<'a>> = rules.into_iter().collect();
    sys::apply_rules(key, &rules)
}

/// Removes a set of rules. One that is not there is no error.
pub fn remove(key: &str) -> Result<()> {
    sys::remove_rules(key)
}

/// The keys of all sets of this plugin, sorted.
pub fn keys() -> Result<Vec<String>> {
    Ok(sys::rule_keys())
}
