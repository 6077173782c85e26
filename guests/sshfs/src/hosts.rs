//! How the server is known: by the key that the user gave, by the operator's list, by what was learned, or not at all.

use dockside_driver::{
    Error, Result,
    secrets::{self, Secret},
};

use crate::{options::Chosen, remote::Remote, settings};

/// What is known of servers.
#[derive(Default)]
pub(crate) struct Known {
    /// Lines as in `known_hosts`.
    pub(crate) text: Option<String>,
    /// A secret with such lines.
    pub(crate) secret: Option<Secret>,
}

const CHECKING: &str = "StrictHostKeyChecking";

/// What to tell sshfs of servers' keys.
pub(crate) fn find(remote: &Remote, options: &Chosen, hostkey: Option<&str>) -> Result<Known> {
    if options.get(CHECKING) == Some("no") {
        return Ok(Known::default());
    }
    if let Some(hostkey) = hostkey {
        check_key(hostkey)?;
        let line = format!("{} {hostkey}", remote.known_as(options));
        return Ok(Known {
            text: Some(line),
            ..Known::default()
        });
    }
    if let Some(text) = settings::text("known-hosts")?.filter(|text| !text.trim().is_empty()) {
        return Ok(match text.strip_prefix('@') {
            // A line can begin with a marker such as @cert-authority, which a blank follows.
            Some(name) if !name.contains(char::is_whitespace) => Known {
                secret: Some(secrets::open(name)?),
                ..Known::default()
            },
            _ => Known {
                text: Some(text),
                ..Known::default()
            },
        });
    }
    // What the operator has for his own use, if that is granted.
    if settings::keys()?.is_some() {
        let path = settings::key_path("/root/.ssh/known_hosts")?;
        return Ok(Known {
            secret: secrets::open_file(&path).ok(),
            ..Known::default()
        });
    }
    Ok(Known::default())
}

/// Whether the server can be told from others.
pub(crate) fn check(remote: &Remote, options: &Chosen, hostkey: Option<&str>) -> Result<()> {
    let known = find(remote, options, hostkey)?;
    let checking = options.get(CHECKING).unwrap_or("yes");
    if hostkey.is_some() && checking == "no" {
        return Err(Error::invalid(
            "options hostkey and StrictHostKeyChecking=no contradict each other",
        ));
    }
    if checking != "yes" || known.text.is_some() || known.secret.is_some() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the key of the server {} is not known, so that anybody could pretend to be it: give it with -o hostkey=\"ssh-ed25519 AAAA…\" \
         (ssh-keyscan prints it), or say -o StrictHostKeyChecking=accept-new to take the first key that is seen for good; \
         for all volumes put known-hosts or StrictHostKeyChecking under [config] in the plugin's TOML file",
        remote.known_as(options)
    )))
}

fn check_key(key: &str) -> Result<()> {
    let mut words = key.split(' ');
    let kind = words.next().unwrap_or_default();
    let body = words.next().unwrap_or_default();
    let is_kind = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"]
        .iter()
        .any(|start| kind.starts_with(start))
        && kind
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.@".contains(&byte));
    let is_body = body.len() >= 16
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    if is_kind && is_body && !key.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(
        "option hostkey: say kind and key of the server as ssh-keyscan prints them behind its name: ssh-ed25519 AAAA…",
    ))
}

/// For people.
pub(crate) fn describe(options: &Chosen, hostkey: Option<&str>) -> String {
    match (options.get(CHECKING), hostkey) {
        (_, Some(key)) => key.to_owned(),
        (Some("no"), None) => "anything that answers is taken for the server".to_owned(),
        (Some("accept-new"), None) => "the first one that was seen, or a known one".to_owned(),
        _ => "a known one".to_owned(),
    }
}
