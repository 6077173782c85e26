package driver

import (
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
	// A name with a slash in it must not look like two parts of a path.
	path := slices.Clone(request.Path)
	for i, part := range path {
		path[i] = strings.ReplaceAll(part, "/", "%2F")
	}
	if len(path) == 3 && path[0] == "containers" {
		path[1] = "NAME"
	}
	route := "/" + strings.Join(path, "/")
	var body interface{ objection() string }
	switch request.Method + " " + route {
	case "POST /containers/create":
		body = &newContainer{}
	case "POST /containers/NAME/exec":
		body = &newExec{}
	case "POST /volumes/create":
		body = &newVolume{}
	default:
		// Connections that Docker hands over: nobody sees what is said there.
		if route == "/session" || route == "/grpc" {
			return route + " is not allowed, because what is said there cannot be judged"
		}
		return ""
	}
	if request.Body == nil || json.Unmarshal(request.Body, body) != nil {
		return fmt.Sprintf("the body of %s %s is not there to be judged", request.Method, route)
	}
	return body.objection()
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
