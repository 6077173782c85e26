//! What a container may have of the machine.

use dockside_authz::binds;
use dockside_driver::{Refusal, files};
use serde_json::Value;

use crate::{
    pattern::{self, Pattern},
    policy::Role,
};

/// Namespaces of the machine: what a policy calls them and the field that asks for one.
pub(crate) const NAMESPACES: [(&str, &str); 6] = [
    ("network", "NetworkMode"),
    ("pid", "PidMode"),
    ("ipc", "IpcMode"),
    ("uts", "UTSMode"),
    ("user", "UsernsMode"),
    ("cgroup", "CgroupnsMode"),
];

/// Fields of `HostConfig` that open nothing of the machine: limits, names, and what other rules look at.
const HARMLESS: &[&str] = &[
    "AutoRemove",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeight",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "CgroupnsMode",
    "ConsoleSize",
    "ContainerIDFile",
    "CpuCount",
    "CpuPercent",
    "CpuPeriod",
    "CpuQuota",
    "CpuShares",
    "CpusetCpus",
    "CpusetMems",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "IOMaximumBandwidth",
    "IOMaximumIOps",
    "Init",
    "IpcMode",
    "Isolation",
    "KernelMemory",
    "KernelMemoryTCP",
    "Links",
    "LogConfig",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "Mounts",
    "NanoCpus",
    "NetworkMode",
    "PidMode",
    "PidsLimit",
    "PortBindings",
    "Privileged",
    "PublishAllPorts",
    "ReadonlyRootfs",
    "RestartPolicy",
    "Runtime",
    "SecurityOpt",
    "ShmSize",
    "StorageOpt",
    "Tmpfs",
    "UTSMode",
    "Ulimits",
    "UsernsMode",
    "VolumeDriver",
    "VolumesFrom",
];

/// A rule of a role and what it says against a request.
pub(crate) type Problem = String;

/// Looks at everything that the body of a request asks for of the machine.
pub(crate) fn check(role: &Role, user: &str, body: &Value) -> Result<(), Problem> {
    if role.unrestricted {
        return Ok(());
    }
    let empty = Value::Null;
    let host = body.get("HostConfig").unwrap_or(&empty);
    of_host_config(role, host)?;
    of_mounts(role, user, body)?;
    of_service(role, body)
}

/// Looks at a `HostConfig`, or at what a change of a container has in its place.
pub(crate) fn of_host_config(role: &Role, host: &Value) -> Result<(), Problem> {
    if role.unrestricted {
        return Ok(());
    }
    if is_true(host, "Privileged") {
        privileged(role)?;
    }
    for capability in texts(host.get("CapAdd")) {
        of_capability(role, capability)?;
    }
    for (name, field) in NAMESPACES {
        if text(host, field) == "host" {
            namespace(role, name)?;
        }
    }
    for device in list(host.get("Devices")) {
        let path = text(device, "PathOnHost");
        one_of(&role.devices, path, "device", "devices")?;
    }
    for request in list(host.get("DeviceRequests")) {
        let driver = text(request, "Driver");
        let name = if driver.is_empty() { "gpu" } else { driver };
        one_of(&role.devices, name, "device request", "devices")?;
    }
    for option in texts(host.get("SecurityOpt")) {
        if !matches!(
            option,
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true"
        ) {
            one_of(
                &role.security_options,
                option,
                "security option",
                "security-options",
            )?;
        }
    }
    let runtime = text(host, "Runtime");
    if !matches!(runtime, "" | "runc") {
        one_of(&role.runtimes, runtime, "runtime", "runtimes")?;
    }
    of_driver(role, text(host, "VolumeDriver"))?;
    of_ports(role, host)?;
    for (field, value) in host.as_object().into_iter().flatten() {
        let is_set = match field.as_str() {
            // An empty list uncovers /proc and /sys.
            "MaskedPaths" | "ReadonlyPaths" => value.is_array(),
            _ => !is_empty(value),
        };
        if is_set && !HARMLESS.contains(&field.as_str()) && !role.fields.contains(field) {
            return Err(format!(
                "HostConfig.{field} is not allowed (fields = [{field:?}])"
            ));
        }
    }
    Ok(())
}

/// Privileged containers and commands.
pub(crate) fn privileged(role: &Role) -> Result<(), Problem> {
    if role.privileged || role.unrestricted {
        return Ok(());
    }
    Err("privileged is not allowed (privileged = true)".to_owned())
}

fn of_capability(role: &Role, capability: &str) -> Result<(), Problem> {
    let upper = capability.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    one_of(&role.capabilities, name, "capability", "capabilities")
}

fn namespace(role: &Role, name: &str) -> Result<(), Problem> {
    if role.host_namespaces.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(format!(
        "the machine's {name} namespace is not allowed (host-namespaces = [{name:?}])"
    ))
}

fn of_driver(role: &Role, driver: &str) -> Result<(), Problem> {
    if matches!(driver, "" | "local") {
        return Ok(());
    }
    one_of(
        &role.volume_drivers,
        driver,
        "volume driver",
        "volume-drivers",
    )
}

fn of_mounts(role: &Role, user: &str, body: &Value) -> Result<(), Problem> {
    for bind in binds(body) {
        of_bind(role, user, &bind.source, bind.read_only)?;
    }
    for place in ["/HostConfig/Mounts", "/TaskTemplate/ContainerSpec/Mounts"] {
        for mount in list(body.pointer(place)) {
            match text(mount, "Type") {
                "bind" | "tmpfs" | "image" => {}
                "volume" => {
                    let driver = mount.pointer("/VolumeOptions/DriverConfig/Name");
                    of_driver(role, driver.and_then(Value::as_str).unwrap_or_default())?;
                }
                other => return Err(format!("mounts of type {other:?} are not allowed")),
            }
        }
    }
    // A volume by its own request.
    if body.get("DriverOpts").is_some() || body.get("Driver").is_some() {
        of_driver(role, text(body, "Driver"))?;
    }
    Ok(())
}

fn of_bind(role: &Role, user: &str, source: &str, read_only: bool) -> Result<(), Problem> {
    let resolved = files::resolve_path(source).map_err(|error| match error.refusal() {
        Some(Refusal::NotGranted) => format!(
            "{source} cannot be judged, because this plugin may not ask where it leads ([grants.files] resolve = true)"
        ),
        _ => format!("{source} cannot be judged: {error}"),
    })?;
    let leads = if resolved == source {
        String::new()
    } else {
        format!(", which leads to {resolved},")
    };
    let mut only_to_read = false;
    for rule in &role.mounts {
        let (path, writable) = match rule.strip_suffix(":ro") {
            Some(path) => (path, false),
            None => (rule.strip_suffix(":rw").unwrap_or(rule), true),
        };
        let path = path.trim_end_matches('/');
        let is_inside = Pattern::from(path).fits(&resolved, user)
            || Pattern::from(format!("{path}/*").as_str()).fits(&resolved, user);
        if is_inside && (writable || read_only) {
            return Ok(());
        }
        only_to_read |= is_inside;
    }
    Err(if only_to_read {
        format!(
            "the directory {source}{leads} can only be mounted to be read (mounts = [{resolved:?}])"
        )
    } else {
        format!("the directory {source}{leads} is not allowed (mounts = [{resolved:?}])")
    })
}

/// The first and the last port of `8080` or `8000-8999`.
pub(crate) fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

fn of_ports(role: &Role, host: &Value) -> Result<(), Problem> {
    let Some(allowed) = &role.ports else {
        return Ok(());
    };
    if is_true(host, "PublishAllPorts") {
        return Err("publishing all ports is not allowed where ports are limited".to_owned());
    }
    let bindings = host.get("PortBindings").and_then(Value::as_object);
    for binding in bindings
        .into_iter()
        .flatten()
        .flat_map(|(_, list)| self::list(Some(list)))
    {
        of_port(allowed, text(binding, "HostPort"))?;
    }
    Ok(())
}

fn of_port(allowed: &[String], port: &str) -> Result<(), Problem> {
    let is_allowed = port_range(port).is_some_and(|(first, last)| {
        allowed
            .iter()
            .filter_map(|range| port_range(range))
            .any(|(from, to)| from <= first && last <= to && first > 0)
    });
    if is_allowed {
        return Ok(());
    }
    let shown = if port.is_empty() {
        "chosen by the engine"
    } else {
        port
    };
    Err(format!(
        "the port {shown} is not allowed, but {} (ports)",
        allowed.join(", ")
    ))
}

/// Services of a swarm.
fn of_service(role: &Role, body: &Value) -> Result<(), Problem> {
    let Some(task) = body.get("TaskTemplate").filter(|task| !is_empty(task)) else {
        return Ok(());
    };
    if task.get("PluginSpec").is_some_and(|spec| !is_empty(spec)) {
        return Err("services that are plugins are not allowed (unrestricted = true)".to_owned());
    }
    let empty = Value::Null;
    let container = task.get("ContainerSpec").unwrap_or(&empty);
    for capability in texts(container.get("CapabilityAdd")) {
        of_capability(role, capability)?;
    }
    for field in ["Privileges", "Sysctls"] {
        let is_set = container
            .get(field)
            .is_some_and(|value| !is_deeply_empty(value));
        if is_set && !role.fields.iter().any(|known| known == field) {
            return Err(format!(
                "ContainerSpec.{field} is not allowed (fields = [{field:?}])"
            ));
        }
    }
    for place in [task.get("Networks"), body.get("Networks")] {
        if list(place)
            .iter()
            .any(|network| text(network, "Target") == "host")
        {
            namespace(role, "network")?;
        }
    }
    if let Some(allowed) = &role.ports {
        for port in list(body.pointer("/EndpointSpec/Ports")) {
            let number = port.get("PublishedPort").and_then(Value::as_u64);
            of_port(
                allowed,
                &number.map(|number| number.to_string()).unwrap_or_default(),
            )?;
        }
    }
    Ok(())
}

fn one_of(allowed: &[Pattern], wanted: &str, what: &str, rule: &str) -> Result<(), Problem> {
    if allowed.iter().any(|pattern| pattern.fits(wanted, "")) {
        return Ok(());
    }
    let instead = if allowed.is_empty() {
        String::new()
    } else {
        format!(", but {}", pattern::list(allowed))
    };
    Err(format!(
        "the {what} {wanted:?} is not allowed{instead} ({rule} = [{wanted:?}])"
    ))
}

pub(crate) fn is_true(value: &Value, field: &str) -> bool {
    // What is neither true nor false is not left to the engine.
    !matches!(
        value.get(field),
        None | Some(Value::Null | Value::Bool(false))
    )
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    list(value).iter().filter_map(Value::as_str)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn is_deeply_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(is_deeply_empty),
        Value::Array(values) => values.iter().all(is_deeply_empty),
        other => is_empty(other),
    }
}
