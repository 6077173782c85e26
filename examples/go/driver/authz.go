package driver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Config is what the operator wrote under [config].
type Config interface {
	// ConfigValue returns an empty text for what is not set.
	ConfigValue(key string) (string, error)
}

// Authz is a sample policy: nobody but the administrators gets a privileged container, a part of the machine's file system, or what cannot be
// judged.
type Authz struct {
	Host
}

// Request is a request to Docker's API, as the engine reads it.
type Request struct {
	// User is the common name of the client's TLS certificate, or empty.
	User   string
	Method string
	// Path is what stands behind the version, split at its slashes.
	Path []string
	// Body is JSON with each key once, in Docker's spelling. It is nil if there is none, or none that can be seen.
	Body []byte
}

// Request decides before the engine acts. It returns why the request is denied; an empty text allows it. An error denies too.
func (d Authz) Request(request Request) (denial string, err error) {
	administrators, err := d.ConfigValue("administrators")
	if err != nil {
		return "", err
	}
	isUser := func(name string) bool { return strings.TrimSpace(name) == request.User }
	if request.User != "" && slices.ContainsFunc(strings.Split(administrators, ","), isUser) {
		return "", nil
	}
	return judge(request), nil
}

// Response decides after the engine has acted: a denial would only hide the answer.
func (d Authz) Response(request Request) (denial string, err error) {
	return "", nil
}

func judge(request Request) string {
	route := "/" + strings.Join(request.Path, "/")
	// Connections that Docker hands over: nobody sees what is said there.
	if route == "/session" || route == "/grpc" {
		return route + " is not allowed, because what is said there cannot be judged"
	}
	isDaily := func(pattern string) bool { return is(request, pattern) }
	if request.Method == "GET" || request.Method == "HEAD" || slices.ContainsFunc(daily, isDaily) {
		return ""
	}
	var body interface{ objection() string }
	switch {
	case is(request, "POST containers/*/start"):
		// Older engines take a container's configuration here once more.
		if request.Body != nil {
			return "a configuration at the start of a container is not allowed"
		}
		return ""
	case is(request, "POST containers/create"):
		body = &newContainer{}
	case is(request, "POST containers/*/exec"):
		body = &newExec{}
	case is(request, "POST volumes/create"):
		body = &newVolume{}
	default:
		return fmt.Sprintf("%s %s is not among the requests that this policy knows", request.Method, route)
	}
	if !bytes.HasPrefix(request.Body, []byte("{")) || json.Unmarshal(request.Body, body) != nil {
		return fmt.Sprintf("the body of %s %s is not there to be judged", request.Method, route)
	}
	return body.objection()
}

// daily is work that says nothing of the machine. What is neither here nor judged is denied, so a new endpoint of Docker's is no way around the
// policy.
var daily = []string{
	"POST auth",
	"POST containers/*/stop", "POST containers/*/restart", "POST containers/*/kill",
	"POST containers/*/pause", "POST containers/*/unpause", "POST containers/*/wait", "POST containers/*/resize",
	"POST containers/*/attach", "POST containers/*/rename", "POST containers/prune",
	"PUT containers/*/archive", "DELETE containers/*",
	"POST exec/*/start", "POST exec/*/resize",
	"POST images/**", "DELETE images/**",
	"POST networks/create", "POST networks/*/connect", "POST networks/*/disconnect", "POST networks/prune", "DELETE networks/*",
	"POST volumes/prune", "DELETE volumes/*",
}

// is compares part by part, so that a name with a slash in it does not look like two parts. A `*` is for one part, `**` at the end for some:
// the names of images have slashes.
func is(request Request, pattern string) bool {
	method, pattern, _ := strings.Cut(pattern, " ")
	parts := strings.Split(pattern, "/")
	if last := len(parts) - 1; parts[last] == "**" && len(request.Path) > last {
		request.Path, parts = request.Path[:last], parts[:last]
	}
	same := func(part, wanted string) bool { return wanted == "*" || part == wanted }
	return request.Method == method && slices.EqualFunc(request.Path, parts, same)
}

// newContainer is what the policy looks at when a container is made.
type newContainer struct {
	HostConfig struct {
		Privileged bool
		Binds      []string
		Mounts     []struct {
			Type          string
			VolumeOptions struct {
				DriverConfig struct{ Options map[string]string }
			}
		}
		PidMode, IpcMode, UTSMode, UsernsMode, NetworkMode, CgroupnsMode string
	}
}

func (c *newContainer) objection() string {
	host := c.HostConfig
	if host.Privileged {
		return "privileged containers are not allowed"
	}
	for _, bind := range host.Binds {
		if strings.HasPrefix(bind, "/") || strings.HasPrefix(bind, "~") || strings.HasPrefix(bind, ".") {
			return "directories of the machine are not allowed in containers"
		}
	}
	for _, mount := range host.Mounts {
		if mount.Type != "volume" && mount.Type != "tmpfs" {
			return fmt.Sprintf("mounts of type %s are not allowed", mount.Type)
		}
		if len(mount.VolumeOptions.DriverConfig.Options) > 0 {
			return "options for new volumes are not allowed in mounts"
		}
	}
	for _, space := range [][2]string{
		{"PidMode", host.PidMode},
		{"IpcMode", host.IpcMode},
		{"UTSMode", host.UTSMode},
		{"UsernsMode", host.UsernsMode},
		{"NetworkMode", host.NetworkMode},
		{"CgroupnsMode", host.CgroupnsMode},
	} {
		if space[1] == "host" {
			return space[0] + " host is not allowed"
		}
	}
	return ""
}

// newExec is a command that is to run in a container.
type newExec struct{ Privileged bool }

func (e *newExec) objection() string {
	if e.Privileged {
		return "privileged commands are not allowed"
	}
	return ""
}

type newVolume struct{ DriverOpts map[string]string }

func (v *newVolume) objection() string {
	if v.DriverOpts["device"] != "" {
		return "volumes of devices and directories are not allowed"
	}
	return ""
}
