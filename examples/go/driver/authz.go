package driver

import (
	"encoding/json"
	"slices"
	"strings"
)

// Config is what the operator wrote under [config].
type Config interface {
	// ConfigValue returns an empty text for what is not set.
	ConfigValue(key string) (string, error)
}

// Authz is a sample policy: privileged containers and directories of this machine in containers are for administrators.
type Authz struct {
	Host
}

// Request is a request to Docker's API, as the engine reads it.
type Request struct {
	// User is the common name of the client's TLS certificate, or empty.
	User   string
	Method string
	// URI is for logs: decide by the path.
	URI string
	// Path is what stands behind the version, split at its slashes.
	Path []string
	// Body is JSON with each key once, in Docker's spelling. It is nil if there is none, or none that can be seen.
	Body []byte
}

// container is what the policy looks at. The first three are fields of a container, the last one of a command that is run in one.
type container struct {
	HostConfig struct {
		Privileged bool
		Binds      []string
		Mounts     []struct{ Type string }
	}
	Privileged bool
}

// Request decides before the engine acts. It returns why the request is denied; an empty text allows it. An error denies too.
func (d Authz) Request(request Request) (denial string, err error) {
	administrators, err := d.ConfigValue("administrators")
	if err != nil {
		return "", err
	}
	isListed := func(name string) bool { return strings.TrimSpace(name) == request.User }
	if request.User != "" && slices.ContainsFunc(strings.Split(administrators, ","), isListed) {
		return "", nil
	}
	denial = judge(request)
	if denial != "" {
		d.Log("authz", "denied "+request.URI+": "+denial)
	}
	return denial, nil
}

// Response decides after the engine has acted. A denial would hide the answer, and undo nothing.
func (d Authz) Response(request Request) (denial string, err error) {
	return "", nil
}

func judge(request Request) string {
	path := request.Path
	creates := request.Method == "POST" && slices.Equal(path, []string{"containers", "create"})
	executes := request.Method == "POST" && len(path) == 3 && path[0] == "containers" && path[2] == "exec"
	if !creates && !executes {
		return ""
	}
	var body container
	if request.Body == nil || json.Unmarshal(request.Body, &body) != nil {
		return "the request has no body that could be judged"
	}
	if creates && body.HostConfig.Privileged || executes && body.Privileged {
		return "privileged containers are for administrators"
	}
	isPath := func(bind string) bool { return strings.HasPrefix(bind, "/") }
	isBind := func(mount struct{ Type string }) bool { return mount.Type == "bind" }
	if slices.ContainsFunc(body.HostConfig.Binds, isPath) || slices.ContainsFunc(body.HostConfig.Mounts, isBind) {
		return "directories of this machine are for administrators: use a volume"
	}
	return ""
}
