package driver

import (
	"strings"
	"testing"
)

type configDouble struct{ config map[string]string }

func (d *configDouble) ConfigValue(key string) (string, error) {
	return d.config[key], nil
}

func allowed(t *testing.T, administrators, user, method, path, body string) bool {
	t.Helper()
	host := &double{}
	host.config = map[string]string{"administrators": administrators}
	request := Request{User: user, Method: method, Path: strings.Split(path, "/")}
	if body != "" {
		request.Body = []byte(body)
	}
	denial, err := Authz{host}.Request(request)
	succeeds(t, err)
	return denial == ""
}

var harmful = [][2]string{
	{"containers/create", `{"HostConfig":{"Privileged":true}}`},
	{"containers/create", `{"HostConfig":{"Binds":["data:/data","/:/host"]}}`},
	{"containers/create", `{"HostConfig":{"Mounts":[{"Type":"volume"},{"Type":"bind","Source":"/"}]}}`},
	{"containers/create", `{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"DriverConfig":{"Options":{"o":"bind"}}}}]}}`},
	{"containers/create", `{"HostConfig":{"PidMode":"host"}}`},
	{"containers/x/exec", `{"Cmd":["sh"],"Privileged":true}`},
	{"volumes/create", `{"DriverOpts":{"type":"none","o":"bind","device":"/"}}`},
	{"containers/x/start", `{"Privileged":true}`},
	{"session", ""},
	{"grpc", ""},
}

func TestOrdinaryRequestsAreAllowed(t *testing.T) {
	for _, request := range [][3]string{
		{"GET", "info", ""},
		{"GET", "images/json", ""},
		{"DELETE", "containers/x", ""},
		{"PUT", "containers/x/archive", ""},
		{"POST", "images/shop/web/push", ""},
		{"POST", "containers/x/start", ""},
		{"POST", "containers/create", `{"Image":"busybox"}`},
		{"POST", "containers/create", `{"HostConfig":{"Binds":["data:/data"],"Mounts":[{"Type":"volume"}],"NetworkMode":"default"}}`},
		{"POST", "containers/x/exec", `{"Cmd":["true"]}`},
		{"POST", "volumes/create", `{"Name":"data","DriverOpts":{"mode":"0750"}}`},
	} {
		if !allowed(t, "root, alice", "", request[0], request[1], request[2]) {
			t.Errorf("%v is denied", request)
		}
	}
}

func TestWhatLeadsToTheMachineIsDeniedButNotToAdministrators(t *testing.T) {
	for _, request := range harmful {
		for _, user := range []string{"", "bob", "Alice", "alice, root"} {
			if allowed(t, "root, alice", user, "POST", request[0], request[1]) {
				t.Errorf("%v is allowed to %q", request, user)
			}
		}
		if !allowed(t, "root, alice", "alice", "POST", request[0], request[1]) {
			t.Errorf("%v is denied to an administrator", request)
		}
	}
}

func TestWithoutAListThereIsNoAdministrator(t *testing.T) {
	if allowed(t, "", "", "POST", harmful[0][0], harmful[0][1]) {
		t.Error("everybody is one")
	}
}

func TestWhatThePolicyDoesNotKnowIsDenied(t *testing.T) {
	for _, request := range [][2]string{
		{"POST", "plugins/pull"},
		{"POST", "containers/create/auth"},
		{"POST", "version1.41/containers/create"},
		{"POST", "auth/x"},
		{"OPTIONS", "containers/create"},
		{"DELETE", "containers/x/y"},
	} {
		if allowed(t, "", "", request[0], request[1], `{"Image":"busybox"}`) {
			t.Errorf("%v is allowed", request)
		}
	}
}

func TestABodyThatIsNotThereIsNoHarmlessOne(t *testing.T) {
	for _, path := range []string{"containers/create", "containers/x/exec"} {
		for _, body := range []string{"", "[]", "{", "null"} {
			if allowed(t, "", "", "POST", path, body) {
				t.Errorf("%s is allowed with the body %q", path, body)
			}
		}
	}
}
