//! A daemon that is killed.

use super::machine::*;
use super::*;

const PROGRAMS: [&str; 5] = ["sshfs", "rclone", "fusermount3", "ssh-keygen", "sshd"];

fn by_sshfs(machine: &Machine) -> FuseMount {
    let mut mount = machine.mount("sshfs", &format!("{USER}@127.0.0.1:"));
    mount.options = pairs(&[("port", "2222")]);
    mount.secrets = pairs(&[("password", "password"), ("known-hosts", "known-hosts")]);
    mount
}

fn by_rclone(machine: &Machine) -> FuseMount {
    let remote = format!(":sftp,host=127.0.0.1,port=2222,user={USER}:");
    let mut mount = machine.mount("rclone", &remote);
    mount.secrets = pairs(&[("password", "password"), ("known-hosts", "known-hosts")]);
    mount
}

#[test]
fn a_mount_outlives_the_daemon_and_the_next_one_takes_it_away() {
    play_daemon();
    let test = name!(a_mount_outlives_the_daemon_and_the_next_one_takes_it_away);
    alone(test, &PROGRAMS, |mut machine| {
        machine.sshd();
        for mount in [by_sshfs(&machine), by_rclone(&machine)] {
            let (mut killed, mut lines) = daemon(test, &mount);
            assert!(lines.any(|line| line == "mounted"));
            killed.kill().unwrap();
            killed.wait().unwrap();
            assert_eq!(look(&mount, &machine.place()).unwrap(), Presence::Present);
            machine.perform(&mount).unwrap();
            let hello = std::fs::read_to_string(mount.point.join("hello"));
            assert_eq!(hello.unwrap(), "there");
            undo(&mount, &machine.place()).unwrap();
            machine.assert_nothing_left(&mount);
        }
    });
}

#[test]
fn nothing_is_left_of_a_daemon_that_was_killed_at_any_time() {
    play_daemon();
    let test = name!(nothing_is_left_of_a_daemon_that_was_killed_at_any_time);
    alone(test, &PROGRAMS, |mut machine| {
        const TIMES: u32 = 15;
        machine.sshd();
        for mount in [by_sshfs(&machine), by_rclone(&machine)] {
            let start = Instant::now();
            machine.perform(&mount).unwrap();
            let whole = start.elapsed();
            undo(&mount, &machine.place()).unwrap();
            for time in 0..=TIMES {
                let (mut killed, mut lines) = daemon(test, &mount);
                assert!(lines.any(|line| line == "started"));
                // Not a synchronisation: it only spreads the times of death over the whole of it.
                std::thread::sleep(whole * time / TIMES);
                killed.kill().unwrap();
                killed.wait().unwrap();
                undo(&mount, &machine.place()).unwrap();
                machine.assert_nothing_left(&mount);
            }
            machine.round(&mount, |_| {});
        }
    });
}
