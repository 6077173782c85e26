//go:build wasip1

// Package host is dockside, as the driver uses it.
package host

import (
	"errors"
	"fmt"

	wit "go.bytecodealliance.org/pkg/wit/types"

	"driver-example/driver"
	types "driver-example/wasm/imports/dockside_driver_types"
	config "driver-example/wasm/imports/wasi_config_store"
	keyvalue "driver-example/wasm/imports/wasi_keyvalue_store"
)

// Host is a driver.Host.
type Host struct{}

var _ driver.Host = Host{}

// Result is what an exported function returns for a value and an error of the driver's.
func Result[T any](value T, err error) wit.Result[T, types.Error] {
	if err == nil {
		return wit.Ok[T, types.Error](value)
	}
	failure := &driver.Error{Code: driver.Other, Message: err.Error()}
	errors.As(err, &failure)
	return wit.Err[T](types.Error{Code: uint8(failure.Code), Message: failure.Message})
}

// Done is what an exported function without a value returns.
func Done(err error) wit.Result[wit.Unit, types.Error] {
	return Result(wit.Unit{}, err)
}

// Pairs are options, as maps.
func Pairs(list []wit.Tuple2[string, string]) map[string]string {
	pairs := map[string]string{}
	for _, pair := range list {
		pairs[pair.F0] = pair.F1
	}
	return pairs
}

// bucket is the one that there is. It is closed with the instance, which serves one call.
func bucket() *keyvalue.Bucket {
	return keyvalue.Open("").Ok()
}

// stored turns a result of the state's into Go's terms.
func stored[T any](result wit.Result[T, keyvalue.Error]) (value T, err error) {
	if result.IsOk() {
		return result.Ok(), nil
	}
	if reason := result.Err(); reason.Tag() == keyvalue.Error_Other {
		return value, fmt.Errorf("the state of the plugin: %s", reason.Other())
	}
	return value, errors.New("the state of the plugin cannot be used")
}

func (Host) Value(key string) ([]byte, error) {
	value, err := stored(bucket().Get(key))
	return value.SomeOr(nil), err
}

func (Host) SetValue(key string, value []byte) error {
	_, err := stored(bucket().Set(key, value))
	return err
}

func (Host) DeleteValue(key string) error {
	_, err := stored(bucket().Delete(key))
	return err
}

func (Host) Keys() ([]string, error) {
	var keys []string
	cursor := wit.None[uint64]()
	for {
		page, err := stored(bucket().ListKeys(cursor))
		if err != nil {
			return nil, err
		}
		keys = append(keys, page.Keys...)
		if page.Cursor.IsNone() {
			return keys, nil
		}
		cursor = page.Cursor
	}
}

func (Host) ConfigValue(key string) (string, error) {
	value := config.Get(key)
	if value.IsErr() {
		return "", errors.New("the configuration cannot be read")
	}
	return value.Ok().SomeOr(""), nil
}
