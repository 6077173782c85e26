"""Networks as bridges: each endpoint is a cable from the bridge into its container."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.network import (
    Discovery,
    EndpointInterface,
    EndpointOptions,
    GwAllocResponse,
    IpamData,
    JoinResponse,
    NetworkCapabilities,
    NetworkOptions,
)
from wit_world.imports import links, machine, random
from wit_world.imports.addresses import Cidr, IpAddress
from wit_world.imports.types import Scope

from failure import ErrorCode, failure
from subnet import cidr_of, interface_of, ip_interface, wit_address_of
from table import Table

MTU = "com.docker.network.driver.mtu"


@dataclass(frozen=True)
class NetworkRecord:
    """What is remembered of a network."""

    pools: list[str]
    gateways: list[str]
    internal: bool
    mtu: int | None


@dataclass(frozen=True)
class EndpointRecord:
    """What is remembered of an endpoint: what was asked for, and the address that it has."""

    address: str | None
    address_ipv6: str | None
    wanted_mac: list[int] | None
    mac: list[int]
    sandbox: str | None = None


NETWORKS = Table("networks/", NetworkRecord)
# Keys: the network's ID and the endpoint's.
ENDPOINTS = Table("endpoints/", EndpointRecord)


def bridge_key(network_id: str) -> str:
    return f"bridge/{network_id}"


# The two ends of a cable: in the bridge, and in the container.
def port_key(endpoint_id: str) -> str:
    return f"port/{endpoint_id}"


def container_key(endpoint_id: str) -> str:
    return f"container/{endpoint_id}"


CODES = {
    machine.ErrorCode.ALREADY_EXISTS: ErrorCode.ALREADY_EXISTS,
    machine.ErrorCode.IN_USE: ErrorCode.IN_USE,
    machine.ErrorCode.UNREACHABLE: ErrorCode.UNAVAILABLE,
    machine.ErrorCode.EXHAUSTED: ErrorCode.EXHAUSTED,
    machine.ErrorCode.INVALID: ErrorCode.INVALID_ARGUMENT,
}


@contextmanager
def asking_the_host() -> Iterator[None]:
    """A refusal of the host's, as the user of docker is told it."""
    try:
        yield
    except Err as error:
        raise failure(CODES.get(error.value.code, ErrorCode.OTHER), error.value.message) from None


def is_missing(error: Err[machine.Error]) -> bool:
    return error.value.code == machine.ErrorCode.NOT_FOUND


def delete_link(key: str) -> None:
    """One that is not there is no error."""
    with asking_the_host():
        try:
            links.delete(key)
        except Err as error:
            if not is_missing(error):
                raise


def mtu_of(options: NetworkOptions) -> int | None:
    mtu = None
    for name, value in options.generic:
        if name != MTU:
            raise failure(ErrorCode.INVALID_ARGUMENT, f"there is no option {name}: this driver has {MTU}")
        if not (value.isascii() and value.isdigit() and 68 <= int(value) <= 65535):
            raise failure(ErrorCode.INVALID_ARGUMENT, f"option {MTU}={value}: say a number from 68 to 65535")
        mtu = int(value)
    return mtu


def check_addresses(data: list[IpamData]) -> None:
    """Fails for addresses that do not fit together, which make a network that does not work."""
    taken = [ip_interface(pool).network for _, other in NETWORKS.items() for pool in other.pools]
    for one in data:
        if one.pool is None:
            continue
        subnet = interface_of(one.pool).network
        for address in filter(None, [one.gateway, *(aux for _, aux in one.aux_addresses)]):
            if interface_of(address).ip not in subnet:
                raise failure(ErrorCode.INVALID_ARGUMENT, f"{interface_of(address)} is not in the subnet {subnet}")
        for other in taken:
            if other.version == subnet.version and other.overlaps(subnet):
                raise failure(ErrorCode.IN_USE, f"{subnet} overlaps with {other} of another network")


def find_network(network_id: str) -> NetworkRecord:
    network = NETWORKS.get(network_id)
    if network is None:
        raise failure(
            ErrorCode.NOT_FOUND,
            f"there is no network {network_id}: remove it with docker network rm, and create it again",
        )
    return network


def find_endpoint(network_id: str, endpoint_id: str) -> EndpointRecord:
    endpoint = ENDPOINTS.get(f"{network_id}/{endpoint_id}")
    if endpoint is None:
        raise failure(ErrorCode.NOT_FOUND, f"there is no endpoint {endpoint_id} on network {network_id}")
    return endpoint


def bridge_of(network_id: str, network: NetworkRecord) -> links.Link:
    """The network's bridge. It is made again if it is gone: a restart of the machine takes it, and Docker says nothing."""
    try:
        return links.open(bridge_key(network_id))
    except Err as error:
        if not is_missing(error):
            raise
    kind = links.Kind_Bridge(links.Bridge(stp=False, multicast_snooping=False))
    made = links.create(bridge_key(network_id), kind, links.Settings(mtu=network.mtu, mac=None, up=True))
    for gateway in network.gateways:
        interface = ip_interface(gateway)
        made.add_address(cidr_of(interface.ip, interface.network.prefixlen))
    return made


def gateway_of(network: NetworkRecord, version: int) -> IpAddress | None:
    if network.internal:
        return None
    addresses = (ip_interface(gateway).ip for gateway in network.gateways)
    return next((wit_address_of(address) for address in addresses if address.version == version), None)


def text_of(cidr: Cidr | None) -> str | None:
    return None if cidr is None else str(interface_of(cidr))


def new_mac() -> list[int]:
    """Two bits of the first byte: for one link, and given out by no manufacturer."""
    first, *rest = random.get_random_bytes(6)
    return [first & 0xFC | 2, *rest]


def missing(method: str) -> Err:
    return failure(ErrorCode.NOT_IMPLEMENTED, f"this driver does not have NetworkDriver.{method}")


class Network(exports.Network):
    def get_capabilities(self) -> NetworkCapabilities:
        return NetworkCapabilities(Scope.LOCAL, connectivity_scope=None, gw_alloc_checker=False)

    def create_network(
        self, network_id: str, options: NetworkOptions, ipv4: list[IpamData], ipv6: list[IpamData]
    ) -> None:
        data = [*ipv4, *ipv6]
        wanted = NetworkRecord(
            pools=[str(interface_of(one.pool)) for one in data if one.pool],
            gateways=[str(interface_of(one.gateway)) for one in data if one.gateway],
            internal=options.internal,
            mtu=mtu_of(options),
        )
        known = NETWORKS.get(network_id)
        if known == wanted:
            return
        if known is not None:
            raise failure(
                ErrorCode.ALREADY_EXISTS, f"network {network_id} exists already, with other options or addresses"
            )
        check_addresses(data)
        with asking_the_host():
            bridge_of(network_id, wanted)
        NETWORKS.put(network_id, wanted)

    def delete_network(self, network_id: str) -> None:
        for key in list(ENDPOINTS.keys()):
            if key.startswith(f"{network_id}/"):
                self.delete_endpoint(network_id, key.removeprefix(f"{network_id}/"))
        delete_link(bridge_key(network_id))
        NETWORKS.delete(network_id)

    def create_endpoint(
        self, network_id: str, endpoint_id: str, interface: EndpointInterface, options: EndpointOptions
    ) -> EndpointInterface:
        network = find_network(network_id)
        key = f"{network_id}/{endpoint_id}"
        given = list(interface.mac_address) if interface.mac_address else None
        endpoint = EndpointRecord(
            text_of(interface.address), text_of(interface.address_ipv6), wanted_mac=given, mac=given or new_mac()
        )
        known = ENDPOINTS.get(key)
        if known is None:
            with asking_the_host():
                settings = links.Settings(network.mtu, tuple(endpoint.mac), up=True)
                _, port = links.create_pair(container_key(endpoint_id), port_key(endpoint_id), settings)
                port.set_master(bridge_of(network_id, network))
            ENDPOINTS.put(key, endpoint)
        elif replace(known, sandbox=None, mac=endpoint.mac) != endpoint:
            raise failure(
                ErrorCode.ALREADY_EXISTS, f"endpoint {endpoint_id} exists already, with other addresses"
            )
        else:
            endpoint = known
        # Docker fails the start of the container if what it sent comes back.
        return EndpointInterface(None, None, None if given else tuple(endpoint.mac))

    def delete_endpoint(self, network_id: str, endpoint_id: str) -> None:
        key = f"{network_id}/{endpoint_id}"
        if ENDPOINTS.get(key) is not None:
            delete_link(port_key(endpoint_id))
            ENDPOINTS.delete(key)

    def endpoint_oper_info(self, network_id: str, endpoint_id: str) -> list[tuple[str, str]]:
        find_endpoint(network_id, endpoint_id)
        return []

    def join(
        self, network_id: str, endpoint_id: str, sandbox_key: str, options: EndpointOptions
    ) -> JoinResponse:
        network = find_network(network_id)
        endpoint = find_endpoint(network_id, endpoint_id)
        if endpoint.sandbox is not None:
            raise failure(ErrorCode.IN_USE, f"endpoint {endpoint_id} is joined already")
        ENDPOINTS.put(f"{network_id}/{endpoint_id}", replace(endpoint, sandbox=sandbox_key))
        with asking_the_host():
            link = links.open(container_key(endpoint_id))
        return JoinResponse(
            interface=link,
            dst_prefix="eth",
            gateway=gateway_of(network, 4),
            gateway_ipv6=gateway_of(network, 6),
            static_routes=[],
            # Without a gateway Docker would connect the container to a bridge of its own.
            disable_gateway_service=True,
        )

    def leave(self, network_id: str, endpoint_id: str) -> None:
        key = f"{network_id}/{endpoint_id}"
        endpoint = ENDPOINTS.get(key)
        if endpoint is not None:
            ENDPOINTS.put(key, replace(endpoint, sandbox=None))

    # What this driver has no use for. Docker takes "not implemented" for an answer.
    def allocate_network(
        self, network_id: str, options: list[tuple[str, str]], ipv4: list[IpamData], ipv6: list[IpamData]
    ) -> list[tuple[str, str]]:
        raise missing("AllocateNetwork")

    def free_network(self, network_id: str) -> None:
        raise missing("FreeNetwork")

    def gw_alloc_check(self, options: NetworkOptions) -> GwAllocResponse:
        raise missing("GwAllocCheck")

    def program_external_connectivity(
        self, network_id: str, endpoint_id: str, options: EndpointOptions
    ) -> None:
        raise missing("ProgramExternalConnectivity")

    def revoke_external_connectivity(self, network_id: str, endpoint_id: str) -> None:
        raise missing("RevokeExternalConnectivity")

    def discover_new(self, what: Discovery) -> None:
        pass

    def discover_delete(self, what: Discovery) -> None:
        pass
