//go:build wasip1

package host

import (
	"net/netip"

	wit "go.bytecodealliance.org/pkg/wit/types"

	"{= package =}/driver"
	links "{= package =}/wasm/imports/dockside_host_links"
	machine "{= package =}/wasm/imports/dockside_host_machine"
	random "{= package =}/wasm/imports/wasi_random_random"
)

// link is a driver.Link.
type link struct{ handle *links.Link }

// LinkHandle is the link as the host knows it, to be handed back.
func LinkHandle(of driver.Link) *links.Link {
	return of.(link).handle
}

func (l link) Key() string { return l.handle.Key() }

func (l link) AddAddress(address netip.Prefix) error {
	_, err := answer(l.handle.AddAddress(CIDR(address)))
	return err
}

func (l link) Join(bridge driver.Link) error {
	_, err := answer(l.handle.SetMaster(wit.Some(LinkHandle(bridge))))
	return err
}

func (Host) CreateBridge(key string, mtu uint32) (driver.Link, error) {
	made, err := answer(links.Create(key, links.MakeKindBridge(links.Bridge{}), settings(mtu)))
	return link{made}, err
}

func (Host) CreatePair(key, peer string, mtu uint32, mac driver.MAC) (driver.Link, driver.Link, error) {
	wanted := settings(mtu)
	wanted.Mac = wit.Some(links.MacAddress{F0: mac[0], F1: mac[1], F2: mac[2], F3: mac[3], F4: mac[4], F5: mac[5]})
	ends, err := answer(links.CreatePair(key, peer, wanted))
	return link{ends.F0}, link{ends.F1}, err
}

func (Host) OpenLink(key string) (driver.Link, error) {
	found, err := answer(links.Open(key))
	return link{found}, err
}

func (Host) DeleteLink(key string) error {
	_, err := answer(links.Delete(key))
	return err
}

func (Host) Random(count uint64) []byte {
	return random.GetRandomBytes(count)
}

func settings(mtu uint32) links.Settings {
	settings := links.Settings{Up: true}
	if mtu != 0 {
		settings.Mtu = wit.Some(mtu)
	}
	return settings
}

// answer turns a result of the host's into Go's terms, with its refusal as the user of docker is told it.
func answer[T any](result wit.Result[T, machine.Error]) (value T, err error) {
	if result.IsOk() {
		return result.Ok(), nil
	}
	code := driver.Other
	reason := result.Err()
	switch reason.Code {
	case machine.ErrorCode_NotFound:
		return value, driver.ErrNoLink
	case machine.ErrorCode_AlreadyExists:
		code = driver.AlreadyExists
	case machine.ErrorCode_InUse:
		code = driver.InUse
	case machine.ErrorCode_Unreachable:
		code = driver.Unavailable
	case machine.ErrorCode_Exhausted:
		code = driver.Exhausted
	case machine.ErrorCode_Invalid:
		code = driver.InvalidArgument
	}
	return value, &driver.Error{Code: code, Message: reason.Message}
}
