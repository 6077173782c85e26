//! Arithmetic on subnets: addresses as offsets from the subnet's first one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dockside_driver::{IpNet, Ipv4Net, Ipv6Net};

/// The address as a number.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// How many bits of an address vary within the subnet.
pub fn host_bits(subnet: IpNet) -> u32 {
    u32::from(subnet.max_prefix_len() - subnet.prefix_len())
}

/// The offset of the subnet's last address.
pub fn last_offset(subnet: IpNet) -> u128 {
    // A shift by 128 bits would overflow; that subnet is all of IPv6.
    1u128
        .checked_shl(host_bits(subnet))
        .map_or(u128::MAX, |size| size - 1)
}

/// The address at an offset. The caller keeps the offset within the subnet.
pub fn address(subnet: IpNet, offset: u128) -> IpAddr {
    let number = number(subnet.network()).wrapping_add(offset);
    match subnet {
        // Within an IPv4 subnet the number always fits.
        IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}

/// The offset of an address; none if it lies outside.
pub fn offset(subnet: IpNet, address: IpAddr) -> Option<u128> {
    subnet
        .contains(&address)
        .then(|| number(address) - number(subnet.network()))
}

/// The first and the last offset that an interface can have.
///
/// IPv4 keeps the network and the broadcast address except in /31 (RFC 3021) and /32; IPv6 keeps the first address, which
/// means any router of the subnet (RFC 4291, 2.6.1), except in /127 (RFC 6164) and /128.
pub fn usable(subnet: IpNet) -> (u128, u128) {
    let last = last_offset(subnet);
    match subnet {
        _ if last < 2 => (0, last),
        IpNet::V4(_) => (1, last - 1),
        IpNet::V6(_) => (1, last),
    }
}

/// The subnet of this prefix length that contains the address; none if the length is too large for the family.
pub fn containing(address: IpAddr, prefix_length: u8) -> Option<IpNet> {
    IpNet::new(address, prefix_length)
        .ok()
        .map(|net| net.trunc())
}

/// The subnet of the same size right behind this one; none at the end of the family.
pub fn next(subnet: IpNet) -> Option<IpNet> {
    let number = number(subnet.broadcast()).checked_add(1)?;
    let address = match subnet {
        IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).ok()?).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    };
    containing(address, subnet.prefix_len())
}

/// Whether the two share an address.
pub fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// What is wrong with a subnet as a network for containers, if anything is.
pub fn unusable_because(subnet: IpNet) -> Option<&'static str> {
    /// Subnets whose addresses no interface of a container can have.
    const SPECIAL: [(IpNet, &str); 6] = [
        (v4([0, 0, 0, 0], 8), "0.0.0.0/8, which means this host"),
        (v4([127, 0, 0, 0], 8), "127.0.0.0/8, the loopback addresses"),
        (
            v4([224, 0, 0, 0], 4),
            "224.0.0.0/4, the multicast addresses",
        ),
        (v6(0, 127), "::/127, no address and the loopback address"),
        (
            v6(0xffff_0000_0000, 96),
            "::ffff:0:0/96, IPv4 addresses in IPv6 form",
        ),
        (v6(0xff << 120, 8), "ff00::/8, the multicast addresses"),
    ];
    SPECIAL
        .iter()
        .find(|(special, _)| overlap(subnet, *special))
        .map(|(_, why)| *why)
}

const fn v4(address: [u8; 4], prefix_length: u8) -> IpNet {
    let [a, b, c, d] = address;
    IpNet::V4(Ipv4Net::new_assert(
        Ipv4Addr::new(a, b, c, d),
        prefix_length,
    ))
}

const fn v6(address: u128, prefix_length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::from_bits(address),
        prefix_length,
    ))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;

    #[test]
    fn usable_addresses_leave_out_what_no_interface_can_have() {
        for (subnet, first, last) in [
            ("10.0.0.0/24", "10.0.0.1", "10.0.0.254"),
            ("10.0.0.0/29", "10.0.0.1", "10.0.0.6"),
            ("10.0.0.4/30", "10.0.0.5", "10.0.0.6"),
            ("10.0.0.4/31", "10.0.0.4", "10.0.0.5"),
            ("10.0.0.4/32", "10.0.0.4", "10.0.0.4"),
            ("10.0.0.0/8", "10.0.0.1", "10.255.255.254"),
            ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
            ("fd00::4/126", "fd00::5", "fd00::7"),
            ("fd00::4/127", "fd00::4", "fd00::5"),
            ("fd00::4/128", "fd00::4", "fd00::4"),
        ] {
            let subnet: IpNet = subnet.parse().unwrap();
            let (lo, hi) = usable(subnet);
            assert_eq!(address(subnet, lo).to_string(), first, "{subnet}");
            assert_eq!(address(subnet, hi).to_string(), last, "{subnet}");
            assert_eq!(offset(subnet, last.parse().unwrap()), Some(hi), "{subnet}");
        }
    }

    #[test]
    fn the_next_subnet_ends_with_the_family() {
        let next = |text: &str| next(text.parse().unwrap()).map(|net| net.to_string());
        assert_eq!(next("10.0.0.0/24").as_deref(), Some("10.0.1.0/24"));
        assert_eq!(next("10.0.0.0/32").as_deref(), Some("10.0.0.1/32"));
        assert_eq!(next("255.255.255.0/24"), None);
        assert_eq!(next("fd00::/64").as_deref(), Some("fd00:0:0:1::/64"));
        assert_eq!(next("ff00::/8"), None);
        assert_eq!(next("::/0"), None);
    }
}
