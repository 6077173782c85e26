//go:build wasip1

// Package export_dockside_driver_network hands Docker's calls on to the driver. Its name and functions are those that the generated code calls.
package export_dockside_driver_network

import (
	"net/netip"

	wit "go.bytecodealliance.org/pkg/wit/types"

	"{= package =}/driver"
	"{= package =}/wasm/host"
	network "{= package =}/wasm/imports/dockside_driver_network"
)

var plugin = driver.Network{Host: host.Host{}}

func GetCapabilities() network.NetworkCapabilities {
	return network.NetworkCapabilities{}
}

func CreateNetwork(id string, options network.NetworkOptions, ipv4, ipv6 []network.IpamData) wit.Result[wit.Unit, network.Error] {
	request := driver.NetworkRequest{Options: host.Pairs(options.Generic), Internal: options.Internal}
	for _, data := range append(ipv4, ipv6...) {
		addresses := driver.Addresses{Subnet: host.Prefix(data.Pool), Gateway: host.Prefix(data.Gateway)}
		for _, auxiliary := range data.AuxAddresses {
			addresses.Auxiliary = append(addresses.Auxiliary, host.Prefix(wit.Some(auxiliary.F1)))
		}
		request.IPAM = append(request.IPAM, addresses)
	}
	return host.Done(plugin.CreateNetwork(id, request))
}

func DeleteNetwork(id string) wit.Result[wit.Unit, network.Error] {
	return host.Done(plugin.DeleteNetwork(id))
}

func CreateEndpoint(
	id, endpointID string, wanted network.EndpointInterface, options network.EndpointOptions,
) wit.Result[network.EndpointInterface, network.Error] {
	endpoint := driver.Endpoint{Address: host.Prefix(wanted.Address), AddressIPv6: host.Prefix(wanted.AddressIpv6)}
	if wanted.MacAddress.IsSome() {
		mac := wanted.MacAddress.Some()
		endpoint.MAC = &driver.MAC{mac.F0, mac.F1, mac.F2, mac.F3, mac.F4, mac.F5}
	}
	mac, err := plugin.CreateEndpoint(id, endpointID, endpoint)
	made := network.EndpointInterface{}
	if mac != nil {
		made.MacAddress = wit.Some(network.MacAddress{F0: mac[0], F1: mac[1], F2: mac[2], F3: mac[3], F4: mac[4], F5: mac[5]})
	}
	return host.Result(made, err)
}

func DeleteEndpoint(id, endpointID string) wit.Result[wit.Unit, network.Error] {
	return host.Done(plugin.DeleteEndpoint(id, endpointID))
}

func EndpointOperInfo(id, endpointID string) wit.Result[[]network.KeyValue, network.Error] {
	return host.Result([]network.KeyValue{}, plugin.EndpointInfo(id, endpointID))
}

func Join(id, endpointID, sandbox string, options network.EndpointOptions) wit.Result[network.JoinResponse, network.Error] {
	joined, err := plugin.Join(id, endpointID, sandbox)
	if err != nil {
		return host.Result(network.JoinResponse{}, err)
	}
	return host.Result(network.JoinResponse{
		Interface:   wit.Some(host.LinkHandle(joined.Link)),
		DstPrefix:   "eth",
		Gateway:     optional(joined.Gateway),
		GatewayIpv6: optional(joined.GatewayIPv6),
		// Without a gateway Docker would connect the container to a bridge of its own.
		DisableGatewayService: true,
	}, nil)
}

func Leave(id, endpointID string) wit.Result[wit.Unit, network.Error] {
	return host.Done(plugin.Leave(id, endpointID))
}

// What this driver has no use for. Docker takes "not implemented" for an answer.

func AllocateNetwork(id string, options []network.KeyValue, ipv4, ipv6 []network.IpamData) wit.Result[[]network.KeyValue, network.Error] {
	return missing[[]network.KeyValue]("AllocateNetwork")
}

func FreeNetwork(id string) wit.Result[wit.Unit, network.Error] {
	return missing[wit.Unit]("FreeNetwork")
}

func GwAllocCheck(options network.NetworkOptions) wit.Result[network.GwAllocResponse, network.Error] {
	return missing[network.GwAllocResponse]("GwAllocCheck")
}

func ProgramExternalConnectivity(id, endpointID string, options network.EndpointOptions) wit.Result[wit.Unit, network.Error] {
	return missing[wit.Unit]("ProgramExternalConnectivity")
}

func RevokeExternalConnectivity(id, endpointID string) wit.Result[wit.Unit, network.Error] {
	return missing[wit.Unit]("RevokeExternalConnectivity")
}

func DiscoverNew(what network.Discovery) wit.Result[wit.Unit, network.Error] {
	return host.Done(nil)
}

func DiscoverDelete(what network.Discovery) wit.Result[wit.Unit, network.Error] {
	return host.Done(nil)
}

func missing[T any](method string) wit.Result[T, network.Error] {
	var none T
	return host.Result(none, &driver.Error{
		Code:    driver.NotImplemented,
		Message: "this driver does not have NetworkDriver." + method,
	})
}

func optional(address netip.Addr) wit.Option[network.IpAddress] {
	if !address.IsValid() {
		return wit.None[network.IpAddress]()
	}
	return wit.Some(host.IPAddress(address))
}
