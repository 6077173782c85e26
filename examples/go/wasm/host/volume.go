//go:build wasip1

package host

import (
	"errors"

	wit "go.bytecodealliance.org/pkg/wit/types"

	"driver-example/driver"
	directories "driver-example/wasm/imports/dockside_host_directories"
	logging "driver-example/wasm/imports/wasi_logging_logging"
)

func (Host) Log(context, message string) {
	logging.Log(logging.Level_Info, context, message)
}

func (Host) CreateDirectory(key string, mode uint32) (driver.Directory, error) {
	return directory(directories.Create(key, directories.Attributes{Mode: wit.Some(mode)}))
}

func (Host) OpenDirectory(key string) (driver.Directory, error) {
	return directory(directories.Open(key))
}

func (Host) RemoveDirectory(key string) error {
	if result := directories.Remove(key); result.IsErr() {
		return refusal(result.Err())
	}
	return nil
}

// Handle is the directory as the host knows it, to be handed back; nil for nil.
func Handle(directory driver.Directory) *directories.Directory {
	handle, _ := directory.(*directories.Directory)
	return handle
}

func directory(result wit.Result[*directories.Directory, directories.Error]) (driver.Directory, error) {
	if result.IsErr() {
		return nil, refusal(result.Err())
	}
	return result.Ok(), nil
}

// refusal says it as the user of docker is told it.
func refusal(reason directories.Error) error {
	switch reason.Tag() {
	case directories.Error_NotFound:
		return driver.ErrNoDirectory
	case directories.Error_InUse:
		return &driver.Error{Code: driver.InUse, Message: "something is mounted in the directory of the volume"}
	case directories.Error_QuotaExceeded:
		return &driver.Error{
			Code:    driver.Exhausted,
			Message: "no further directory: raise max in [grants.directories], or remove a volume",
		}
	case directories.Error_Other:
		return errors.New(reason.Other())
	default:
		return errors.New("the directory of the volume exists already")
	}
}
