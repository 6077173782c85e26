//! s3fs and a server that plays S3.

use std::process::Command;

use super::machine::*;
use super::*;

/// moto, a Python package: `pip install 'moto[server]'`.
const PROGRAMS: [&str; 3] = ["s3fs", "moto_server", "curl"];

fn serve(machine: &mut Machine) {
    let mut moto = Command::new(find("moto_server").unwrap());
    moto.args(["-H", "127.0.0.1", "-p", "5000"]);
    machine.serve(moto, 5000);
    let made = Command::new("curl")
        .args([
            "--noproxy",
            "*",
            "-fsS",
            "-X",
            "PUT",
            "http://127.0.0.1:5000/bucket",
        ])
        .status()
        .unwrap();
    assert!(made.success());
    std::fs::write(machine.base.join("keys"), "ACCESS:HIDDEN\n").unwrap();
}

fn bucket(machine: &Machine, remote: &str, port: u16) -> FuseMount {
    let mut mount = machine.mount("s3fs", remote);
    mount.options = pairs(&[
        ("url", &format!("http://127.0.0.1:{port}")),
        ("use_path_request_style", ""),
    ]);
    mount.secrets = pairs(&[("credentials", "keys")]);
    mount
}

#[test]
fn mounts_a_bucket_and_a_directory_in_it() {
    alone(
        name!(mounts_a_bucket_and_a_directory_in_it),
        &PROGRAMS,
        |mut machine| {
            serve(&mut machine);
            machine.round(&bucket(&machine, "bucket", 5000), |point| {
                std::fs::create_dir(point.join("dir")).unwrap();
                std::fs::write(point.join("dir/file"), "kept").unwrap();
            });
            let mut below = bucket(&machine, "bucket:/dir", 5000);
            below.flags.read_only = true;
            machine.round(&below, |point| {
                assert_eq!(std::fs::read_to_string(point.join("file")).unwrap(), "kept");
                std::fs::write(point.join("file"), "").unwrap_err();
                let (_, arguments) = process("s3fs");
                assert!(!arguments.join(" ").contains("HIDDEN"));
            });
        },
    );
}

#[test]
fn says_what_s3fs_says() {
    alone(name!(says_what_s3fs_says), &PROGRAMS, |mut machine| {
        serve(&mut machine);
        for (mount, kind, words) in [
            (
                bucket(&machine, "nobucket", 5000),
                ErrorKind::NotFound,
                "bucket or key not found",
            ),
            (
                bucket(&machine, "bucket", 5001),
                ErrorKind::Unreachable,
                "unable to connect",
            ),
        ] {
            let error = machine.perform(&mount).unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(words), "{error}");
            machine.assert_nothing_left(&mount);
        }
    });
}

#[test]
fn a_dead_s3fs_is_seen_and_cleared() {
    alone(
        name!(a_dead_s3fs_is_seen_and_cleared),
        &PROGRAMS,
        |mut machine| {
            serve(&mut machine);
            let mount = bucket(&machine, "bucket", 5000);
            machine.perform(&mount).unwrap();
            kill(process("s3fs").0);
            assert!(matches!(
                look(&mount, &machine.place()).unwrap(),
                Presence::Changed(_)
            ));
            undo(&mount, &machine.place()).unwrap();
            machine.assert_nothing_left(&mount);
        },
    );
}
