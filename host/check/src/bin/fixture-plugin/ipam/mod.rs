//! `IpamDriver`.

mod journal;
mod pool;
mod space;

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::plugin::{Context, Reply};
use journal::{Entry, Journal};
use pool::{Pool, Wish};
use space::{FAMILIES, SPACES};

/// The engine's option that marks a gateway.
const TYPE: &str = "RequestAddressType";
/// Its only value.
const GATEWAY: &str = "com.docker.network.gateway";
/// The engine's option for the container's Ethernet address.
const MAC: &str = "com.docker.network.endpoint.macaddress";
/// The plugin's own option: the answer to `RequestPool` names the gateway.
const TELL: &str = "tell-gateway";

/// The methods of the kind.
pub(crate) struct Ipam {
    context: Context,
    state: Mutex<Journal>,
    leak: Mutex<Vec<Vec<u8>>>,
}

impl Ipam {
    pub(crate) fn new(context: Context) -> Result<Self, String> {
        Ok(Self {
            state: Mutex::new(Journal::open(&context.dir.join("ipam.journal"))?),
            leak: Mutex::default(),
            context,
        })
    }

    /// An engine has greeted the plugin: perhaps a new one, which replays.
    pub(crate) fn greeted(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.context.breaks.on("I27") {
            let _ = state.forget();
        }
        if self.replays() {
            let epoch = state.epoch + 1;
            let _ = state.write(Entry::Epoch(epoch));
        }
    }

    pub(crate) fn call(&self, method: &str, request: Option<Value>) -> Reply {
        let done = match method {
            "GetCapabilities" => Ok(self.capabilities()),
            "GetDefaultAddressSpaces" => Ok(self.spaces()),
            "RequestPool" | "ReleasePool" | "RequestAddress" | "ReleaseAddress" => {
                self.change(method, request)
            }
            _ => return Reply::Unknown,
        };
        done.map_or_else(Reply::Failed, Reply::Done)
    }

    fn replays(&self) -> bool {
        self.context.breaks.on("I26") || self.context.has("replay")
    }

    fn needs_mac(&self) -> bool {
        self.context.breaks.on("I25") || self.context.has("mac")
    }

    fn capabilities(&self) -> Value {
        let mac = self.needs_mac();
        let mac = if self.context.breaks.on("I02") {
            json!(mac.to_string())
        } else {
            json!(mac)
        };
        json!({"RequiresMACAddress": mac, "RequiresRequestReplay": self.replays()})
    }

    fn spaces(&self) -> Value {
        let [local, global] = SPACES;
        let global = if self.context.breaks.on("I01") {
            ""
        } else {
            global
        };
        json!({"LocalDefaultAddressSpace": local, "GlobalDefaultAddressSpace": global})
    }

    fn change(&self, method: &str, request: Option<Value>) -> Result<Value, String> {
        let Some(Value::Object(request)) = request else {
            return Err(format!("{method} needs a request"));
        };
        self.backend()?;
        match method {
            "RequestPool" => self.request_pool(&request),
            "ReleasePool" => self.release_pool(&request),
            "RequestAddress" => self.request_address(&request),
            _ => self.release_address(&request),
        }
    }

    /// Waits for the backend, no longer than an engine's user does.
    fn backend(&self) -> Result<(), String> {
        let end = Instant::now() + self.context.patience.seconds(10.0);
        loop {
            match self.context.fault().as_deref() {
                None => return Ok(()),
                Some("hang") if self.context.breaks.on("I33") || Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Some("hang") => return Err("the store of addresses does not answer".into()),
                Some(_) => return Err("the store of addresses fails".into()),
            }
        }
    }

    fn request_pool(&self, request: &Map<String, Value>) -> Result<Value, String> {
        let breaks = &self.context.breaks;
        let space = text(request, "AddressSpace")?;
        if !SPACES.contains(&space) && !breaks.on("I09") {
            return Err(format!("there is no address space {space:?}"));
        }
        let wanted = text(request, "Pool")?;
        let range = text(request, "SubPool")?;
        let six = match request.get("V6") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(six)) => *six,
            Some(other) => return Err(format!("V6 is {other}, and no boolean")),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (net, shown) = if wanted.is_empty() {
            if !range.is_empty() {
                return Err("a SubPool needs a Pool that it lies in".into());
            }
            let [four, other] = FAMILIES;
            let family = if six && !breaks.on("I05") {
                other
            } else {
                four
            };
            let free = space::free(family, state.pools.values().map(Pool::net));
            let net = match free {
                Some(net) => net,
                None if breaks.on("I06") => space::first(family)?,
                None => return Err(format!("no pool is left in {family}")),
            };
            (net, net.to_string())
        } else {
            match space::subnet(wanted) {
                Err(_) if breaks.on("I10") && space::careless(wanted).is_some() => {
                    (space::careless(wanted).ok_or("no pool")?, wanted.to_owned())
                }
                other => {
                    let net = other?;
                    (net, net.to_string())
                }
            }
        };
        let range = if range.is_empty() {
            None
        } else {
            let range = space::subnet(range)?;
            if !net.contains(&range) {
                return Err(format!("the SubPool {range} is outside of the Pool {net}"));
            }
            Some(range)
        };
        let id = match range {
            Some(range) => format!("{space}/{net}/{range}"),
            None => format!("{space}/{net}"),
        };
        let known = state.pools.get(&id).cloned();
        let repeated = breaks.on("I06") && wanted.is_empty();
        if known.is_none() && !repeated {
            let other = state
                .pools
                .values()
                .find(|pool| pool.space == space && pool.overlaps(net, breaks.on("I08")));
            if let Some(other) = other {
                return Err(format!(
                    "{net} overlaps with {}, which is held",
                    other.net()
                ));
            }
        }
        let epoch = state.epoch;
        let mut pool = known.unwrap_or_else(|| Pool::new(space, net, range, epoch));
        if self.replays() && pool.epoch < epoch {
            pool.networks = 1;
            pool.epoch = epoch;
        } else {
            pool.networks += 1;
        }
        let mut data = Map::new();
        if breaks.on("I03") {
            data.insert("mtu".into(), json!(1500));
        }
        if options(request)?.contains_key(TELL) {
            let gateway = match pool.told {
                Some(gateway) => gateway,
                None => pool
                    .choose(pool.last, false)
                    .ok_or_else(|| pool.exhausted())?,
            };
            pool.told = Some(gateway);
            data.insert(GATEWAY.into(), json!(pool.cidr(gateway)));
        }
        let (told, epoch) = (pool.told, pool.epoch);
        state.write(Entry::Pool(id.clone(), Box::new(pool)))?;
        if let Some(gateway) = told {
            state.write(Entry::Held(id.clone(), gateway, epoch))?;
        }
        Ok(json!({"PoolID": id, "Pool": shown, "Data": data}))
    }

    fn release_pool(&self, request: &Map<String, Value>) -> Result<Value, String> {
        let id = needed(request, "PoolID")?;
        let breaks = &self.context.breaks;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pool) = state.pools.get(id) else {
            return if breaks.on("I20") {
                Err(format!("there is no pool {id:?}"))
            } else {
                Ok(json!({}))
            };
        };
        if pool.networks > 1 && !breaks.on("I04") {
            let mut pool = pool.clone();
            pool.networks -= 1;
            if breaks.on("I32") {
                pool.forget();
            }
            state.write(Entry::Pool(id.to_owned(), Box::new(pool)))?;
        } else {
            state.write(Entry::Gone(id.to_owned()))?;
        }
        Ok(json!({}))
    }

    fn request_address(&self, request: &Map<String, Value>) -> Result<Value, String> {
        let breaks = &self.context.breaks;
        let id = needed(request, "PoolID")?;
        let options = options(request)?;
        let wanted = text(request, "Address")?;
        let gateway = options.get(TYPE).and_then(Value::as_str) == Some(GATEWAY);
        if self.needs_mac()
            && !breaks.on("I25")
            && wanted.is_empty()
            && !gateway
            && !options.contains_key(MAC)
        {
            return Err(format!("the option {MAC} is missing"));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = state.epoch;
        let Some(pool) = state.pools.get(id) else {
            return match space::of_id(id).filter(|_| breaks.on("I21")) {
                Some(net) => Ok(json!({"Address": net.to_string(), "Data": {}})),
                None => Err(format!("there is no pool {id:?}")),
            };
        };
        let chosen = if wanted.is_empty() {
            self.chosen(pool)
        } else {
            let wish = Wish {
                text: wanted,
                gateway,
                epoch: (self.replays() && !breaks.on("I26")).then_some(epoch),
            };
            pool.wanted(&wish, breaks)
        };
        let (prefix, beside) = (
            pool.net().prefix_len(),
            chosen
                .as_ref()
                .is_ok_and(|address| !pool.range().contains(address)),
        );
        let address = match chosen {
            Ok(address) => address,
            Err(error) => {
                if breaks.on("I30") {
                    let mut pool = pool.clone();
                    pool.networks += 1;
                    state.write(Entry::Pool(id.to_owned(), Box::new(pool)))?;
                }
                return Err(error);
            }
        };
        if breaks.on("I17") && wanted.is_empty() {
            drop(state);
            std::thread::sleep(Duration::from_millis(1));
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        }
        let unheld = (breaks.on("I13") && gateway && !wanted.is_empty())
            || (breaks.on("I14") && !gateway && beside)
            || (breaks.on("I24") && wanted.contains(char::is_uppercase));
        if breaks.on("I28") {
            state.apply(Entry::Held(id.to_owned(), address, epoch));
        } else if breaks.on("I29") && wanted.is_empty() && prefix <= 28 {
            return self
                .stocked(&mut state, id)
                .map(|address| json!({"Address": format!("{address}/{prefix}")}));
        } else if !unheld {
            state.write(Entry::Held(id.to_owned(), address, epoch))?;
        }
        if breaks.on("I23") && address.is_ipv6() {
            let mut leak = self.leak.lock().unwrap_or_else(PoisonError::into_inner);
            leak.push(vec![1; 128 << 10]);
        }
        let prefix = if breaks.on("I11") {
            IpNet::from(address).prefix_len()
        } else {
            prefix
        };
        Ok(json!({"Address": format!("{address}/{prefix}"), "Data": {}}))
    }

    /// The next free address.
    fn chosen(&self, pool: &Pool) -> Result<IpAddr, String> {
        let breaks = &self.context.breaks;
        if (breaks.on("I15") && pool.ended()) || (breaks.on("I16") && pool.net().prefix_len() == 31)
        {
            return Err(pool.exhausted());
        }
        let since = pool.last.filter(|_| !breaks.on("I22"));
        pool.choose(since, breaks.on("I07"))
            .ok_or_else(|| pool.exhausted())
    }

    /// An address of those that were taken from the store before they were asked for, some at a time. They are forgotten with
    /// the process.
    fn stocked(&self, state: &mut Journal, id: &str) -> Result<IpAddr, String> {
        if let Some(address) = state.ahead.pop_front_of(id) {
            return Ok(address);
        }
        let mut stock = Vec::new();
        for _ in 0..4 {
            let Some(pool) = state.pools.get(id) else {
                break;
            };
            let Some(address) = pool.choose(pool.last, false) else {
                break;
            };
            let epoch = state.epoch;
            state.write(Entry::Held(id.to_owned(), address, epoch))?;
            stock.push(address);
        }
        let mut stock = stock.into_iter();
        let first = stock.next().ok_or("no address is left")?;
        for address in stock {
            state.ahead.push(id, address);
        }
        Ok(first)
    }

    fn release_address(&self, request: &Map<String, Value>) -> Result<Value, String> {
        let breaks = &self.context.breaks;
        let id = needed(request, "PoolID")?;
        let address = text(request, "Address")?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pool) = state.pools.get(id) else {
            return Ok(json!({}));
        };
        if address.is_empty() {
            if breaks.on("I18") {
                let mut pool = pool.clone();
                pool.forget();
                state.write(Entry::Pool(id.to_owned(), Box::new(pool)))?;
            }
            return Ok(json!({}));
        }
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{address:?} is no address"))?;
        if breaks.on("I19") && pool.told == Some(address) {
            return Err(format!("{address} was given to nobody"));
        }
        if pool.holds(address) {
            state.write(Entry::Freed(id.to_owned(), address))?;
        }
        Ok(json!({}))
    }
}

/// A text field; absent and `null` are empty.
fn text<'a>(request: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match request.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{key} is {other}, and no text")),
    }
}

fn needed<'a>(request: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match text(request, key)? {
        "" => Err(format!("{key} is missing")),
        text => Ok(text),
    }
}

fn options(request: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    match request.get("Options") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(options)) => Ok(options.clone()),
        Some(other) => Err(format!("Options is {other}, and no object")),
    }
}
