//! Compiles the relay, a program that runs where there is nothing else: static, and a part of this one.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=relay/src");
    println!("cargo::rerun-if-changed=build.rs");
    match relay() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error=the relay cannot be compiled: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay() -> Result<(), Box<dyn std::error::Error>> {
    let target = env::var("TARGET")?;
    let output = PathBuf::from(env::var("OUT_DIR")?).join("relay");
    let mut compiler = Command::new(env::var("RUSTC")?);
    compiler
        .args(["--edition", "2024", "--crate-type", "bin"])
        .args(["--crate-name", "relay", "--target", &target])
        // What it is linked with must not depend on where it was compiled.
        .args(["-C", "target-feature=+crt-static"])
        .args(["-C", "relocation-model=static"])
        .args([
            "-C",
            "opt-level=z",
            "-C",
            "lto=fat",
            "-C",
            "codegen-units=1",
        ])
        .args(["-C", "panic=abort", "-C", "strip=symbols"])
        .args(["--remap-path-prefix", "relay/src=relay"]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        compiler.arg("-C").arg(format!("linker={linker}"));
    }
    compiler.arg("relay/src/main.rs").arg("-o").arg(&output);
    let done = compiler.output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    Err(format!(
        "{}: {} (it is linked statically: on Debian that needs the packages gcc and libc6-dev)",
        done.status,
        said.join(" | ")
    )
    .into())
}
