//! `dockside:host/nat`.

use std::net::IpAddr;

use super::held::{Answer, answered, error};
use crate::ledger::{self, Effect, Kind};
use crate::machine::nat::{self as machine, RuleSet};
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
        let id = ledger::mint();
        let set = RuleSet {
            id: id.clone(),
            rules: made,
        };
        self.hold(Kind::Rules, key, &id, Effect::Rules(set)).await?;
        Ok(ports)
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
            to: ip_from_guest(rule.container_address).map_err(invalid)?,
            to_port: rule.container_port,
            link: self.named(&rule.link)?,
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
