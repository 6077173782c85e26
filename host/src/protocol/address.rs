//! Addresses: the text that Docker writes, the types of the WIT contract, and the types that the host works with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::sandbox::bindings::types;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<types::MacAddress> for Mac {
    fn from((a, b, c, d, e, f): types::MacAddress) -> Self {
        Mac([a, b, c, d, e, f])
    }
}

impl From<Mac> for types::MacAddress {
    fn from(Mac([a, b, c, d, e, f]): Mac) -> Self {
        (a, b, c, d, e, f)
    }
}

impl Mac {
    /// Reads the colon form, `02:42:ac:11:00:02`.
    pub fn parse(text: &str) -> Option<Mac> {
        let mut bytes = [0; 6];
        let mut groups = text.split(':');
        for byte in &mut bytes {
            let group = groups.next()?;
            if group.len() != 2 || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(group, 16).ok()?;
        }
        groups.next().is_none().then_some(Mac(bytes))
    }
}

/// Reads an address without prefix. An IPv4 address in IPv6 clothes is taken for what it is, as Docker does.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Reads an address with prefix. The bits behind the prefix are kept.
pub fn parse_cidr(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().ok()?;
    let canonical = net.addr().to_canonical();
    if canonical.is_ipv4() && net.addr().is_ipv6() {
        return IpNet::new(canonical, net.prefix_len().checked_sub(96)?).ok();
    }
    Some(net)
}

/// An address for a driver.
pub fn ip_to_guest(ip: IpAddr) -> types::IpAddress {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            types::IpAddress::Ipv4((a, b, c, d))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            types::IpAddress::Ipv6((a, b, c, d, e, f, g, h))
        }
    }
}

/// An address with prefix for a driver.
pub fn cidr_to_guest(net: IpNet) -> types::Cidr {
    types::Cidr {
        address: ip_to_guest(net.addr()),
        prefix_length: net.prefix_len(),
    }
}

/// An address from a driver.
///
/// # Errors
/// Says why, to follow the name of the field. An IPv4 address in IPv6 clothes is refused: Docker would read it as IPv4.
pub fn ip_from_guest(ip: types::IpAddress) -> Result<IpAddr, String> {
    match ip {
        types::IpAddress::Ipv4((a, b, c, d)) => Ok(Ipv4Addr::new(a, b, c, d).into()),
        types::IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
            let ip = Ipv6Addr::new(a, b, c, d, e, f, g, h);
            match ip.to_ipv4_mapped() {
                Some(v4) => Err(format!("is {v4} written as an IPv6 address")),
                None => Ok(ip.into()),
            }
        }
    }
}

/// An address with prefix from a driver.
///
/// # Errors
/// Says why, to follow the name of the field.
pub fn cidr_from_guest(cidr: types::Cidr) -> Result<IpNet, String> {
    let ip = ip_from_guest(cidr.address)?;
    IpNet::new(ip, cidr.prefix_length).map_err(|_| {
        format!(
            "is {ip} with a prefix of {} bits, more than an address of its family has",
            cidr.prefix_length
        )
    })
}

/// A subnet from a driver: no bit is set behind the prefix.
///
/// # Errors
/// Says why, to follow the name of the field.
pub fn subnet_from_guest(cidr: types::Cidr) -> Result<IpNet, String> {
    let net = cidr_from_guest(cidr)?;
    if net == net.trunc() {
        Ok(net)
    } else {
        Err(format!(
            "is {net}, an address and not a subnet; the subnet is {}",
            net.trunc()
        ))
    }
}

/// Whether both are of one family.
pub fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;

    #[test]
    fn ethernet_addresses_are_read_in_colon_form_only() {
        let cases = [
            ("02:42:ac:11:00:02", true),
            ("02:42:AC:11:00:02", true),
            ("02-42-ac-11-00-02", false),
            ("0242.ac11.0002", false),
            ("02:42:ac:11:00", false),
            ("02:42:ac:11:00:02:03", false),
            ("2:42:ac:11:00:02", false),
            ("+2:42:ac:11:00:02", false),
            ("", false),
        ];
        for (text, good) in cases {
            let mac = Mac::parse(text);
            assert_eq!(mac.is_some(), good, "{text}");
            if let Some(mac) = mac {
                assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
            }
        }
    }

    #[test]
    fn spellings_of_one_address_are_one_address() {
        let ip = |text| parse_ip(text).map(|ip| ip.to_string());
        assert_eq!(ip("FD99:0:0:0::1").as_deref(), Some("fd99::1"));
        assert_eq!(ip("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"));
        for bad in [
            "10.0.0.1/24",
            "fe80::1%eth0",
            "010.0.0.1",
            " 10.0.0.1",
            "10.0.0",
            "",
            "x",
        ] {
            assert_eq!(ip(bad), None, "{bad}");
        }
        let cidr = |text| parse_cidr(text).map(|net| net.to_string());
        assert_eq!(cidr("10.77.0.1/24").as_deref(), Some("10.77.0.1/24"));
        assert_eq!(cidr("FD99:2::1/64").as_deref(), Some("fd99:2::1/64"));
        assert_eq!(cidr("::ffff:10.0.0.0/104").as_deref(), Some("10.0.0.0/8"));
        for bad in [
            "10.0.0.1",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/-1",
            "10.0.0.0/8 ",
            "::ffff:10.0.0.0/8",
        ] {
            assert_eq!(cidr(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_driver_answers_survives_the_way_there_and_back() {
        for text in ["10.0.0.1/24", "0.0.0.0/0", "fd99:2::1/64", "::/128"] {
            let net: IpNet = text.parse().unwrap();
            assert_eq!(cidr_from_guest(cidr_to_guest(net)), Ok(net));
        }
        let bad = types::Cidr {
            address: types::IpAddress::Ipv4((10, 0, 0, 1)),
            prefix_length: 33,
        };
        assert!(cidr_from_guest(bad).unwrap_err().contains("33 bits"));
        let host_bits = cidr_to_guest("10.0.0.1/24".parse().unwrap());
        assert!(
            subnet_from_guest(host_bits)
                .unwrap_err()
                .contains("10.0.0.0/24")
        );
        let mapped = types::IpAddress::Ipv6((0, 0, 0, 0, 0, 0xffff, 0x0a00, 1));
        assert!(ip_from_guest(mapped).unwrap_err().contains("10.0.0.1"));
    }
}
