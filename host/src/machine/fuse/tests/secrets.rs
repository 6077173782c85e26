//! Secrets that do not fit.

use super::*;

#[test]
fn a_configuration_of_rclone_is_held_to_the_same_table() {
    let [.., mut mount] = good();
    mount.remote = "store:dir".to_owned();
    mount.secrets = pairs(&[("config", "file")]);
    for (configuration, word) in [
        ("[store]\ntype = local\n", "local"),
        ("[store]\ntype = alias\nremote = /etc\n", "alias"),
        (
            "[store]\ntype = sftp\nhost = h\nuser = joe\npass = p\nssh = sh -c id\n",
            "ssh",
        ),
        (
            "[store]\ntype = sftp\nhost = h\nuser = joe\nkey_file = /root/.ssh/id\n",
            "key_file",
        ),
        ("[store]\ntype = sftp\nhost = h\nuser = joe\n", "log in"),
        (
            "[store]\ntype = sftp\nhost = h\nuser = joe\npass = p\n",
            "right server",
        ),
        (
            "[store]\ntype = webdav\nurl = http://h\nbearer_token_command = id\n",
            "bearer_token_command",
        ),
        (
            "[store]\ntype = webdav\nurl = http://h\nbearer_token = \"x\n",
            "bearer_token",
        ),
        (
            "[store]\ntype = webdav\nurl = http://h\nbearer_token = %(type)s\n",
            "bearer_token",
        ),
        (
            "[store]\ntype = s3\nprovider = AWS\nenv_auth = true\n",
            "env_auth",
        ),
        ("[other]\ntype = s3\n", "[store]"),
        ("[store]\nprovider = AWS\n", "[store]"),
        ("[store]\ntype = http\nurl\n", "\"=\""),
        (
            "[store]\ntype = http\nurl = http://a\nurl = http://b\n",
            "twice",
        ),
        ("", "text file"),
    ] {
        let Err(error) = plan(&mount, |_| configuration.as_bytes().to_vec()) else {
            panic!("{configuration}");
        };
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(word), "{configuration}: {error}");
    }
}

#[test]
fn secrets_that_do_not_fit_are_refused_without_telling_them() {
    let [sshfs, s3fs, rclone] = good();
    let mut dav = rclone.clone();
    dav.remote = ":webdav,url='http://h':".to_owned();
    dav.secrets = pairs(&[("token", "bad")]);
    let mut key = sshfs.clone();
    key.secrets = pairs(&[("identity", "bad"), ("known-hosts", "bad")]);
    let long = vec![b'x'; 5000];
    for (mount, secret) in [
        (&sshfs, &b"two\nHIDDEN"[..]),
        (&sshfs, b"HIDDEN\0"),
        (&sshfs, b""),
        (&sshfs, b"\n"),
        (&sshfs, b"HIDDEN\xff"),
        (&sshfs, &long),
        (&key, b"HIDDEN\0"),
        (&key, b" \n"),
        (&s3fs, b"HIDDEN"),
        (&s3fs, b":HIDDEN"),
        (&s3fs, b"HIDDEN:"),
        (&s3fs, b"a b:HIDDEN"),
        (&s3fs, b"a:b\nb:HIDDEN"),
        (&rclone, b"two\nHIDDEN"),
        (&dav, b"HIDDEN x"),
        (&dav, b"\"HIDDEN"),
        (&dav, b"%(HIDDEN)s"),
    ] {
        let Err(error) = plan(mount, |_| secret.to_vec()) else {
            panic!("{} takes {secret:?}", mount.program);
        };
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(!error.message.contains("HIDDEN"), "{error}");
    }
}

#[test]
fn secrets_for_nothing_are_refused() {
    for (program, secrets, word) in [
        ("sshfs", &[("known-hosts", "h")][..], "log in"),
        (
            "sshfs",
            &[("password", "p"), ("identity", "i"), ("known-hosts", "h")],
            "one secret",
        ),
        ("sshfs", &[("password", "p")], "right server"),
        (
            "sshfs",
            &[("password", "p"), ("password", "q"), ("known-hosts", "h")],
            "two secrets",
        ),
        ("sshfs", &[("passphrase", "p")], "no use"),
        ("sshfs", &[("", "p")], "no use"),
        ("sshfs", &[("password", "")], "not the name"),
        ("sshfs", &[("password", "a\nb")], "not the name"),
        ("s3fs", &[], "credentials"),
        ("s3fs", &[("password", "p")], "no use"),
        ("rclone", &[("credentials", "p")], "no use"),
        ("rclone", &[("known-hosts", "h")], "log in"),
        ("rclone", &[("password", "p")], "right server"),
        ("rclone", &[("config", "p")], "name:path"),
    ] {
        let mut mount = good()
            .into_iter()
            .find(|good| good.program == program)
            .unwrap();
        mount.secrets = pairs(secrets);
        let error = mount.check().unwrap_err();
        assert!(error.message.contains(word), "{secrets:?}: {error}");
    }
    let [mut sshfs, mut s3fs, _] = good();
    sshfs.options = pairs(&[("StrictHostKeyChecking", "no")]);
    assert!(sshfs.check().unwrap_err().message.contains("contradict"));
    s3fs.options = pairs(&[("public_bucket", "")]);
    assert!(s3fs.check().unwrap_err().message.contains("contradict"));
}
