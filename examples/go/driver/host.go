// Package driver is the driver: plain Go, which the tests run on any machine. Package wasm/host has what it uses of dockside.
package driver

import (
	"encoding/json"
	"strings"
)

// Host is what the driver uses of dockside.
type Host interface {
	State
	// Log writes a line of the plugin's log. The context says which part of the driver speaks.
	Log(context, message string)
	Directories
	Config
}

// State is what lasts: the plugin's keys and values. What a call writes becomes final when it succeeds.
type State interface {
	// Value returns nil for a key that is not there.
	Value(key string) ([]byte, error)
	SetValue(key string, value []byte) error
	// DeleteValue of a key that is not there succeeds.
	DeleteValue(key string) error
	// Keys returns all keys, in order of their bytes.
	Keys() ([]string, error)
}

// table keeps records of one type as JSON, under keys with one prefix.
type table[Record any] struct {
	state  State
	prefix string
}

// get returns nil if there is no such record.
func (t table[Record]) get(key string) (*Record, error) {
	value, err := t.state.Value(t.prefix + key)
	if value == nil || err != nil {
		return nil, err
	}
	record := new(Record)
	return record, json.Unmarshal(value, record)
}

func (t table[Record]) put(key string, record Record) error {
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return t.state.SetValue(t.prefix+key, value)
}

func (t table[Record]) delete(key string) error {
	return t.state.DeleteValue(t.prefix + key)
}

// keys asks the host for all keys of the plugin.
func (t table[Record]) keys() ([]string, error) {
	all, err := t.state.Keys()
	var keys []string
	for _, key := range all {
		if rest, found := strings.CutPrefix(key, t.prefix); found {
			keys = append(keys, rest)
		}
	}
	return keys, err
}
