//go:build wasip1

// The component: its exports, which dockside calls.
package main

import _ "driver-example/wasm/exports/wit_exports"

func main() {}
