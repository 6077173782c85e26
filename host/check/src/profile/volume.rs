//! `[volume]`: what a volume driver's author says about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Options of `VolumeDriver.Create`, by name.
pub type VolumeOptions = BTreeMap<String, String>;

/// What cannot be found out about a volume driver over its socket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct VolumeProfile {
    /// Options that every volume is made with. Needed by drivers that do not make a volume without some. `{name}` in a value stands
    /// for the volume's name, and `{digest}` for 16 hexadecimal digits that follow from it.
    pub options: VolumeOptions,
    /// Other options that are as good, for a second `Create` of one name with other arguments.
    pub other_options: Option<VolumeOptions>,
    /// Options that are known and have values that are not, each to be refused by itself.
    pub bad_options: Vec<VolumeOptions>,
    /// The option that limits a volume's size in bytes. Ignored if the driver does not know it.
    pub size_option: String,
    /// Values of that option that mean "no limit".
    pub unlimited_sizes: Vec<String>,
    /// The file system of a mounted volume, as the kernel names it (`ext4`, `fuse.sshfs`).
    pub filesystem: Option<String>,
    /// The directory that all mount points lie in.
    pub area: Option<PathBuf>,
    /// Volumes are not empty when they are made, and what is in them outlives them: directories that others own.
    pub shared_data: bool,
    /// How many volumes the plugin is expected to hold.
    pub many: u32,
    /// The socket of another volume driver on this machine that shares a process, a backend or a library with this one.
    pub neighbour: Option<PathBuf>,
    /// A command (for the shell) that deletes what is behind the volume `$NAME`, without a word to the plugin.
    pub lose: Option<String>,
}

impl Default for VolumeProfile {
    fn default() -> Self {
        Self {
            options: VolumeOptions::new(),
            other_options: None,
            bad_options: Vec::new(),
            size_option: "size".into(),
            unlimited_sizes: Vec::new(),
            filesystem: None,
            area: None,
            shared_data: false,
            many: 10_000,
            neighbour: None,
            lose: None,
        }
    }
}

impl VolumeProfile {
    /// The options that a volume of this name is made with.
    pub(crate) fn filled(&self, name: &str) -> Map<String, Value> {
        filled(&self.options, name)
    }
}

/// Options with `{name}` and `{digest}` replaced.
pub(crate) fn filled(options: &VolumeOptions, name: &str) -> Map<String, Value> {
    // FNV-1a: no two names of a run share one, and it is the same each time.
    let digest = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    options
        .iter()
        .map(|(key, value)| {
            let value = value
                .replace("{name}", name)
                .replace("{digest}", &format!("{digest:016x}"));
            (key.clone(), json!(value))
        })
        .collect()
}
