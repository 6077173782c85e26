{% if ipam or network %}
//go:build wasip1

package host

import (
	"encoding/binary"
	"net/netip"

	wit "go.bytecodealliance.org/pkg/wit/types"

	addresses "{= package =}/wasm/imports/dockside_host_addresses"
)

// Address converts an address of the contract's.
func Address(address addresses.IpAddress) netip.Addr {
	if address.Tag() == addresses.IpAddress_Ipv4 {
		part := address.Ipv4()
		return netip.AddrFrom4([4]byte{part.F0, part.F1, part.F2, part.F3})
	}
	var bytes [16]byte
	part := address.Ipv6()
	for i, value := range []uint16{part.F0, part.F1, part.F2, part.F3, part.F4, part.F5, part.F6, part.F7} {
		binary.BigEndian.PutUint16(bytes[2*i:], value)
	}
	return netip.AddrFrom16(bytes)
}

// Prefix converts an address with its prefix, which is invalid if there is none.
func Prefix(cidr wit.Option[addresses.Cidr]) netip.Prefix {
	if cidr.IsNone() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(Address(cidr.Some().Address), int(cidr.Some().PrefixLength))
}

// IPAddress converts back.
func IPAddress(address netip.Addr) addresses.IpAddress {
	if address.Is4() {
		part := address.As4()
		return addresses.MakeIpAddressIpv4(addresses.Ipv4Address{F0: part[0], F1: part[1], F2: part[2], F3: part[3]})
	}
	bytes := address.As16()
	part := func(i int) uint16 { return binary.BigEndian.Uint16(bytes[2*i:]) }
	return addresses.MakeIpAddressIpv6(addresses.Ipv6Address{
		F0: part(0), F1: part(1), F2: part(2), F3: part(3), F4: part(4), F5: part(5), F6: part(6), F7: part(7),
	})
}

// CIDR converts back.
func CIDR(prefix netip.Prefix) addresses.Cidr {
	return addresses.Cidr{Address: IPAddress(prefix.Addr()), PrefixLength: uint8(prefix.Bits())}
}
{% endif %}
