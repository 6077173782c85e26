use super::*;
use dockside_driver::testing;

const HOSTKEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabc";

fn options(pairs: &[(&str, &str)]) -> KeyValues {
    pairs.iter().copied().collect()
}

/// A volume with a password, of a server that is known.
fn usual() -> KeyValues {
    options(&[
        ("sshcmd", "joe@files.example:/srv"),
        ("password", "hunter2"),
        ("hostkey", HOSTKEY),
    ])
}

/// The same with other options.
fn with(pairs: &[(&str, &str)]) -> KeyValues {
    let mut all = usual();
    for (name, value) in pairs {
        all.insert(*name, value);
    }
    all
}

fn create(name: &str, given: &KeyValues) -> Result<()> {
    testing::call(|| Sshfs::create(name, given))
}

fn refused(given: &KeyValues) -> String {
    let error = create("refused", given).unwrap_err();
    assert!(testing::state().is_empty() && testing::kept().is_empty());
    error.into_message()
}

/// What sshfs is started with for a volume.
fn mounted(name: &str) -> String {
    testing::call(|| Sshfs::mount(name, "1")).unwrap();
    let mounts = testing::mounts();
    let (_, mount) = mounts.into_iter().find(|(key, _)| key == name).unwrap();
    testing::call(|| Sshfs::unmount(name, "1")).unwrap();
    mount.source
}

#[test]
fn a_volume_lives_from_create_to_remove_and_its_password_with_it() {
    create("v", &usual()).unwrap();
    assert_eq!(testing::kept(), [("v".into(), b"hunter2".to_vec())]);
    assert_eq!(
        mounted("v"),
        format!(
            "sshfs joe@files.example:/srv password:kept(v) known-hosts={:?}",
            format!("files.example {HOSTKEY}")
        )
    );
    assert_eq!(Sshfs::list().unwrap().len(), 1);
    testing::call(|| Sshfs::remove("v")).unwrap();
    assert!(testing::kept().is_empty() && testing::state().is_empty());
    assert!(testing::mounts().is_empty());
    testing::call(|| Sshfs::remove("v")).unwrap();
}

#[test]
fn the_password_is_in_no_state_no_status_and_no_log() {
    testing::set_config("env.DEBUG", "1");
    create("v", &usual()).unwrap();
    testing::call(|| Sshfs::mount("v", "1")).unwrap();
    let status = Sshfs::get("v").unwrap().status;
    let everything = format!(
        "{:?} {status:?} {:?} {:?}",
        testing::state()
            .into_iter()
            .map(|(key, value)| (key, String::from_utf8(value).unwrap()))
            .collect::<Vec<_>>(),
        testing::log(),
        testing::mounts(),
    );
    assert!(!everything.contains("hunter2"), "{everything}");
    assert!(!testing::log().is_empty());
}

#[test]
fn two_volumes_of_one_place_have_a_mount_each() {
    for name in ["one", "two"] {
        create(name, &usual()).unwrap();
    }
    testing::call(|| Sshfs::mount("one", "1")).unwrap();
    testing::call(|| Sshfs::remove("two")).unwrap();
    let mounts = testing::mounts();
    assert_eq!(mounts.len(), 1);
    assert_eq!(mounts[0].0, "one");
    assert_eq!(testing::kept().len(), 1);
}

#[test]
fn a_call_that_fails_keeps_no_password() {
    let result = testing::call(|| {
        Sshfs::create("v", &usual())?;
        Err::<(), _>(Error::other("the disk is full"))
    });
    assert!(result.is_err() && testing::kept().is_empty());
}

#[test]
fn options_reach_sshfs_by_the_names_that_it_has_for_them_today() {
    let given = with(&[
        ("port", "2222"),
        ("allow_other", ""),
        ("idmap", "user,uid=1000,gid=100,ServerAliveInterval=10"),
        ("cache", "no"),
        ("Compression", "no"),
        ("Ciphers", "aes128-gcm@openssh.com"),
        ("nonempty", ""),
        ("reconnect", "true"),
        ("direct_io", "false"),
        ("ro", ""),
    ]);
    create("v", &given).unwrap();
    assert_eq!(
        mounted("v"),
        format!(
            "sshfs joe@files.example:/srv Ciphers=aes128-gcm@openssh.com ServerAliveInterval=10 allow_other compression=no dir_cache=no gid=100 \
             idmap=user port=2222 reconnect uid=1000 password:kept(v) known-hosts={:?}",
            format!("[files.example]:2222 {HOSTKEY}")
        )
    );
    testing::call(|| Sshfs::mount("v", "1")).unwrap();
    assert!(testing::mounts()[0].1.flags.read_only);
}

#[test]
fn an_option_that_cannot_be_is_refused_when_the_volume_is_made() {
    for (name, value, wanted) in [
        ("port", "0", "port takes a number from 1 to 65535"),
        ("port", "+22", "port takes a number from 1 to 65535"),
        ("umask", "999", "permission bits in octal"),
        ("idmap", "file", "one of none, user"),
        ("allow_other", "perhaps", "no value, or true or false"),
        (
            "idmap",
            "user,ssh_command=sh",
            "option ssh_command is not known or not allowed",
        ),
        ("idmap", "user,alow_other", "did you mean allow_other?"),
        ("idmap", "user,Port=1", "did you mean port?"),
        ("idmap", "user,password=x", "must be given by itself"),
        ("Ciphers", "a b", "the name of one method"),
        ("sshcmd", "files.example:/srv", "say user@host:/path"),
        ("sshcmd", "joe@files.example", "say user@host:/path"),
        ("sshcmd", "joe@-oProxyCommand=x:/srv", "say user@host:/path"),
        (
            "sshcmd",
            "joe@files.example:/srv -o IdentityFile=x\n",
            "say user@host:/path",
        ),
        ("IdentityFile", "/root/.ssh/id_rsa", "one of them is enough"),
        ("password", "two\nlines", "one line"),
        ("hostkey", "AAAA", "kind and key of the server"),
        (
            "hostkey",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabc\nevil ssh-rsa AAAA",
            "kind and key",
        ),
        ("StrictHostKeyChecking", "no", "contradict each other"),
        ("dcache_timeout", "5,dcache_timeout=6", "given twice"),
    ] {
        let said = refused(&with(&[(name, value)]));
        assert!(said.contains(wanted), "{name}={value}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_server_has_to_be_known() {
    let given = options(&[("sshcmd", "joe@files.example:/srv"), ("password", "x")]);
    let said = refused(&given);
    for remedy in ["hostkey=", "accept-new", "known-hosts", "[config]"] {
        assert!(said.contains(remedy), "{said}");
    }
    for (config, known) in [
        (
            "files.example ssh-ed25519 AAAA",
            " known-hosts=\"files.example ssh-ed25519 AAAA\"",
        ),
        (
            "@cert-authority * ssh-ed25519 AAAA",
            " known-hosts=\"@cert-authority * ssh-ed25519 AAAA\"",
        ),
        ("@hosts", " known-hosts:hosts"),
    ] {
        testing::reset();
        testing::set_config("known-hosts", config);
        testing::set_secret("hosts", b"files.example ssh-ed25519 AAAA", false);
        create("v", &given).unwrap();
        assert_eq!(
            mounted("v"),
            format!("sshfs joe@files.example:/srv password:kept(v){known}")
        );
    }
}

#[test]
fn how_a_server_is_checked_can_be_said_for_one_volume_or_for_all() {
    let given = options(&[("sshcmd", "joe@[fd00::5]:/srv"), ("password", "x")]);
    testing::set_config("StrictHostKeyChecking", "accept-new");
    create("all", &given).unwrap();
    assert_eq!(
        mounted("all"),
        "sshfs joe@[fd00::5]:/srv StrictHostKeyChecking=accept-new password:kept(all)"
    );
    let one = given.with("StrictHostKeyChecking", "no");
    testing::set_config("known-hosts", "other ssh-ed25519 AAAA");
    create("one", &one).unwrap();
    assert_eq!(
        mounted("one"),
        "sshfs joe@[fd00::5]:/srv StrictHostKeyChecking=no password:kept(one)"
    );
    let status = Sshfs::get("all").unwrap().status;
    assert_eq!(status.get("server"), Some("[fd00::5]"));
}

#[test]
fn the_operators_defaults_are_laid_under_what_a_user_says() {
    for (name, value) in [
        ("reconnect", "true"),
        ("allow_other", "true"),
        ("uid", "7"),
        ("env.DEBUG", "0"),
        ("args", ""),
    ] {
        testing::set_config(name, value);
    }
    create("v", &with(&[("allow_other", "no"), ("uid", "8")])).unwrap();
    assert!(mounted("v").starts_with("sshfs joe@files.example:/srv reconnect uid=8 password"));
    testing::set_config("reconnct", "true");
    let said = Sshfs::mount("v", "1").unwrap_err().into_message();
    assert_eq!(
        said,
        "the option in [config] reconnct is not known; did you mean reconnect?"
    );
}

#[test]
fn a_key_is_one_of_the_operators_secrets() {
    testing::set_secret("backup", b"KEY", false);
    testing::set_secret("mine", b"KEY", false);
    testing::set_secret_file("/home/me/.ssh/id_rsa", "mine");
    testing::set_secret_file("/root/.ssh/id_rsa", "backup");
    let mut given = usual();
    given.insert("password", "");
    for (key, source, role) in [
        ("@backup", "", "identity:backup"),
        ("/root/.ssh/id_rsa", "", "identity:backup"),
        ("/root/.ssh/id_rsa", "/home/me/.ssh/", "identity:mine"),
        ("~/.ssh/id_rsa", "/home/me/.ssh", "identity:mine"),
        ("/home/me/.ssh/id_rsa", "", "identity:mine"),
    ] {
        testing::set_config("mounts.sshkey", source);
        create("v", &given.clone().with("IdentityFile", key)).unwrap();
        assert!(mounted("v").contains(role), "{key} with {source}");
        testing::call(|| Sshfs::remove("v")).unwrap();
    }
    for (key, wanted) in [
        ("@other", "\"other\" is not granted"),
        ("/etc/shadow", "/etc/shadow is not granted"),
        ("id_rsa", "say an absolute path"),
    ] {
        let said = refused(&given.clone().with("IdentityFile", key));
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn without_password_and_key_the_usual_keys_and_the_operators_default_are_tried() {
    let mut given = usual();
    given.insert("password", "");
    assert!(refused(&given).contains("-o password=… or -o IdentityFile=…"));
    testing::set_config("mounts.sshkey", "/home/me/.ssh");
    assert!(refused(&given).contains("/home/me/.ssh/id_ed25519 is not granted"));
    testing::set_secret("ed", b"KEY", false);
    testing::set_secret("hosts", b"files.example ssh-ed25519 AAAA", false);
    testing::set_secret_file("/home/me/.ssh/id_ed25519", "ed");
    testing::set_secret_file("/home/me/.ssh/known_hosts", "hosts");
    create("v", &options(&[("sshcmd", "joe@files.example:/srv")])).unwrap();
    assert_eq!(
        mounted("v"),
        "sshfs joe@files.example:/srv identity:ed known-hosts:hosts"
    );
    testing::set_config("IdentityFile", "@hosts");
    create("w", &given).unwrap();
    assert!(mounted("w").contains("identity:hosts"));
}

#[test]
fn a_password_can_be_the_name_of_one_and_can_begin_with_the_sign_for_that() {
    testing::set_secret("pw", b"secret", false);
    create("named", &with(&[("password", "@pw")])).unwrap();
    assert!(mounted("named").contains("password:pw"));
    assert!(testing::kept().is_empty());
    create("literal", &with(&[("password", "@@pw")])).unwrap();
    assert_eq!(testing::kept(), [("literal".into(), b"@pw".to_vec())]);
    testing::call(|| Sshfs::remove("literal")).unwrap();
    testing::call(|| Sshfs::remove("named")).unwrap();
    assert!(refused(&with(&[("password", "@other")])).contains("not granted"));
}

#[test]
fn creating_again_succeeds_with_the_same_options_only() {
    create("v", &usual()).unwrap();
    create("v", &usual()).unwrap();
    assert_eq!(testing::kept().len(), 1);
    let error = create("v", &with(&[("port", "2222")])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
}

#[test]
fn a_dead_mount_is_replaced_for_the_next_use() {
    create("v", &usual()).unwrap();
    testing::call(|| Sshfs::mount("v", "1")).unwrap();
    for (health, state) in [
        (Health::Degraded, "mounted, and does not answer"),
        (Health::Gone, "unmounted by somebody else"),
    ] {
        testing::set_health("v", health);
        assert_eq!(Sshfs::get("v").unwrap().status.get("state"), Some(state));
        testing::call(|| Sshfs::mount("v", "2")).unwrap();
        let status = Sshfs::get("v").unwrap().status;
        assert_eq!(status.get("state"), Some("mounted"));
    }
}

#[test]
fn after_a_restart_of_the_machine_the_volume_is_mounted_again() {
    create("v", &usual()).unwrap();
    testing::call(|| Sshfs::mount("v", "1")).unwrap();
    testing::reboot();
    assert_eq!(
        Sshfs::get("v").unwrap().status.get("state"),
        Some("not mounted")
    );
    testing::call(|| Sshfs::mount("v", "1")).unwrap();
    assert_eq!(testing::mounts().len(), 1);
}

#[test]
fn a_password_that_is_gone_does_not_make_docker_forget_the_volume() {
    create("v", &usual()).unwrap();
    dockside_driver::secrets::forget("v").unwrap();
    let error = Sshfs::mount("v", "1").unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    testing::call(|| Sshfs::remove("v")).unwrap();
}

#[test]
fn every_option_is_declared_once_and_taken() {
    let declared = Sshfs::declare();
    let mut names: Vec<_> = declared.iter().map(|one| one.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), declared.len());
    let secret: Vec<_> = declared
        .iter()
        .filter(|one| one.secret)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(secret, ["password"]);
    assert!(declared.iter().all(|one| !one.help.is_empty()));
}

#[test]
fn any_calls_in_any_order_do_what_docker_takes_for_granted() {
    testing::model::volume::<Sshfs>()
        .needs_options()
        .options(usual().iter())
        .options(with(&[("sshcmd", "joe@files.example:/home")]).iter())
        .run();
}

#[test]
fn a_host_call_that_fails_leaves_nothing_behind() {
    testing::each_fault(|run| {
        run.call("create", || Sshfs::create("v", &usual()))?;
        run.call("get", || Sshfs::get("v"))?;
        run.call("mount", || Sshfs::mount("v", "1"))?;
        run.call("unmount", || Sshfs::unmount("v", "1"))?;
        run.call("remove", || Sshfs::remove("v"))
    });
}
