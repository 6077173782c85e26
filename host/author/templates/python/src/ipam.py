"""Addresses for networks: pools, and the addresses of each that are held, in the plugin's state."""

from dataclasses import dataclass, replace

from wit_world import exports
from wit_world.exports.ipam import (
    AddressRequest,
    AddressResponse,
    AddressSpaces,
    IpamCapabilities,
    PoolRequest,
    PoolResponse,
)
from wit_world.imports.addresses import Cidr, IpAddress

from failure import ErrorCode, failure
from subnet import Address, Network, address_of, cidr_of, interface_of, ip_address, ip_network
from table import Table

# Where subnets for networks without --subnet come from, and the length of their prefix. Make the second one yours: RFC 4193 wants 40
# random bits behind fd.
OFFERED_IPV4 = (ip_network("10.99.0.0/16"), 24)
OFFERED_IPV6 = (ip_network("fd00:d0c5:1de0::/48"), 64)
SPACES = AddressSpaces(local="local", global_="global")


@dataclass(frozen=True)
class Pool:
    """What is remembered of a pool."""

    space: str
    subnet: str
    # The first and the last address to choose from.
    first: str
    last: str
    # Where the search for a free address begins: what was released is not given to the next one who asks.
    next: str
    # How often it was asked for.
    networks: int


@dataclass(frozen=True)
class Lease:
    """An address that is held."""

    gateway: bool


POOLS = Table("pools/", Pool)


def leases_of(pool_id: str) -> Table[Lease]:
    return Table(f"leases/{pool_id}/", Lease)


def usable(subnet: Network) -> tuple[Address, Address]:
    """The first and the last address that a container can have."""
    first, last = subnet[0], subnet[-1]
    if subnet.num_addresses <= 2:
        return first, last
    # The first one is the network's, or that of any router (RFC 4291, 2.6.1); the last one IPv4's broadcast address.
    return first + 1, last - 1 if subnet.version == 4 else last


def overlaps(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def contains(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and inner.subnet_of(outer)


def held(space: str) -> list[Network]:
    """The subnets of an address space that are held."""
    return [ip_network(pool.subnet) for _, pool in POOLS.items() if pool.space == space]


def check(subnet: Network, ipv6: bool) -> None:
    """Fails for a subnet that cannot be that of a network."""
    first = subnet[0]
    if (subnet.version == 6) != ipv6:
        why = "is of the other family"
    elif subnet.prefixlen < 8:
        why = "is larger than a /8"
    elif first.is_loopback or first.is_multicast or first.is_unspecified:
        why = "is not for networks"
    else:
        return
    raise failure(ErrorCode.INVALID_ARGUMENT, f"{subnet} {why}")


def offer(ipv6: bool, taken: list[Network]) -> Network:
    """A subnet that overlaps with none that is held. Never the same one twice while it is held: Docker asks on until it likes one."""
    source, prefix = OFFERED_IPV6 if ipv6 else OFFERED_IPV4
    for subnet in source.subnets(new_prefix=prefix):
        if not any(overlaps(subnet, other) for other in taken):
            return subnet
    raise failure(
        ErrorCode.EXHAUSTED,
        f"every /{prefix} of {source} is held: remove a network, or name a subnet with --subnet",
    )


def subnet_of(cidr: Cidr) -> Network:
    interface = interface_of(cidr)
    if interface.ip != interface.network[0]:
        raise failure(ErrorCode.INVALID_ARGUMENT, f"{interface} has bits behind its prefix")
    return interface.network


def new_pool(space: str, subnet: Network, sub_pool: Network | None) -> Pool:
    low, high = usable(subnet)
    whole = sub_pool or subnet
    first, last = max(whole[0], low), min(whole[-1], high)
    if first > last:
        raise failure(ErrorCode.INVALID_ARGUMENT, f"--ip-range {whole} has no address that a container can have")
    return Pool(space, str(subnet), str(first), str(last), next=str(first), networks=0)


def wanted(pool: Pool, leases: Table[Lease], address: Address) -> Address:
    """The address that was asked for. It may lie outside of --ip-range, as gateways do."""
    subnet = ip_network(pool.subnet)
    low, high = usable(subnet)
    if address.version != subnet.version or not low <= address <= high:
        raise failure(
            ErrorCode.INVALID_ARGUMENT, f"{address} is no address that a container in {subnet} can have"
        )
    if leases.get(str(address)):
        raise failure(ErrorCode.IN_USE, f"{address} is in use already")
    return address


def choose(pool_id: str, pool: Pool, leases: Table[Lease]) -> Address:
    """A free address. The search goes once around."""
    first, last, address = (ip_address(text) for text in (pool.first, pool.last, pool.next))
    for _ in range(int(last) - int(first) + 1):
        following = address + 1 if address < last else first
        if leases.get(str(address)) is None:
            POOLS.put(pool_id, replace(pool, next=str(following)))
            return address
        address = following
    raise failure(
        ErrorCode.EXHAUSTED,
        f"every address of {pool.subnet} is in use: remove a container, or take a larger --subnet",
    )


class Ipam(exports.Ipam):
    def get_capabilities(self) -> IpamCapabilities:
        return IpamCapabilities(requires_mac_address=False, requires_request_replay=False)

    def get_default_address_spaces(self) -> AddressSpaces:
        return SPACES

    def request_pool(self, request: PoolRequest) -> PoolResponse:
        space = request.address_space
        if space not in (SPACES.local, SPACES.global_):
            raise failure(
                ErrorCode.INVALID_ARGUMENT, f'there is no address space "{space}": say local or global'
            )
        if request.sub_pool and not request.pool:
            raise failure(ErrorCode.INVALID_ARGUMENT, "--ip-range needs a --subnet that it is a part of")
        taken = held(space)
        subnet = subnet_of(request.pool) if request.pool else offer(request.ipv6, taken)
        check(subnet, request.ipv6)
        sub_pool = subnet_of(request.sub_pool) if request.sub_pool else None
        if sub_pool and not contains(subnet, sub_pool):
            raise failure(ErrorCode.INVALID_ARGUMENT, f"--ip-range {sub_pool} is not a part of {subnet}")

        pool_id = f"{space}/{subnet}" + (f"+{sub_pool}" if sub_pool else "")
        pool = POOLS.get(pool_id)
        if pool is None:
            for other in taken:
                if overlaps(subnet, other):
                    raise failure(
                        ErrorCode.IN_USE,
                        f"{subnet} overlaps with {other}, which is held: choose another --subnet",
                    )
            pool = new_pool(space, subnet, sub_pool)
        POOLS.put(pool_id, replace(pool, networks=pool.networks + 1))
        return PoolResponse(pool_id, cidr_of(subnet[0], subnet.prefixlen), gateway=None, data=[])

    def release_pool(self, pool_id: str) -> None:
        pool = POOLS.get(pool_id)
        if pool is None:
            return
        if pool.networks > 1:
            POOLS.put(pool_id, replace(pool, networks=pool.networks - 1))
            return
        leases = leases_of(pool_id)
        for address in list(leases.keys()):
            leases.delete(address)
        POOLS.delete(pool_id)

    def request_address(self, request: AddressRequest) -> AddressResponse:
        pool = POOLS.get(request.pool_id)
        if pool is None:
            raise failure(ErrorCode.NOT_FOUND, f'there is no pool "{request.pool_id}"')
        leases = leases_of(request.pool_id)
        if request.address is None:
            address = choose(request.pool_id, pool, leases)
        else:
            address = wanted(pool, leases, address_of(request.address))
        leases.put(str(address), Lease(request.gateway))
        return AddressResponse(cidr_of(address, ip_network(pool.subnet).prefixlen), data=[])

    def release_address(self, pool_id: str, address: IpAddress) -> None:
        leases_of(pool_id).delete(str(address_of(address)))
