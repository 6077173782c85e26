//! Permission through the driver `rego`.

use anyhow::Result;
use dockside_tests::engine::Version;
use dockside_tests::files;

use crate::{Plugin, Setup};

/// The policy that opa-docker-authz's users begin with, in its old spelling.
const READ_ONLY: &str = r#"
[grants.files]

[config]
policy = '''
package docker.authz
allow { input.Method = "GET" }
'''
"#;

fn setup(version: Version, test: &str) -> Result<Option<Setup>> {
    let toml = format!("names = [\"read-only\"]\n{READ_ONLY}");
    let rego = Plugin {
        name: "read-only",
        file: "rego",
        component: files::driver("rego")?,
        toml,
    };
    let Some(setup) = Setup::new(version, test, &[rego])? else {
        return Ok(None);
    };
    setup.engine.up(&["--authorization-plugin=read-only"])?;
    Ok(Some(setup))
}

pub(crate) fn a_read_only_policy_lets_ps_pass_and_denies_run(version: Version) -> Result<()> {
    let Some(setup) = setup(version, "a_read_only_policy_lets_ps_pass_and_denies_run")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    assert!(engine.docker(&["ps"])?.starts_with("CONTAINER ID"));
    engine.docker(&["info"])?;
    for command in [
        &["run", "--rm", "busybox:local", "true"][..],
        &["volume", "create", "v"],
        &["network", "create", "n"],
    ] {
        let refused = engine.docker_fails(command)?;
        assert!(
            refused.contains("authorization denied by plugin read-only"),
            "{command:?}: {refused}"
        );
    }
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?, "");
    setup.down()
}

pub(crate) fn without_the_daemon_the_engine_denies(version: Version) -> Result<()> {
    let Some(mut setup) = setup(version, "without_the_daemon_the_engine_denies")? else {
        return Ok(());
    };
    assert!(setup.engine.docker(&["ps"])?.starts_with("CONTAINER ID"));
    setup.daemon.kill()?;
    let refused = setup.engine.docker_fails(&["ps"])?;
    assert!(refused.contains("read-only"), "{refused}");
    setup.daemon = setup.site.serve()?;
    setup.daemon.wait_plugin("read-only")?;
    assert!(setup.engine.docker(&["ps"])?.starts_with("CONTAINER ID"));
    setup.down()
}
