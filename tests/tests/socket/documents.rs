//! That the documents name what there is.

use std::fs;

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::Site;
use dockside_tests::files;

use crate::mentions;

/// The drivers that ship with dockside: folders whose crate is a component.
fn drivers() -> Result<Vec<String>> {
    let mut drivers = Vec::new();
    for entry in fs::read_dir(files::workspace().join("guests"))?.flatten() {
        let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap_or_default();
        let name = entry.file_name().into_string().unwrap_or_default();
        let is_component = manifest
            .lines()
            .any(|line| line.starts_with("crate-type = ") && line.contains("cdylib"));
        if is_component && name != "fixtures" {
            drivers.push(name);
        }
    }
    drivers.sort();
    ensure!(drivers.len() > 1, "{drivers:?}");
    Ok(drivers)
}

fn text(path: &str) -> Result<String> {
    fs::read_to_string(files::workspace().join(path)).with_context(|| path.to_owned())
}

#[test]
fn the_readmes_name_every_command_grant_and_driver() -> Result<()> {
    let readme = text("README.md")?;
    let help = Site::new()?.command("--help")?.output()?;
    let help = String::from_utf8(help.stdout)?;
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|verb| !verb.is_empty() && *verb != "help")
        .collect();
    ensure!(verbs.contains(&"serve"), "{help}");
    let reference = text("examples/plugin.toml")?;
    let grants: Vec<&str> = reference
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").strip_prefix("[grants."))
        .filter_map(|rest| rest.split([']', '.']).next())
        .collect();
    ensure!(grants.contains(&"mounts"), "{grants:?}");
    let wanted = verbs
        .iter()
        .map(|verb| format!("| `dockside {verb}"))
        .chain(grants.iter().map(|grant| format!("| `{grant}` |")))
        .chain(
            drivers()?
                .into_iter()
                .map(|driver| format!("(guests/{driver}/README.md)")),
        );
    let missing: Vec<String> = wanted.filter(|row| !readme.contains(row)).collect();
    assert!(missing.is_empty(), "README.md has no {missing:?}");

    let guests = text("guests/README.md")?;
    let rows = drivers()?.into_iter().map(|name| format!("| `{name}/` |"));
    let missing: Vec<String> = rows.filter(|row| !guests.contains(row)).collect();
    assert!(missing.is_empty(), "guests/README.md has no {missing:?}");
    Ok(())
}

#[test]
fn the_settings_that_ship_with_a_driver_are_understood_and_grant_what_it_asks_for() -> Result<()> {
    let site = Site::new()?;
    for driver in drivers()? {
        text(&format!("guests/{driver}/README.md"))?;
        // A driver without such a file has to do without grants.
        if let Ok(settings) = text(&format!("guests/{driver}/{driver}.toml")) {
            site.configure(&driver, &settings)?;
        }
        site.drop_in(&files::driver(&driver)?, &driver)?;
    }
    let _daemon = site.serve()?;
    let status = site.ask("/v1/status")?;
    let plugins = status["plugins"].as_array().context("no plugins")?;
    let notes: Vec<&str> = plugins
        .iter()
        .filter_map(|plugin| plugin["note"].as_str())
        // What is missing on this machine, such as the file of a secret, the operator has to put there.
        .filter(|note| note.contains("[grants") || note.contains(".toml: line"))
        .collect();
    assert!(notes.is_empty(), "{notes:#?}");
    for driver in drivers()? {
        assert!(mentions(&status["plugins"], &driver), "{driver}: {status}");
    }
    Ok(())
}
