//! Addresses by the driver `pool`.

use std::collections::BTreeSet;
use std::thread;

use anyhow::Result;
use dockside_tests::client::Caller;
use serde_json::{Value, json};

use crate::{ok, refused, with_driver};

fn pool(caller: &mut Caller, subnet: &str) -> Result<Value> {
    let body = json!({ "AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": {}, "V6": false });
    Ok(ok(caller, "IpamDriver.RequestPool", body)?.at("/PoolID"))
}

fn address(pool: &Value, wish: &str) -> Value {
    json!({ "PoolID": pool, "Address": wish, "Options": null })
}

#[test]
fn no_address_is_given_twice_to_64_clients() -> Result<()> {
    let (site, _daemon) = with_driver("pool", "")?;
    let pool = pool(&mut site.caller("pool"), "10.77.0.0/23")?;
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let (mut caller, pool) = (site.caller("pool"), pool.clone());
            thread::spawn(move || -> Result<Vec<String>> {
                let mut given = Vec::new();
                loop {
                    let answer = caller.call("IpamDriver.RequestAddress", &address(&pool, ""))?;
                    if !answer.is_success() {
                        return Ok(given);
                    }
                    given.push(
                        answer
                            .at("/Address")
                            .as_str()
                            .unwrap_or_default()
                            .to_owned(),
                    );
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.join().unwrap()?);
    }
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (510, 510));
    Ok(())
}

#[test]
fn an_address_that_was_given_is_held_after_a_kill() -> Result<()> {
    let (site, mut daemon) = with_driver("pool", "")?;
    let mut caller = site.caller("pool");
    let pool = pool(&mut caller, "10.78.0.0/24")?;
    ok(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "10.78.0.7"),
    )?;
    daemon.kill()?;
    let daemon = site.serve()?;
    daemon.wait_plugin("pool")?;
    let mut caller = site.caller("pool");
    let text = refused(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "10.78.0.7"),
    )?;
    assert!(text.contains("10.78.0.7"), "{text}");
    for _ in 0..2 {
        ok(
            &mut caller,
            "IpamDriver.ReleaseAddress",
            json!({ "PoolID": pool, "Address": "10.78.0.7" }),
        )?;
    }
    ok(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "10.78.0.7"),
    )?;
    Ok(())
}

#[test]
fn pools_that_the_driver_chooses_never_overlap() -> Result<()> {
    let (site, _daemon) = with_driver("pool", "")?;
    let mut caller = site.caller("pool");
    for v6 in [false, true] {
        let mut pools = BTreeSet::new();
        for _ in 0..20 {
            let body = json!({ "AddressSpace": "local", "Pool": "", "SubPool": "", "Options": null, "V6": v6 });
            let given = ok(&mut caller, "IpamDriver.RequestPool", body)?.at("/Pool");
            let given = given.as_str().unwrap().to_owned();
            assert_eq!(given.contains(':'), v6);
            // All have one size, so different ones do not overlap.
            assert!(pools.insert(given));
        }
    }
    refused(
        &mut caller,
        "IpamDriver.RequestPool",
        json!({ "AddressSpace": "local", "Pool": "10.0.0.0/33" }),
    )?;
    Ok(())
}
