//! NFS and CIFS, where there are servers and a kernel with clients for them: in the machine that `tests/vm/mounts` boots.

use super::*;

/// A server and what it serves, from the environment.
fn served(variable: &str, divider: &str) -> Option<(String, String)> {
    let Ok(text) = std::env::var(variable) else {
        println!("skipped: no {variable}; tests/vm/mounts runs this with servers");
        return None;
    };
    let (server, path) = text.trim_start_matches('/').split_once(divider).unwrap();
    Some((server.to_owned(), path.to_owned()))
}

fn nfs(server: &str, path: &str, version: &str, options: &[(&str, &str)]) -> Source {
    Source::Nfs {
        server: server.to_owned(),
        path: path.to_owned(),
        version: version.to_owned(),
        options: owned(options),
    }
}

fn owned(options: &[(&str, &str)]) -> Vec<(String, String)> {
    options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Makes a mount, uses it, and takes it away.
fn use_once(place: &Place, mount: &Mount, secret: &dyn Fn(&str) -> Result<Vec<u8>, MachineError>) {
    perform_with(&worker(), mount, secret, soon()).unwrap();
    assert_eq!(look(mount).unwrap(), Presence::Present, "{:?}", info(mount));
    perform_with(&worker(), mount, secret, soon()).unwrap();
    let options = info(mount).options;
    assert!(
        options.iter().any(|option| option == "nosuid")
            && options.iter().any(|option| option == "nodev")
    );
    assert_eq!(
        health_with(&worker(), &mount.point, Duration::from_secs(60)),
        Health::Alive
    );
    let file = mount.point.join(&mount.id);
    std::fs::write(&file, "written").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "written");
    std::fs::remove_file(&file).unwrap();
    assert!(mount.point.join("file").exists());
    let inside = Mount {
        source: Source::Bind {
            root: mount.point.clone(),
            beneath: "".into(),
        },
        ..place.tmpfs()
    };
    make(&inside);
    assert!(inside.point.join("file").exists());
    assert_eq!(look(&inside).unwrap(), Presence::Present);
    unmake(&inside);
    unmake(mount);
    place.assert_nothing_left(mount);
}

#[test]
fn an_export_is_mounted_used_and_taken_away() {
    let Some((server, path)) = served("DOCKSIDE_TEST_NFS", ":") else {
        return;
    };
    let Some(place) = Place::new() else { return };
    for (version, options) in [
        ("", &[][..]),
        ("4.0", &[("soft", ""), ("timeo", "100")]),
        (
            "4.1",
            &[("noac", ""), ("nconnect", "2"), ("rsize", "65536")],
        ),
        (
            "4.2",
            &[
                ("hard", ""),
                ("lookupcache", "pos"),
                ("nosharecache", ""),
                ("sec", "sys"),
            ],
        ),
    ] {
        let mount = place.mount(nfs(&server, &path, version, options));
        use_once(&place, &mount, &no_secrets);
    }
}

#[test]
fn a_share_is_mounted_used_and_taken_away_and_its_password_is_nowhere() {
    let Some((server, share)) = served("DOCKSIDE_TEST_CIFS", "/") else {
        return;
    };
    let Some(place) = Place::new() else { return };
    let password = std::env::var("DOCKSIDE_TEST_CIFS_PASSWORD").unwrap();
    let secret = |name: &str| {
        assert_eq!(name, "the password");
        Ok(format!("{password}\n").into_bytes())
    };
    let source = |options: &[(&str, &str)]| Source::Cifs {
        server: server.clone(),
        share: share.clone(),
        username: std::env::var("DOCKSIDE_TEST_CIFS_USER").ok(),
        domain: None,
        password: Some("the password".to_owned()),
        options: owned(options),
    };
    for options in [
        &[][..],
        &[
            ("vers", "3.1.1"),
            ("seal", ""),
            ("uid", "1000"),
            ("file_mode", "0640"),
        ],
        &[
            ("vers", "2.1"),
            ("cache", "none"),
            ("nobrl", ""),
            ("noserverino", ""),
            ("mfsymlinks", ""),
        ],
    ] {
        let mount = place.mount(source(options));
        use_once(&place, &mount, &secret);
    }
    let mount = place.mount(source(&[("file_mode", "0640")]));
    perform_with(&worker(), &mount, &secret, soon()).unwrap();
    assert_eq!(mode(&mount.point.join("file")), 0o640);
    for file in [
        "/proc/thread-self/mountinfo",
        "/proc/thread-self/mounts",
        "/proc/cmdline",
    ] {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(
            !text.contains(&password) && !text.contains("pass"),
            "{text}"
        );
    }
    unmake(&mount);
    let wrong = |_: &str| Ok(b"wrong".to_vec());
    let error = perform_with(&worker(), &mount, &wrong, soon()).unwrap_err();
    assert!(!error.message.contains("wrong"), "{error}");
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    println!("{error}");
    place.assert_nothing_left(&mount);
}

#[test]
fn a_server_that_refuses_or_is_silent_is_an_error_before_the_deadline() {
    let Some((server, path)) = served("DOCKSIDE_TEST_NFS", ":") else {
        return;
    };
    let Some(place) = Place::new() else { return };
    let try_it = |source: Source, patience: u64| {
        let mount = place.mount(source);
        let deadline = Instant::now() + Duration::from_secs(patience);
        let error = perform_with(&worker(), &mount, &no_secrets, deadline).unwrap_err();
        place.assert_nothing_left(&mount);
        println!("{error}");
        error
    };
    let error = try_it(nfs(&server, "/absent", "4.2", &[]), 60);
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    let error = try_it(nfs(&server, &path, "4.2", &[("port", "1")]), 5);
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    // Nothing routes to it.
    let error = try_it(nfs("203.0.113.1", &path, "4.2", &[]), 5);
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    let share = Source::Cifs {
        server: "203.0.113.1".to_owned(),
        share: "share".to_owned(),
        username: None,
        domain: None,
        password: None,
        options: Vec::new(),
    };
    let error = try_it(share, 5);
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}

fn shell(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

/// A command for the end, also that of a test that fails.
struct Finally(String);

impl Drop for Finally {
    fn drop(&mut self) {
        shell(&self.0);
    }
}

/// Cuts this machine off, so it runs after all others.
#[test]
fn a_mount_whose_server_is_gone_is_not_alive_and_is_taken_away() {
    let (Ok(cut), Ok(heal)) = (
        std::env::var("DOCKSIDE_TEST_CUT"),
        std::env::var("DOCKSIDE_TEST_HEAL"),
    ) else {
        println!("skipped: no DOCKSIDE_TEST_CUT; tests/vm/mounts runs this last");
        return;
    };
    let Some((server, path)) = served("DOCKSIDE_TEST_NFS", ":") else {
        return;
    };
    let Some((host, share)) = served("DOCKSIDE_TEST_CIFS", "/") else {
        return;
    };
    let Some(place) = Place::new() else { return };
    let secret = |_: &str| Ok(std::env::var("DOCKSIDE_TEST_CIFS_PASSWORD").unwrap().into());
    let all = [
        place.mount(nfs(&server, &path, "4.2", &[("hard", "")])),
        place.mount(nfs(&server, &path, "4.0", &[("nosharecache", "")])),
        place.mount(Source::Cifs {
            server: host,
            share,
            username: std::env::var("DOCKSIDE_TEST_CIFS_USER").ok(),
            domain: None,
            password: Some("the password".to_owned()),
            options: owned(&[("hard", "")]),
        }),
    ];
    let mut open = Vec::new();
    for mount in &all {
        perform_with(&worker(), mount, &secret, soon()).unwrap();
        // Something that the server does not have yet.
        let mut file = std::fs::File::create(mount.point.join("unwritten")).unwrap();
        std::io::Write::write_all(&mut file, &[7; 1 << 16]).unwrap();
        open.push(file);
    }
    // Closing waits for the server.
    let _heal = Finally(heal);
    shell(&cut);
    for mount in &all {
        let health = health_with(&worker(), &mount.point, Duration::from_secs(2));
        assert_ne!(health, Health::Alive, "{mount:?}");
        println!("{health:?}");
        assert_eq!(look(mount).unwrap(), Presence::Present);
    }
    all.iter().for_each(unmake);
    all.iter()
        .for_each(|mount| place.assert_nothing_left(mount));
}
