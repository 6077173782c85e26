//! `dockside check-config`: what a daemon would say of these files, without one.

use serde::Serialize;

use super::{ATTENTION, OK, Places, print_json};
use crate::catalog::scan;

#[derive(Serialize)]
struct Report {
    drivers: String,
    plugins: String,
    specs: String,
    data: String,
    control: String,
    files: Vec<File>,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct File {
    file: String,
    names: Vec<String>,
    driver: String,
}

#[derive(Serialize)]
struct Problem {
    file: String,
    reason: String,
}

pub(super) fn run(places: &Places, json: bool) -> anyhow::Result<u8> {
    let daemon = places.load()?;
    let seen = scan(&daemon.drivers, daemon.limits.max_driver_size)?;
    let mut problems: Vec<Problem> = seen
        .refused
        .iter()
        .map(|refused| Problem {
            file: refused.file.clone(),
            reason: refused.reason.to_string(),
        })
        .collect();
    let mut files = Vec::new();
    for (stem, plugin) in &seen.plugins {
        let file = format!("{stem}.toml");
        match &plugin.settings {
            Ok(settings) => {
                let driver = settings.driver.clone().unwrap_or_else(|| stem.clone());
                if !seen.drivers.contains_key(&driver) {
                    problems.push(Problem {
                        file: file.clone(),
                        reason: format!("there is no driver {driver}.wasm beside it"),
                    });
                }
                let values = settings.resolve().err();
                for error in values.into_iter().chain(settings.check_files()) {
                    problems.push(Problem {
                        file: file.clone(),
                        reason: error.to_string(),
                    });
                }
                files.push(File {
                    file,
                    names: settings
                        .names(stem)
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    driver,
                });
            }
            Err(error) => problems.push(Problem {
                file,
                reason: error.to_string(),
            }),
        }
    }
    for (stem, candidates) in &seen.drivers {
        if !seen.plugins.contains_key(stem) {
            files.extend(candidates.iter().map(|candidate| File {
                file: candidate.file.clone(),
                names: vec![stem.clone()],
                driver: stem.clone(),
            }));
        }
    }
    let healthy = problems.is_empty();
    let report = Report {
        drivers: daemon.drivers.display().to_string(),
        plugins: daemon.plugins.display().to_string(),
        specs: daemon.spec_directory.display().to_string(),
        data: daemon.data.display().to_string(),
        control: daemon.control.display().to_string(),
        files,
        problems,
    };
    if json {
        print_json(&report)?;
    } else {
        say!("Drivers   {}", report.drivers);
        say!("Plugins   {}", report.plugins);
        say!("Specs     {}", report.specs);
        say!("Data      {}", report.data);
        say!("Control   {}", report.control);
        for file in &report.files {
            say!(
                "{} serves {} with driver {}",
                file.file,
                file.names.join(", "),
                file.driver
            );
        }
        for problem in &report.problems {
            say!("\n{}: {}", problem.file, problem.reason);
        }
        if healthy {
            say!("No problems.");
        }
    }
    Ok(if healthy { OK } else { ATTENTION })
}
