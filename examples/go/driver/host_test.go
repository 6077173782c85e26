package driver

import (
	"errors"
	"maps"
	"slices"
	"testing"
)

// double is a small host in memory.
type double struct {
	stateDouble
	directoriesDouble
	configDouble
}

type stateDouble struct{ state map[string][]byte }

func (d *stateDouble) Value(key string) ([]byte, error) {
	return d.state[key], nil
}

func (d *stateDouble) SetValue(key string, value []byte) error {
	if d.state == nil {
		d.state = map[string][]byte{}
	}
	d.state[key] = value
	return nil
}

func (d *stateDouble) DeleteValue(key string) error {
	delete(d.state, key)
	return nil
}

func (d *stateDouble) Keys() ([]string, error) {
	return slices.Sorted(maps.Keys(d.state)), nil
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
