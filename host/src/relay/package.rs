//! The files of a relay: what `docker plugin create` takes, and what a registry hands out.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::UNSET;
use super::layout::{DOCKSIDE, DOCKSIDE_SOCKET, MOUNTS, PROGRAM, SOCKET, VOLUMES};
use crate::config::{self, OWN_MOUNT};
use crate::protocol::Kind;

/// The relay program.
const RELAY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/relay"));

/// The layer of all relays: a tar archive with the program in it.
static LAYER: LazyLock<Blob> = LazyLock::new(|| Blob::new(archive(RELAY)));

/// Bytes with their name.
#[derive(Debug, Clone)]
pub struct Blob {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// The bytes.
    pub bytes: Bytes,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Blob {
        Blob {
            digest: format!("sha256:{}", hex::encode(Sha256::digest(&bytes))),
            bytes: bytes.into(),
        }
    }
}

/// A plugin as Docker installs it. The same plugin, settings and program always make the same bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Package {
    /// What to call it: a name that Docker can give to a plugin of its own.
    pub name: String,
    /// `config.json`.
    pub config: Value,
}

impl Package {
    /// The relay of a plugin of these kinds. `directory` is where relays reach the daemon.
    pub fn new(
        plugin: &str,
        kinds: impl Iterator<Item = Kind>,
        settings: &config::Relay,
        directory: &Path,
    ) -> Package {
        let kinds: Vec<Kind> = kinds.collect();
        let types: Vec<&str> = kinds.iter().map(|kind| docker_type(*kind)).collect();
        let description = match &settings.description {
            Some(text) => text.clone(),
            None => format!("plugin {plugin} of dockside"),
        };
        let mut config = json!({
            "Description": description,
            "Documentation": "",
            "Entrypoint": [PROGRAM, SOCKET, DOCKSIDE_SOCKET, plugin],
            "WorkDir": "/",
            "Interface": {"Types": types, "Socket": "relay.sock"},
            // Nothing of the network, and no right: all that it needs is the one directory.
            "Network": {"Type": ""},
            "PidHost": false,
            "IpcHost": false,
            "Mounts": mounts(settings, directory),
            "Env": env(settings),
            "Args": args(settings),
            "Linux": {"Capabilities": [], "AllowAllDevices": false, "Devices": []},
        });
        if kinds.contains(&Kind::Volume) {
            add(&mut config, "PropagatedMount", VOLUMES.into());
        }
        let name = settings
            .names
            .first()
            .map_or_else(|| plugin.to_ascii_lowercase(), ToString::to_string);
        Package { name, config }
    }

    /// The name with a tag: Docker takes `latest` where there is none, but only in some of its commands.
    pub fn tagged(&self) -> String {
        let last = self.name.rsplit('/').next().unwrap_or_default();
        match last.contains(':') {
            true => self.name.clone(),
            false => format!("{}:latest", self.name),
        }
    }

    /// The configuration that a registry hands out: it names its layers.
    pub fn image_config(&self) -> Blob {
        let mut config = self.config.clone();
        let layers = json!({"type": "layers", "diff_ids": [LAYER.digest]});
        add(&mut config, "rootfs", layers);
        Blob::new(config.to_string().into_bytes())
    }

    /// The manifest that a registry hands out.
    pub fn manifest(&self) -> Blob {
        let config = self.image_config();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.plugin.v1+json",
                "size": config.bytes.len(),
                "digest": config.digest,
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                "size": LAYER.bytes.len(),
                "digest": LAYER.digest,
            }],
        });
        Blob::new(manifest.to_string().into_bytes())
    }
}

fn add(config: &mut Value, key: &str, value: Value) {
    if let Some(config) = config.as_object_mut() {
        config.insert(key.to_owned(), value);
    }
}

/// The media type of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The layer of all relays.
pub(super) fn layer() -> &'static Blob {
    &LAYER
}

fn docker_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => "docker.volumedriver/1.0",
        Kind::Network => "docker.networkdriver/1.0",
        Kind::Ipam => "docker.ipamdriver/1.0",
        Kind::Authz => "docker.authz/1.0",
    }
}

fn mounts(settings: &config::Relay, directory: &Path) -> Vec<Value> {
    let own = json!({
        "Name": OWN_MOUNT,
        "Description": "where dockside listens",
        "Source": directory,
        "Destination": DOCKSIDE,
        "Type": "bind",
        "Options": ["rbind", "ro"],
        "Settable": [],
    });
    let chosen = settings.mounts.iter().map(|(name, mount)| {
        // Docker starts no plugin with a mount that nobody has chosen.
        let source = match &mount.source {
            Some(source) => source.into(),
            None => directory.join(UNSET),
        };
        json!({
            "Name": name,
            "Description": mount.description,
            "Source": source,
            "Destination": format!("{MOUNTS}/{name}"),
            "Type": "bind",
            "Options": ["bind", "ro"],
            "Settable": ["source"],
        })
    });
    [own].into_iter().chain(chosen).collect()
}

fn env(settings: &config::Relay) -> Vec<Value> {
    let variables = settings.env.iter().map(|(name, variable)| {
        json!({
            "Name": name,
            "Description": variable.description,
            "Value": variable.value,
            "Settable": ["value"],
        })
    });
    variables.collect()
}

fn args(settings: &config::Relay) -> Value {
    match &settings.args {
        Some(args) => json!({
            "Name": args.name,
            "Description": args.description,
            "Value": args.value,
            "Settable": ["value"],
        }),
        None => json!({"Name": "", "Description": "", "Value": [], "Settable": []}),
    }
}

/// Writes what `docker plugin create` takes: a directory that is not there yet, or that a relay was written into before.
///
/// # Errors
/// When there is something else, or the file system says no.
pub fn write(package: &Package, directory: &Path) -> io::Result<()> {
    let root = directory.join("rootfs");
    if directory.exists() && !root.join("relay").is_file() && !is_empty(directory)? {
        let text = format!(
            "{} has something else in it: name another directory with --output",
            directory.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&root)?;
    let config = serde_json::to_vec_pretty(&package.config).map_err(io::Error::other)?;
    std::fs::write(directory.join("config.json"), config)?;
    let program = root.join("relay");
    match std::fs::remove_file(&program) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&program)?;
    io::Write::write_all(&mut file, RELAY)
}

fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(directory)?.next().is_none())
}

/// Length of a block of a tar archive.
const BLOCK: usize = 512;

/// A tar archive (POSIX.1-1988, ustar) with one program in it, of root and of no time.
fn archive(program: &[u8]) -> Vec<u8> {
    let mut header = [0; BLOCK];
    let size = format!("{:011o}\0", program.len());
    // Name, mode, owner, group, size and time; the checksum as blanks; the type; the format with its version.
    let name = PROGRAM.trim_start_matches('/');
    for (at, field) in [
        (0, name),
        (100, "0000755\0"),
        (108, "0000000\0"),
        (116, "0000000\0"),
        (124, &size),
        (136, "00000000000\0"),
        (148, "        "),
        (156, "0"),
        (257, "ustar\x0000"),
    ] {
        let place = header.iter_mut().skip(at);
        place.zip(field.bytes()).for_each(|(to, from)| *to = from);
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let checksum = format!("{sum:06o}\0 ");
    let place = header.iter_mut().skip(148);
    place
        .zip(checksum.bytes())
        .for_each(|(to, from)| *to = from);
    let padding = program.len().next_multiple_of(BLOCK) - program.len();
    let mut archive = header.to_vec();
    archive.extend_from_slice(program);
    // Two empty blocks end it.
    archive.resize(archive.len() + padding + 2 * BLOCK, 0);
    archive
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn package(toml: &str, kinds: &[Kind]) -> Package {
        let settings = config::Plugin::parse(toml, Path::new("/drivers")).unwrap();
        let kinds = kinds.iter().copied();
        Package::new("Files:x", kinds, &settings.relay, Path::new("/run/d/relay"))
    }

    #[test]
    fn a_relay_asks_docker_for_nothing_but_mounts() {
        let package = package(
            "[relay]\nenv = { DEBUG = \"0\", LEVEL = {} }\nmounts = { sshkey = {}, state = \"/srv\" }\nargs = { name = \"opa-args\", value = [\"-x\"] }\n",
            &[Kind::Volume, Kind::Network, Kind::Ipam, Kind::Authz],
        );
        let config = &package.config;
        assert_eq!(package.name, "files:x");
        assert_eq!(
            config["Interface"]["Types"],
            json!([
                "docker.volumedriver/1.0",
                "docker.networkdriver/1.0",
                "docker.ipamdriver/1.0",
                "docker.authz/1.0"
            ])
        );
        assert_eq!(config["Linux"]["Capabilities"], json!([]));
        assert_eq!(config["Network"]["Type"], "");
        assert_eq!(config["Entrypoint"][3], "Files:x");
        assert_eq!(config["PropagatedMount"], "/volumes");
        let sources: Vec<&Value> = config["Mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mount| &mount["Source"])
            .collect();
        assert_eq!(sources, ["/run/d/relay", "/run/d/relay/unset", "/srv"]);
        assert_eq!(config["Env"][0]["Value"], "0");
        assert_eq!(config["Env"][1]["Value"], Value::Null);
        assert_eq!(config["Args"]["Name"], "opa-args");
    }

    #[test]
    fn the_digest_changes_with_what_docker_would_see() {
        let digest = |toml: &str| package(toml, &[Kind::Volume]).manifest().digest;
        let plain = digest("");
        assert_eq!(digest(""), plain);
        // Names are how it is found, not what it is.
        assert_eq!(digest("[relay]\nnames = [\"a/b\"]\n"), plain);
        assert_ne!(digest("[relay]\nenv = { A = \"1\" }\n"), plain);
        assert_ne!(package("", &[Kind::Network]).manifest().digest, plain);
        assert!(
            package("", &[Kind::Network])
                .config
                .get("PropagatedMount")
                .is_none()
        );
    }

    #[test]
    fn the_layer_is_an_archive_with_the_program_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("layer.tar");
        std::fs::write(&file, &layer().bytes).unwrap();
        let unpacked = std::process::Command::new("tar")
            .arg("-C")
            .arg(directory.path())
            .args(["--numeric-owner", "-xpvvf"])
            .arg(&file)
            .output()
            .unwrap();
        let listed = String::from_utf8_lossy(&unpacked.stdout);
        assert!(listed.starts_with("-rwxr-xr-x 0/0"), "{listed}{unpacked:?}");
        assert_eq!(
            std::fs::read(directory.path().join("relay")).unwrap(),
            RELAY
        );
    }

    #[test]
    fn a_directory_with_other_things_is_not_written_into() {
        let base = tempfile::tempdir().unwrap();
        let package = package("", &[Kind::Volume]);
        let output = base.path().join("relay");
        write(&package, &output).unwrap();
        // Again, over what is there.
        write(&package, &output).unwrap();
        let config = std::fs::read(output.join("config.json")).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&config).unwrap(),
            package.config
        );
        assert_eq!(std::fs::read(output.join("rootfs/relay")).unwrap(), RELAY);
        let refused = write(&package, base.path()).unwrap_err().to_string();
        assert!(refused.contains("--output"), "{refused}");
    }
}
