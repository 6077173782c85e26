package driver

import (
	"net/netip"
	"testing"
)

type linksDouble struct{ links map[string]*linkDouble }

// linkDouble is a link, with what was done to it.
type linkDouble struct {
	key, master string
	ends        []string
	mtu         uint32
	addresses   []netip.Prefix
}

func (l *linkDouble) Key() string { return l.key }

func (l *linkDouble) AddAddress(address netip.Prefix) error {
	l.addresses = append(l.addresses, address)
	return nil
}

func (l *linkDouble) Join(bridge Link) error {
	l.master = bridge.Key()
	return nil
}

func (d *linksDouble) create(key string, ends []string, mtu uint32) *linkDouble {
	if d.links == nil {
		d.links = map[string]*linkDouble{}
	}
	d.links[key] = &linkDouble{key: key, ends: ends, mtu: mtu}
	return d.links[key]
}

func (d *linksDouble) CreateBridge(key string, mtu uint32) (Link, error) {
	return d.create(key, []string{key}, mtu), nil
}

func (d *linksDouble) CreatePair(key, peer string, mtu uint32, mac MAC) (Link, Link, error) {
	ends := []string{key, peer}
	return d.create(key, ends, mtu), d.create(peer, ends, mtu), nil
}

func (d *linksDouble) OpenLink(key string) (Link, error) {
	if link := d.links[key]; link != nil {
		return link, nil
	}
	return nil, ErrNoLink
}

func (d *linksDouble) DeleteLink(key string) error {
	link := d.links[key]
	if link == nil {
		return ErrNoLink
	}
	for _, end := range link.ends {
		delete(d.links, end)
	}
	return nil
}

func (d *linksDouble) Random(count uint64) []byte {
	return []byte{0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6}[:count]
}

func request(options map[string]string, internal bool) NetworkRequest {
	return NetworkRequest{
		Options:  options,
		Internal: internal,
		IPAM:     []Addresses{addresses("10.0.0.0/24", "10.0.0.1/24")},
	}
}

func addresses(subnet, gateway string) Addresses {
	return Addresses{Subnet: netip.MustParsePrefix(subnet), Gateway: netip.MustParsePrefix(gateway)}
}

func at(address string) Endpoint {
	return Endpoint{Address: netip.MustParsePrefix(address)}
}

func expectNothing(t *testing.T, host *double) {
	t.Helper()
	if len(host.links)+len(host.state) != 0 {
		t.Errorf("%v and %v remain", host.links, host.state)
	}
}

func TestAContainerGetsOneEndOfACableWhoseOtherEndIsInTheBridge(t *testing.T) {
	host := &double{}
	driver := Network{host}
	for range 2 {
		succeeds(t, driver.CreateNetwork("net", request(nil, false)))
	}
	if addresses := host.links["bridge/net"].addresses; len(addresses) != 1 || addresses[0].String() != "10.0.0.1/24" {
		t.Errorf("the bridge has %v", addresses)
	}
	mac, err := driver.CreateEndpoint("net", "end", at("10.0.0.2/24"))
	succeeds(t, err)
	// Again, as after a lost answer.
	again, err := driver.CreateEndpoint("net", "end", at("10.0.0.2/24"))
	succeeds(t, err)
	if mac[0]&3 != 2 || *again != *mac || host.links["port/end"].master != "bridge/net" {
		t.Errorf("%v, then %v, in %s", mac, again, host.links["port/end"].master)
	}
	joined, err := driver.Join("net", "end", "/sandbox")
	succeeds(t, err)
	if joined.Link.Key() != "container/end" || joined.Gateway.String() != "10.0.0.1" || joined.GatewayIPv6.IsValid() {
		t.Errorf("joined with %+v", joined)
	}
	_, err = driver.Join("net", "end", "/sandbox")
	failsWith(t, InUse, err)
	for range 2 {
		succeeds(t, driver.Leave("net", "end"))
		succeeds(t, driver.DeleteEndpoint("net", "end"))
		succeeds(t, driver.DeleteNetwork("net"))
	}
	expectNothing(t, host)
}

func TestAnInternalNetworkHasNoGateway(t *testing.T) {
	driver := Network{&double{}}
	succeeds(t, driver.CreateNetwork("net", request(nil, true)))
	_, err := driver.CreateEndpoint("net", "end", Endpoint{})
	succeeds(t, err)
	joined, err := driver.Join("net", "end", "/sandbox")
	succeeds(t, err)
	if joined.Gateway.IsValid() {
		t.Errorf("the gateway is %s", joined.Gateway)
	}
}

func TestWhatDockerSentDoesNotComeBack(t *testing.T) {
	driver := Network{&double{}}
	succeeds(t, driver.CreateNetwork("net", request(nil, false)))
	mac, err := driver.CreateEndpoint("net", "end", Endpoint{MAC: &MAC{2, 0, 0, 0, 0, 1}})
	succeeds(t, err)
	if mac != nil {
		t.Errorf("%v comes back", mac)
	}
}

func TestTheSameIDWithOtherPropertiesIsAnError(t *testing.T) {
	driver := Network{&double{}}
	succeeds(t, driver.CreateNetwork("net", request(nil, false)))
	failsWith(t, AlreadyExists, driver.CreateNetwork("net", request(nil, true)))
	_, err := driver.CreateEndpoint("net", "end", at("10.0.0.2/24"))
	succeeds(t, err)
	_, err = driver.CreateEndpoint("net", "end", at("10.0.0.3/24"))
	failsWith(t, AlreadyExists, err)
}

func TestANetworkTakesItsEndpointsAlong(t *testing.T) {
	host := &double{}
	driver := Network{host}
	succeeds(t, driver.CreateNetwork("net", request(nil, false)))
	for _, id := range []string{"one", "two", "three"} {
		_, err := driver.CreateEndpoint("net", id, Endpoint{})
		succeeds(t, err)
	}
	succeeds(t, driver.DeleteNetwork("net"))
	expectNothing(t, host)
}

func TestABridgeThatWentWithARestartOfTheMachineIsMadeAgain(t *testing.T) {
	host := &double{}
	driver := Network{host}
	succeeds(t, driver.CreateNetwork("net", request(map[string]string{mtuOption: "1400"}, false)))
	clear(host.links)
	_, err := driver.CreateEndpoint("net", "end", Endpoint{})
	succeeds(t, err)
	for _, key := range []string{"bridge/net", "container/end"} {
		if host.links[key] == nil || host.links[key].mtu != 1400 {
			t.Errorf("%s is %+v", key, host.links[key])
		}
	}
}

func TestAddressesThatDoNotFitTogetherAreRefused(t *testing.T) {
	driver := Network{&double{}}
	succeeds(t, driver.CreateNetwork("net", request(nil, false)))
	other := func(subnet, gateway string) error {
		return driver.CreateNetwork("other", NetworkRequest{IPAM: []Addresses{addresses(subnet, gateway)}})
	}
	failsWith(t, InUse, other("10.0.0.128/25", "10.0.0.129/25"))
	failsWith(t, InvalidArgument, other("10.0.1.0/24", "10.0.2.1/24"))
	succeeds(t, other("10.0.1.0/24", "10.0.1.1/24"))
}

func TestANetworkThatMakesNoSenseOrIsNotThereIsRefused(t *testing.T) {
	driver := Network{&double{}}
	for _, option := range [][2]string{{mtuOption, "67"}, {mtuOption, "65536"}, {mtuOption, "x"}, {"colour", "red"}} {
		failsWith(t, InvalidArgument, driver.CreateNetwork("net", request(map[string]string{option[0]: option[1]}, false)))
	}
	_, err := driver.CreateEndpoint("net", "end", Endpoint{})
	failsWith(t, NotFound, err)
	succeeds(t, driver.CreateNetwork("net", request(nil, false)))
	_, err = driver.Join("net", "end", "/sandbox")
	failsWith(t, NotFound, err)
	failsWith(t, NotFound, driver.EndpointInfo("net", "end"))
}
