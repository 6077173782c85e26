//go:build wasip1

// Package export_dockside_driver_ipam hands Docker's calls on to the driver. Its name and functions are those that the generated code calls.
package export_dockside_driver_ipam

import (
	"net/netip"

	wit "go.bytecodealliance.org/pkg/wit/types"

	"{= package =}/driver"
	"{= package =}/wasm/host"
	ipam "{= package =}/wasm/imports/dockside_driver_ipam"
)

var plugin = driver.Ipam{Host: host.Host{}}

func GetCapabilities() ipam.IpamCapabilities {
	return ipam.IpamCapabilities{}
}

func GetDefaultAddressSpaces() ipam.AddressSpaces {
	return ipam.AddressSpaces{Local: driver.LocalSpace, Global: driver.GlobalSpace}
}

func RequestPool(request ipam.PoolRequest) wit.Result[ipam.PoolResponse, ipam.Error] {
	id, subnet, err := plugin.RequestPool(driver.PoolRequest{
		Space:   request.AddressSpace,
		Pool:    host.Prefix(request.Pool),
		SubPool: host.Prefix(request.SubPool),
		IPv6:    request.Ipv6,
	})
	if err != nil {
		return host.Result(ipam.PoolResponse{}, err)
	}
	return host.Result(ipam.PoolResponse{PoolId: id, Pool: host.CIDR(subnet)}, nil)
}

func ReleasePool(id string) wit.Result[wit.Unit, ipam.Error] {
	return host.Done(plugin.ReleasePool(id))
}

func RequestAddress(request ipam.AddressRequest) wit.Result[ipam.AddressResponse, ipam.Error] {
	var wanted netip.Addr
	if request.Address.IsSome() {
		wanted = host.Address(request.Address.Some())
	}
	address, err := plugin.RequestAddress(request.PoolId, wanted, request.Gateway)
	if err != nil {
		return host.Result(ipam.AddressResponse{}, err)
	}
	return host.Result(ipam.AddressResponse{Address: host.CIDR(address)}, nil)
}

func ReleaseAddress(id string, address ipam.IpAddress) wit.Result[wit.Unit, ipam.Error] {
	return host.Done(plugin.ReleaseAddress(id, host.Address(address)))
}
