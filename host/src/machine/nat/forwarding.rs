//! The sysctls that let the host forward.

use std::path::Path;

use crate::machine::{ErrorKind, MachineError};

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Routes of the kernel for IPv6, one a line: destination, its length, ..., flags, link.
const ROUTES: &str = "/proc/net/ipv6_route";
/// The route came by a router's advertisement (RTF_ADDRCONF of the kernel).
const ADVERTISED: u32 = 0x0004_0000;
/// It is a default route (RTF_DEFAULT).
const DEFAULT: u32 = 0x0001_0000;

/// Turns the forwarding of a family on if it is off, and says whether it was off. It is never turned off again: others rely on it then.
///
/// To be called when an engine asks for a network, and not when networks are put back before an engine has started: one that finds
/// forwarding on takes it for the operator's decision, and leaves the policy of FORWARD at ACCEPT.
///
/// # Errors
///
/// [`ErrorKind::Missing`] without the family, [`ErrorKind::Invalid`] if it would cost the host its IPv6 default route, and whatever the
/// kernel says.
pub fn turn_on_forwarding(family: Family) -> Result<bool, MachineError> {
    let (sysctl, name) = match family {
        Family::Ipv4 => ("net/ipv4/ip_forward", "IPv4"),
        Family::Ipv6 => ("net/ipv6/conf/all/forwarding", "IPv6"),
    };
    let path = Path::new("/proc/sys").join(sysctl);
    let dotted = sysctl.replace('/', ".");
    let tried = format!("turn on the forwarding of {name} ({dotted})");
    let value = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => MachineError::new(
            ErrorKind::Missing,
            format!("cannot {tried}: the kernel has no {name}, or it is disabled"),
        ),
        _ => MachineError::io(&tried, &error),
    })?;
    if value.trim() != "0" {
        return Ok(false);
    }
    if family == Family::Ipv6
        && let Some(link) = advertised_default()
    {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!(
                "cannot {tried}: the host has its default route by router advertisements on {link}, which it would ignore from then on. Set net.ipv6.conf.{link}.accept_ra=2 and then {dotted}=1"
            ),
        ));
    }
    std::fs::write(&path, "1").map_err(|error| MachineError::io(&tried, &error))?;
    Ok(true)
}

/// A link whose default route is lost when the host becomes a router.
fn advertised_default() -> Option<String> {
    let routes = std::fs::read_to_string(ROUTES).ok()?;
    routes.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let link = *fields.get(9)?;
        let accepts = format!("/proc/sys/net/ipv6/conf/{link}/accept_ra");
        let lost = flags & ADVERTISED != 0
            && flags & DEFAULT != 0
            && std::fs::read_to_string(accepts).is_ok_and(|value| value.trim() == "1");
        lost.then(|| link.to_owned())
    })
}
