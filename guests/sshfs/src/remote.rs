//! `user@host:/path`, as `sshcmd` has it.

use dockside_driver::{Error, Result};

use crate::options::Chosen;

/// A place on a server.
pub(crate) struct Remote {
    /// A name or an address, without brackets.
    host: String,
    is_v6: bool,
}

impl Remote {
    /// Reads it as far as this driver has to know it. The host checks the rest when it mounts.
    pub(crate) fn parse(sshcmd: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "option sshcmd={sshcmd}: say user@host:/path, with an IPv6 address in brackets; a port goes into the option port"
            ))
        };
        let (user, rest) = sshcmd.split_once('@').ok_or_else(wrong)?;
        let (host, is_v6) = match rest.strip_prefix('[') {
            Some(rest) => (rest.split_once("]:").ok_or_else(wrong)?.0, true),
            None => (rest.split_once(':').ok_or_else(wrong)?.0, false),
        };
        let odd = |text: &str| {
            text.is_empty()
                || text.starts_with('-')
                || text.contains(|letter: char| letter.is_whitespace() || letter.is_control())
        };
        if odd(user) || odd(host) || sshcmd.chars().any(char::is_control) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            is_v6,
        })
    }

    /// What `known_hosts` calls the server (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
    pub(crate) fn known_as(&self, options: &Chosen) -> String {
        match options.get("port") {
            None | Some("22") => self.host.clone(),
            Some(port) => format!("[{}]:{port}", self.host),
        }
    }

    /// Host and port, for people.
    pub(crate) fn server(&self, options: &Chosen) -> String {
        let host = match self.is_v6 {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match options.get("port") {
            None => host,
            Some(port) => format!("{host}:{port}"),
        }
    }
}
