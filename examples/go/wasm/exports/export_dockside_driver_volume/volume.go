//go:build wasip1

// Package export_dockside_driver_volume hands Docker's calls on to the driver. Its name and functions are those that the generated code calls.
package export_dockside_driver_volume

import (
	wit "go.bytecodealliance.org/pkg/wit/types"

	"driver-example/driver"
	"driver-example/wasm/host"
	types "driver-example/wasm/imports/dockside_driver_types"
	volume "driver-example/wasm/imports/dockside_driver_volume"
)

var plugin = driver.Volume{Host: host.Host{}}

func Capabilities() volume.VolumeCapabilities {
	return volume.VolumeCapabilities{Scope: types.Scope_Local}
}

func Create(name string, options []volume.KeyValue) wit.Result[wit.Unit, volume.Error] {
	return host.Done(plugin.Create(name, host.Pairs(options)))
}

func Remove(name string) wit.Result[wit.Unit, volume.Error] {
	return host.Done(plugin.Remove(name))
}

func Mount(name, id string) wit.Result[*volume.Directory, volume.Error] {
	directory, err := plugin.Mount(name, id)
	return host.Result(host.Handle(directory), err)
}

func Unmount(name, id string) wit.Result[wit.Unit, volume.Error] {
	return host.Done(plugin.Unmount(name, id))
}

func Get(name string) wit.Result[volume.VolumeInfo, volume.Error] {
	info, err := plugin.Get(name)
	return host.Result(convert(info), err)
}

func List() wit.Result[[]volume.VolumeInfo, volume.Error] {
	volumes, err := plugin.List()
	list := []volume.VolumeInfo{}
	for _, info := range volumes {
		list = append(list, convert(info))
	}
	return host.Result(list, err)
}

func Path(name string) wit.Result[wit.Option[*volume.Directory], volume.Error] {
	directory, err := plugin.Path(name)
	return host.Result(optional(directory), err)
}

func convert(info driver.VolumeInfo) volume.VolumeInfo {
	status := []volume.KeyValue{}
	for name, value := range info.Status {
		status = append(status, volume.KeyValue{F0: name, F1: value})
	}
	return volume.VolumeInfo{Name: info.Name, Mountpoint: optional(info.Directory), Status: status}
}

func optional(directory driver.Directory) wit.Option[*volume.Directory] {
	if directory == nil {
		return wit.None[*volume.Directory]()
	}
	return wit.Some(host.Handle(directory))
}
