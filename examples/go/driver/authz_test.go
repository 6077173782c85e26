package driver

import (
	"strings"
	"testing"
)

func allowed(t *testing.T, user, method, path, body string) bool {
	t.Helper()
	host := newDouble()
	host.config["administrators"] = "root, admin"
	request := Request{User: user, Method: method, URI: path, Path: strings.Split(path, "/")}
	if body != "" {
		request.Body = []byte(body)
	}
	denial, err := Authz{host}.Request(request)
	succeeds(t, err)
	return denial == ""
}

func TestOrdinaryRequestsAreAllowed(t *testing.T) {
	for _, request := range [][3]string{
		{"GET", "containers/json", ""},
		{"POST", "containers/c1/start", ""},
		{"POST", "containers/create", `{"Image":"busybox"}`},
		{"POST", "containers/create", `{"HostConfig":{"Privileged":false,"Binds":["data:/data"],"Mounts":[{"Type":"volume"}]}}`},
		{"POST", "containers/c1/exec", `{"Cmd":["true"]}`},
	} {
		if !allowed(t, "", request[0], request[1], request[2]) {
			t.Errorf("%v is denied", request)
		}
	}
}

func TestWhatReachesTheMachineIsForAdministrators(t *testing.T) {
	for _, request := range [][2]string{
		{"containers/create", `{"HostConfig":{"Privileged":true}}`},
		{"containers/create", `{"HostConfig":{"Binds":["data:/data","/etc:/host"]}}`},
		{"containers/create", `{"HostConfig":{"Mounts":[{},{"Type":"bind","Source":"/"}]}}`},
		{"containers/c1/exec", `{"Cmd":["sh"],"Privileged":true}`},
	} {
		for _, user := range []string{"", "ADMIN", "admin,root"} {
			if allowed(t, user, "POST", request[0], request[1]) {
				t.Errorf("%v is allowed to %q", request, user)
			}
		}
		if !allowed(t, "admin", "POST", request[0], request[1]) {
			t.Errorf("%v is denied to an administrator", request)
		}
	}
}

func TestAContainerThatCannotBeJudgedIsDenied(t *testing.T) {
	for _, path := range []string{"containers/create", "containers/c1/exec"} {
		for _, body := range []string{"", "[]", "{"} {
			if allowed(t, "", "POST", path, body) {
				t.Errorf("%s is allowed with the body %q", path, body)
			}
		}
	}
}
