//! Options of `Create`.

use std::collections::BTreeMap;

use rustix::fs::statvfs;
use serde_json::Value;

use super::common::{Place, Volumes};
use crate::Bench;
use crate::check::{Check, Kind, Level, Outcome, Stop, ensure};
use crate::profile::VolumeOptions;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "V11",
        level: Level::Engine,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Create again with other options",
        rule: "An error, and the first volume as it was: a success would say that the user has what was asked for.",
        slow: false,
        run: other_options,
    },
    Check {
        id: "V12",
        level: Level::Robustness,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "Create with unknown options and bad values",
        rule: "An error that names the option, and no volume: the user learns of a misspelled option now or, when data is lost, never.",
        slow: false,
        run: bad_options,
    },
    Check {
        id: "V13",
        level: Level::Security,
        kind: Some(Kind::Volume),
        needs: &[],
        title: "sizes: 0, -1, 1e3, 2^64, with units and spaces",
        rule: "What the size says, or an error; a size never becomes another one by wrapping around or by being read halfway.",
        slow: false,
        run: sizes,
    },
];

/// The options of every volume, with one more.
fn with(bench: &Bench, key: &str, value: &str) -> VolumeOptions {
    let mut options = bench.profile().volume.options.clone();
    options.insert(key.to_owned(), value.to_owned());
    options
}

/// Whether the driver knows the option for sizes.
fn knows_sizes(bench: &Bench) -> bool {
    let volumes = Volumes::of(bench);
    let name = bench.name("sized");
    let key = &bench.profile().volume.size_option;
    let knows = |value: &str| {
        let made = volumes.create_with(&name, &with(bench, key, value));
        let _ = volumes.remove(&name);
        made.is_success()
    };
    // A driver that ignores what it does not know, ignores this too.
    (knows("64m") || knows("67108864")) && !knows("many")
}

fn other_options(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let profile = &bench.profile().volume;
    let other = match &profile.other_options {
        Some(other) => other.clone(),
        None if knows_sizes(bench) => with(bench, &profile.size_option, "67108864"),
        None => {
            return Err(Stop::skip(
                "no other options are known: other-options under [volume] in the profile",
            ));
        }
    };
    // Only options that are good by themselves show anything.
    let alone = bench.name("other");
    volumes
        .create_with(&alone, &other)
        .succeeds()
        .map_err(|stop| stop.during("with the other options alone"))?;
    let name = volumes.made("first")?;
    let shown = || volumes.get(&name).json().cloned();
    let before = shown();
    let answer = volumes.create_with(&name, &other);
    answer.errs()?;
    answer.ensure(shown() == before, || "Get gives another volume than before")
}

fn bad_options(bench: &Bench) -> Outcome {
    let volumes = Volumes::of(bench);
    let profile = &bench.profile().volume;
    let mut all = vec![
        with(bench, "dkc-unknown", "1"),
        with(bench, "dkc-unknown", ""),
        with(bench, "dkc-unknown", &"x".repeat(64 << 10)),
    ];
    if knows_sizes(bench) {
        for value in ["", "many", &"9".repeat(64 << 10)] {
            all.push(with(bench, &profile.size_option, value));
        }
    }
    all.extend(profile.bad_options.iter().cloned());
    for options in all {
        let name = bench.name("bad");
        let answer = volumes.create_with(&name, &options);
        let error = answer.errs()?;
        let named = options
            .keys()
            .filter(|key| profile.options.get(*key) != options.get(*key))
            .any(|key| error.contains(key.as_str()));
        answer.ensure(named, || "the error does not name the option")?;
        answer.ensure(
            !volumes.is_there(&name),
            || "Get gives the volume that was refused",
        )?;
    }
    Ok(())
}

fn sizes(bench: &Bench) -> Outcome {
    let profile = &bench.profile().volume;
    if !knows_sizes(bench) {
        return Err(Stop::skip(format!(
            "the driver has no option {:?} for sizes: size-option under [volume] in the profile",
            profile.size_option
        )));
    }
    const GIB: u128 = 1 << 30;
    // What each can mean, in bytes; nothing: no size can be had by it.
    let values: BTreeMap<&str, &[u128]> = [
        ("0", [].as_slice()),
        ("-1", &[]),
        ("18446744073709551616", &[]),
        ("18446744073776660480", &[]),
        ("17592186044416m", &[]),
        ("-64m", &[]),
        ("1e3", &[1000]),
        ("64mm", &[]),
        ("0x4000000", &[64 << 20]),
        ("1 g", &[1_000_000_000, GIB]),
        ("1GiB", &[GIB]),
        ("1.5g", &[1_500_000_000, 3 << 29]),
    ]
    .into();
    for (value, meanings) in values {
        if profile.unlimited_sizes.iter().any(|known| known == value) {
            continue;
        }
        size(bench, value, meanings)?;
    }
    Ok(())
}

fn size(bench: &Bench, value: &str, meanings: &[u128]) -> Outcome {
    let volumes = Volumes::of(bench);
    let name = bench.name("sized");
    let key = &bench.profile().volume.size_option;
    let answer = volumes.create_with(&name, &with(bench, key, value));
    if answer.is_error() {
        return ensure(!volumes.is_there(&name), || {
            format!("the size {value:?} was refused, and Get gives the volume")
        });
    }
    answer.succeeds()?;
    answer.ensure(!meanings.is_empty(), || {
        format!("there is no size {value:?}, and the volume was made")
    })?;
    if let Some((what, bytes)) = real_size(&volumes, &name)? {
        // File systems take some of it for themselves, and drivers round.
        let fits = meanings
            .iter()
            .any(|wanted| bytes >= wanted / 2 && bytes <= wanted * 2 + (16 << 20));
        answer.ensure(fits, || {
            format!("{what} says {bytes} bytes for the size {value:?}")
        })?;
    }
    volumes.remove(&name).succeeds().map(drop)
}

/// The size as the plugin shows it in `Status`, or as the mounted file system has it.
fn real_size(volumes: &Volumes<'_>, name: &str) -> Outcome<Option<(&'static str, u128)>> {
    let key = &volumes.bench.profile().volume.size_option;
    let answer = volumes.get(name);
    let shown = answer
        .succeeds()?
        .pointer("/Volume/Status")
        .and_then(|status| status.get(key))
        .and_then(Value::as_u64);
    if let Some(bytes) = shown {
        return Ok(Some(("Status", bytes.into())));
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let id = volumes.bench.id();
    let answer = volumes.mount(name, &id);
    answer.succeeds()?;
    let place = Place::of(&answer)?;
    let own = place.mounts() > 0;
    let size = statvfs(&place.path)
        .ok()
        .map(|stat| u128::from(stat.f_blocks) * u128::from(stat.f_frsize));
    volumes.unmount(name, &id).succeeds()?;
    Ok(size
        .filter(|_| own)
        .map(|size| ("the mounted file system", size)))
}
