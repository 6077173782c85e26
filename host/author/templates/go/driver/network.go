package driver

import (
	"errors"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
)

// Links are network links of this machine that the host makes for the plugin, by any key.
type Links interface {
	CreateBridge(key string, mtu uint32) (Link, error)
	// CreatePair makes the two ends of a cable. The Ethernet address is for the first.
	CreatePair(key, peer string, mtu uint32, mac MAC) (Link, Link, error)
	// OpenLink and DeleteLink fail with ErrNoLink if there is none.
	OpenLink(key string) (Link, error)
	DeleteLink(key string) error
	Random(count uint64) []byte
}

// Link is one of them. An MTU of 0 is the kernel's default.
type Link interface {
	Key() string
	AddAddress(address netip.Prefix) error
	// Join puts the link into a bridge.
	Join(bridge Link) error
}

// MAC is an Ethernet address.
type MAC [6]byte

// ErrNoLink says that there is no link of that key.
var ErrNoLink = errors.New("there is no such link")

// Network keeps networks as bridges: each endpoint is a cable from the bridge into its container.
type Network struct {
	Host
}

// NetworkRequest is a network that Docker wants.
type NetworkRequest struct {
	Options  map[string]string
	Internal bool
	IPAM     []Addresses
}

// Addresses are what IPAM gave to a network for one subnet. What it did not give is invalid.
type Addresses struct {
	Subnet    netip.Prefix
	Gateway   netip.Prefix
	Auxiliary []netip.Prefix
}

// Endpoint is what Docker knows of one. What it does not know is invalid, or nil.
type Endpoint struct {
	Address     netip.Prefix
	AddressIPv6 netip.Prefix
	MAC         *MAC
}

// Joined is what a container gets. A gateway that it does not have is invalid.
type Joined struct {
	Link        Link
	Gateway     netip.Addr
	GatewayIPv6 netip.Addr
}

// network is what is remembered of one.
type network struct {
	Pools    []netip.Prefix
	Gateways []netip.Prefix
	Internal bool
	MTU      uint32
}

// endpoint is what is remembered of one: what was asked for, and the address that it has.
type endpoint struct {
	Wanted  Endpoint
	MAC     MAC
	Sandbox *string
}

const mtuOption = "com.docker.network.driver.mtu"

// CreateNetwork makes a bridge.
func (d Network) CreateNetwork(id string, request NetworkRequest) error {
	mtu, err := parseMTU(request.Options)
	if err != nil {
		return err
	}
	wanted := network{Internal: request.Internal, MTU: mtu}
	for _, data := range request.IPAM {
		if data.Subnet.IsValid() {
			wanted.Pools = append(wanted.Pools, data.Subnet)
		}
		if data.Gateway.IsValid() {
			wanted.Gateways = append(wanted.Gateways, data.Gateway)
		}
	}
	known, err := d.networks().get(id)
	switch {
	case err != nil:
		return err
	case known != nil && reflect.DeepEqual(*known, wanted):
		return nil
	case known != nil:
		return fail(AlreadyExists, "network %s exists already, with other options or addresses", id)
	}
	if err := d.check(request.IPAM); err != nil {
		return err
	}
	if _, err := d.bridge(id, &wanted); err != nil {
		return err
	}
	return d.networks().put(id, wanted)
}

// DeleteNetwork takes the endpoints along.
func (d Network) DeleteNetwork(id string) error {
	keys, err := d.endpoints().keys()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if endpointID, found := strings.CutPrefix(key, id+"/"); found {
			if err := d.DeleteEndpoint(id, endpointID); err != nil {
				return err
			}
		}
	}
	if err := d.deleteLink("bridge/" + id); err != nil {
		return err
	}
	return d.networks().delete(id)
}

// CreateEndpoint makes the cable. It returns an Ethernet address if Docker sent none: what Docker sent must not come back.
func (d Network) CreateEndpoint(id, endpointID string, wanted Endpoint) (*MAC, error) {
	net, err := d.find(id)
	if err != nil {
		return nil, err
	}
	key := id + "/" + endpointID
	known, err := d.endpoints().get(key)
	if err != nil {
		return nil, err
	}
	if known == nil {
		known = &endpoint{Wanted: wanted, MAC: d.newMAC()}
		if wanted.MAC != nil {
			known.MAC = *wanted.MAC
		}
		if err := d.connect(id, endpointID, net, known.MAC); err != nil {
			return nil, err
		}
		if err := d.endpoints().put(key, *known); err != nil {
			return nil, err
		}
	} else if !reflect.DeepEqual(known.Wanted, wanted) {
		return nil, fail(AlreadyExists, "endpoint %s exists already, with other addresses", endpointID)
	}
	if wanted.MAC != nil {
		return nil, nil
	}
	return &known.MAC, nil
}

// DeleteEndpoint of one that does not exist succeeds.
func (d Network) DeleteEndpoint(id, endpointID string) error {
	key := id + "/" + endpointID
	known, err := d.endpoints().get(key)
	if known == nil || err != nil {
		return err
	}
	if err := d.deleteLink("port/" + endpointID); err != nil {
		return err
	}
	return d.endpoints().delete(key)
}

// EndpointInfo has nothing to tell but that the endpoint exists.
func (d Network) EndpointInfo(id, endpointID string) error {
	_, err := d.findEndpoint(id, endpointID)
	return err
}

// Join gives the container its end of the cable.
func (d Network) Join(id, endpointID, sandbox string) (Joined, error) {
	net, err := d.find(id)
	if err != nil {
		return Joined{}, err
	}
	known, err := d.findEndpoint(id, endpointID)
	if err != nil {
		return Joined{}, err
	}
	if known.Sandbox != nil {
		return Joined{}, fail(InUse, "endpoint %s is joined already", endpointID)
	}
	known.Sandbox = &sandbox
	if err := d.endpoints().put(id+"/"+endpointID, *known); err != nil {
		return Joined{}, err
	}
	link, err := d.OpenLink("container/" + endpointID)
	joined := Joined{Link: link}
	if !net.Internal {
		for _, gateway := range net.Gateways {
			if gateway.Addr().Is4() && !joined.Gateway.IsValid() {
				joined.Gateway = gateway.Addr()
			}
			if gateway.Addr().Is6() && !joined.GatewayIPv6.IsValid() {
				joined.GatewayIPv6 = gateway.Addr()
			}
		}
	}
	return joined, err
}

// Leave of one that has not joined succeeds.
func (d Network) Leave(id, endpointID string) error {
	key := id + "/" + endpointID
	known, err := d.endpoints().get(key)
	if known == nil || err != nil {
		return err
	}
	known.Sandbox = nil
	return d.endpoints().put(key, *known)
}

// check fails for addresses that do not fit together, which make a network that does not work.
func (d Network) check(given []Addresses) error {
	ids, err := d.networks().keys()
	if err != nil {
		return err
	}
	var taken []netip.Prefix
	for _, id := range ids {
		other, err := d.find(id)
		if err != nil {
			return err
		}
		taken = append(taken, other.Pools...)
	}
	for _, data := range given {
		if !data.Subnet.IsValid() {
			continue
		}
		for _, address := range append([]netip.Prefix{data.Gateway}, data.Auxiliary...) {
			if address.IsValid() && !data.Subnet.Contains(address.Addr()) {
				return fail(InvalidArgument, "%s is not in the subnet %s", address, data.Subnet)
			}
		}
		for _, other := range taken {
			if other.Overlaps(data.Subnet) {
				return fail(InUse, "%s overlaps with %s of another network", data.Subnet, other)
			}
		}
	}
	return nil
}

func (d Network) networks() table[network] {
	return table[network]{d.Host, "networks/"}
}

// endpoints have the network's ID and their own as key.
func (d Network) endpoints() table[endpoint] {
	return table[endpoint]{d.Host, "endpoints/"}
}

func (d Network) find(id string) (*network, error) {
	known, err := d.networks().get(id)
	if known == nil && err == nil {
		err = fail(NotFound, "there is no network %s: remove it with docker network rm, and create it again", id)
	}
	return known, err
}

func (d Network) findEndpoint(id, endpointID string) (*endpoint, error) {
	known, err := d.endpoints().get(id + "/" + endpointID)
	if known == nil && err == nil {
		err = fail(NotFound, "there is no endpoint %s on network %s", endpointID, id)
	}
	return known, err
}

// bridge returns the network's bridge. It is made again if it is gone: a restart of the machine takes it, and Docker says nothing.
func (d Network) bridge(id string, net *network) (Link, error) {
	known, err := d.OpenLink("bridge/" + id)
	if !errors.Is(err, ErrNoLink) {
		return known, err
	}
	made, err := d.CreateBridge("bridge/"+id, net.MTU)
	if err != nil {
		return nil, err
	}
	for _, gateway := range net.Gateways {
		if err := made.AddAddress(gateway); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (d Network) connect(id, endpointID string, net *network, mac MAC) error {
	_, port, err := d.CreatePair("container/"+endpointID, "port/"+endpointID, net.MTU, mac)
	if err != nil {
		return err
	}
	bridge, err := d.bridge(id, net)
	if err != nil {
		return err
	}
	return port.Join(bridge)
}

func (d Network) deleteLink(key string) error {
	if err := d.DeleteLink(key); !errors.Is(err, ErrNoLink) {
		return err
	}
	return nil
}

func (d Network) newMAC() MAC {
	mac := MAC(d.Random(6))
	// Two bits of the first byte: for one link, and given out by no manufacturer.
	mac[0] = mac[0]&0xfc | 2
	return mac
}

func parseMTU(options map[string]string) (mtu uint32, err error) {
	for name, value := range options {
		if name != mtuOption {
			return 0, fail(InvalidArgument, "there is no option %s: this driver has %s", name, mtuOption)
		}
		number, err := strconv.ParseUint(value, 10, 16)
		if err != nil || number < 68 {
			return 0, fail(InvalidArgument, "option %s=%s: say a number from 68 to 65535", mtuOption, value)
		}
		mtu = uint32(number)
	}
	return mtu, nil
}
