use std::collections::BTreeSet;
use std::path::Path;

use super::{daemon, plugin};
use crate::config::grants::{BlobStore, Blobs, Files, Http, Images, Links, Mounts, Nat, Outbox};
use crate::config::{Daemon, Limits, Plugin, State};

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(daemon("").unwrap(), Daemon::default());
    assert_eq!(plugin("").unwrap(), Plugin::default());
    assert_eq!(
        plugin("[grants]\n[limits]\n[instances]\n[config]").unwrap(),
        Plugin::default()
    );
    let daemon = Daemon::default();
    assert_eq!(daemon.drivers, Path::new("/var/lib/dockside/drivers"));
    assert_eq!(daemon.plugins, Path::new("/run/docker/plugins"));
    assert_eq!(daemon.spec_directory, Path::new("/etc/docker/plugins"));
    assert_eq!(daemon.data, Path::new("/var/lib/dockside"));
    assert_eq!(daemon.control, Path::new("/run/dockside/control.sock"));
}

/// Every key that a file of this type knows, found by asking for one that it does not.
fn known_keys<T: serde::de::DeserializeOwned>(table: &str) -> BTreeSet<String> {
    let probe = "zzzzzzzzzzzzzzzzzzzzzzzzzzzz";
    let text = format!("{table}\n{probe} = 1");
    let message = toml::from_str::<T>(&text)
        .err()
        .unwrap()
        .message()
        .to_owned();
    assert!(message.contains(probe), "{message}");
    message
        .split('`')
        .skip(3)
        .step_by(2)
        .map(ToOwned::to_owned)
        .collect()
}

/// The keys of one table of a document, those in comments included (`# key = …`).
fn written_keys(document: &str, table: &str) -> BTreeSet<String> {
    let mut current = String::new();
    let mut keys = BTreeSet::new();
    for line in document.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            current = name.to_owned();
            let mut parents = name.rsplitn(2, '.');
            let child = parents.next().unwrap();
            if parents.next().unwrap_or_default() == table {
                keys.insert(child.to_owned());
            }
        } else if current == table
            && let Some((key, _)) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")
            && !key.contains([' ', '#', '`'])
        {
            keys.insert(key.to_owned());
        }
    }
    keys
}

#[test]
fn the_annotated_files_hold_every_key_and_the_defaults() {
    let daemon_file = include_str!("../../../../examples/dockside.toml");
    let plugin_file = include_str!("../../../../examples/plugin.toml");
    assert_eq!(daemon(daemon_file).unwrap(), Daemon::default());
    for table in ["", "limits", "log"] {
        let header = if table.is_empty() {
            String::new()
        } else {
            format!("[{table}]")
        };
        assert_eq!(
            written_keys(daemon_file, table),
            known_keys::<Daemon>(&header),
            "{table}"
        );
    }
    let example = plugin(plugin_file).unwrap();
    for table in [
        "",
        "endpoint",
        "grants",
        "grants.mounts",
        "grants.images",
        "grants.links",
        "grants.nat",
        "grants.http",
        "grants.secrets",
        "grants.outbox",
        "grants.files",
        "grants.blobs.remote",
        "grants.blobs.remote.s3",
        "limits",
        "instances",
        "record",
        "relay",
    ] {
        let header = if table.is_empty() {
            String::new()
        } else {
            format!("[{table}]")
        };
        assert_eq!(
            written_keys(plugin_file, table),
            known_keys::<Plugin>(&header),
            "{table}"
        );
    }
    for table in ["tls", "client"] {
        let start = format!("{table} = {{");
        let line = plugin_file
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap();
        for key in known_keys::<Plugin>(&format!("[endpoint.{table}]")) {
            assert!(line.contains(&format!("{key} = ")), "{table} {key}");
        }
    }
    for grant in ["directories", "state", "mounts.helpers"] {
        let name = grant.rsplit('.').next().unwrap();
        let line = plugin_file
            .lines()
            .find(|line| line.starts_with(&format!("{name} = ")))
            .unwrap();
        for key in known_keys::<Plugin>(&format!("[grants.{grant}]")) {
            assert!(line.contains(&format!("{key} = ")), "{grant} {key}");
        }
    }
    let defaults = Limits {
        deadlines: example.limits.deadlines.clone(),
        ..Limits::default()
    };
    assert_eq!(example.limits, defaults);
    let grants = &example.grants;
    assert_eq!(grants.state, State::default());
    let mounts = grants.mounts.clone().unwrap();
    let defaults = Mounts {
        tmpfs: mounts.tmpfs,
        host_paths: mounts.host_paths.clone(),
        nfs: mounts.nfs.clone(),
        cifs: mounts.cifs.clone(),
        helpers: mounts.helpers.clone(),
        ..Mounts::default()
    };
    assert_eq!(mounts, defaults);
    assert_eq!(grants.images, Some(Images::default()));
    let links = grants.links.clone().unwrap();
    assert_eq!(links.kinds[..2], Links::default().kinds);
    assert_eq!(links.max, Links::default().max);
    let nat = grants.nat.clone().unwrap();
    let defaults = Nat {
        publish: nat.publish.clone(),
        ..Nat::default()
    };
    assert_eq!(nat, defaults);
    let http = grants.http.clone().unwrap();
    let defaults = Http {
        allow: http.allow.clone(),
        private: http.private.clone(),
        secrets: http.secrets.clone(),
        ..Http::default()
    };
    assert_eq!(http, defaults);
    assert_eq!(grants.outbox, Some(Outbox::default()));
    let files = grants.files.clone().unwrap();
    let defaults = Files {
        read: files.read.clone(),
        ..Files::default()
    };
    assert_eq!(files, defaults);
    let usual = "[grants.blobs.remote.s3]\nurl = \"https://s3.example.com\"\nbucket = \"backup\"\naccess-key = \"a\"\nsecret-key = \"b\"\n[secrets]\na = { env = \"A\" }\nb = { env = \"B\" }";
    let usual = plugin(usual).unwrap().grants.blobs.unwrap();
    let store = |blobs: &Blobs| match blobs.store("remote").unwrap() {
        BlobStore::S3(s3) => (s3.region.clone(), s3.timeout, s3.ca.clone()),
        BlobStore::Directory(_) => panic!("it is a bucket"),
    };
    assert_eq!(store(grants.blobs.as_ref().unwrap()), store(&usual));
    let whole = [
        "ca",
        "client-certificate",
        "client-key",
        "background",
        "description",
        "args",
    ]
    .iter()
    .fold(plugin_file.to_owned(), |text, key| {
        text.replace(&format!("# {key} = "), &format!("{key} = "))
    });
    let whole = plugin(&whole).unwrap();
    assert_eq!(whole.limits.background.unwrap().as_secs(), 600);
    let http = whole.grants.http.clone().unwrap();
    assert_eq!(http.client_key.unwrap().as_str(), "client-key");
    assert_eq!(whole.relay.args.as_ref().unwrap().value, ["-v"]);
    assert!(whole.files().contains(&"/drivers/corp-ca.pem".into()));
    for (uncommented, expected) in [("# deadline = \"30s\"", Some(30)), ("", None)] {
        let text = plugin_file.replace(
            "# deadline = ",
            if uncommented.is_empty() {
                "# deadline = "
            } else {
                "deadline = "
            },
        );
        assert_eq!(
            plugin(&text)
                .unwrap()
                .limits
                .deadline
                .map(|span| span.as_secs()),
            expected
        );
    }
    let text = ["socket-group", "relay", "registry"]
        .iter()
        .fold(daemon_file.to_owned(), |text, key| {
            text.replace(&format!("# {key} = "), &format!("{key} = "))
        });
    let written = daemon(&text).unwrap();
    assert!(written.registry.unwrap().ip().is_loopback());
    assert_eq!(
        written.relay_directory(),
        Daemon::default().relay_directory()
    );
    assert_eq!(
        daemon(&text).unwrap().socket_group.as_deref(),
        Some("docker")
    );
}

#[test]
fn the_operators_files_of_all_drivers_are_read() {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests");
    let mut read = 0;
    for folder in std::fs::read_dir(guests).unwrap().flatten() {
        let name = folder.file_name().into_string().unwrap();
        let Ok(text) = std::fs::read_to_string(folder.path().join(format!("{name}.toml"))) else {
            continue;
        };
        plugin(&text).unwrap_or_else(|error| panic!("{name}.toml: {error}"));
        read += 1;
    }
    assert!(read > 0);
}
