//! Between the types of the contract and Rust's own.

use ipnet::IpNet;
use std::net::IpAddr;

use crate::{
    Error, ErrorCode, KeyValues, MacAddr, Scope, Transport,
    bindings::imports::dockside::driver::types as wit, options::ValueType,
};

/// Pairs as the contract has them.
pub(crate) type Pairs = Vec<(String, String)>;

pub(crate) fn pairs(values: KeyValues) -> Pairs {
    values.into_iter().collect()
}

pub(crate) fn address(address: wit::IpAddress) -> IpAddr {
    match address {
        wit::IpAddress::Ipv4((a, b, c, d)) => [a, b, c, d].into(),
        wit::IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => [a, b, c, d, e, f, g, h].into(),
    }
}

pub(crate) fn to_address(address: IpAddr) -> wit::IpAddress {
    match address {
        IpAddr::V4(address) => wit::IpAddress::Ipv4(address.octets().into()),
        IpAddr::V6(address) => wit::IpAddress::Ipv6(address.segments().into()),
    }
}

/// The host checks prefixes before it sends them, so that one which is too long can only be a fault of the host.
pub(crate) fn network(cidr: wit::Cidr) -> Result<IpNet, Error> {
    let address = address(cidr.address);
    IpNet::new(address, cidr.prefix_length)
        .map_err(|_| Error::invalid(format!("{address}/{} is no network", cidr.prefix_length)))
}

pub(crate) fn to_cidr(network: IpNet) -> wit::Cidr {
    wit::Cidr {
        address: to_address(network.addr()),
        prefix_length: network.prefix_len(),
    }
}

pub(crate) fn mac((a, b, c, d, e, f): wit::MacAddress) -> MacAddr {
    MacAddr([a, b, c, d, e, f])
}

pub(crate) fn to_mac(address: MacAddr) -> wit::MacAddress {
    address.0.into()
}

pub(crate) fn transport(transport: wit::Transport) -> Transport {
    match transport {
        wit::Transport::Tcp => Transport::Tcp,
        wit::Transport::Udp => Transport::Udp,
        wit::Transport::Sctp => Transport::Sctp,
        wit::Transport::Other(number) => Transport::Other(number),
    }
}

pub(crate) fn to_transport(transport: Transport) -> wit::Transport {
    match transport {
        Transport::Tcp => wit::Transport::Tcp,
        Transport::Udp => wit::Transport::Udp,
        Transport::Sctp => wit::Transport::Sctp,
        Transport::Other(number) => wit::Transport::Other(number),
    }
}

pub(crate) fn to_scope(scope: Scope) -> wit::Scope {
    match scope {
        Scope::Local => wit::Scope::Local,
        Scope::Global => wit::Scope::Global,
    }
}

pub(crate) fn to_value_type(value_type: ValueType) -> wit::ValueType {
    match value_type {
        ValueType::Text => wit::ValueType::Text,
        ValueType::Boolean => wit::ValueType::Boolean,
        ValueType::Integer(range) => wit::ValueType::Integer(wit::IntRange {
            min: *range.start(),
            max: *range.end(),
        }),
        ValueType::Size => wit::ValueType::Size,
        ValueType::Choice(words) => wit::ValueType::Choice(words),
    }
}

pub(crate) fn to_error(error: Error) -> wit::Error {
    let code = match error.code() {
        ErrorCode::NotFound => wit::ErrorCode::NotFound,
        ErrorCode::AlreadyExists => wit::ErrorCode::AlreadyExists,
        ErrorCode::InvalidArgument => wit::ErrorCode::InvalidArgument,
        ErrorCode::InUse => wit::ErrorCode::InUse,
        ErrorCode::Exhausted => wit::ErrorCode::Exhausted,
        ErrorCode::Unavailable => wit::ErrorCode::Unavailable,
        ErrorCode::NotImplemented => wit::ErrorCode::NotImplemented,
        ErrorCode::Other => wit::ErrorCode::Other,
    };
    wit::Error {
        code,
        message: error.into_message(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_there_and_back() {
        for text in [
            "10.0.0.1/24",
            "0.0.0.0/0",
            "255.255.255.255/32",
            "fd00::1/64",
            "::/0",
            "2001:db8:1:2:3:4:5:6/128",
        ] {
            let cidr: IpNet = text.parse().unwrap();
            assert_eq!(network(to_cidr(cidr)).unwrap(), cidr);
        }
        let address = MacAddr([2, 0x42, 0xac, 0x11, 0, 2]);
        assert_eq!(mac(to_mac(address)), address);
    }

    #[test]
    fn a_prefix_that_is_too_long_is_an_error() {
        let cidr = wit::Cidr {
            address: wit::IpAddress::Ipv4((10, 0, 0, 1)),
            prefix_length: 33,
        };
        assert_eq!(
            network(cidr).unwrap_err().message(),
            "10.0.0.1/33 is no network"
        );
    }
}
