package driver

import (
	"errors"
{% if volume or network or ipam %}
	"maps"
	"slices"
{% endif %}
	"testing"
)

// double is a small host in memory.
type double struct {
{% if volume or network or ipam %}
	state map[string][]byte
{% endif %}
{% if volume %}
	directories map[string]bool
{% endif %}
{% if authz %}
	config map[string]string
{% endif %}
}

func newDouble() *double {
	return &double{
{% if volume or network or ipam %}
		state: map[string][]byte{},
{% endif %}
{% if volume %}
		directories: map[string]bool{},
{% endif %}
{% if authz %}
		config: map[string]string{},
{% endif %}
	}
}

func (d *double) Log(context, message string) {}
{% if volume or network or ipam %}

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
{% endif %}
{% if volume %}

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
{% endif %}
{% if authz %}

func (d *double) ConfigValue(key string) (string, error) {
	return d.config[key], nil
}
{% endif %}

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
