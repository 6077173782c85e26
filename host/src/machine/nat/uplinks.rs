//! The links through which the host reaches the world.

use super::check;

/// Routes of the kernel, one a line. IPv4: link, destination, ..., its mask as the eighth. IPv6: destination, its length, ..., link.
const IPV4: &str = "/proc/net/route";
const IPV6: &str = "/proc/net/ipv6_route";

/// Links with a default route. The next rule set that is made sees what has changed.
pub(super) fn links() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut links = found(&read(IPV4), &read(IPV6));
    links.sort();
    links.dedup();
    links
}

fn found(ipv4: &str, ipv6: &str) -> Vec<String> {
    let zero = |field: Option<&&str>| field.is_some_and(|field| field.bytes().all(|b| b == b'0'));
    let one = |line: &str, destination: usize, mask: usize, link: usize| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let link = fields.get(link)?;
        // An odd name could not be written into a script.
        (zero(fields.get(destination)) && zero(fields.get(mask)) && check::name(link).is_ok())
            .then(|| (*link).to_owned())
    };
    let ipv4 = ipv4.lines().filter_map(|line| one(line, 1, 7, 0));
    let ipv6 = ipv6.lines().filter_map(|line| one(line, 0, 1, 9));
    ipv4.chain(ipv6).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn links_with_a_default_route_are_found_and_no_others() {
        let ipv4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
            br0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let none = "00000000000000000000000000000000 00";
        let ipv6 = format!(
            "{none} {none} fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth1\n\
             fd090000000000000000000000000000 40 {none} 00000000000000000000000000000000 00000100 00000001 00000000 00000001 br1\n\
             {none} {none} 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(super::found(ipv4, &ipv6), ["eth0", "eth1"]);
        assert!(super::found("", "\n \n").is_empty());
    }
}
