# Containers, images, networks and volumes as you like, but nothing new that opens the machine itself. What exists already can
# be used: keep containers with more rights under another engine.
#
# What is not listed is denied, so that an endpoint of a newer engine is not open by chance.
package docker.authz

import rego.v1

default allow := false

allow if input.Method in {"GET", "HEAD"}

allow if {
	listed
	count(deny) == 0
}

# --- What may be changed ----------------------------------------------------------------------------------------------

# Not among them: plugins, swarm, services, nodes, secrets, configs; and building (build, session, grpc), whose contents
# no policy sees.
listed if input.Segments[0] in {"containers", "exec", "images", "networks", "volumes", "commit", "auth"}

# --- What a container may not have ------------------------------------------------------------------------------------

host_config := input.Body.HostConfig

deny contains "privileged containers are not allowed" if host_config.Privileged

# Engines up to 23 take a container's configuration here once more.
deny contains "a configuration at the start of a container is not allowed" if {
	input.Segments[0] == "containers"
	input.Segments[count(input.Segments) - 1] == "start"
	input.BodyKind != "none"
}

deny contains "privileged commands are not allowed" if input.Body.Privileged

deny contains sprintf("the host's directory %s is not allowed", [bind.Source]) if some bind in input.BindMounts

deny contains sprintf("capability %s is not allowed", [capability]) if capability := host_config.CapAdd[_]

deny contains sprintf("security option %s is not allowed", [option]) if {
	option := host_config.SecurityOpt[_]
	not startswith(option, "no-new-privileges")
}

deny contains sprintf("%s = host is not allowed", [mode]) if {
	some mode in {"NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode"}
	host_config[mode] == "host"
}

deny contains sprintf("%s is not allowed", [field]) if {
	some field in {"Devices", "DeviceRequests", "DeviceCgroupRules", "VolumesFrom"}
	host_config[field][_]
}

deny contains sprintf("%s is not allowed", [field]) if {
	some field in {"Runtime", "CgroupParent"}
	value := host_config[field]
	not value in {"", null, "runc"}
}

# An empty list uncovers /proc and /sys.
deny contains sprintf("%s is not allowed", [field]) if {
	some field in {"MaskedPaths", "ReadonlyPaths"}
	is_array(host_config[field])
}

# Options of a volume can name any device of the machine.
deny contains "options of volumes are not allowed" if input.Body.DriverOpts[_]

deny contains "options of volumes are not allowed" if {
	host_config.Mounts[_].VolumeOptions.DriverConfig.Options[_]
}
