use dockside_driver::{
    Directory, Error, ErrorCode, KeyValues, Reconcile, Result, Table, Volume, VolumeInfo,
    directories,
    mounts::{self, Flags},
    reconcile::Fact,
    testing::model::{self, VolumeModel},
};

static VOLUMES: Table<KeyValues> = Table::new("volumes/");

/// What is wrong with a driver.
const NOTHING: u8 = 0;
const FORGETS_OPTIONS: u8 = 1;
const KEEPS_FILES: u8 = 2;
const CANNOT_BE_REMOVED_TWICE: u8 = 3;
const TAKES_A_FAILURE_FOR_ABSENCE: u8 = 4;
const IGNORES_A_FAILURE: u8 = 5;
const SHARES_FILES: u8 = 6;
const KEEPS_A_MOUNT: u8 = 7;
const LOSES_FILES: u8 = 8;
const CHANGES_THE_NAME: u8 = 9;
const MOUNTS_WHAT_IS_NOT_THERE: u8 = 10;
const FORGETS_TO_LIST: u8 = 11;
const KEEPS_STATE: u8 = 12;
const REMEMBERS_MOUNTS: u8 = 13;

/// Volumes that are directories, mounted once more.
struct Driver<const FAULT: u8>;

impl<const FAULT: u8> Driver<FAULT> {
    fn key(name: &str) -> &str {
        if FAULT == SHARES_FILES { "one" } else { name }
    }

    fn find(name: &str) -> Result<KeyValues> {
        let missing = || Error::not_found(format!("there is no volume {name:?}"));
        match VOLUMES.get(name) {
            Err(_) if FAULT == TAKES_A_FAILURE_FOR_ABSENCE => Err(missing()),
            found => found?.ok_or_else(missing),
        }
    }
}

fn unless_missing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl<const FAULT: u8> Volume for Driver<FAULT> {
    fn create(name: &str, options: &KeyValues) -> Result<()> {
        match VOLUMES.get(name)? {
            Some(known) if known == *options || FAULT == FORGETS_OPTIONS => return Ok(()),
            Some(_) => return Err(Error::already_exists("with other options")),
            None => {}
        }
        let made = directories::create(Self::key(name), Default::default());
        match FAULT {
            KEEPS_FILES | SHARES_FILES => drop(directories::open(Self::key(name))?),
            IGNORES_A_FAILURE => {}
            _ => drop(made?),
        }
        VOLUMES.put(name, options)
    }

    fn remove(name: &str) -> Result<()> {
        if !VOLUMES.contains(name)? {
            return match FAULT {
                CANNOT_BE_REMOVED_TWICE => Err(Error::not_found("there is none")),
                _ => Ok(()),
            };
        }
        let is_last = || Ok::<_, Error>(VOLUMES.keys()?.len() == 1);
        match FAULT {
            KEEPS_FILES => {}
            SHARES_FILES if !is_last()? => {}
            _ => drop(unless_missing(directories::remove(Self::key(name)))?),
        }
        if FAULT == KEEPS_STATE {
            VOLUMES.put(&format!("{name}.removed"), &KeyValues::new())?;
        }
        VOLUMES.remove(name)
    }

    fn mount(name: &str, _id: &str) -> Result<Directory> {
        if FAULT != MOUNTS_WHAT_IS_NOT_THERE {
            Self::find(name)?;
        } else if directories::open(name).is_err() {
            directories::create(name, Default::default())?;
        }
        if FAULT == LOSES_FILES {
            directories::remove(name)?;
            directories::create(name, Default::default())?;
        }
        if let Some(mounted) = unless_missing(mounts::open(name))? {
            return Ok(mounted);
        }
        if FAULT == REMEMBERS_MOUNTS && dockside_driver::state::exists("mounted")? {
            return Err(Error::in_use("it is mounted already"));
        }
        if FAULT == REMEMBERS_MOUNTS {
            dockside_driver::state::set("mounted", name)?;
        }
        let directory = directories::open(Self::key(name))?;
        mounts::mount(name, &directory, Flags::default())
    }

    fn unmount(name: &str, _id: &str) -> Result<()> {
        match FAULT {
            KEEPS_A_MOUNT => return Ok(()),
            REMEMBERS_MOUNTS => dockside_driver::state::delete("mounted")?,
            _ => {}
        }
        unless_missing(mounts::unmount(name)).map(drop)
    }

    fn get(name: &str) -> Result<VolumeInfo> {
        Self::find(name)?;
        let shown = if FAULT == CHANGES_THE_NAME {
            name.trim()
        } else {
            name
        };
        Ok(VolumeInfo {
            mountpoint: unless_missing(mounts::open(name))?,
            ..VolumeInfo::new(shown)
        })
    }

    fn list() -> Result<Vec<VolumeInfo>> {
        let mut names = VOLUMES.keys()?;
        names.retain(|name| !name.ends_with(".removed"));
        if FAULT == FORGETS_TO_LIST {
            names.truncate(2);
        }
        Ok(names.into_iter().map(VolumeInfo::new).collect())
    }
}

impl<const FAULT: u8> Reconcile for Driver<FAULT> {
    fn reconcile(_facts: &[Fact]) -> Result<()> {
        Ok(())
    }
}

fn check<const FAULT: u8>() -> Result<(), String> {
    type Any<const FAULT: u8> = Driver<FAULT>;
    model::volume::<Any<FAULT>>()
        .options([("size", "1m")])
        .reconcile::<Any<FAULT>>()
        .seed(1)
        .cases(1000)
        .check()
}

#[test]
fn a_driver_that_is_right_passes() {
    check::<NOTHING>().unwrap();
}

#[test]
fn what_is_wrong_with_a_driver_is_found_and_short() {
    type Check = fn() -> Result<(), String>;
    let table: &[(Check, &str)] = &[
        (check::<FORGETS_OPTIONS>, "with other options"),
        (check::<KEEPS_FILES>, "something is left"),
        (check::<CANNOT_BE_REMOVED_TWICE>, "fails: there is none"),
        (
            check::<TAKES_A_FAILURE_FOR_ABSENCE>,
            "Docker would forget it",
        ),
        (check::<IGNORES_A_FAILURE>, " fails"),
        (check::<SHARES_FILES>, "have the same files"),
        (check::<KEEPS_A_MOUNT>, "fails"),
        (check::<LOSES_FILES>, "the files of volume"),
        (check::<CHANGES_THE_NAME>, "answers the name"),
        (check::<MOUNTS_WHAT_IS_NOT_THERE>, "there is no such volume"),
        (check::<FORGETS_TO_LIST>, "list answers"),
        (check::<KEEPS_STATE>, "state \"volumes/v.removed\" is new"),
        (check::<REMEMBERS_MOUNTS>, "mounted"),
    ];
    for (check, words) in table {
        let found = check().expect_err(words);
        assert!(found.contains(words), "{words}: {found}");
        assert!(found.contains("DOCKSIDE_SEED="), "{found}");
        let shown = found.lines().filter(|line| line.starts_with("  ")).count();
        assert!(shown <= 12, "{words}: {found}");
    }
}

#[test]
fn a_model_without_options_to_create_with_is_none() {
    let model: VolumeModel = model::volume::<Driver<NOTHING>>().needs_options();
    assert!(model.check().unwrap_err().contains("say them"));
}
