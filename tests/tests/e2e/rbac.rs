//! The driver `rbac`, with users who come by TLS.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use dockside_tests::certificates::Authority;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;

use crate::{Plugin, Setup};

fn policy(engine: &Engine, viewers: &str) -> String {
    format!(
        r#"
[roles.viewer]
actions = ["*_list", "*_inspect", "docker_*"]

[roles.developer]
actions = ["container_*"]
containers = ["{{user}}-*"]
images = ["docker.io/library/busybox"]
mounts = ["{}/{{user}}"]

[[grants]]
users = [{viewers}]
roles = ["viewer"]

[[grants]]
users = ["alice", "bob"]
roles = ["viewer", "developer"]
"#,
        engine.shared().display()
    )
}

/// The engine's client with somebody's certificate.
struct User<'a> {
    engine: &'a Engine,
    flags: Vec<String>,
}

impl User<'_> {
    fn all<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        let flags = self.flags.iter().map(String::as_str);
        flags.chain(command.iter().copied()).collect()
    }

    fn can(&self, command: &[&str]) -> Result<String> {
        self.engine.docker(&self.all(command))
    }

    fn cannot(&self, command: &[&str], expected: &str) -> Result<()> {
        let refused = self.engine.docker_fails(&self.all(command))?;
        ensure!(
            refused.contains("authorization denied by plugin rbac") && refused.contains(expected),
            "{command:?}: {refused}"
        );
        Ok(())
    }
}

pub(crate) fn users_are_told_apart_by_their_certificates(version: Version) -> Result<()> {
    let plugin = Plugin {
        name: "rbac",
        file: "rbac",
        component: files::driver("rbac")?,
        toml: String::new(),
    };
    let test = "users_are_told_apart_by_their_certificates";
    let Some(setup) = Setup::serving(version, test, &[plugin], |engine, site| {
        let policies = engine.shared().join("policies");
        fs::create_dir(&policies)?;
        fs::write(policies.join("rbac.toml"), policy(engine, "\"local\""))?;
        site.configure(
            "rbac",
            &format!(
                "[config]\npolicy-file = \"policies/rbac.toml\"\n[grants.files]\nresolve = true\nread = {{ policies = {policies:?} }}\n[instances]\nreuse = 1000\n"
            ),
        )?;
        site.serve()
    })?
    else {
        return Ok(());
    };
    let engine = &setup.engine;
    let keys = engine.shared().join("keys");
    fs::create_dir(&keys)?;
    let authority = Authority::new("clients")?;
    authority.write(&keys.join("ca.pem"))?;
    authority.issue(&keys, "server", &["localhost"])?;
    for user in ["alice", "bob", "eve", "local"] {
        authority.issue(&keys, user, &[])?;
    }
    let path = |file: &str| keys.join(file).display().to_string();
    let user = |name: &str| User {
        engine,
        flags: vec![
            "--tlsverify".to_owned(),
            format!("--tlscacert={}", path("ca.pem")),
            format!("--tlscert={}", path(&format!("{name}.pem"))),
            format!("--tlskey={}", path(&format!("{name}.key"))),
            "--host=tcp://localhost:2376".to_owned(),
        ],
    };
    engine.up(&[])?;
    engine.image()?;
    engine.stop()?;
    engine.up(&[
        "--tlsverify",
        &format!("--tlscacert={}", path("ca.pem")),
        &format!("--tlscert={}", path("server.pem")),
        &format!("--tlskey={}", path("server.key")),
        "--host=tcp://127.0.0.1:2376",
        "--authorization-plugin=rbac",
    ])?;

    let (alice, bob, eve) = (user("alice"), user("bob"), user("eve"));
    let image = "busybox:local";
    let data = engine.shared().join("alice");
    fs::create_dir(&data)?;
    symlink("/etc", data.join("link"))?;
    let mount = format!("{}:/data", data.display());
    let link = format!("{}/link:/data", data.display());
    // Made by name, attached to, waited for and started by ID.
    assert_eq!(
        alice.can(&[
            "run", "--rm", "--name", "alice-1", "-v", &mount, image, "echo", "hello"
        ])?,
        "hello"
    );
    alice.can(&["run", "-d", "--name", "alice-web", image, "sleep", "600"])?;
    alice.cannot(&["run", "--rm", image, "true"], "needs a name")?;
    alice.cannot(
        &["run", "--rm", "--name", "web", image, "true"],
        "(containers)",
    )?;
    alice.cannot(
        &[
            "run",
            "--rm",
            "--name",
            "alice-2",
            "--privileged",
            image,
            "true",
        ],
        "privileged = true",
    )?;
    alice.cannot(
        &[
            "run", "--rm", "--name", "alice-2", "-v", &link, image, "true",
        ],
        "which leads to /etc",
    )?;
    alice.cannot(
        &[
            "run", "--rm", "--name", "alice-2", "--pid", "host", image, "true",
        ],
        "host-namespaces",
    )?;
    alice.cannot(&["volume", "create", "v"], "may not volume_create")?;
    assert_eq!(
        alice.can(&["exec", "alice-web", "echo", "inside"])?,
        "inside"
    );
    bob.cannot(&["exec", "alice-web", "true"], "(containers)")?;
    bob.cannot(&["stop", "alice-web"], "(containers)")?;
    let id = bob.can(&["ps", "-q", "--no-trunc"])?;
    bob.cannot(&["rm", "-f", &id], "(containers)")?;
    eve.cannot(&["ps"], "eve has no role")?;
    user("local").cannot(&["ps"], "local has no role")?;
    // Over the Unix socket.
    assert!(engine.docker(&["ps"])?.contains("alice-web"));
    let refused = engine.docker_fails(&["stop", "alice-web"])?;
    assert!(
        refused.contains("local may not container_stop"),
        "{refused}"
    );

    let file = engine.shared().join("policies/rbac.toml");
    fs::write(&file, "[roles")?;
    eve.cannot(&["ps"], "eve has no role")?;
    alice.can(&["ps"])?;
    fs::write(&file, policy(engine, "\"local\", \"eve\""))?;
    assert!(eve.can(&["ps"])?.contains("alice-web"));
    alice.can(&["rm", "-f", "alice-web"])?;
    let log = setup.site.command("logs")?.arg("rbac").output()?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    for text in [
        r#""action":"container_create""#,
        r#""user":"bob""#,
        r#""decision":"deny""#,
        r#""rule":"developer""#,
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
    setup.down()
}
