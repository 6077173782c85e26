//! Files in the drivers directory.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::swap::{Version, bytes_of, driver, under_load, until_refused, until_served, variant};
use crate::Bench;
use crate::check::{Check, Level, Need, Outcome, Stop};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "X12",
        level: Level::Security,
        kind: None,
        needs: &[Need::Driver],
        title: "a version that is written slowly, replaced and removed",
        rule: "Only whole files serve, and when one is removed the version below serves again; no call fails meanwhile.",
        slow: true,
        run: slowly,
    },
    Check {
        id: "X13",
        level: Level::Security,
        kind: None,
        needs: &[Need::Root, Need::Driver],
        title: "links, pipes, sockets, directories, and files that others own or can write",
        rule: "Refused with the reason, and the version before keeps serving: a driver's file runs with what the plugin is granted, so nobody but root may choose what it is.",
        slow: true,
        run: odd_files,
    },
];

const PARTS: usize = 8;

fn slowly(bench: &Bench) -> Outcome {
    let driver = driver(bench)?;
    let bytes = bytes_of(driver.file())?;
    let own = driver
        .file()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let done = under_load(bench, || {
        let version = Version::of(driver, "999.2.0");
        let mut file = File::create(&version.path).map_err(Stop::skip)?;
        let whole = variant(&bytes, 100);
        for part in whole.chunks(whole.len().div_ceil(PARTS)) {
            file.write_all(part).map_err(Stop::skip)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        drop(file);
        until_served(driver, &version.file())?;
        let next = Version::of(driver, "999.2.1");
        next.put(&variant(&bytes, 101))?;
        until_served(driver, &next.file())?;
        drop(next);
        until_served(driver, &version.file())
    });
    until_served(driver, &own)?;
    done
}

/// The user of services that have none of their own.
const NOBODY: u32 = 65534;

fn odd_files(bench: &Bench) -> Outcome {
    let driver = driver(bench)?;
    let bytes = bytes_of(driver.file())?;
    let at = |number: u32| Version::of(driver, &format!("999.3.{number}"));
    under_load(bench, || {
        let link = at(0);
        symlink(driver.file(), &link.path).map_err(Stop::skip)?;
        until_refused(driver, &link.file())?;
        let pipe = at(1);
        mknodat(CWD, &pipe.path, FileType::Fifo, Mode::from(0o600), 0).map_err(Stop::skip)?;
        until_refused(driver, &pipe.file())?;
        let socket = at(2);
        let listener = UnixListener::bind(&socket.path).map_err(Stop::skip)?;
        until_refused(driver, &socket.file())?;
        drop(listener);
        let directory = at(3);
        std::fs::create_dir(&directory.path).map_err(Stop::skip)?;
        until_refused(driver, &directory.file())?;
        let foreign = at(4);
        foreign.put(&variant(&bytes, 200))?;
        chown(&foreign.path, Some(NOBODY), None).map_err(Stop::skip)?;
        until_refused(driver, &foreign.file())?;
        let open = at(5);
        let partial = open.path.with_extension("partial");
        std::fs::write(&partial, variant(&bytes, 201))
            .and_then(|()| std::fs::set_permissions(&partial, Permissions::from_mode(0o666)))
            .and_then(|()| std::fs::rename(&partial, &open.path))
            .map_err(Stop::skip)?;
        until_refused(driver, &open.file())
    })
}
