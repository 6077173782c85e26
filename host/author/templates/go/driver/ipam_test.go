package driver

import (
	"net/netip"
	"testing"
)

func askPool(host *double, subnet, part string) (string, error) {
	request := PoolRequest{Space: LocalSpace}
	if subnet != "" {
		request.Pool = netip.MustParsePrefix(subnet)
		request.IPv6 = request.Pool.Addr().Is6()
	}
	if part != "" {
		request.SubPool = netip.MustParsePrefix(part)
	}
	id, _, err := Ipam{host}.RequestPool(request)
	return id, err
}

func newTestPool(t *testing.T, host *double, subnet, part string) string {
	t.Helper()
	id, err := askPool(host, subnet, part)
	succeeds(t, err)
	return id
}

func askAddress(host *double, id, wanted string) (string, error) {
	var address netip.Addr
	if wanted != "" {
		address = netip.MustParseAddr(wanted)
	}
	given, err := Ipam{host}.RequestAddress(id, address, false)
	return given.String(), err
}

func expectAddress(t *testing.T, host *double, id, wanted, expected string) {
	t.Helper()
	given, err := askAddress(host, id, wanted)
	succeeds(t, err)
	if given != expected {
		t.Errorf("got %s, not %s", given, expected)
	}
}

func TestAddressesComeInOrderAndAReleasedOneIsNotTheNext(t *testing.T) {
	host := &double{}
	id := newTestPool(t, host, "10.0.0.0/24", "")
	expectAddress(t, host, id, "", "10.0.0.1/24")
	expectAddress(t, host, id, "", "10.0.0.2/24")
	succeeds(t, Ipam{host}.ReleaseAddress(id, netip.MustParseAddr("10.0.0.2")))
	expectAddress(t, host, id, "", "10.0.0.3/24")
	expectAddress(t, host, id, "10.0.0.2", "10.0.0.2/24")
}

func TestAPoolHasSoManyAddresses(t *testing.T) {
	for subnet, count := range map[string]int{
		"10.0.1.0/29": 6, "10.0.2.0/30": 2, "10.0.3.0/31": 2, "10.0.4.0/32": 1, "255.255.255.248/29": 6, "fd77::8/126": 3,
	} {
		host := &double{}
		id := newTestPool(t, host, subnet, "")
		given := map[string]bool{}
		for range count {
			address, err := askAddress(host, id, "")
			succeeds(t, err)
			given[address] = true
		}
		if len(given) != count {
			t.Errorf("%s has %v", subnet, given)
		}
		_, err := askAddress(host, id, "")
		failsWith(t, Exhausted, err)
		for address := range given {
			succeeds(t, Ipam{host}.ReleaseAddress(id, netip.MustParsePrefix(address).Addr()))
			expectAddress(t, host, id, "", address)
			break
		}
	}
}

func TestAWantedAddressIsGivenOnceAndOnlyIfAContainerCanHaveIt(t *testing.T) {
	host := &double{}
	id := newTestPool(t, host, "10.0.0.0/24", "")
	expectAddress(t, host, id, "10.0.0.9", "10.0.0.9/24")
	_, err := askAddress(host, id, "10.0.0.9")
	failsWith(t, InUse, err)
	for _, wanted := range []string{"10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1"} {
		_, err := askAddress(host, id, wanted)
		failsWith(t, InvalidArgument, err)
	}
	_, err = askAddress(host, "local/10.9.0.0/24", "")
	failsWith(t, NotFound, err)
}

func TestARangeIsWhereAddressesComeFromAndAGatewayMayLieOutside(t *testing.T) {
	host := &double{}
	id := newTestPool(t, host, "10.0.0.0/24", "10.0.0.128/30")
	for _, expected := range []string{"10.0.0.128/24", "10.0.0.129/24", "10.0.0.130/24", "10.0.0.131/24"} {
		expectAddress(t, host, id, "", expected)
	}
	_, err := askAddress(host, id, "")
	failsWith(t, Exhausted, err)
	expectAddress(t, host, id, "10.0.0.1", "10.0.0.1/24")
}

func TestTheSamePoolAgainCountsAndAnotherOneMayNotOverlap(t *testing.T) {
	host := &double{}
	driver := Ipam{host}
	id := newTestPool(t, host, "10.0.0.0/24", "")
	if again := newTestPool(t, host, "10.0.0.0/24", ""); again != id {
		t.Errorf("%s is not %s", again, id)
	}
	_, err := askPool(host, "10.0.0.128/25", "")
	failsWith(t, InUse, err)
	elsewhere, _, err := driver.RequestPool(PoolRequest{Space: GlobalSpace, Pool: netip.MustParsePrefix("10.0.0.128/25")})
	succeeds(t, err)
	expectAddress(t, host, id, "", "10.0.0.1/24")
	succeeds(t, driver.ReleasePool(id))
	expectAddress(t, host, id, "", "10.0.0.2/24")
	for range 2 {
		succeeds(t, driver.ReleasePool(id))
	}
	_, err = askAddress(host, id, "")
	failsWith(t, NotFound, err)
	succeeds(t, driver.ReleasePool(elsewhere))
	if len(host.state) != 0 {
		t.Errorf("%v remains", host.state)
	}
}

func TestSubnetsThatAreOfferedNeverOverlap(t *testing.T) {
	host := &double{}
	given := map[string]bool{}
	for range 20 {
		for _, ipv6 := range []bool{false, true} {
			id, subnet, err := Ipam{host}.RequestPool(PoolRequest{Space: LocalSpace, IPv6: ipv6})
			succeeds(t, err)
			if subnet.Addr().Is6() != ipv6 {
				t.Errorf("%s is of the other family", subnet)
			}
			given[id] = true
		}
	}
	if len(given) != 40 {
		t.Errorf("given were %v", given)
	}
}

func TestPoolsThatMakeNoSenseAreRefused(t *testing.T) {
	prefix := netip.MustParsePrefix
	for _, request := range []PoolRequest{
		{Space: "mine"},
		{Space: LocalSpace, SubPool: prefix("10.0.0.0/25")},
		{Space: LocalSpace, Pool: prefix("10.0.0.1/24")},
		{Space: LocalSpace, Pool: prefix("0.0.0.0/0")},
		{Space: LocalSpace, Pool: prefix("127.0.0.0/16")},
		{Space: LocalSpace, Pool: prefix("10.0.0.0/24"), IPv6: true},
		{Space: LocalSpace, Pool: prefix("10.0.0.0/24"), SubPool: prefix("10.0.1.0/25")},
	} {
		_, _, err := Ipam{&double{}}.RequestPool(request)
		failsWith(t, InvalidArgument, err)
	}
}
