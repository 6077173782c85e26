//! Lives of networks with the driver `mesh`, chosen at random and compared with a model: what Docker would send, without an engine.
//!
//! Bar: after every life the links, the published ports and the addresses are those of the model, also after `kill -9` of the daemon, and
//! at the end nothing is left on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dockside_tests::bar::{Arguments, verdict};
use dockside_tests::client::{Answer, Caller};
use dockside_tests::daemon::Daemon;
use dockside_tests::files;
use dockside_tests::world::{Program, World};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

const USAGE: &str = "\
network-lifecycles: random lives of networks against a model
  --lives N   networks that are made and removed (1000)
  --alive N   most networks at once (8)
  --kills N   kill -9 of the daemon, between lives (20)
  --seed N    of the random numbers (1)";

const PLUGIN: &str = "mesh";

/// Two hosts; the other one is not there. TEST-NET-3 of RFC 5737.
const HOSTS: &str = "peers = \"203.0.113.1,203.0.113.2\"\naddress = \"203.0.113.1\"\n";

/// Ports of the machine that containers want, few enough that they get in each other's way.
const PORTS: std::ops::Range<u16> = 20_000..20_020;

#[derive(Debug)]
struct Network {
    pool: String,
    subnet: String,
    gateway: String,
    is_shared: bool,
    endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Debug)]
struct Endpoint {
    address: String,
    port: Option<u16>,
}

/// What should be there.
struct Model {
    random: StdRng,
    networks: BTreeMap<String, Network>,
    /// The second and third number of the next subnet.
    next: u32,
    divergences: Vec<String>,
    calls: u64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read(USAGE)?;
    let lives = arguments.number("--lives", 1000)?;
    let alive = arguments.number("--alive", 8)?;
    let kills = arguments.number("--kills", 20)?;
    let seed = arguments.number("--seed", 1)?;
    let Some(world) = World::new("network-lifecycles")? else {
        return Ok(ExitCode::SUCCESS);
    };
    let shipped = std::fs::read_to_string(files::workspace().join("guests/mesh/mesh.toml"))?;
    let settings = shipped.replacen("[config]\n", &format!("[config]\n{HOSTS}"), 1);
    world.site.configure(PLUGIN, &settings)?;
    world.site.drop_in(&files::driver(PLUGIN)?, PLUGIN)?;
    let mut daemon = serve(&world)?;
    let before = world.snapshot()?;

    let mut model = Model {
        random: StdRng::seed_from_u64(seed),
        networks: BTreeMap::new(),
        next: 0,
        divergences: Vec::new(),
        calls: 0,
    };
    let started = Instant::now();
    let mut caller = world.site.caller(PLUGIN);
    let (mut ended, mut killed) = (0, 0);
    while ended < lives {
        let crowd = model.networks.len() as u64;
        if crowd < alive && (crowd == 0 || model.random.random_bool(0.5)) {
            model.make(&mut caller)?;
        }
        for _ in 0..model.random.random_range(0..5) {
            model.change(&mut caller)?;
        }
        if model.random.random_bool(0.5) {
            model.end(&mut caller)?;
            ended += 1;
            model.compare(&world)?;
        }
        if killed < kills && ended * kills >= lives * (killed + 1) {
            killed += 1;
            daemon.kill()?;
            daemon = serve(&world)?;
            caller = world.site.caller(PLUGIN);
            model.compare(&world)?;
        }
    }
    while !model.networks.is_empty() {
        model.end(&mut caller)?;
    }
    model.compare(&world)?;
    let links = world.run("ip -o link show | grep -c ': dk' || :")?;
    let left = before.difference(&world.settled()?);
    if !left.is_empty() {
        model.divergences.push(format!("left at the end:\n{left}"));
    }
    for line in model.divergences.iter().take(20) {
        eprintln!("{line}");
    }
    let figures = format!(
        "{lives} lives of networks and {killed} kills in {:.1?}, {} calls: {} divergences, {} links left",
        started.elapsed(),
        model.calls,
        model.divergences.len(),
        links.trim(),
    );
    let is_met = model.divergences.is_empty() && links.trim() == "0";
    Ok(verdict("network-lifecycles", is_met, &figures))
}

fn serve(world: &World) -> Result<Daemon> {
    let daemon = world.serve(Program::Plain)?;
    daemon.wait_plugin(PLUGIN)?;
    Ok(daemon)
}

impl Model {
    fn id(&mut self) -> String {
        format!("{:064x}", self.random.random::<u128>())
    }

    fn ask(&mut self, caller: &mut Caller, method: &str, body: &Value) -> Result<Answer> {
        self.calls += 1;
        Ok(caller.call_once(method, body)?)
    }

    /// A call that has to succeed.
    fn call(&mut self, caller: &mut Caller, method: &str, body: &Value) -> Result<Answer> {
        let answer = self.ask(caller, method, body)?;
        ensure!(answer.is_success(), "{method} {body}: {answer:?}");
        Ok(answer)
    }

    fn any_network(&mut self) -> Option<String> {
        let at = self.random.random_range(0..self.networks.len().max(1));
        self.networks.keys().nth(at).cloned()
    }

    /// The address that IPAM gives, without its prefix. No other has it.
    fn address(&mut self, caller: &mut Caller, pool: &str, gateway: bool) -> Result<String> {
        let options = if gateway {
            json!({ "RequestAddressType": "com.docker.network.gateway" })
        } else {
            Value::Null
        };
        let body = json!({ "PoolID": pool, "Address": "", "Options": options });
        let answer = self.call(caller, "IpamDriver.RequestAddress", &body)?;
        let given = answer
            .at("/Address")
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let networks = self.networks.values();
        let taken = networks.flat_map(|network| {
            let endpoints = network.endpoints.values();
            let addresses = endpoints.map(|endpoint| &endpoint.address);
            addresses.chain([&network.gateway])
        });
        if taken.into_iter().any(|other| *other == given) {
            self.divergences.push(format!("{given} is given twice"));
        }
        Ok(given)
    }

    fn make(&mut self, caller: &mut Caller) -> Result<()> {
        let id = self.id();
        let is_shared = self.random.random_bool(0.6);
        self.next += 1;
        let subnet = format!(
            "10.{}.{}.0/24",
            100 + self.next / 250 % 100,
            self.next % 250
        );
        let mut options = Map::new();
        if !is_shared {
            options.insert("peers".into(), json!("none"));
        }
        let ipam = options.clone();
        if self.random.random_bool(0.3) {
            options.insert("com.docker.network.driver.mtu".into(), json!("1400"));
        }
        let body = json!({ "AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": ipam, "V6": false });
        let given = self.call(caller, "IpamDriver.RequestPool", &body)?;
        let pool = given.at("/PoolID").as_str().unwrap_or_default().to_owned();
        let gateway = self.address(caller, &pool, true)?;
        let mut all = Map::new();
        all.insert("com.docker.network.generic".into(), options.into());
        all.insert("com.docker.network.enable_ipv6".into(), json!(false));
        if self.random.random_bool(0.2) {
            all.insert("com.docker.network.internal".into(), json!(true));
        }
        let data = json!([{ "AddressSpace": "local", "Pool": subnet, "Gateway": gateway }]);
        let body = json!({ "NetworkID": id, "Options": all, "IPv4Data": data, "IPv6Data": [] });
        self.call(caller, "NetworkDriver.CreateNetwork", &body)?;
        let network = Network {
            pool,
            subnet,
            gateway,
            is_shared,
            endpoints: BTreeMap::new(),
        };
        self.networks.insert(id, network);
        Ok(())
    }

    /// A container comes or goes.
    fn change(&mut self, caller: &mut Caller) -> Result<()> {
        let Some(id) = self.any_network() else {
            return Ok(());
        };
        let goes = self.random.random_bool(0.35);
        let oldest = self
            .networks
            .get(&id)
            .and_then(|network| network.endpoints.keys().next());
        match oldest.cloned() {
            Some(endpoint) if goes => self.leave(caller, &id, &endpoint),
            _ => self.join(caller, &id),
        }
    }

    fn join(&mut self, caller: &mut Caller, id: &str) -> Result<()> {
        let endpoint = self.id();
        let pool = self.networks.get(id).context("no network")?.pool.clone();
        let address = self.address(caller, &pool, false)?;
        let wanted = self
            .random
            .random_bool(0.4)
            .then(|| self.random.random_range(PORTS));
        let map: Vec<Value> = wanted
            .iter()
            .map(|port| json!({ "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": port, "HostPortEnd": port }))
            .collect();
        let options = json!({ "com.docker.network.portmap": map, "com.docker.network.endpoint.exposedports": [] });
        let of = json!({ "NetworkID": id, "EndpointID": endpoint, "Options": options });
        let with = |more: Value| {
            let mut body = of.clone();
            if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
                body.extend(more.clone());
            }
            body
        };
        let interface = json!({ "Address": address, "AddressIPv6": "", "MacAddress": "" });
        let body = with(json!({ "Interface": interface }));
        self.call(caller, "NetworkDriver.CreateEndpoint", &body)?;
        self.call(
            caller,
            "NetworkDriver.Join",
            &with(json!({ "SandboxKey": "/sandbox" })),
        )?;
        let taken = wanted.is_some_and(|port| self.ports().contains(&port));
        let answer = self.ask(caller, "NetworkDriver.ProgramExternalConnectivity", &of)?;
        if answer.is_success() == taken {
            self.divergences
                .push(format!("port {wanted:?}, taken {taken}: {answer:?}"));
        }
        let port = wanted.filter(|_| answer.is_success());
        let known = Endpoint { address, port };
        let network = self.networks.get_mut(id).context("no network")?;
        network.endpoints.insert(endpoint.clone(), known);
        if !answer.is_success() {
            // As an engine does after such a failure.
            self.leave(caller, id, &endpoint)?;
        }
        Ok(())
    }

    fn leave(&mut self, caller: &mut Caller, id: &str, endpoint: &str) -> Result<()> {
        let network = self.networks.get_mut(id).context("no network")?;
        let pool = network.pool.clone();
        let gone = network.endpoints.remove(endpoint).context("no endpoint")?;
        let body = json!({ "NetworkID": id, "EndpointID": endpoint });
        for method in ["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"] {
            self.call(caller, &format!("NetworkDriver.{method}"), &body)?;
        }
        self.release(caller, &pool, &gone.address)
    }

    fn release(&mut self, caller: &mut Caller, pool: &str, address: &str) -> Result<()> {
        let address = address.split('/').next().unwrap_or_default();
        let body = json!({ "PoolID": pool, "Address": address });
        self.call(caller, "IpamDriver.ReleaseAddress", &body)
            .map(drop)
    }

    /// A network is removed; sometimes with endpoints on it, as by an engine that forgot them.
    fn end(&mut self, caller: &mut Caller) -> Result<()> {
        let Some(id) = self.any_network() else {
            return Ok(());
        };
        let network = self.networks.get(&id).context("no network")?;
        let endpoints: Vec<String> = network.endpoints.keys().cloned().collect();
        if self.random.random_bool(0.8) {
            for endpoint in endpoints {
                self.leave(caller, &id, &endpoint)?;
            }
        }
        let network = self.networks.remove(&id).context("no network")?;
        self.release(caller, &network.pool, &network.gateway)?;
        let pool = json!({ "PoolID": network.pool });
        self.call(caller, "IpamDriver.ReleasePool", &pool)?;
        self.call(
            caller,
            "NetworkDriver.DeleteNetwork",
            &json!({ "NetworkID": id }),
        )?;
        Ok(())
    }

    fn ports(&self) -> BTreeSet<u16> {
        let endpoints = self
            .networks
            .values()
            .flat_map(|one| one.endpoints.values());
        endpoints.filter_map(|endpoint| endpoint.port).collect()
    }

    /// What is on the machine against what should be.
    fn compare(&mut self, world: &World) -> Result<()> {
        // What a call ends goes behind its answer.
        world.settled()?;
        let count = |kind: &str| format!("ip -o link show type {kind} | grep -c ': dk' || :");
        let endpoints: usize = self.networks.values().map(|one| one.endpoints.len()).sum();
        let shared = self.networks.values().filter(|one| one.is_shared).count();
        let mut published: Vec<u16> = world
            .run("nft list map inet dockside any4 2>/dev/null | grep -o 'tcp \\. [0-9]*' | grep -o '[0-9]*$' || :")?
            .lines()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        published.sort_unstable();
        let wanted: Vec<u16> = self.ports().into_iter().collect();
        let mut checks = vec![("ports", format!("{published:?}"), format!("{wanted:?}"))];
        for (kind, expected) in [
            ("bridge", self.networks.len()),
            ("veth", 2 * endpoints),
            ("vxlan", shared),
        ] {
            let found = world.run(&count(kind))?;
            checks.push((kind, found.trim().to_owned(), expected.to_string()));
        }
        let mut gateways: Vec<String> = world
            .run("ip -4 -o addr show | grep ': dk' | awk '{print $4}' || :")?
            .lines()
            .map(str::to_owned)
            .collect();
        gateways.sort_unstable();
        let mut expected: Vec<String> = self
            .networks
            .values()
            .map(|one| one.gateway.clone())
            .collect();
        expected.sort_unstable();
        checks.push(("gateways", gateways.join(" "), expected.join(" ")));
        for (what, found, expected) in checks {
            if found != expected {
                let subnets: Vec<&String> = self.networks.values().map(|one| &one.subnet).collect();
                self.divergences.push(format!(
                    "{what}: {found} in place of {expected}, with {subnets:?}"
                ));
            }
        }
        Ok(())
    }
}
