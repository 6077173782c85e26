//! What a connection through a relay has that one to a plugin's own socket has not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::{MOUNTS, VOLUMES};
use super::{Preamble, engine};
use crate::machine::mounts::{MountInfo, holding};

/// What the user gave with `docker plugin set`, as keys of `wasi:config`: `env.NAME`, `args` (an argument a line) and `mounts.NAME` (a path of
/// this machine). It goes over what the operator wrote under `[config]`.
pub type Settings = BTreeMap<String, String>;

/// Where a call through a relay comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Docker's own ID of the plugin: 64 hexadecimal digits. Empty when it is not Docker that runs the relay.
    pub id: String,
    /// Docker's directory of what the plugin mounts, as this process sees it. An error says why it cannot be used.
    pub shows: Result<PathBuf, String>,
    /// The process of the engine, if it can be found.
    pub engine: Option<u32>,
    /// What the user has set.
    pub settings: Arc<Settings>,
}

impl Context {
    /// What a preamble means on this machine. `table` is this process's table of mounts; `unset` is the directory that stands for one that the
    /// user has not chosen.
    pub fn of(preamble: &Preamble, table: &[MountInfo], unset: &Path) -> Context {
        let told: Vec<MountInfo> = preamble
            .mounts
            .iter()
            .filter_map(|line| MountInfo::parse(line.as_bytes()))
            .collect();
        let at = |point: &str| told.iter().rfind(|info| info.point == Path::new(point));
        let volumes = at(VOLUMES);
        let id = volumes
            .or(at("/"))
            .and_then(|info| docker_id(&info.root))
            .unwrap_or_default();
        let shows = match volumes {
            Some(volumes) => shown(volumes, table),
            None => Err(
                "the relay was made when the plugin had no volumes: upgrade it with `docker plugin upgrade`, or install it again"
                    .to_owned(),
            ),
        };
        let engine = shows
            .as_deref()
            .ok()
            .zip(volumes)
            .and_then(|(shows, info)| {
                // DATA-ROOT/plugins/ID/propagated-mount
                engine::of(shows.ancestors().nth(3)?, &info.device)
            });
        let mut settings = Settings::new();
        if !preamble.args.is_empty() {
            settings.insert("args".to_owned(), preamble.args.join("\n"));
        }
        for (name, value) in &preamble.env {
            settings.insert(format!("env.{name}"), value.clone());
        }
        for info in &told {
            let Ok(name) = info.point.strip_prefix(MOUNTS) else {
                continue;
            };
            let paths = paths(info, table);
            if let (Some(name), Some(path)) = (name.to_str(), paths.first())
                && !paths.iter().any(|path| path == unset)
            {
                settings.insert(format!("mounts.{name}"), path.display().to_string());
            }
        }
        Context {
            id,
            shows,
            engine,
            settings: Arc::new(settings),
        }
    }
}

/// Docker's ID of a plugin in the path of one of its directories: `DATA-ROOT/plugins/ID/rootfs`.
fn docker_id(path: &Path) -> Option<String> {
    let id = path.parent()?.file_name()?.to_str()?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// Where Docker has mounted the directory that it shows, in order to share what is mounted below it.
fn shown(volumes: &MountInfo, table: &[MountInfo]) -> Result<PathBuf, String> {
    table
        .iter()
        .find(|info| info.device == volumes.device && info.root == volumes.root)
        .filter(|info| docker_id(&info.point).is_some())
        .map(|info| info.point.clone())
        .ok_or_else(|| {
            format!(
                "dockside does not see the mount of Docker's directory {}: it has to run where the engine runs, in the same mount namespace",
                volumes.root.display()
            )
        })
}

/// The paths by which this process reaches what is mounted there, if nothing is mounted over it.
fn paths(info: &MountInfo, table: &[MountInfo]) -> Vec<PathBuf> {
    let reached = table.iter().filter_map(|own| {
        let below = info.root.strip_prefix(&own.root).ok()?;
        let path = if below.as_os_str().is_empty() {
            own.point.clone()
        } else {
            own.point.join(below)
        };
        let open = holding(table, &path).is_some_and(|holder| holder.id == own.id);
        (own.device == info.device && open).then_some(path)
    });
    reached.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn table(text: &str) -> Vec<MountInfo> {
        text.lines()
            .map(|line| MountInfo::parse(line.trim().as_bytes()).unwrap())
            .collect()
    }

    fn preamble(mounts: &[String]) -> Preamble {
        let mounts = serde_json::to_string(mounts).unwrap();
        serde_json::from_str(&format!(
            "{{\"relay\":1,\"plugin\":\"p\",\"args\":[\"-a\",\"b c\"],\"env\":{{\"DEBUG\":\"1\"}},\"mounts\":{mounts}}}"
        ))
        .unwrap()
    }

    #[test]
    fn what_a_user_has_set_becomes_configuration() {
        let own = table(
            "1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 /@home /home rw - btrfs b rw\n3 1 8:3 / /data rw - ext4 c rw\n4 3 8:4 / /data/x rw - ext4 d rw",
        );
        let said = preamble(&[
            "9 8 8:1 /root/.ssh /mounts/sshkey rw - ext4 a rw".to_owned(),
            "9 8 8:2 /@home/user /mounts/home rw - btrfs b rw".to_owned(),
            "9 8 8:1 /run/dockside/relay/unset /mounts/none ro - ext4 a rw".to_owned(),
            "9 8 8:3 /x/y /mounts/hidden ro - ext4 c rw".to_owned(),
            "9 8 8:9 / /mounts/elsewhere ro - ext4 e rw".to_owned(),
        ]);
        let context = Context::of(&said, &own, Path::new("/run/dockside/relay/unset"));
        let settings: Vec<_> = context
            .settings
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            settings,
            [
                ("args", "-a\nb c"),
                ("env.DEBUG", "1"),
                ("mounts.home", "/home/user"),
                ("mounts.sshkey", "/root/.ssh"),
            ]
        );
        assert_eq!(context.id, "");
        assert!(context.shows.unwrap_err().contains("had no volumes"));
    }

    #[test]
    fn dockers_directory_is_found_where_the_engine_mounted_it() {
        let place = format!("/docker/plugins/{ID}/propagated-mount");
        let line = format!("9 8 8:1 {place} /volumes rw shared:1 - ext4 a rw");
        let root = format!("7 6 8:1 /docker/plugins/{ID}/rootfs / rw - ext4 a rw");
        let with = format!(
            "1 0 8:0 / / rw - ext4 z rw\n2 1 8:1 / /var/lib rw - ext4 a rw\n3 2 8:1 {place} /var/lib{place} rw shared:1 - ext4 a rw"
        );
        let without = "1 0 8:0 / / rw - ext4 z rw\n2 1 8:1 / /var/lib rw - ext4 a rw";
        let said = preamble(&[root.clone(), line]);
        let context = Context::of(&said, &table(&with), Path::new("/unset"));
        assert_eq!(context.id, ID);
        assert_eq!(context.shows, Ok(PathBuf::from(format!("/var/lib{place}"))));
        let context = Context::of(&said, &table(without), Path::new("/unset"));
        assert!(context.shows.unwrap_err().contains("mount namespace"));
        let context = Context::of(&preamble(&[root]), &table(&with), Path::new("/unset"));
        assert_eq!(context.id, ID);
        assert!(context.shows.unwrap_err().contains("had no volumes"));
    }
}
