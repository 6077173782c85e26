//! The host's directories that a request would show to a container, wherever in the body they stand.

use serde_json::Value;

/// A directory or file of the host that a container would see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Its path as the request has it.
    pub source: String,
    /// Whether the container could only read it.
    pub read_only: bool,
}

/// All of them, from the body of a request: by binds, mounts, or a volume of the
/// engine's own driver that is a bind, an overlay or a device in disguise.
pub fn binds(body: &Value) -> Vec<Bind> {
    let mut found = Vec::new();
    for bind in list(body.pointer("/HostConfig/Binds")) {
        found.extend(bind.as_str().and_then(of_text));
    }
    // Containers and services.
    for place in ["/HostConfig/Mounts", "/TaskTemplate/ContainerSpec/Mounts"] {
        found.extend(list(body.pointer(place)).iter().flat_map(of_mount));
    }
    // Volumes of the engine's own driver can be binds in disguise.
    found.extend(of_volume(body.get("Driver"), body.get("DriverOpts"), false));
    found
}

/// `SOURCE:TARGET[:OPTIONS]`. A source that is no path is the name of a volume.
fn of_text(bind: &str) -> Option<Bind> {
    let mut parts = bind.split(':');
    let source = parts.next().filter(|source| source.starts_with('/'))?;
    parts.next()?;
    let read_only = parts.any(|options| options.split(',').any(|option| option == "ro"));
    Some(entry(source, read_only))
}

fn of_mount(mount: &Value) -> Vec<Bind> {
    let read_only = mount.get("ReadOnly") == Some(&Value::Bool(true));
    let text = |name| mount.get(name).and_then(Value::as_str);
    match text("Type") {
        Some("bind") => text("Source")
            .map(|source| entry(source, read_only))
            .into_iter()
            .collect(),
        Some("volume") => {
            let driver = mount.pointer("/VolumeOptions/DriverConfig");
            let field = |name| driver.and_then(|driver| driver.get(name));
            of_volume(field("Name"), field("Options"), read_only)
        }
        _ => Vec::new(),
    }
}

/// What a volume of the engine's own driver would show of the host: by `bind`, as an overlay of directories, or as a device.
fn of_volume(driver: Option<&Value>, options: Option<&Value>, read_only: bool) -> Vec<Bind> {
    let driver = driver.and_then(Value::as_str).unwrap_or_default();
    if !matches!(driver, "" | "local") {
        return Vec::new();
    }
    let option = |name| options.and_then(|options| options.get(name)?.as_str());
    let flags: Vec<&str> = option("o").unwrap_or_default().split(',').collect();
    let read_only = read_only || flags.contains(&"ro");
    let mut sources: Vec<&str> = Vec::new();
    let is_bind = flags.contains(&"bind") || flags.contains(&"rbind");
    let is_elsewhere = matches!(
        option("type"),
        Some("tmpfs" | "cifs" | "smb3" | "nfs" | "nfs4")
    );
    sources.extend(
        option("device").filter(|device| is_bind || (!is_elsewhere && device.starts_with('/'))),
    );
    for flag in flags {
        if let Some(("lowerdir" | "upperdir" | "workdir", directories)) = flag.split_once('=') {
            sources.extend(directories.split(':').filter(|part| !part.is_empty()));
        }
    }
    let entry = |source: &str| entry(source, read_only);
    sources.into_iter().map(entry).collect()
}

fn entry(source: &str, read_only: bool) -> Bind {
    Bind {
        source: source.to_owned(),
        read_only,
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn binds_are_found_wherever_they_stand() {
        for (body, expected) in [
            (json!(null), json!([])),
            (json!("text"), json!([])),
            (
                json!({"HostConfig": {"Binds": null, "Mounts": null}}),
                json!([]),
            ),
            (json!({"HostConfig": {"Binds": "/a:/b"}}), json!([])),
            (
                json!({"HostConfig": {"Binds": ["data:/b", "/a:/b", "/c:/d:ro", "/e:/f:z,ro", "/g:/h:rw"]}}),
                json!([["/a", false], ["/c", true], ["/e", true], ["/g", false]]),
            ),
            (
                json!({"HostConfig": {"Mounts": [
                   {"Type": "bind", "Source": "/a", "Target": "/b"},
                   {"Type": "bind", "Source": "/c", "ReadOnly": true},
                   {"Type": "volume", "Source": "data"},
                   {"Type": "tmpfs"},
                   {"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "rw,bind", "device": "/e"}}}},
                   {"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "nfs", "Options": {"o": "bind", "device": "/f"}}}},
                ]}}),
                json!([["/a", false], ["/c", true], ["/e", false]]),
            ),
            (
                json!({"TaskTemplate": {"ContainerSpec": {"Mounts": [{"Type": "bind", "Source": "/a"}]}}}),
                json!([["/a", false]]),
            ),
            (
                json!({"Name": "x", "DriverOpts": {"type": "none", "o": "bind,ro", "device": "/etc"}}),
                json!([["/etc", true]]),
            ),
            (
                json!({"Name": "x", "Driver": "local", "DriverOpts": {"o": "rbind", "device": "/"}}),
                json!([["/", false]]),
            ),
            (
                json!({"Name": "x", "DriverOpts": {"type": "overlay", "device": "overlay", "o": "lowerdir=/etc:/root,upperdir=/u,workdir=/w"}}),
                json!([
                    ["/etc", false],
                    ["/root", false],
                    ["/u", false],
                    ["/w", false]
                ]),
            ),
            (
                json!({"Name": "x", "DriverOpts": {"type": "ext4", "device": "/dev/sda1", "o": "ro"}}),
                json!([["/dev/sda1", true]]),
            ),
            (
                json!({"Name": "x", "DriverOpts": {"type": "nfs", "device": ":/srv", "o": "addr=192.0.2.1"}}),
                json!([]),
            ),
            (
                json!({"Name": "x", "Driver": "local", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}),
                json!([]),
            ),
        ] {
            let found: Vec<Value> = binds(&body)
                .iter()
                .map(|bind| json!([bind.source, bind.read_only]))
                .collect();
            assert_eq!(Value::from(found), expected, "{body}");
        }
    }
}
