from wit_world.exports.network import EndpointInterface, EndpointOptions, IpamData, NetworkOptions

from failure import ErrorCode
from network import MTU, Network
from subnet import address_of, cidr_of, interface_of, ip_interface

from .host import HostTestCase

ENDPOINT_OPTIONS = EndpointOptions([], [], None, [], [], "{}")
MAC = (2, 0, 0, 0, 0, 1)


def cidr(text: str) -> object:
    interface = ip_interface(text)
    return cidr_of(interface.ip, interface.network.prefixlen)


class NetworkTest(HostTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.driver = Network()

    def create(self, options: list[tuple[str, str]] = [], internal: bool = False) -> None:
        data = [IpamData("local", cidr("10.0.0.0/24"), cidr("10.0.0.1/24"), aux_addresses=[])]
        self.driver.create_network("net", NetworkOptions(options, None, False, internal, "{}"), data, [])

    def endpoint(
        self, endpoint_id: str = "end", address: str | None = None, mac: tuple[int, ...] | None = None
    ) -> EndpointInterface:
        interface = EndpointInterface(cidr(address) if address else None, None, mac)
        return self.driver.create_endpoint("net", endpoint_id, interface, ENDPOINT_OPTIONS)

    def join(self) -> object:
        return self.driver.join("net", "end", "/sandbox", ENDPOINT_OPTIONS)

    def test_a_container_gets_one_end_of_a_cable_whose_other_end_is_in_the_bridge(self) -> None:
        for _ in range(2):
            self.create()
        self.assertEqual([str(interface_of(one)) for one in self.links["bridge/net"].addresses], ["10.0.0.1/24"])
        made = self.endpoint(address="10.0.0.2/24")
        self.assertEqual(made.mac_address[0] & 3, 2)
        # Again, as after a lost answer.
        self.assertEqual(self.endpoint(address="10.0.0.2/24"), made)
        self.assertEqual(self.links["port/end"].master, "bridge/net")
        answer = self.join()
        self.assertEqual(answer.interface.key(), "container/end")
        self.assertEqual(str(address_of(answer.gateway)), "10.0.0.1")
        self.assert_fails(ErrorCode.IN_USE, self.join)
        for _ in range(2):
            self.driver.leave("net", "end")
            self.driver.delete_endpoint("net", "end")
            self.driver.delete_network("net")
        self.assertEqual((self.links, self.state), ({}, {}))

    def test_an_internal_network_has_no_gateway(self) -> None:
        self.create(internal=True)
        self.endpoint()
        self.assertIsNone(self.join().gateway)

    def test_what_docker_sent_does_not_come_back(self) -> None:
        self.create()
        self.assertEqual(self.endpoint(address="10.0.0.2/24", mac=MAC), EndpointInterface(None, None, None))

    def test_the_same_id_with_other_properties_is_an_error(self) -> None:
        self.create()
        self.assert_fails(ErrorCode.ALREADY_EXISTS, lambda: self.create(internal=True))
        self.endpoint(address="10.0.0.2/24")
        self.assert_fails(ErrorCode.ALREADY_EXISTS, lambda: self.endpoint(address="10.0.0.3/24"))
        self.assert_fails(ErrorCode.ALREADY_EXISTS, lambda: self.endpoint(address="10.0.0.2/24", mac=MAC))

    def test_a_network_takes_its_endpoints_along(self) -> None:
        self.create()
        for endpoint_id in ("one", "two", "three"):
            self.endpoint(endpoint_id)
        self.driver.delete_network("net")
        self.assertEqual((self.links, self.state), ({}, {}))

    def test_a_bridge_that_went_with_a_restart_of_the_machine_is_made_again(self) -> None:
        self.create([(MTU, "1400")])
        self.links.clear()
        self.endpoint()
        self.assertEqual(self.links["bridge/net"].settings.mtu, 1400)
        self.assertEqual(self.links["container/end"].settings.mtu, 1400)

    def test_addresses_that_do_not_fit_together_are_refused(self) -> None:
        self.create()

        def other(pool: str, gateway: str) -> None:
            data = [IpamData("local", cidr(pool), cidr(gateway), aux_addresses=[])]
            self.driver.create_network("other", NetworkOptions([], None, False, False, "{}"), data, [])

        self.assert_fails(ErrorCode.IN_USE, other, "10.0.0.128/25", "10.0.0.129/25")
        self.assert_fails(ErrorCode.INVALID_ARGUMENT, other, "10.0.1.0/24", "10.0.2.1/24")
        other("10.0.1.0/24", "10.0.1.1/24")

    def test_what_makes_no_sense_or_is_not_there_is_refused(self) -> None:
        for option in [(MTU, "67"), (MTU, "x"), (MTU, ""), ("colour", "red")]:
            with self.subTest(option=option):
                self.assert_fails(ErrorCode.INVALID_ARGUMENT, self.create, [option])
        self.assert_fails(ErrorCode.NOT_FOUND, self.endpoint)
        self.create()
        self.assert_fails(ErrorCode.NOT_FOUND, self.join)
        self.assert_fails(ErrorCode.NOT_FOUND, self.driver.endpoint_oper_info, "net", "end")
