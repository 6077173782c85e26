//! A daemon serves a project's driver, and each kind is asked what an engine asks.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use base64::Engine as _;
use dockside_tests::client::{Answer, Caller};
use dockside_tests::daemon::Site;
use dockside_tests::files;
use serde_json::{Value, json};

use crate::project::{NAME, Project};

/// Serves the driver as its README says, and drives each of its kinds.
pub(crate) fn drive(project: &Project) -> Result<()> {
    let site = Site::new()?;
    site.configure(NAME, &project.grants()?)?;
    site.drop_in(&project.component(), NAME)?;
    let is_root = rustix::process::geteuid().is_root();
    let mut daemon = if is_root {
        // Its links end with it.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--"])
            .arg(files::daemon()?);
        site.spawn_as(command, &[])?
    } else {
        site.spawn(&[])?
    };
    daemon.wait_ready()?;
    daemon.wait_plugin(NAME)?;
    let mut caller = site.caller(NAME);
    for kind in &project.kinds {
        let driven = match *kind {
            "volume" => volume(&mut caller),
            "network" if is_root => network(&mut caller),
            "network" => Ok(()),
            "ipam" => ipam(&mut caller),
            _ => authz(&mut caller),
        };
        driven.map_err(|error| error.context(format!("{kind}; {}", daemon.log_end())))?;
    }
    ensure!(daemon.terminate()?.success(), "{}", daemon.log_end());
    Ok(())
}

fn ok(caller: &mut Caller, method: &str, body: Value) -> Result<Answer> {
    let answer = caller.call(method, &body)?;
    ensure!(
        answer.is_success(),
        "{method} {body}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(answer)
}

/// A call that must be refused in words.
fn refused(caller: &mut Caller, method: &str, body: Value) -> Result<String> {
    let answer = caller.call(method, &body)?;
    let text = answer.err();
    ensure!(
        answer.status >= 400 && !text.is_empty() && !text.contains("crashed"),
        "{method} {body}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(text)
}

fn volume(caller: &mut Caller) -> Result<()> {
    let name = "a/../ö 'v'";
    let create = json!({ "Name": name, "Opts": { "mode": "0750" } });
    ok(caller, "VolumeDriver.Create", create.clone())?;
    ok(caller, "VolumeDriver.Create", create)?;
    refused(
        caller,
        "VolumeDriver.Create",
        json!({ "Name": name, "Opts": { "mode": "0700" } }),
    )?;
    let text = refused(
        caller,
        "VolumeDriver.Create",
        json!({ "Name": "other", "Opts": { "colour": "red" } }),
    )?;
    ensure!(text.contains("colour"), "{text}");
    let use_ = json!({ "Name": name, "ID": "one" });
    let mounted = ok(caller, "VolumeDriver.Mount", use_.clone())?.at("/Mountpoint");
    let place = Path::new(mounted.as_str().unwrap());
    fs::write(place.join("file"), "kept")?;
    let seen = ok(caller, "VolumeDriver.Get", json!({ "Name": name }))?;
    ensure!(seen.at("/Volume/Name") == name, "{seen:?}");
    ensure!(
        ok(caller, "VolumeDriver.Path", json!({ "Name": name }))?.at("/Mountpoint") == mounted,
        "another path"
    );
    ok(caller, "VolumeDriver.Unmount", use_.clone())?;
    let again = ok(caller, "VolumeDriver.Mount", use_.clone())?.at("/Mountpoint");
    ensure!(fs::read_to_string(Path::new(again.as_str().unwrap()).join("file"))? == "kept");
    ok(caller, "VolumeDriver.Unmount", use_)?;
    let listed = ok(caller, "VolumeDriver.List", json!({}))?;
    ensure!(listed.at("/Volumes/0/Name") == name, "{listed:?}");
    for _ in 0..2 {
        ok(caller, "VolumeDriver.Remove", json!({ "Name": name }))?;
    }
    refused(caller, "VolumeDriver.Get", json!({ "Name": name }))?;
    let listed = ok(caller, "VolumeDriver.List", json!({}))?;
    ensure!(listed.at("/Volumes") == json!([]), "{listed:?}");
    Ok(())
}

fn network(caller: &mut Caller) -> Result<()> {
    let data =
        json!([{ "AddressSpace": "local", "Pool": "10.1.0.0/24", "Gateway": "10.1.0.1/24" }]);
    let create = json!({ "NetworkID": "net", "Options": {}, "IPv4Data": data, "IPv6Data": [] });
    ok(caller, "NetworkDriver.CreateNetwork", create.clone())?;
    ok(caller, "NetworkDriver.CreateNetwork", create)?;
    let of = |endpoint: &str| json!({ "NetworkID": "net", "EndpointID": endpoint });
    let mut endpoint = of("end");
    endpoint["Interface"] =
        json!({ "Address": "10.1.0.2/24", "AddressIPv6": "", "MacAddress": "" });
    let made = ok(caller, "NetworkDriver.CreateEndpoint", endpoint.clone())?;
    ensure!(made.at("/Interface/MacAddress").is_string(), "{made:?}");
    ok(caller, "NetworkDriver.CreateEndpoint", endpoint.clone())?;
    endpoint["Interface"]["Address"] = "10.1.0.3/24".into();
    refused(caller, "NetworkDriver.CreateEndpoint", endpoint)?;
    let mut join = of("end");
    join["SandboxKey"] = "/sandbox".into();
    let joined = ok(caller, "NetworkDriver.Join", join)?;
    let link = joined.at("/InterfaceName/SrcName");
    ensure!(
        link.as_str().is_some_and(|link| link.starts_with("dk")),
        "{joined:?}"
    );
    ensure!(joined.at("/Gateway") == "10.1.0.1", "{joined:?}");
    ok(caller, "NetworkDriver.EndpointOperInfo", of("end"))?;
    refused(caller, "NetworkDriver.EndpointOperInfo", of("other"))?;
    ok(caller, "NetworkDriver.Leave", of("end"))?;
    ok(caller, "NetworkDriver.DeleteEndpoint", of("end"))?;
    for _ in 0..2 {
        ok(
            caller,
            "NetworkDriver.DeleteNetwork",
            json!({ "NetworkID": "net" }),
        )?;
    }
    Ok(())
}

fn ipam(caller: &mut Caller) -> Result<()> {
    let wish =
        json!({ "AddressSpace": "local", "Pool": "10.2.0.0/29", "SubPool": "", "V6": false });
    let pool = ok(caller, "IpamDriver.RequestPool", wish.clone())?.at("/PoolID");
    ensure!(ok(caller, "IpamDriver.RequestPool", wish)?.at("/PoolID") == pool);
    let ask = |address: &str| json!({ "PoolID": pool, "Address": address });
    for number in 1..=6 {
        let given = ok(caller, "IpamDriver.RequestAddress", ask(""))?.at("/Address");
        ensure!(given == format!("10.2.0.{number}/29"), "{given}");
    }
    refused(caller, "IpamDriver.RequestAddress", ask(""))?;
    ok(caller, "IpamDriver.ReleaseAddress", ask("10.2.0.3"))?;
    refused(caller, "IpamDriver.RequestAddress", ask("10.2.0.4"))?;
    let given = ok(caller, "IpamDriver.RequestAddress", ask("10.2.0.3"))?.at("/Address");
    ensure!(given == "10.2.0.3/29", "{given}");
    for ipv6 in [false, true] {
        let wish = json!({ "AddressSpace": "local", "Pool": "", "SubPool": "", "V6": ipv6 });
        let one = ok(caller, "IpamDriver.RequestPool", wish.clone())?;
        let other = ok(caller, "IpamDriver.RequestPool", wish)?;
        ensure!(one.at("/Pool") != other.at("/Pool"), "{one:?} twice");
    }
    for _ in 0..2 {
        ok(caller, "IpamDriver.ReleasePool", json!({ "PoolID": pool }))?;
    }
    refused(caller, "IpamDriver.RequestAddress", ask("")).map(drop)
}

fn authz(caller: &mut Caller) -> Result<()> {
    let mut judge = |method: &str, path: &str, body: Option<Value>| -> Result<(bool, String)> {
        let mut request = json!({ "User": "", "RequestMethod": method, "RequestUri": path });
        if let Some(body) = body {
            let text = body.to_string();
            request["RequestHeaders"] = json!({ "Content-Type": "application/json", "Content-Length": text.len().to_string() });
            request["RequestBody"] = base64::engine::general_purpose::STANDARD
                .encode(text)
                .into();
        }
        let answer = ok(caller, "AuthZPlugin.AuthZReq", request)?;
        let said = answer.at("/Msg").as_str().unwrap_or_default().to_owned();
        Ok((answer.at("/Allow") == true, said))
    };
    let create = "/v1.41/containers/create";
    ensure!(judge("GET", "/v1.41/info", None)?.0);
    ensure!(judge("POST", create, Some(json!({ "Image": "busybox" })))?.0);
    for host in [
        json!({ "Privileged": true }),
        json!({ "Binds": ["/:/host"] }),
    ] {
        let (allowed, said) = judge("POST", create, Some(json!({ "HostConfig": host })))?;
        ensure!(
            !allowed && !said.is_empty() && !said.contains("crashed"),
            "{host}: {said}"
        );
    }
    let (allowed, said) = judge("POST", create, None)?;
    ensure!(!allowed && !said.is_empty(), "without a body: {said}");
    Ok(())
}
