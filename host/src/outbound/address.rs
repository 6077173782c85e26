//! Which addresses are somebody's own business: everything that the IANA special-purpose registries list, and the metadata services of
//! clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address that a grant would have to name, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Special {
    /// The address that matters: for one that carries an IPv4 address, that one.
    pub(super) address: IpAddr,
    /// What it is, to complete "it is ...".
    pub(super) what: &'static str,
    /// What the operator would write under `private` to allow it.
    pub(super) entry: IpNet,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(
        Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]),
        prefix,
    )
}

/// IANA IPv4 Special-Purpose Address Registry, and multicast.
const V4: &[(Ipv4Net, &str)] = &[
    (
        v4(0, 0, 0, 0, 8),
        "an address of this host itself (0.0.0.0/8)",
    ),
    (v4(10, 0, 0, 0, 8), "private (10.0.0.0/8)"),
    (
        v4(100, 64, 0, 0, 10),
        "shared address space (100.64.0.0/10)",
    ),
    (v4(127, 0, 0, 0, 8), "loopback (127.0.0.0/8)"),
    (v4(169, 254, 0, 0, 16), "link-local (169.254.0.0/16)"),
    (v4(172, 16, 0, 0, 12), "private (172.16.0.0/12)"),
    (
        v4(192, 0, 0, 0, 24),
        "reserved for protocols (192.0.0.0/24)",
    ),
    (
        v4(192, 0, 2, 0, 24),
        "reserved for documentation (192.0.2.0/24)",
    ),
    (
        v4(192, 31, 196, 0, 24),
        "reserved for AS112 (192.31.196.0/24)",
    ),
    (
        v4(192, 52, 193, 0, 24),
        "reserved for AMT (192.52.193.0/24)",
    ),
    (
        v4(192, 88, 99, 0, 24),
        "reserved for 6to4 relays (192.88.99.0/24)",
    ),
    (v4(192, 168, 0, 0, 16), "private (192.168.0.0/16)"),
    (
        v4(192, 175, 48, 0, 24),
        "reserved for AS112 (192.175.48.0/24)",
    ),
    (
        v4(198, 18, 0, 0, 15),
        "reserved for benchmarks (198.18.0.0/15)",
    ),
    (
        v4(198, 51, 100, 0, 24),
        "reserved for documentation (198.51.100.0/24)",
    ),
    (
        v4(203, 0, 113, 0, 24),
        "reserved for documentation (203.0.113.0/24)",
    ),
    (v4(224, 0, 0, 0, 4), "multicast (224.0.0.0/4)"),
    (v4(255, 255, 255, 255, 32), "broadcast (255.255.255.255)"),
    (v4(240, 0, 0, 0, 4), "reserved (240.0.0.0/4)"),
];

/// IANA IPv6 Special-Purpose Address Registry, multicast, and what was special before.
const V6: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified (::)"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback (::1)"),
    (
        v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
        "an IPv4-compatible address (::/96)",
    ),
    (
        v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
        "local IPv4 translation (64:ff9b:1::/48)",
    ),
    (
        v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
        "reserved for discarding (100::/64)",
    ),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo (2001::/32)"),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        "reserved for protocols (2001::/23)",
    ),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        "reserved for documentation (2001:db8::/32)",
    ),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4 (2002::/16)"),
    (
        v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48),
        "reserved for AS112 (2620:4f:8000::/48)",
    ),
    (
        v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        "reserved for documentation (3fff::/20)",
    ),
    (
        v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
        "reserved for segment routing (5f00::/16)",
    ),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private (fc00::/7)"),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        "link-local (fe80::/10)",
    ),
    (
        v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        "site-local (fec0::/10)",
    ),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast (ff00::/8)"),
];

/// All that is handed out as global unicast today.
const GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// NAT64 by the well-known prefix: the network turns it into the IPv4 address that it ends in.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// Metadata services hand the machine's credentials to whoever asks. A wide range under `private` does not mean them.
const METADATA: &[IpAddr] = &[
    // AWS, GCP, Azure, OpenStack, DigitalOcean, Hetzner and many others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // AWS: the same by IPv6, credentials of ECS tasks and of EKS pods.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // GCP by IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Alibaba Cloud, Oracle Cloud (classic), Tencent Cloud, Scaleway.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    // Azure's host agent, which hides behind a public address.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Why a connection to this address is refused; `None`: it is public, or `private` covers all that is special about it.
pub(super) fn refused(address: IpAddr, private: &[IpNet]) -> Option<Special> {
    parts(address)
        .into_iter()
        .flatten()
        .filter_map(special)
        .find(|special| !covered(special, private))
}

/// The addresses whose business a connection is: the address itself and the IPv4 addresses within.
fn parts(address: IpAddr) -> [Option<IpAddr>; 3] {
    let IpAddr::V6(outer) = address else {
        return [Some(address), None, None];
    };
    let segments = outer.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    if let Some(mapped) = outer.to_ipv4_mapped() {
        return [Some(IpAddr::V4(mapped)), None, None];
    }
    let outer = Some(address);
    match segments {
        // NAT64: nothing but the address that it ends in.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [inner(high, low), None, None],
        [0x64, 0xff9b, 1, _, _, _, high, low] => [inner(high, low), outer, None],
        // :: and ::1 have names of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [outer, None, None],
        [0, 0, 0, 0, 0, 0, high, low] => [inner(high, low), outer, None],
        // SIIT.
        [0, 0, 0, 0, 0xffff, 0, high, low] => [inner(high, low), outer, None],
        // 6to4.
        [0x2002, high, low, ..] => [inner(high, low), outer, None],
        // Teredo: the server, and the client with its bits turned over.
        [0x2001, 0, high, low, _, _, x, y] => [inner(!x, !y), inner(high, low), outer],
        // ISATAP.
        [.., 0 | 0x200, 0x5efe, high, low] => [inner(high, low), outer, None],
        _ => [outer, None, None],
    }
}

fn special(address: IpAddr) -> Option<Special> {
    let what = if METADATA.contains(&address) {
        "the metadata service of a cloud"
    } else {
        match address {
            IpAddr::V4(address) => V4.iter().find(|(net, _)| net.contains(&address))?.1,
            IpAddr::V6(address) => match V6.iter().find(|(net, _)| net.contains(&address)) {
                Some((_, what)) => what,
                None if GLOBAL.contains(&address) || NAT64.contains(&address) => return None,
                None => "reserved (not in 2000::/3)",
            },
        }
    };
    Some(Special {
        address,
        what,
        entry: IpNet::from(address),
    })
}

fn covered(special: &Special, private: &[IpNet]) -> bool {
    let exactly = METADATA.contains(&special.address);
    private.iter().any(|net| {
        net.contains(&special.address) && (!exactly || net.prefix_len() == net.max_prefix_len())
    })
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
