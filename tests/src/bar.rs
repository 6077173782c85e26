//! What the programs share that measure a bar: arguments and the verdict.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// Arguments of the form `--name value`.
#[derive(Debug, Default)]
pub struct Arguments(HashMap<String, String>);

impl Arguments {
    /// Reads the command line. `usage` lists every option; with `--help` it is printed and the program ends.
    ///
    /// # Errors
    /// An option that `usage` does not have, or one without its value.
    pub fn read(usage: &str) -> Result<Self> {
        let mut found = HashMap::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--help" {
                println!("{usage}");
                std::process::exit(0);
            }
            if !usage.split_whitespace().any(|word| word == name) {
                bail!("there is no option {name}\n{usage}");
            }
            let value = arguments
                .next()
                .with_context(|| format!("{name} needs a value\n{usage}"))?;
            found.insert(name, value);
        }
        Ok(Self(found))
    }

    /// The number behind `name`.
    ///
    /// # Errors
    /// It is not a number.
    pub fn number(&self, name: &str, default: u64) -> Result<u64> {
        match self.0.get(name) {
            None => Ok(default),
            Some(text) => text
                .replace('_', "")
                .parse()
                .with_context(|| format!("{name} {text} is not a number")),
        }
    }

    /// The text behind `name`.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.0
            .get(name)
            .cloned()
            .unwrap_or_else(|| default.to_owned())
    }
}

/// Prints one line with the figures and returns the exit code: 0 if the bar is met, 1 if not.
pub fn verdict(bar: &str, is_met: bool, figures: &str) -> ExitCode {
    println!(
        "{bar}: {} | {figures}",
        if is_met { "met" } else { "MISSED" }
    );
    if is_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
