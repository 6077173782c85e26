//! `dockside:host/nat`.

use std::net::IpAddr;

use ipnet::IpNet;
use parking_lot::Mutex;
use tracing::Level;

use super::held::{Answer, answered, error};
use crate::ledger::{self, Effect, Kind};
use crate::machine::nat::{self as machine, Family, RuleSet};
use crate::protocol::address::{ip_from_guest, subnet_from_guest};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::addresses::Transport;
use crate::sandbox::bindings::effects::nat::{Host, Publish, Rule};
use crate::sandbox::bindings::machine::{Error, ErrorCode};

impl Host for CallContext {
    async fn apply(&mut self, key: String, rules: Vec<Rule>) -> wasmtime::Result<Answer<Vec<u16>>> {
        answered(self.apply_rules(&key, rules).await)
    }

    async fn remove(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        let removed = match self.end(Kind::Rules, &key) {
            Err(Error {
                code: ErrorCode::NotFound,
                ..
            }) => Ok(()),
            result => result,
        };
        answered(removed)
    }

    async fn list_keys(&mut self) -> wasmtime::Result<Vec<String>> {
        let held = self.all(Kind::Rules).unwrap_or_default();
        answered(held.into_iter().map(|(key, _)| key).collect())
    }
}

impl CallContext {
    async fn apply_rules(&mut self, key: &str, rules: Vec<Rule>) -> Answer<Vec<u16>> {
        self.free(Kind::Rules, key)?;
        let mut held = 0;
        let mut taken = Vec::new();
        for (_, object) in self.all(Kind::Rules)? {
            if let Effect::Rules(set) = ledger::decode(&object.record)? {
                held += set.rules.len() as u64;
                taken.extend(set.rules.iter().filter_map(published));
            }
        }
        let mut ports = Vec::new();
        let mut made = Vec::with_capacity(rules.len());
        for rule in rules {
            self.granted(|grants| grants.nat()?.may_add(held))?;
            held += 1;
            made.push(match rule {
                Rule::Masquerade(rule) => {
                    self.granted(|grants| grants.nat()?.may_masquerade())?;
                    machine::Rule::Masquerade {
                        source: subnet_from_guest(rule.source).map_err(invalid)?,
                        link: self.named(&rule.link)?,
                    }
                }
                Rule::Forward(link) => {
                    self.granted(|grants| grants.nat()?.may_forward())?;
                    machine::Rule::Forward {
                        link: self.named(&link)?,
                        routed: false,
                    }
                }
                Rule::Internal(link) => machine::Rule::Internal {
                    link: self.named(&link)?,
                },
                Rule::Isolate(link) => machine::Rule::Isolate {
                    link: self.named(&link)?,
                },
                Rule::Publish(rule) => {
                    let rule = self.publish(rule, &taken).await?;
                    taken.extend(published(&rule));
                    if let machine::Rule::Publish { host_port, .. } = &rule {
                        ports.push(*host_port);
                    }
                    rule
                }
            });
        }
        let mut families = Vec::new();
        for rule in &made {
            families.extend(self.forwarded(rule)?);
        }
        self.turn_on_forwarding(&families).await?;
        let id = ledger::mint();
        let set = RuleSet {
            id: id.clone(),
            rules: made,
        };
        self.hold(Kind::Rules, key, &id, Effect::Rules(set)).await?;
        Ok(ports)
    }

    /// The families whose packets have to be forwarded for a rule.
    fn forwarded(&mut self, rule: &machine::Rule) -> Answer<Vec<Family>> {
        Ok(match rule {
            machine::Rule::Masquerade { source, .. } => vec![family(source.addr())],
            machine::Rule::Forward { link, .. } => {
                let subnets = self.subnets_of(link)?;
                subnets.iter().map(|net| family(net.addr())).collect()
            }
            _ => Vec::new(),
        })
    }

    async fn turn_on_forwarding(&mut self, families: &[Family]) -> Answer<()> {
        for family in [Family::Ipv4, Family::Ipv6] {
            if !families.contains(&family) {
                continue;
            }
            if !self.of_engine {
                WANTED.lock().push(family);
                continue;
            }
            if ledger::blocking(move || machine::turn_on_forwarding(family)).await? {
                self.log.host(Level::INFO, &turned_on(family));
            }
        }
        Ok(())
    }

    /// The subnets that are behind a link of the plugin's, by the link's name: those of its addresses, and those that are routed to it.
    fn subnets_of(&mut self, name: &str) -> Answer<Vec<IpNet>> {
        for (_, object) in self.all(Kind::Link)? {
            if let Effect::Link(link) = ledger::decode(&object.record)?
                && link.name == name
            {
                let routes = link.routes.iter().map(|route| route.destination);
                let own = link.addresses.iter().map(IpNet::trunc);
                return Ok(own.chain(routes).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Whether an address can be behind a link. What is not would lead to any machine that this one reaches.
    fn leads_to(&mut self, name: &str, address: IpAddr) -> Answer<()> {
        let subnets = self.subnets_of(name)?;
        if subnets.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        let known: Vec<String> = subnets.iter().map(ToString::to_string).collect();
        Err(error(
            ErrorCode::Invalid,
            if known.is_empty() {
                format!(
                    "{address} cannot be published: the link has neither an address nor a route that leads there"
                )
            } else {
                format!(
                    "{address} cannot be published: it is in no subnet of the link, which has {}",
                    known.join(", ")
                )
            },
        ))
    }

    async fn publish(&mut self, rule: Publish, taken: &[Published]) -> Answer<machine::Rule> {
        let transport = match rule.transport {
            Transport::Tcp => machine::Transport::Tcp,
            Transport::Udp => machine::Transport::Udp,
            Transport::Sctp => machine::Transport::Sctp,
            Transport::Other(number) => {
                let text = format!("protocol {number} has no ports that could be published");
                return Err(error(ErrorCode::Invalid, text));
            }
        };
        let host = rule
            .host_address
            .map(ip_from_guest)
            .transpose()
            .map_err(invalid)?;
        let to = ip_from_guest(rule.container_address).map_err(invalid)?;
        let link = self.named(&rule.link)?;
        self.leads_to(&link, to)?;
        let host_port = match rule.host_port {
            0 => self.choose(transport, host, taken).await?,
            port => {
                self.granted(|grants| grants.nat()?.may_publish(port))?;
                if !free(transport, host, port, taken).await {
                    let text = format!("port {port} of this machine is in use already");
                    return Err(error(ErrorCode::AlreadyExists, text));
                }
                port
            }
        };
        Ok(machine::Rule::Publish {
            transport,
            host,
            host_port,
            to,
            to_port: rule.container_port,
            link,
            loopback: true,
        })
    }

    async fn choose(
        &mut self,
        transport: machine::Transport,
        host: Option<IpAddr>,
        taken: &[Published],
    ) -> Answer<u16> {
        // From the range that Docker and the kernel choose from too (`net.ipv4.ip_local_port_range`), then from all others.
        let candidates: Vec<u16> = (32_768..=60_999)
            .chain(1_024..=32_767)
            .chain(61_000..=65_535)
            .filter(|port| !is_taken(transport, host, *port, taken))
            .filter(|port| {
                self.granted(|grants| grants.nat()?.may_publish(*port))
                    .is_ok()
            })
            .collect();
        // All of them for one look at the table, which takes programs of their own.
        let first = move || machine::first_free(transport, host, candidates);
        if let Ok(Some(port)) = tokio::task::spawn_blocking(first).await {
            return Ok(port);
        }
        self.granted(|grants| grants.nat()?.may_publish(32_768))?;
        let text = "every port that the plugin may publish is in use";
        Err(error(ErrorCode::Exhausted, text))
    }
}

/// Families whose forwarding has to wait for an engine: one that finds it on when it starts takes it for the operator's decision, and leaves
/// the policy of FORWARD at ACCEPT.
static WANTED: Mutex<Vec<Family>> = Mutex::new(Vec::new());

/// An engine is there: turns on the forwarding that has waited for one.
pub async fn catch_up() {
    let wanted = std::mem::take(&mut *WANTED.lock());
    for family in wanted {
        match ledger::blocking(move || machine::turn_on_forwarding(family)).await {
            Ok(true) => tracing::info!("{}", turned_on(family)),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "containers of networks that were put back do not reach others");
            }
        }
    }
}

fn turned_on(family: Family) -> String {
    let (name, sysctl) = match family {
        Family::Ipv4 => ("IPv4", "net.ipv4.ip_forward"),
        Family::Ipv6 => ("IPv6", "net.ipv6.conf.all.forwarding"),
    };
    format!(
        "the forwarding of {name} was off and is on now, for the whole machine ({sysctl}=1); dockside never turns it off"
    )
}

fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    }
}

type Published = (machine::Transport, Option<IpAddr>, u16);

fn published(rule: &machine::Rule) -> Option<Published> {
    match rule {
        machine::Rule::Publish {
            transport,
            host,
            host_port,
            ..
        } => Some((*transport, *host, *host_port)),
        _ => None,
    }
}

async fn free(
    transport: machine::Transport,
    host: Option<IpAddr>,
    port: u16,
    taken: &[Published],
) -> bool {
    !is_taken(transport, host, port, taken)
        && tokio::task::spawn_blocking(move || machine::port_free(transport, host, port))
            .await
            .unwrap_or(false)
}

/// Whether the plugin has published the port itself, or is about to.
fn is_taken(
    transport: machine::Transport,
    host: Option<IpAddr>,
    port: u16,
    taken: &[Published],
) -> bool {
    taken
        .iter()
        .any(|(of, at, number)| *of == transport && *number == port && machine::overlap(*at, host))
}

fn invalid(reason: String) -> Error {
    error(ErrorCode::Invalid, reason)
}
