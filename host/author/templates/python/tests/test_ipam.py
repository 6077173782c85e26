from wit_world.exports.ipam import AddressRequest, PoolRequest

from failure import ErrorCode
from ipam import Ipam
from subnet import cidr_of, interface_of, ip_address, ip_interface, wit_address_of

from .host import HostTestCase


def cidr(text: str | None) -> object:
    if text is None:
        return None
    interface = ip_interface(text)
    return cidr_of(interface.ip, interface.network.prefixlen)


class IpamTest(HostTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.driver = Ipam()

    def pool(
        self, pool: str | None = None, sub_pool: str | None = None, space: str = "local", ipv6: bool | None = None
    ) -> str:
        ipv6 = ":" in (pool or "") if ipv6 is None else ipv6
        request = PoolRequest(space, cidr(pool), cidr(sub_pool), options=[], ipv6=ipv6, engine="")
        return self.driver.request_pool(request).pool_id

    def address(self, pool_id: str, wanted: str | None = None, gateway: bool = False) -> str:
        address = wit_address_of(ip_address(wanted)) if wanted else None
        request = AddressRequest(pool_id, address, gateway, mac_address=None, options=[])
        return str(interface_of(self.driver.request_address(request).address))

    def release(self, pool_id: str, address: str) -> None:
        self.driver.release_address(pool_id, wit_address_of(ip_address(address)))

    def test_addresses_come_in_order_and_a_released_one_is_not_the_next(self) -> None:
        pool = self.pool("10.0.0.0/24")
        self.assertEqual(self.address(pool, gateway=True), "10.0.0.1/24")
        self.assertEqual(self.address(pool), "10.0.0.2/24")
        self.release(pool, "10.0.0.2")
        self.assertEqual(self.address(pool), "10.0.0.3/24")
        self.assertEqual(self.address(pool, "10.0.0.2"), "10.0.0.2/24")

    def test_a_pool_has_so_many_addresses(self) -> None:
        for prefix, count in [(29, 6), (30, 2), (31, 2), (32, 1)]:
            with self.subTest(prefix=prefix):
                pool = self.pool(f"10.0.{prefix}.0/{prefix}")
                given = [self.address(pool) for _ in range(count)]
                self.assertEqual(len(set(given)), count)
                self.assert_fails(ErrorCode.EXHAUSTED, self.address, pool)
                self.release(pool, given[0].split("/")[0])
                self.assertEqual(self.address(pool), given[0])

    def test_a_wanted_address_is_given_once_and_only_if_a_container_can_have_it(self) -> None:
        pool = self.pool("10.0.0.0/24")
        self.assertEqual(self.address(pool, "10.0.0.9"), "10.0.0.9/24")
        self.assert_fails(ErrorCode.IN_USE, self.address, pool, "10.0.0.9")
        for wanted in ("10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1"):
            with self.subTest(wanted=wanted):
                self.assert_fails(ErrorCode.INVALID_ARGUMENT, self.address, pool, wanted)
        self.assert_fails(ErrorCode.NOT_FOUND, self.address, "local/10.9.0.0/24")

    def test_a_range_is_where_addresses_come_from_and_a_gateway_may_lie_outside(self) -> None:
        pool = self.pool("10.0.0.0/24", "10.0.0.128/30")
        self.assertEqual([self.address(pool) for _ in range(4)], [f"10.0.0.{128 + at}/24" for at in range(4)])
        self.assert_fails(ErrorCode.EXHAUSTED, self.address, pool)
        self.assertEqual(self.address(pool, "10.0.0.1", gateway=True), "10.0.0.1/24")

    def test_the_same_pool_again_counts_and_another_one_may_not_overlap(self) -> None:
        pool = self.pool("10.0.0.0/24")
        self.assertEqual(self.pool("10.0.0.0/24"), pool)
        self.assert_fails(ErrorCode.IN_USE, self.pool, "10.0.0.128/25")
        elsewhere = self.pool("10.0.0.128/25", space="global")
        self.address(pool)
        self.driver.release_pool(pool)
        self.address(pool)
        for _ in range(2):
            self.driver.release_pool(pool)
        self.assert_fails(ErrorCode.NOT_FOUND, self.address, pool)
        self.driver.release_pool(elsewhere)
        self.assertEqual(self.state, {})

    def test_subnets_that_are_offered_never_overlap(self) -> None:
        for ipv6 in (False, True):
            self.assertEqual(len({self.pool(ipv6=ipv6) for _ in range(20)}), 20)
        self.assertEqual(self.address(self.pool("fd77::/64")), "fd77::1/64")

    def test_pools_that_make_no_sense_are_refused(self) -> None:
        for wish in (
            {"space": "mine"},
            {"sub_pool": "10.0.0.0/25"},
            {"pool": "10.0.0.1/24"},
            {"pool": "0.0.0.0/0"},
            {"pool": "127.0.0.0/16"},
            {"pool": "10.0.0.0/24", "ipv6": True},
            {"pool": "10.0.0.0/24", "sub_pool": "10.0.1.0/25"},
        ):
            with self.subTest(wish=wish):
                self.assert_fails(ErrorCode.INVALID_ARGUMENT, lambda wish=wish: self.pool(**wish))
