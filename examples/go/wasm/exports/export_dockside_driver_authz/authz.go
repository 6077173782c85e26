//go:build wasip1

// Package export_dockside_driver_authz hands Docker's calls on to the driver. Its name and functions are those that the generated code calls.
package export_dockside_driver_authz

import (
	wit "go.bytecodealliance.org/pkg/wit/types"

	"driver-example/driver"
	"driver-example/wasm/host"
	authz "driver-example/wasm/imports/dockside_driver_authz"
)

var plugin = driver.Authz{Host: host.Host{}}

func AuthzReq(request authz.Request) wit.Result[authz.Decision, authz.Error] {
	return decision(plugin.Request(convert(request)))
}

func AuthzRes(request authz.Request, response authz.Response) wit.Result[authz.Decision, authz.Error] {
	return decision(plugin.Response(convert(request)))
}

func convert(request authz.Request) driver.Request {
	converted := driver.Request{
		User:   request.User.SomeOr(""),
		Method: request.Method,
		Path:   request.Path,
	}
	if request.Body.Tag() == authz.RequestBody_Json {
		converted.Body = []byte(request.Body.Json())
	}
	return converted
}

func decision(denial string, err error) wit.Result[authz.Decision, authz.Error] {
	if denial == "" {
		return host.Result(authz.MakeDecisionAllow(), err)
	}
	return host.Result(authz.MakeDecisionDeny(denial), err)
}
