package driver

import (
	"net/netip"
	"strings"
)

// Where subnets for networks without --subnet come from, and the length of their prefix. Make the second one yours: RFC 4193 wants 40
// random bits behind fd.
var (
	offeredIPv4 = offered{netip.MustParsePrefix("10.99.0.0/16"), 24}
	offeredIPv6 = offered{netip.MustParsePrefix("fd00:d0c5:1de0::/48"), 64}
)

type offered struct {
	from netip.Prefix
	bits int
}

// The names of the address spaces.
const (
	LocalSpace  = "local"
	GlobalSpace = "global"
)

// Ipam keeps pools, and the addresses of each that are held, in the plugin's state.
type Ipam struct {
	Host
}

// PoolRequest is a wish for a pool. The prefixes are invalid if the user does not care.
type PoolRequest struct {
	Space   string
	Pool    netip.Prefix
	SubPool netip.Prefix
	IPv6    bool
}

// pool is what is remembered of one.
type pool struct {
	Space  string
	Subnet netip.Prefix
	// First and Last are the addresses to choose from.
	First, Last netip.Addr
	// Next is where the search for a free address begins: what was released is not given to the next one who asks.
	Next netip.Addr
	// Networks is how often it was asked for.
	Networks int
}

// lease is an address that is held.
type lease struct{ Gateway bool }

// RequestPool returns the pool's ID and its subnet.
func (d Ipam) RequestPool(request PoolRequest) (id string, subnet netip.Prefix, err error) {
	if request.Space != LocalSpace && request.Space != GlobalSpace {
		return "", subnet, fail(InvalidArgument, "there is no address space %q: say local or global", request.Space)
	}
	if request.SubPool.IsValid() && !request.Pool.IsValid() {
		return "", subnet, fail(InvalidArgument, "--ip-range needs a --subnet that it is a part of")
	}
	held, err := d.held(request.Space)
	if err != nil {
		return "", subnet, err
	}
	subnet = request.Pool
	if !subnet.IsValid() {
		if subnet, err = offer(request.IPv6, held); err != nil {
			return "", subnet, err
		}
	}
	if why := objection(subnet, request.IPv6); why != "" {
		return "", subnet, fail(InvalidArgument, "%s %s", subnet, why)
	}
	id = request.Space + "/" + subnet.String()
	if part := request.SubPool; part.IsValid() {
		if part != part.Masked() || part.Bits() < subnet.Bits() || !subnet.Contains(part.Addr()) {
			return "", subnet, fail(InvalidArgument, "--ip-range %s is not a part of %s", part, subnet)
		}
		id += "+" + part.String()
	}
	known, err := d.pools().get(id)
	if err != nil {
		return "", subnet, err
	}
	if known == nil {
		for _, other := range held {
			if subnet.Overlaps(other) {
				return "", subnet, fail(InUse, "%s overlaps with %s, which is held: choose another --subnet", subnet, other)
			}
		}
		if known, err = newPool(request, subnet); err != nil {
			return "", subnet, err
		}
	}
	known.Networks++
	return id, subnet, d.pools().put(id, *known)
}

// ReleasePool of one that is not held succeeds.
func (d Ipam) ReleasePool(id string) error {
	known, err := d.pools().get(id)
	if known == nil || err != nil {
		return err
	}
	if known.Networks > 1 {
		known.Networks--
		return d.pools().put(id, *known)
	}
	addresses, err := d.leases(id).keys()
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if err := d.leases(id).delete(address); err != nil {
			return err
		}
	}
	return d.pools().delete(id)
}

// RequestAddress returns an address with the prefix of its subnet. An invalid one lets the driver choose.
func (d Ipam) RequestAddress(id string, wanted netip.Addr, gateway bool) (netip.Prefix, error) {
	known, err := d.pools().get(id)
	if err != nil {
		return netip.Prefix{}, err
	}
	if known == nil {
		return netip.Prefix{}, fail(NotFound, "there is no pool %q", id)
	}
	address := wanted
	if address.IsValid() {
		err = d.check(id, known, address)
	} else {
		address, err = d.choose(id, known)
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(address, known.Subnet.Bits()), d.leases(id).put(address.String(), lease{gateway})
}

// ReleaseAddress of one that is not held succeeds.
func (d Ipam) ReleaseAddress(id string, address netip.Addr) error {
	return d.leases(id).delete(address.String())
}

func (d Ipam) pools() table[pool] {
	return table[pool]{d.Host, "pools/"}
}

func (d Ipam) leases(id string) table[lease] {
	return table[lease]{d.Host, "leases/" + id + "/"}
}

// held returns the subnets of an address space that are held.
func (d Ipam) held(space string) ([]netip.Prefix, error) {
	ids, err := d.pools().keys()
	var held []netip.Prefix
	for _, id := range ids {
		if !strings.HasPrefix(id, space+"/") {
			continue
		}
		known, err := d.pools().get(id)
		if err != nil {
			return nil, err
		}
		held = append(held, known.Subnet)
	}
	return held, err
}

// check says whether the address that was asked for can be given. It may lie outside of --ip-range, as gateways do.
func (d Ipam) check(id string, known *pool, address netip.Addr) error {
	low, high := usable(known.Subnet)
	if !known.Subnet.Contains(address) || address.Less(low) || high.Less(address) {
		return fail(InvalidArgument, "%s is no address that a container in %s can have", address, known.Subnet)
	}
	taken, err := d.leases(id).get(address.String())
	if taken != nil && err == nil {
		err = fail(InUse, "%s is in use already", address)
	}
	return err
}

// choose finds a free address. The search goes once around.
func (d Ipam) choose(id string, known *pool) (netip.Addr, error) {
	address := known.Next
	for {
		next := address.Next()
		if address == known.Last {
			next = known.First
		}
		taken, err := d.leases(id).get(address.String())
		if err != nil {
			return address, err
		}
		if taken == nil {
			known.Next = next
			return address, d.pools().put(id, *known)
		}
		if address = next; address == known.Next {
			return address, fail(Exhausted, "every address of %s is in use: remove a container, or take a larger --subnet", known.Subnet)
		}
	}
}

func newPool(request PoolRequest, subnet netip.Prefix) (*pool, error) {
	low, high := usable(subnet)
	first, last := low, high
	if part := request.SubPool; part.IsValid() {
		if low.Less(part.Addr()) {
			first = part.Addr()
		}
		if end := lastOf(part); end.Less(high) {
			last = end
		}
	}
	if last.Less(first) {
		return nil, fail(InvalidArgument, "--ip-range %s has no address that a container can have", request.SubPool)
	}
	return &pool{Space: request.Space, Subnet: subnet, First: first, Last: last, Next: first}, nil
}

// objection says why a subnet cannot be that of a network.
func objection(subnet netip.Prefix, ipv6 bool) string {
	first := subnet.Addr()
	switch {
	case first.Is6() != ipv6:
		return "is of the other family"
	case subnet != subnet.Masked():
		return "has bits behind its prefix"
	case subnet.Bits() < 8:
		return "is larger than a /8"
	case first.IsLoopback() || first.IsMulticast() || first.IsUnspecified():
		return "is not for networks"
	}
	return ""
}

// offer finds a subnet that overlaps with none that is held. Never the same one twice while it is held: Docker asks on until it likes one.
func offer(ipv6 bool, held []netip.Prefix) (netip.Prefix, error) {
	source := offeredIPv4
	if ipv6 {
		source = offeredIPv6
	}
	overlapping := func(subnet netip.Prefix) bool {
		for _, other := range held {
			if subnet.Overlaps(other) {
				return true
			}
		}
		return false
	}
	subnet := netip.PrefixFrom(source.from.Addr(), source.bits)
	for source.from.Contains(subnet.Addr()) {
		if !overlapping(subnet) {
			return subnet, nil
		}
		subnet = netip.PrefixFrom(lastOf(subnet).Next(), source.bits)
	}
	return subnet, fail(Exhausted, "every /%d of %s is held: remove a network, or name a subnet with --subnet", source.bits, source.from)
}

// lastOf returns the last address of a subnet.
func lastOf(subnet netip.Prefix) netip.Addr {
	bytes := subnet.Addr().AsSlice()
	for bit := subnet.Bits(); bit < 8*len(bytes); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// usable returns the first and the last address that a container can have.
func usable(subnet netip.Prefix) (first, last netip.Addr) {
	first, last = subnet.Addr(), lastOf(subnet)
	if first.BitLen()-subnet.Bits() <= 1 {
		return first, last
	}
	// The first one is the network's, or that of any router (RFC 4291, 2.6.1); the last one IPv4's broadcast address.
	if first.Is4() {
		last = last.Prev()
	}
	return first.Next(), last
}
