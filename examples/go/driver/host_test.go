package driver

import (
	"errors"
	"maps"
	"slices"
	"testing"
)

// double is a small host in memory.
type double struct {
	state map[string][]byte
	directories map[string]bool
	config map[string]string
}

func newDouble() *double {
	return &double{
		state: map[string][]byte{},
		directories: map[string]bool{},
		config: map[string]string{},
	}
}

func (d *double) Log(context, message string) {}

func (d *double) Value(key string) ([]byte, error) {
	return d.state[key], nil
}

func (d *double) SetValue(key string, value []byte) error {
	d.state[key] = value
	return nil
}

func (d *double) DeleteValue(key string) error {
	delete(d.state, key)
	return nil
}

func (d *double) Keys() ([]string, error) {
	return slices.Sorted(maps.Keys(d.state)), nil
}

type directory string

func (d directory) Key() string { return string(d) }

func (d *double) CreateDirectory(key string, mode uint32) (Directory, error) {
	d.directories[key] = true
	return directory(key), nil
}

func (d *double) OpenDirectory(key string) (Directory, error) {
	if !d.directories[key] {
		return nil, ErrNoDirectory
	}
	return directory(key), nil
}

func (d *double) RemoveDirectory(key string) error {
	if !d.directories[key] {
		return ErrNoDirectory
	}
	delete(d.directories, key)
	return nil
}

func (d *double) ConfigValue(key string) (string, error) {
	return d.config[key], nil
}

func succeeds(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func failsWith(t *testing.T, code Code, err error) {
	t.Helper()
	var failure *Error
	if !errors.As(err, &failure) || failure.Code != code || failure.Message == "" {
		t.Fatalf("%v is no failure with code %d", err, code)
	}
}
