//! The operator's settings, under the names of the plugin that this driver replaces.

use std::time::Duration;

use dockside_addresses::pools::{GLOBAL, LOCAL};
use dockside_driver::{Error, IpNet, Result, config, secrets};

/// The extensible attribute that says which request made an object.
const TOKEN: &str = "Docker Request";
/// The extensible attribute with the name under which hosts share a network.
const NETWORK_NAME: &str = "Network Name";
/// The secret with the password, if nothing else is said.
const PASSWORD: &str = "wapi-password";
/// Seconds for one request: two of them fit into the 10 s that a call of an IPAM driver has.
const TIMEOUT: u64 = 4;
/// Seconds in which a grid may still do what it was asked to before the connection broke.
const GRACE: u64 = 60;

/// Where addresses of one address space are.
#[derive(Debug)]
pub(crate) struct Space {
    /// The network view.
    pub(crate) view: String,
    /// What networks without `--subnet` are cut from, in the order of use.
    pub(crate) containers: Vec<IpNet>,
    /// Prefix length of such a network.
    pub(crate) prefix_length: u8,
}

/// How to speak to the grid, and what to write into it.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What each URL begins with.
    pub(crate) base: String,
    /// The user, for error texts.
    pub(crate) user: String,
    /// The value of the header `Authorization`, with the secret's name or the secret.
    pub(crate) authorization: String,
    /// For connecting, and again for the answer.
    pub(crate) timeout: Duration,
    /// How long the grid may go on with what it was asked, in seconds.
    pub(crate) grace: u64,
    /// The extensible attribute that says which request made an object.
    pub(crate) token: String,
    /// The extensible attribute with the name under which hosts share a network.
    pub(crate) network_name: String,
    /// What every object gets besides.
    pub(crate) attributes: Vec<(String, String)>,
    /// Whether networks of other hosts are removed when this one leaves them.
    pub(crate) delete_shared: bool,
}

/// A setting: what `docker plugin set` gave goes over the operator's file.
pub(crate) fn get(key: &str) -> Result<Option<String>> {
    let variable = key.replace('-', "_").to_ascii_uppercase();
    let value = match config::get(&format!("env.{variable}"))? {
        Some(value) if !value.is_empty() => Some(value),
        _ => config::get(key)?,
    };
    Ok(value.filter(|value| !value.is_empty()))
}

fn wrong(key: &str, value: &str, what: &str) -> Error {
    Error::invalid(format!("{key} = {value:?} under [config] {what}"))
}

fn number(key: &str, default: u64, most: u64) -> Result<u64> {
    match get(key)? {
        None => Ok(default),
        Some(text) => text
            .trim()
            .parse()
            .ok()
            .filter(|number| *number <= most)
            .ok_or_else(|| wrong(key, &text, &format!("is not a number from 0 to {most}"))),
    }
}

fn boolean(key: &str) -> Result<bool> {
    match get(key)?.as_deref() {
        None | Some("false" | "no" | "0") => Ok(false),
        Some("true" | "yes" | "1") => Ok(true),
        Some(other) => Err(wrong(key, other, "is neither true nor false")),
    }
}

impl Settings {
    /// Reads them.
    pub(crate) fn read() -> Result<Self> {
        let host = get("grid-host")?.ok_or_else(|| {
            Error::unavailable(
                "this plugin needs grid-host under [config] in its TOML file: the name or address of the grid master",
            )
        })?;
        let port = number("wapi-port", 443, 65_535)?;
        let version = get("wapi-version")?.unwrap_or_else(|| "2.0".to_owned());
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host
        };
        let (user, authorization) = credentials()?;
        Ok(Self {
            base: format!(
                "https://{host}:{port}/wapi/v{}/",
                version.trim_start_matches('v')
            ),
            user,
            authorization,
            timeout: Duration::from_secs(number("http-request-timeout", TIMEOUT, 100)?.max(1)),
            grace: number("settle-seconds", GRACE, 86_400)?,
            token: get("request-attribute")?.unwrap_or_else(|| TOKEN.to_owned()),
            network_name: get("network-name-attribute")?.unwrap_or_else(|| NETWORK_NAME.to_owned()),
            attributes: attributes()?,
            delete_shared: boolean("delete-shared")?,
        })
    }

    /// All extensible attributes that objects get.
    pub(crate) fn attribute_names(&self) -> impl Iterator<Item = &str> {
        let own = [self.token.as_str(), self.network_name.as_str()];
        own.into_iter()
            .chain(self.attributes.iter().map(|(name, _)| name.as_str()))
    }
}

/// The user's name, and the header. The password stays with the host, unless it came by `docker plugin set`.
fn credentials() -> Result<(String, String)> {
    let user = match (get("wapi-username")?, config::get("wapi-username-secret")?) {
        (Some(user), _) => user,
        (None, Some(name)) => String::from_utf8(secrets::open(&name)?.reveal()?)
            .map_err(|_| Error::invalid(format!("the secret {name} is no UTF-8 text")))?,
        (None, None) => {
            return Err(Error::unavailable(
                "this plugin needs wapi-username under [config] in its TOML file, or wapi-username-secret with the name of a secret",
            ));
        }
    };
    let unfit =
        |user: &str| user.contains([':', '{', '}', ' ']) || user.chars().any(char::is_control);
    if unfit(&user) {
        return Err(Error::invalid(
            "the user of the WAPI has a colon, a brace, a space or a control character in it",
        ));
    }
    let plain = config::get("env.WAPI_PASSWORD")?.filter(|password| !password.is_empty());
    let authorization = match plain {
        Some(password) => format!("Basic {}", base64(format!("{user}:{password}").as_bytes())),
        None => {
            let name = get("wapi-password-secret")?.unwrap_or_else(|| PASSWORD.to_owned());
            format!("{{{{basic {user} {name}}}}}")
        }
    };
    Ok((user, authorization))
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0usize, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = ALPHABET.get(word >> (18 - 6 * place) & 63);
            text.push(match letter {
                Some(letter) if place <= chunk.len() => char::from(*letter),
                _ => '=',
            });
        }
    }
    text
}

/// `NAME=VALUE`, one on a line or behind a comma.
fn attributes() -> Result<Vec<(String, String)>> {
    let text = get("extattrs")?.unwrap_or_default();
    text.split([',', '\n'])
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| wrong("extattrs", pair, "is not NAME=VALUE"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

impl Space {
    /// Reads the settings of an address space for one IP version.
    pub(crate) fn read(name: &str, ipv6: bool) -> Result<Self> {
        if name != LOCAL && name != GLOBAL {
            return Err(Error::invalid(format!(
                "there is no address space {name:?}: this driver has {LOCAL:?} and {GLOBAL:?}"
            )));
        }
        let (family, default, longest) = if ipv6 {
            ("ipv6-", 64, 128)
        } else {
            ("", 24, 32)
        };
        let key = format!("{name}-{family}network-container");
        let containers = get(&key)?.unwrap_or_default();
        let containers = containers
            .split([',', ' '])
            .filter(|text| !text.is_empty())
            .map(|text| {
                text.parse::<IpNet>()
                    .ok()
                    .filter(|net| matches!(net, IpNet::V6(_)) == ipv6 && *net == net.trunc())
                    .ok_or_else(|| wrong(&key, text, "is not a subnet of this IP version"))
            })
            .collect::<Result<_>>()?;
        let length = number(&format!("{name}-{family}prefix-length"), default, longest)?;
        Ok(Self {
            view: get(&format!("{name}-view"))?.unwrap_or_else(|| "default".to_owned()),
            containers,
            prefix_length: u8::try_from(length).unwrap_or(u8::MAX),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use dockside_driver::testing;

    use super::*;

    #[test]
    fn settings_are_read_and_those_of_the_plugin_command_go_over_them() {
        testing::reset();
        testing::set_config("grid-host", "grid.example.com");
        testing::set_config("wapi-username", "docker");
        let settings = Settings::read().unwrap();
        assert_eq!(settings.base, "https://grid.example.com:443/wapi/v2.0/");
        assert_eq!(settings.authorization, "{{basic docker wapi-password}}");
        testing::set_config("env.GRID_HOST", "fd00::5");
        testing::set_config("env.WAPI_PORT", "8443");
        testing::set_config("env.WAPI_PASSWORD", "pass");
        testing::set_config("wapi-version", "v2.12");
        testing::set_config("extattrs", "CMP Type=Docker, Tenant ID = t1");
        let settings = Settings::read().unwrap();
        assert_eq!(settings.base, "https://[fd00::5]:8443/wapi/v2.12/");
        assert_eq!(settings.authorization, "Basic ZG9ja2VyOnBhc3M=");
        assert_eq!(settings.attributes.len(), 2);
        for (bytes, text) in [
            ("", ""),
            ("a", "YQ=="),
            ("ab", "YWI="),
            ("abc", "YWJj"),
            ("abcd", "YWJjZA=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_user_can_be_a_secret() {
        testing::reset();
        testing::set_config("grid-host", "g");
        testing::set_config("wapi-username-secret", "who");
        testing::set_secret("who", b"admin", true);
        assert_eq!(Settings::read().unwrap().user, "admin");
        testing::set_secret("who", b"a:b", true);
        let refused = Settings::read().unwrap_err();
        assert!(!refused.message().contains("a:b"), "{refused}");
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_value() {
        for (key, value, why) in [
            (
                "wapi-port",
                "https",
                "wapi-port = \"https\" under [config] is not a number",
            ),
            ("extattrs", "x", "is not NAME=VALUE"),
            ("delete-shared", "maybe", "is neither true nor false"),
        ] {
            testing::reset();
            testing::set_config("grid-host", "g");
            testing::set_config("wapi-username", "u");
            testing::set_config(key, value);
            let refused = Settings::read().unwrap_err();
            assert!(refused.message().contains(why), "{refused}");
        }
        testing::reset();
        assert!(
            Settings::read()
                .unwrap_err()
                .message()
                .contains("needs grid-host")
        );
        testing::set_config("local-network-container", "10.0.0.1/8");
        let refused = Space::read(LOCAL, false).unwrap_err();
        assert!(refused.message().contains("10.0.0.1/8"), "{refused}");
        assert!(Space::read("x", false).is_err());
    }
}
