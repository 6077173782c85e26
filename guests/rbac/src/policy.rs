//! The policy: users, groups, roles and who has which.

mod twistlock;

use std::collections::{BTreeMap, BTreeSet};

use dockside_authz::routes::{self, Route};
use dockside_driver::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::pattern::Pattern;

pub(crate) use twistlock::{Line, judge as judge_lines};

/// Who somebody is without a certificate.
const LOCAL: &str = "local";

/// A policy as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Policy {
    /// The name for those who come without a certificate, over the Unix socket.
    pub(crate) local_user: Option<String>,
    /// Users by group.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    /// Roles by name.
    pub(crate) roles: BTreeMap<String, Role>,
    /// Who has which roles.
    pub(crate) grants: Vec<Grant>,
    /// Lines of twistlock/authz, if that is what the policy was written in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) twistlock: Vec<Line>,
}

/// Roles for users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Grant {
    /// Users by name: the common name of their certificate, or the name for local users.
    pub(crate) users: Vec<String>,
    /// Groups.
    pub(crate) groups: Vec<String>,
    /// What they may be.
    pub(crate) roles: Vec<String>,
}

/// What somebody may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Role {
    /// Actions, by patterns.
    pub(crate) actions: Vec<Pattern>,
    /// Actions that are left out again.
    pub(crate) except: Vec<Pattern>,
    /// Names of the containers that it acts on; none is any.
    pub(crate) containers: Option<Vec<Pattern>>,
    /// Whether it acts on containers that the user made, only.
    pub(crate) own_containers: bool,
    /// Images, with or without tag; none is any.
    pub(crate) images: Option<Vec<Pattern>>,
    /// Names of volumes; none is any.
    pub(crate) volumes: Option<Vec<Pattern>>,
    /// Names of networks; none is any.
    pub(crate) networks: Option<Vec<Pattern>>,
    /// No rule of those below holds.
    pub(crate) unrestricted: bool,
    /// Directories of the machine that containers may have, with everything below them, `:ro` behind those that must not be written.
    pub(crate) mounts: Vec<String>,
    /// Whether containers and commands can be privileged.
    pub(crate) privileged: bool,
    /// Capabilities that can be added, without `CAP_`.
    pub(crate) capabilities: Vec<Pattern>,
    /// Namespaces of the machine: `network`, `pid`, `ipc`, `uts`, `user`, `cgroup`.
    pub(crate) host_namespaces: Vec<String>,
    /// Devices of the machine, by path; `gpu` and other requests by driver.
    pub(crate) devices: Vec<Pattern>,
    /// Security options besides `no-new-privileges`.
    pub(crate) security_options: Vec<Pattern>,
    /// Runtimes besides the engine's default.
    pub(crate) runtimes: Vec<Pattern>,
    /// Volume drivers besides `local`.
    pub(crate) volume_drivers: Vec<Pattern>,
    /// Ports of the machine that can be published, as `8080` or `8000-8999`; none is any.
    pub(crate) ports: Option<Vec<String>>,
    /// Further fields of a container's `HostConfig` that can be set.
    pub(crate) fields: Vec<String>,
}

/// A policy that has been looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiled {
    policy: Policy,
    lines: Vec<twistlock::Compiled>,
}

/// Why a request is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The role, or the line of twistlock/authz.
    pub(crate) rule: String,
}

/// A request is denied for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The role that comes nearest; none if none has the action.
    pub(crate) rule: Option<String>,
    /// Which rule denies, and what would allow it.
    pub(crate) reason: String,
}

impl Policy {
    /// Reads a policy: TOML, JSON, or lines of twistlock/authz.
    ///
    /// # Errors
    /// It makes no sense; the text says where.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let start = text.trim_start();
        if twistlock::is_one(start) {
            return Ok(Self {
                twistlock: twistlock::parse(text)?,
                ..Self::default()
            });
        }
        if start.starts_with('{') {
            return serde_json::from_str(text)
                .map_err(|error| Error::invalid(format!("the policy cannot be read: {error}")));
        }
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text.get(..span.start)
                    .unwrap_or_default()
                    .matches('\n')
                    .count()
                    + 1
            });
            Error::invalid(format!(
                "the policy cannot be read: line {line}: {}",
                error.message()
            ))
        })
    }
}

impl Compiled {
    /// Looks a policy through: names that lead nowhere would deny or allow by mistake.
    ///
    /// # Errors
    /// What does not fit together.
    pub(crate) fn new(policy: Policy) -> Result<Self> {
        let wrong =
            |what: String| Err(Error::invalid(format!("the policy makes no sense: {what}")));
        if policy.grants.is_empty() && policy.twistlock.is_empty() {
            return wrong("there is no [[grants]], so that nobody may do anything".to_owned());
        }
        for (name, role) in &policy.roles {
            let actions = routes::actions();
            for pattern in role.actions.iter().chain(&role.except) {
                let is_known = |action: &&str| is_named(pattern, action);
                if !actions.iter().any(is_known) {
                    return wrong(format!(
                        "role {name}: there is no action {pattern}; `dockside run PLUGIN actions` lists them"
                    ));
                }
            }
            for namespace in &role.host_namespaces {
                if !crate::container::NAMESPACES
                    .iter()
                    .any(|(known, _)| known == namespace)
                {
                    return wrong(format!("role {name}: there is no namespace {namespace}"));
                }
            }
            for mount in &role.mounts {
                if !mount.starts_with('/') {
                    return wrong(format!("role {name}: mount {mount} is no absolute path"));
                }
            }
            for ports in role.ports.iter().flatten() {
                if crate::container::port_range(ports).is_none() {
                    return wrong(format!(
                        "role {name}: {ports} is no port and no range of ports"
                    ));
                }
            }
        }
        for (number, grant) in policy.grants.iter().enumerate() {
            let number = number + 1;
            if grant.users.is_empty() && grant.groups.is_empty() {
                return wrong(format!(
                    "grant {number} is for nobody: give it users or groups"
                ));
            }
            if let Some(role) = grant
                .roles
                .iter()
                .find(|role| !policy.roles.contains_key(*role))
            {
                return wrong(format!("grant {number}: there is no role {role}"));
            }
            if let Some(group) = grant
                .groups
                .iter()
                .find(|group| !policy.groups.contains_key(*group))
            {
                return wrong(format!("grant {number}: there is no group {group}"));
            }
        }
        let lines = policy
            .twistlock
            .iter()
            .map(twistlock::Compiled::new)
            .collect::<Result<_>>()?;
        Ok(Self { policy, lines })
    }

    /// The name to grant to: the certificate's, or the one for local users.
    pub(crate) fn user<'a>(&'a self, certified: Option<&'a str>) -> &'a str {
        match certified {
            Some(user) if !user.is_empty() => user,
            _ if !self.lines.is_empty() => "",
            _ => self.policy.local_user.as_deref().unwrap_or(LOCAL),
        }
    }

    /// The lines of twistlock/authz, if that is what the policy is.
    pub(crate) fn lines(&self) -> &[twistlock::Compiled] {
        &self.lines
    }

    /// The roles of a user, by name.
    pub(crate) fn roles(&self, user: &str, is_certified: bool) -> Vec<(&str, &Role)> {
        // A certificate for the local users' name does not make one.
        let is_local = self.policy.local_user.as_deref().unwrap_or(LOCAL) == user;
        if is_certified && is_local {
            return Vec::new();
        }
        let is_member = |group: &String| {
            self.policy
                .groups
                .get(group)
                .is_some_and(|users| users.iter().any(|name| name == user))
        };
        let names: BTreeSet<&String> = self
            .policy
            .grants
            .iter()
            .filter(|grant| {
                grant.users.iter().any(|name| name == user) || grant.groups.iter().any(is_member)
            })
            .flat_map(|grant| &grant.roles)
            .collect();
        names
            .into_iter()
            .filter_map(|name| Some((name.as_str(), self.policy.roles.get(name)?)))
            .collect()
    }

    /// The roles that have an action, whoever has them.
    pub(crate) fn roles_with(&self, route: &Route) -> Vec<&str> {
        self.policy
            .roles
            .iter()
            .filter(|(_, role)| role.has(route))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

impl Role {
    /// Whether it has the action.
    pub(crate) fn has(&self, route: &Route) -> bool {
        let is_one = |pattern: &Pattern| is_named(pattern, route.action);
        self.actions.iter().any(is_one) && !self.except.iter().any(is_one)
    }
}

fn is_named(pattern: &Pattern, action: &str) -> bool {
    pattern.fits(action, "") || routes::alias(action).is_some_and(|alias| pattern.fits(alias, ""))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests;
