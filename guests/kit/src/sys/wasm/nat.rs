use super::refused;
use crate::{
    Result,
    bindings::imports::dockside::host::nat as wit,
    convert::{to_address, to_cidr, to_transport},
    nat::{Publish, Rule},
};

fn publish<'a>(publish: &Publish<'a>) -> wit::Publish<'a> {
    wit::Publish {
        transport: to_transport(publish.transport),
        host_address: publish.host_address.map(to_address),
        host_port: publish.host_port,
        container_address: to_address(publish.container_address),
        container_port: publish.container_port,
        link: &publish.link.0,
    }
}

fn rule<'a>(rule: &Rule<'a>) -> wit::Rule<'a> {
    match rule {
        Rule::Masquerade { source, link } => wit::Rule::Masquerade(wit::Masquerade {
            source: to_cidr(*source),
            link: &link.0,
        }),
        Rule::Publish(port) => wit::Rule::Publish(publish(port)),
        Rule::Forward(link) => wit::Rule::Forward(&link.0),
        Rule::Internal(link) => wit::Rule::Internal(&link.0),
        Rule::Isolate(link) => wit::Rule::Isolate(&link.0),
    }
}

pub(crate) fn apply_rules(key: &str, rules: &[Rule<'_>]) -> Result<Vec<u16>> {
    let rules: Vec<wit::Rule<'_>> = rules.iter().map(rule).collect();
    wit::apply(key, &rules).map_err(refused)
}

pub(crate) fn remove_rules(key: &str) -> Result<()> {
    wit::remove(key).map_err(refused)
}

pub(crate) fn rule_keys() -> Vec<String> {
    wit::list_keys()
}
