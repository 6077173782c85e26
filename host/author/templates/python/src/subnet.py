{% if ipam or network %}
"""The addresses of WIT as those of Python's `ipaddress`, and back."""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from wit_world.imports.addresses import Cidr, IpAddress, IpAddress_Ipv4, IpAddress_Ipv6

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

__all__ = [
    "Address",
    "Interface",
    "Network",
    "address_of",
    "cidr_of",
    "interface_of",
    "ip_address",
    "ip_interface",
    "ip_network",
    "wit_address_of",
]


def address_of(address: IpAddress) -> Address:
    match address:
        case IpAddress_Ipv4(parts):
            return IPv4Address(bytes(parts))
        case IpAddress_Ipv6(parts):
            return IPv6Address(b"".join(part.to_bytes(2, "big") for part in parts))


def wit_address_of(address: Address) -> IpAddress:
    packed = address.packed
    if address.version == 4:
        return IpAddress_Ipv4(tuple(packed))
    return IpAddress_Ipv6(tuple(int.from_bytes(packed[at : at + 2], "big") for at in range(0, 16, 2)))


def interface_of(cidr: Cidr) -> Interface:
    """The address with its prefix, which need not be a subnet's."""
    return ip_interface((address_of(cidr.address), cidr.prefix_length))


def cidr_of(address: Address, prefix_length: int) -> Cidr:
    return Cidr(wit_address_of(address), prefix_length)
{% endif %}
