//! Volumes as directories that the host keeps for the plugin.

use dockside_driver::{
    Directory, Error, ErrorCode, KeyValues, Options, Result, Table, Volume, VolumeInfo,
    directories::{self, Attributes},
    options::{self, Declaration},
};
use serde::{Deserialize, Serialize};

use crate::Driver;

/// What is remembered of a volume.
#[derive(PartialEq, Serialize, Deserialize)]
struct Record {
    mode: u32,
}

static VOLUMES: Table<Record> = Table::new("volumes/");

impl Record {
    fn new(options: &KeyValues) -> Result<Self> {
        let mode = options.get("mode").unwrap_or("0755");
        match u32::from_str_radix(mode, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(Self { mode }),
            _ => Err(Error::invalid(format!(
                "option mode={mode}: say permissions in octal, such as 0750"
            ))),
        }
    }

    fn find(name: &str) -> Result<Self> {
        let missing = || Error::not_found(format!("there is no volume {name:?}"));
        VOLUMES.get(name)?.ok_or_else(missing)
    }
}

/// The volume's directory; none if somebody removed it from the machine.
fn directory(name: &str) -> Result<Option<Directory>> {
    match directories::open(name) {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// What `docker volume create -o` takes. The host refuses everything else.
impl Options for Driver {
    fn declare() -> Vec<Declaration> {
        vec![
            options::volume("mode")
                .default("0755")
                .help("Permissions of the volume's directory, in octal"),
        ]
    }
}

impl Volume for Driver {
    fn create(name: &str, options: &KeyValues) -> Result<()> {
        let record = Record::new(options)?;
        match VOLUMES.get(name)? {
            None => {
                let attributes = Attributes {
                    mode: Some(record.mode),
                    ..Attributes::default()
                };
                directories::create(name, attributes)?;
                VOLUMES.put(name, &record)
            }
            Some(known) if known == record => Ok(()),
            Some(_) => Err(Error::already_exists(format!(
                "volume {name:?} exists already, with other options"
            ))),
        }
    }

    fn remove(name: &str) -> Result<()> {
        if VOLUMES.contains(name)? {
            if directory(name)?.is_some() {
                directories::remove(name)?;
            }
            VOLUMES.remove(name)?;
        }
        Ok(())
    }

    fn mount(name: &str, _id: &str) -> Result<Directory> {
        Record::find(name)?;
        let missing = || {
            Error::unavailable(format!(
                "the directory of volume {name:?} is gone from this machine"
            ))
        };
        directory(name)?.ok_or_else(missing)
    }

    fn get(name: &str) -> Result<VolumeInfo> {
        let record = Record::find(name)?;
        let mut info = VolumeInfo::new(name).status("mode", format!("{:04o}", record.mode));
        info.mountpoint = directory(name)?;
        Ok(info)
    }

    fn list() -> Result<Vec<VolumeInfo>> {
        Ok(VOLUMES.keys()?.iter().map(VolumeInfo::new).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockside_driver::testing;

    fn options(mode: &str) -> KeyValues {
        [("mode", mode)].into_iter().collect()
    }

    #[test]
    fn a_volume_lives_from_create_to_remove() {
        for _ in 0..2 {
            Driver::create("data", &options("0750")).unwrap();
        }
        assert_eq!(Driver::mount("data", "container").unwrap().key(), "data");
        assert_eq!(Driver::get("data").unwrap().name, "data");
        assert_eq!(Driver::list().unwrap().len(), 1);
        for _ in 0..2 {
            Driver::remove("data").unwrap();
        }
        let error = Driver::get("data").unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert!(testing::state().is_empty());
    }

    #[test]
    fn the_same_name_with_other_options_is_an_error() {
        Driver::create("data", &options("0750")).unwrap();
        let error = Driver::create("data", &options("0700")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyExists);
    }

    #[test]
    fn a_mode_that_is_none_is_refused() {
        for mode in ["", "rwx", "0o755", "77777", "-1"] {
            let error = Driver::create("data", &options(mode)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument, "{mode}");
        }
    }
}
