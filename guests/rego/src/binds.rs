//! `input.BindMounts`: the host's directories that a request would show to a container, wherever in the body they stand.

use serde_json::{Value, json};

/// One object `{Source, ReadOnly, Resolved}` for each. `Resolved` is empty: a driver sees no file system, so that it cannot
/// follow symbolic links, and in this document the empty text says so.
pub(crate) fn of(body: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for bind in list(body.pointer("/HostConfig/Binds")) {
        found.extend(bind.as_str().and_then(of_text));
    }
    // Containers and services.
    for place in ["/HostConfig/Mounts", "/TaskTemplate/ContainerSpec/Mounts"] {
        found.extend(list(body.pointer(place)).iter().filter_map(of_mount));
    }
    // Volumes of the engine's own driver can be binds in disguise.
    found.extend(of_volume(body.get("Driver"), body.get("DriverOpts"), false));
    found
}

/// `SOURCE:TARGET[:OPTIONS]`. A source that is no path is the name of a volume.
fn of_text(bind: &str) -> Option<Value> {
    let mut parts = bind.split(':');
    let source = parts.next().filter(|source| source.starts_with('/'))?;
    parts.next()?;
    let read_only = parts.any(|options| options.split(',').any(|option| option == "ro"));
    Some(entry(source, read_only))
}

fn of_mount(mount: &Value) -> Option<Value> {
    let read_only = mount.get("ReadOnly") == Some(&Value::Bool(true));
    match mount.get("Type")?.as_str()? {
        "bind" => Some(entry(mount.get("Source")?.as_str()?, read_only)),
        "volume" => {
            let driver = mount.pointer("/VolumeOptions/DriverConfig")?;
            of_volume(driver.get("Name"), driver.get("Options"), read_only)
        }
        _ => None,
    }
}

fn of_volume(driver: Option<&Value>, options: Option<&Value>, read_only: bool) -> Option<Value> {
    let driver = driver.and_then(Value::as_str).unwrap_or_default();
    if !matches!(driver, "" | "local") {
        return None;
    }
    let options = options?;
    let mut flags = options.get("o")?.as_str()?.split(',');
    let bind = flags.clone().any(|flag| flag == "bind" || flag == "rbind");
    let read_only = read_only || flags.any(|flag| flag == "ro");
    bind.then_some(())?;
    Some(entry(options.get("device")?.as_str()?, read_only))
}

fn entry(source: &str, read_only: bool) -> Value {
    json!({"Source": source, "ReadOnly": read_only, "Resolved": ""})
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
                json!({"Name": "x", "Driver": "local", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}),
                json!([]),
            ),
        ] {
            let found: Vec<Value> = of(&body)
                .iter()
                .map(|bind| {
                    assert_eq!(bind["Resolved"], "");
                    json!([bind["Source"], bind["ReadOnly"]])
                })
                .collect();
            assert_eq!(Value::from(found), expected, "{body}");
        }
    }
}
