//! The driver `mobyfs`, found by the engine in each of the three ways, and what local-persist's users type.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use dockside_tests::certificates::Authority;
use dockside_tests::daemon::{Daemon, Site, until};
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;

use crate::inspect;

/// An engine, and a daemon on its network that serves mobyfs under these names, each with a table of its own.
struct Setup {
    engine: Engine,
    site: Site,
    daemon: Daemon,
    srv: PathBuf,
}

impl Setup {
    fn new(version: Version, test: &str) -> Result<Option<Setup>> {
        let Some(engine) = Engine::prepare(version, test)? else {
            return Ok(None);
        };
        let site = Site::at(&engine.shared(), &engine.plugins())?;
        let srv = engine.shared().join("srv");
        fs::create_dir(&srv)?;
        fs::write(
            &site.config,
            format!("spec-directory = {:?}\n", engine.specs()),
        )?;
        site.drop_in(&files::driver("mobyfs")?, "mobyfs")?;
        let (certificates, seen) = (
            engine.shared().join("server"),
            engine.shared().join("engine"),
        );
        fs::create_dir(&certificates)?;
        fs::create_dir(&seen)?;
        let authority = Authority::new("mobyfs")?;
        authority.write(&certificates.join("ca.pem"))?;
        authority.write(&seen.join("ca.pem"))?;
        authority.issue(&certificates, "server", &["localhost"])?;
        authority.issue(&seen, "client", &[])?;
        let endpoints = [
            ("mobyfs", String::new()),
            (
                "mobyfs-spec",
                "[endpoint]\nlisten = \"tcp://localhost:8080\"\n".to_owned(),
            ),
            (
                "mobyfs-json",
                format!(
                    "[endpoint]\nlisten = \"tcp://localhost:8081\"\n\
                     tls = {{ certificate = {:?}, key = {{ file = {:?} }}, client-ca = {:?} }}\n\
                     client = {{ ca-file = {:?}, cert-file = {:?}, key-file = {:?} }}\n",
                    certificates.join("server.pem"),
                    certificates.join("server.key"),
                    certificates.join("ca.pem"),
                    seen.join("ca.pem"),
                    seen.join("client.pem"),
                    seen.join("client.key"),
                ),
            ),
        ];
        for (name, endpoint) in &endpoints {
            let names = match *name {
                "mobyfs" => "names = [\"mobyfs\", \"local-persist\"]\n",
                _ => "driver = \"mobyfs\"\n",
            };
            site.configure(
                name,
                &format!(
                    "{names}{endpoint}[grants]\ndirectories = {{}}\n[grants.mounts]\nhost-paths = [{srv:?}]\nmake-paths = true\n"
                ),
            )?;
        }
        let daemon = engine.serve_inside(&site)?;
        engine.up(&[])?;
        engine.image()?;
        Ok(Some(Setup {
            engine,
            site,
            daemon,
            srv,
        }))
    }

    fn down(mut self) -> Result<()> {
        self.daemon.terminate()?;
        let left: Vec<_> = fs::read_dir(self.engine.specs())?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        ensure!(left.is_empty(), "left for Docker: {left:?}");
        self.engine.down()
    }
}

fn mountpoint(path: &Path) -> String {
    format!("mountpoint={}", path.display())
}

pub(crate) fn it_is_found_by_socket_spec_and_json(version: Version) -> Result<()> {
    let Some(setup) = Setup::new(version, "it_is_found_by_socket_spec_and_json")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let specs = engine.specs();
    assert_eq!(
        fs::read_to_string(specs.join("mobyfs-spec.spec"))?,
        "tcp://localhost:8080\n"
    );
    assert!(specs.join("mobyfs-json.json").exists());
    assert!(!setup.site.socket("mobyfs-spec").exists());
    assert!(!setup.site.socket("mobyfs-json").exists());
    let names = ["mobyfs", "mobyfs-spec", "mobyfs-json"];
    for driver in names {
        let path = setup.srv.join(driver);
        let volume = format!("at-{driver}");
        engine.docker(&[
            "volume",
            "create",
            "-d",
            driver,
            "-o",
            &mountpoint(&path),
            &volume,
        ])?;
        engine.docker(&[
            "run",
            "-i",
            "-d",
            "--name",
            driver,
            "-v",
            &format!("{volume}:/data"),
            "-v",
            &format!("own-{driver}:/own"),
            &format!("--volume-driver={driver}"),
            "busybox:local",
            "sh",
            "-c",
            "echo first > /data/file; exec sleep 100000",
        ])?;
        until("the container to write", || path.join("file").exists())?;
        // It mounts twice under one ID and unmounts once for each, and the container keeps its volume.
        engine.docker(&["cp", &format!("{driver}:/data/file"), "-"])?;
        engine.docker(&["exec", driver, "sh", "-c", "echo second >> /data/file"])?;
        assert_eq!(fs::read_to_string(path.join("file"))?, "first\nsecond\n");
        let refused = engine.docker_fails(&["volume", "rm", &volume])?;
        assert!(refused.contains("in use"), "{refused}");
    }
    let listed = engine.docker(&["volume", "ls", "-q"])?;
    assert_eq!(listed.lines().count(), 2 * names.len(), "{listed}");

    // An engine that is killed ends nothing, and the next one is another.
    engine.kill()?;
    engine.up(&[])?;
    for driver in names {
        let volume = format!("at-{driver}");
        engine.docker(&["rm", "-f", driver])?;
        engine.docker(&["volume", "rm", &volume, &format!("own-{driver}")])?;
        let path = setup.srv.join(driver).join("file");
        assert_eq!(fs::read_to_string(path)?, "first\nsecond\n");
    }
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?, "");
    let mounts = setup.engine.shell_beside("cat /proc/self/mountinfo")?;
    let below = setup.site.data.join("mounts").display().to_string();
    assert!(!mounts.contains(&below), "{mounts}");
    setup.down()
}

pub(crate) fn what_users_of_local_persist_type_works(version: Version) -> Result<()> {
    let Some(setup) = Setup::new(version, "what_users_of_local_persist_type_works")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let images = setup.srv.join("images");
    let create = |arguments: &[&str]| {
        let mut all = vec!["volume", "create", "-d", "local-persist"];
        all.extend(arguments);
        engine.try_docker(&all)
    };
    let option = mountpoint(&images);
    let said = create(&["-o", &option, "--name=images"])?;
    assert!(said.success, "{said:?}");
    for name in ["one", "two"] {
        let volume = format!("images:/path/to/images/on/{name}/");
        let script = format!("echo {name} >> /path/to/images/on/{name}/seen");
        engine.docker(&[
            "run",
            "--rm",
            "-v",
            &volume,
            "busybox:local",
            "sh",
            "-c",
            &script,
        ])?;
    }
    assert_eq!(fs::read_to_string(images.join("seen"))?, "one\ntwo\n");
    let seen = inspect(engine, "volume", "images")?;
    assert_eq!(
        (&seen["Driver"], &seen["Status"]["mountpoint"]),
        (
            &"local-persist".into(),
            &images.display().to_string().into()
        )
    );
    // Removed and created again, it has what was in it.
    engine.docker(&["volume", "rm", "images"])?;
    assert!(create(&["-o", &option, "--name=images"])?.success);
    let volume = "images:/data";
    let seen = engine.docker(&[
        "run",
        "--rm",
        "-v",
        volume,
        "busybox:local",
        "cat",
        "/data/seen",
    ])?;
    assert_eq!(seen, "one\ntwo");
    engine.docker(&["volume", "rm", "images"])?;

    // What it could not do.
    let owned = setup.srv.join("deep/owned");
    let option = mountpoint(&owned);
    let made = create(&[
        "-o",
        &option,
        "-o",
        "uid=33",
        "-o",
        "gid=34",
        "-o",
        "mode=2750",
        "owned",
    ])?;
    assert!(made.success, "{made:?}");
    let found = fs::metadata(&owned)?;
    assert_eq!(
        (
            found.uid(),
            found.gid(),
            found.permissions().mode() & 0o7777
        ),
        (33, 34, 0o2750)
    );
    let scratch = mountpoint(&setup.srv.join("scratch"));
    let made = create(&["-o", &scratch, "-o", "delete-on-remove=true", "scratch"])?;
    assert!(made.success, "{made:?}");
    engine.docker(&[
        "run",
        "--rm",
        "-v",
        "scratch:/data",
        "busybox:local",
        "touch",
        "/data/x",
    ])?;
    let seen = inspect(engine, "volume", "scratch")?;
    assert_eq!(seen["Status"]["delete-on-remove"], "true");
    engine.docker(&["volume", "rm", "scratch"])?;
    assert!(!setup.srv.join("scratch").exists());

    std::os::unix::fs::symlink("/etc", setup.srv.join("link"))?;
    for (option, expected) in [
        ("mountpoint=/".to_owned(), "root of this machine"),
        ("mountpoint=/etc".to_owned(), "add \"/etc\" to host-paths"),
        (mountpoint(&setup.srv.join("../x")), ".. in it"),
        (mountpoint(&setup.srv.join("link")), "symbolic link"),
        (mountpoint(&setup.srv.join("link/docker")), "symbolic link"),
        (mountpoint(&owned), "volume \"owned\" is there"),
    ] {
        let said = create(&["-o", &option, "bad"])?;
        assert!(!said.success && said.err.contains(expected), "{said:?}");
    }
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?, "owned");
    engine.docker(&["volume", "rm", "owned"])?;
    assert!(owned.exists());
    setup.down()
}
