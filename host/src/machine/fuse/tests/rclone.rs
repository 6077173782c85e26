//! rclone, with a real SSH server and with rclone's own servers.

use std::process::Command;

use super::machine::*;
use super::*;

const PROGRAMS: [&str; 4] = ["rclone", "fusermount3", "ssh-keygen", "sshd"];

fn sftp(machine: &Machine, secrets: &[(&str, &str)]) -> FuseMount {
    let mut mount = machine.mount(
        "rclone",
        &format!(":sftp,host=127.0.0.1,port=2222,user={USER}:"),
    );
    mount.secrets = pairs(secrets);
    mount
}

fn serve(machine: &mut Machine, protocol: &str, port: u16, arguments: &[&str]) -> u32 {
    let mut server = Command::new("rclone");
    server
        .args([
            "serve",
            protocol,
            "--config=/dev/null",
            &format!("--addr=127.0.0.1:{port}"),
        ])
        .args(arguments)
        .arg(machine.base.join("remote"));
    machine.serve(server, port)
}

#[test]
fn mounts_a_directory_of_an_ssh_server() {
    alone(
        name!(mounts_a_directory_of_an_ssh_server),
        &PROGRAMS,
        |mut machine| {
            machine.sshd();
            for login in [("identity", "key"), ("password", "password")] {
                let mount = sftp(&machine, &[login, ("known-hosts", "known-hosts")]);
                machine.round(&mount, |point| {
                    assert_eq!(
                        std::fs::read_to_string(point.join("hello")).unwrap(),
                        "there"
                    );
                    std::fs::write(point.join(login.0), "new").unwrap();
                    let (_, arguments) = process("rclone");
                    assert!(!arguments.join(" ").contains(PASSWORD));
                });
                let there = machine.base.join("remote").join(login.0);
                assert_eq!(std::fs::read_to_string(there).unwrap(), "new");
            }
        },
    );
}

#[test]
fn says_what_rclone_says() {
    alone(name!(says_what_rclone_says), &PROGRAMS, |mut machine| {
        machine.sshd();
        let hosts = ("known-hosts", "known-hosts");
        std::fs::write(
            machine.base.join("other-hosts"),
            "example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n",
        )
        .unwrap();
        let mut closed = sftp(&machine, &[("password", "password"), hosts]);
        closed.remote = closed.remote.replace("2222", "2223");
        let mut nowhere = sftp(&machine, &[("password", "password"), hosts]);
        nowhere.remote.push_str("/nowhere");
        for (mount, kind, words) in [
            (
                sftp(&machine, &[("password", "wrong"), hosts]),
                ErrorKind::Unreachable,
                "unable to authenticate",
            ),
            (
                sftp(
                    &machine,
                    &[("password", "password"), ("known-hosts", "other-hosts")],
                ),
                ErrorKind::Unreachable,
                "knownhosts: key is unknown",
            ),
            (closed, ErrorKind::Unreachable, "connection refused"),
            (nowhere, ErrorKind::NotFound, "directory not found"),
        ] {
            let error = machine.perform(&mount).unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(words), "{error}");
            assert!(!error.message.contains("wr0ng") && !error.message.contains(PASSWORD));
            machine.assert_nothing_left(&mount);
        }
    });
}

#[test]
fn mounts_what_speaks_http_and_webdav() {
    alone(
        name!(mounts_what_speaks_http_and_webdav),
        &PROGRAMS,
        |mut machine| {
            std::fs::write(machine.base.join("password"), PASSWORD).unwrap();
            serve(&mut machine, "http", 8001, &[]);
            serve(
                &mut machine,
                "webdav",
                8002,
                &["--user=joe", "--pass=s3cret"],
            );
            for (remote, secrets) in [
                (":http,url='http://127.0.0.1:8001':", &[][..]),
                (
                    ":webdav,url='http://127.0.0.1:8002',user=joe:",
                    &[("password", "password")],
                ),
            ] {
                let mut mount = machine.mount("rclone", remote);
                mount.secrets = pairs(secrets);
                machine.round(&mount, |point| {
                    assert_eq!(
                        std::fs::read_to_string(point.join("hello")).unwrap(),
                        "there"
                    );
                    if !secrets.is_empty() {
                        std::fs::write(point.join("new"), remote).unwrap();
                    }
                });
                if !secrets.is_empty() {
                    let there = std::fs::read_to_string(machine.base.join("remote/new"));
                    assert_eq!(there.unwrap(), remote);
                }
            }
        },
    );
}

#[test]
fn a_server_that_says_nothing_is_given_up_at_the_deadline() {
    let test = name!(a_server_that_says_nothing_is_given_up_at_the_deadline);
    alone(test, &PROGRAMS, |machine| {
        let mute = machine.mute_server();
        let url = format!(":webdav,url='http://{}':", mute.local_addr().unwrap());
        let mount = machine.mount("rclone", &url);
        let deadline = Instant::now() + Duration::from_secs(2);
        let error = machine.perform_until(&mount, deadline).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        machine.assert_nothing_left(&mount);
    });
}

#[test]
fn what_was_closed_is_at_the_server_before_the_mount_is_gone() {
    let test = name!(what_was_closed_is_at_the_server_before_the_mount_is_gone);
    alone(test, &PROGRAMS, |mut machine| {
        machine.sshd();
        let mount = sftp(
            &machine,
            &[("identity", "key"), ("known-hosts", "known-hosts")],
        );
        let content = vec![b'x'; 32 << 20];
        machine.round(&mount, |point| {
            for name in ["one", "two"] {
                std::fs::write(point.join(name), &content).unwrap();
            }
        });
        for name in ["one", "two"] {
            assert!(std::fs::read(machine.base.join("remote").join(name)).unwrap() == content);
        }
    });
}

#[test]
fn a_mount_whose_server_is_gone_stays_until_its_files_are_written_or_its_helper_is_killed() {
    let test = name!(
        a_mount_whose_server_is_gone_stays_until_its_files_are_written_or_its_helper_is_killed
    );
    alone(test, &PROGRAMS, |mut machine| {
        std::fs::write(machine.base.join("password"), PASSWORD).unwrap();
        let server = serve(
            &mut machine,
            "webdav",
            8002,
            &["--user=joe", "--pass=s3cret"],
        );
        let mut mount = machine.mount("rclone", ":webdav,url='http://127.0.0.1:8002',user=joe:");
        mount.secrets = pairs(&[("password", "password")]);
        machine.perform(&mount).unwrap();
        kill(server);
        // Whether closing it fails is rclone's affair.
        let _ = std::fs::write(mount.point.join("late"), "late");
        let error = undo(&mount, &machine.place()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy, "{error}");
        assert_eq!(look(&mount, &machine.place()).unwrap(), Presence::Present);
        kill(process("rclone").0);
        undo(&mount, &machine.place()).unwrap();
        machine.assert_nothing_left(&mount);
    });
}
