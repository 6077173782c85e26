//! sshfs and a real SSH server.

use std::os::unix::fs::MetadataExt;

use super::machine::*;
use super::*;

const PROGRAMS: [&str; 3] = ["sshfs", "ssh-keygen", "sshd"];

fn by(machine: &Machine, secrets: &[(&str, &str)]) -> FuseMount {
    let mut mount = machine.mount("sshfs", &format!("{USER}@127.0.0.1:"));
    mount.options = pairs(&[("port", "2222")]);
    mount.secrets = pairs(secrets);
    mount
}

#[test]
fn mounts_by_key_and_by_password() {
    alone(
        name!(mounts_by_key_and_by_password),
        &PROGRAMS,
        |mut machine| {
            machine.sshd();
            for login in [("identity", "key"), ("password", "password")] {
                let mut mount = by(&machine, &[login, ("known-hosts", "known-hosts")]);
                machine.round(&mount, |point| {
                    assert_eq!(
                        std::fs::read_to_string(point.join("hello")).unwrap(),
                        "there"
                    );
                    std::fs::write(point.join(login.0), "new").unwrap();
                    let there = machine.base.join("remote").join(login.0);
                    assert_eq!(std::fs::read_to_string(there).unwrap(), "new");
                    // A second time is the first time.
                    machine.perform(&mount).unwrap();
                });
                mount.remote.push_str("/nowhere/at/all");
                let error = machine.perform(&mount).unwrap_err();
                assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
                machine.assert_nothing_left(&mount);
            }
        },
    );
}

#[test]
fn a_mount_has_the_flags_that_were_asked_for() {
    alone(
        name!(a_mount_has_the_flags_that_were_asked_for),
        &PROGRAMS,
        |mut machine| {
            machine.sshd();
            let mut mount = by(
                &machine,
                &[("identity", "key"), ("known-hosts", "known-hosts")],
            );
            for (flags, words) in [
                (Flags::default(), &["rw", "nosuid", "nodev", "relatime"][..]),
                (
                    Flags {
                        read_only: true,
                        no_exec: true,
                        no_atime: true,
                        ..Flags::default()
                    },
                    &["ro", "nosuid", "nodev", "noexec", "noatime"],
                ),
                (
                    Flags {
                        allow_suid: true,
                        allow_dev: true,
                        ..Flags::default()
                    },
                    &["rw", "relatime"],
                ),
            ] {
                mount.flags = flags;
                machine.round(&mount, |point| {
                    let info = crate::machine::mounts::mounted_below(point)
                        .unwrap()
                        .remove(0);
                    assert_eq!(info.options, words);
                    assert_eq!(info.filesystem, "fuse.sshfs");
                });
            }
        },
    );
}

#[test]
fn a_helper_is_apart_from_the_daemon_and_knows_nothing_of_it() {
    let test = name!(a_helper_is_apart_from_the_daemon_and_knows_nothing_of_it);
    alone(test, &PROGRAMS, |mut machine| {
        machine.sshd();
        let mount = by(
            &machine,
            &[("password", "password"), ("known-hosts", "known-hosts")],
        );
        // A descriptor that the daemon was born with.
        let inherited = std::fs::File::open("/dev/zero").unwrap();
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        machine.round(&mount, |_| {
            let (pid, arguments) = process("sshfs");
            let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
            let environment = read("environ");
            let mut names: Vec<_> = environment
                .split_terminator('\0')
                .map(|pair| pair.split_once('=').unwrap().0)
                .collect();
            names.sort_unstable();
            assert_eq!(names, ["HOME", "LC_ALL", "PATH"]);
            let stat = read("stat");
            let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
            assert_eq!(session, pid.to_string());
            let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
            assert_eq!(link("cwd"), Path::new("/"));
            for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
                let open = std::fs::read_link(entry.unwrap().path()).unwrap();
                assert_ne!(open, Path::new("/dev/zero"));
            }
            for text in [arguments.join(" "), environment] {
                assert!(!text.contains(PASSWORD));
            }
            let runtime = machine.place().runtime;
            assert_eq!(runtime.metadata().unwrap().mode() & 0o777, 0o700);
            for entry in std::fs::read_dir(runtime.join(&mount.id)).unwrap() {
                let file = entry.unwrap().path();
                assert!(
                    !std::fs::read(&file)
                        .unwrap()
                        .windows(6)
                        .any(|part| part == b"s3cret")
                );
            }
        });
    });
}

#[test]
fn an_error_has_the_words_of_the_helper() {
    alone(
        name!(an_error_has_the_words_of_the_helper),
        &PROGRAMS,
        |mut machine| {
            machine.sshd();
            let hosts = ("known-hosts", "known-hosts");
            std::fs::write(
            machine.base.join("other-hosts"),
            "example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n",
        )
        .unwrap();
            std::fs::write(machine.base.join("no-key"), "no key\n").unwrap();
            let mut elsewhere = by(&machine, &[("identity", "key"), hosts]);
            elsewhere.remote = format!("{USER}@192.0.2.1:");
            let mut nobody = elsewhere.clone();
            nobody.remote = format!("{USER}@nobody.invalid:");
            let mut closed = by(&machine, &[("identity", "key"), hosts]);
            closed.options = pairs(&[("port", "2223")]);
            for (mount, words) in [
                (
                    by(&machine, &[("password", "wrong"), hosts]),
                    "Permission denied",
                ),
                (
                    by(&machine, &[("identity", "no-key"), hosts]),
                    "Permission denied",
                ),
                (
                    by(
                        &machine,
                        &[("identity", "key"), ("known-hosts", "other-hosts")],
                    ),
                    "Host key verification failed",
                ),
                (
                    by(
                        &machine,
                        &[("password", "password"), ("known-hosts", "other-hosts")],
                    ),
                    "Host key verification failed",
                ),
                (closed, "Connection refused"),
                (elsewhere, "Network is unreachable"),
                (nobody, "Could not resolve hostname nobody.invalid"),
            ] {
                let error = machine.perform(&mount).unwrap_err();
                assert!(error.message.contains(words), "{error}");
                assert!(!error.message.contains("wr0ng") && !error.message.contains(PASSWORD));
                assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
                machine.assert_nothing_left(&mount);
            }
        },
    );
}

#[test]
fn a_server_that_says_nothing_is_given_up_at_the_deadline() {
    let test = name!(a_server_that_says_nothing_is_given_up_at_the_deadline);
    alone(test, &PROGRAMS, |mut machine| {
        machine.sshd();
        let mute = machine.mute_server();
        let mut mount = by(
            &machine,
            &[("identity", "key"), ("known-hosts", "known-hosts")],
        );
        let port = mute.local_addr().unwrap().port().to_string();
        mount.options = pairs(&[("port", &port)]);
        for patience in [0, 300, 3000] {
            let deadline = Instant::now() + Duration::from_millis(patience);
            let error = machine.perform_until(&mount, deadline).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
            machine.assert_nothing_left(&mount);
        }
    });
}

#[test]
fn a_host_key_is_taken_at_first_sight_only_when_that_was_asked_for() {
    let test = name!(a_host_key_is_taken_at_first_sight_only_when_that_was_asked_for);
    alone(test, &PROGRAMS, |mut machine| {
        machine.sshd();
        for checking in ["accept-new", "no"] {
            let mut mount = by(&machine, &[("identity", "key")]);
            mount
                .options
                .push(("StrictHostKeyChecking".into(), checking.into()));
            machine.round(&mount, |_| {
                let kept = machine.place().runtime.join(&mount.id).join("known-hosts");
                assert!(
                    std::fs::read_to_string(kept)
                        .unwrap()
                        .contains("ssh-ed25519")
                );
            });
        }
    });
}

#[test]
fn a_mount_whose_helper_was_killed_is_seen_and_cleared() {
    alone(
        name!(a_mount_whose_helper_was_killed_is_seen_and_cleared),
        &PROGRAMS,
        |mut machine| {
            machine.sshd();
            let mount = by(
                &machine,
                &[("password", "password"), ("known-hosts", "known-hosts")],
            );
            machine.perform(&mount).unwrap();
            kill(process("sshfs").0);
            let error = std::fs::read_dir(&mount.point).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::NOTCONN.raw_os_error()));
            let Presence::Changed(difference) = look(&mount, &machine.place()).unwrap() else {
                panic!("a dead mount");
            };
            assert!(difference.contains("Transport endpoint"), "{difference}");
            assert_eq!(machine.perform(&mount).unwrap_err().kind, ErrorKind::Exists);
            undo(&mount, &machine.place()).unwrap();
            machine.assert_nothing_left(&mount);
            machine.round(&mount, |_| {});
        },
    );
}

#[test]
fn a_mount_in_use_goes_and_takes_its_helper_along() {
    alone(
        name!(a_mount_in_use_goes_and_takes_its_helper_along),
        &PROGRAMS,
        |mut machine| {
            machine.sshd();
            let mount = by(
                &machine,
                &[("identity", "key"), ("known-hosts", "known-hosts")],
            );
            machine.perform(&mount).unwrap();
            let used = std::fs::File::open(mount.point.join("hello")).unwrap();
            undo(&mount, &machine.place()).unwrap();
            machine.assert_nothing_left(&mount);
            used.metadata().unwrap_err();
        },
    );
}

#[test]
fn a_mount_whose_helper_hangs_goes_all_the_same() {
    alone(
        name!(a_mount_whose_helper_hangs_goes_all_the_same),
        &PROGRAMS,
        |mut machine| {
            machine.sshd();
            let mount = by(
                &machine,
                &[("identity", "key"), ("known-hosts", "known-hosts")],
            );
            machine.perform(&mount).unwrap();
            for program in ["sshfs", "ssh"] {
                let pid =
                    rustix::process::Pid::from_raw(i32::try_from(process(program).0).unwrap());
                rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::STOP).unwrap();
            }
            // Somebody waits for it already.
            let point = mount.point.clone();
            let waiting = std::thread::spawn(move || std::fs::read_dir(point).map(Iterator::count));
            assert_eq!(look(&mount, &machine.place()).unwrap(), Presence::Present);
            undo(&mount, &machine.place()).unwrap();
            machine.assert_nothing_left(&mount);
            let _ = waiting.join().unwrap();
        },
    );
}

#[test]
fn what_others_mounted_is_not_touched() {
    alone(
        name!(what_others_mounted_is_not_touched),
        &PROGRAMS,
        |mut machine| {
            machine.sshd();
            let mount = by(
                &machine,
                &[("identity", "key"), ("known-hosts", "known-hosts")],
            );
            let tmpfs = |target: &Path| {
                rustix::mount::mount(
                    "x",
                    target,
                    "tmpfs",
                    rustix::mount::MountFlags::empty(),
                    None,
                )
                .unwrap();
            };
            let remove = |target: &Path| {
                rustix::mount::unmount(target, rustix::mount::UnmountFlags::empty()).unwrap();
            };
            // At the point, with nothing of ours.
            std::fs::create_dir_all(&mount.point).unwrap();
            tmpfs(&mount.point);
            std::fs::write(mount.point.join("precious"), "").unwrap();
            assert_eq!(
                undo(&mount, &machine.place()).unwrap_err().kind,
                ErrorKind::Busy
            );
            assert_eq!(machine.perform(&mount).unwrap_err().kind, ErrorKind::Exists);
            assert!(mount.point.join("precious").exists());
            remove(&mount.point);
            // Over ours, and in ours.
            machine.perform(&mount).unwrap();
            std::fs::create_dir(mount.point.join("inner")).unwrap();
            for target in [mount.point.clone(), mount.point.join("inner")] {
                tmpfs(&target);
                assert_eq!(
                    undo(&mount, &machine.place()).unwrap_err().kind,
                    ErrorKind::Busy
                );
                remove(&target);
                assert_eq!(look(&mount, &machine.place()).unwrap(), Presence::Present);
            }
            undo(&mount, &machine.place()).unwrap();
            machine.assert_nothing_left(&mount);
            // Files where nothing is mounted.
            std::fs::create_dir_all(&mount.point).unwrap();
            std::fs::write(mount.point.join("precious"), "").unwrap();
            assert_eq!(
                undo(&mount, &machine.place()).unwrap_err().kind,
                ErrorKind::Exists
            );
            assert!(mount.point.join("precious").exists());
        },
    );
}

#[test]
fn a_runtime_directory_that_others_can_enter_gets_no_secret() {
    use std::os::unix::fs::PermissionsExt;
    let below = tempfile::tempdir().unwrap();
    let open = below.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o750)).unwrap();
    let link = below.path().join("link");
    std::os::unix::fs::symlink(below.path(), &link).unwrap();
    for runtime in [open, link] {
        let mount = mount("sshfs", "a@b:", 1, &below.path().join("mounts"));
        let error = place::Places::make(&mount, &Place { runtime }, false)
            .err()
            .unwrap();
        assert!(
            matches!(error.kind, ErrorKind::Invalid | ErrorKind::Exists),
            "{error}"
        );
    }
}
