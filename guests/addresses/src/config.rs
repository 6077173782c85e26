//! The operator's settings: which subnets a network without `--subnet` gets.

use dockside_driver::{Error, IpNet, KeyValues, Result, config};

use crate::subnet;

/// Where pools come from when the user names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// What IPv4 pools are cut from.
    pub(crate) ipv4: Carve,
    /// What IPv6 pools are cut from; no base means a random one of this machine (RFC 4193).
    pub(crate) ipv6: Carve,
}

/// Base subnets and the size of the pools that are cut from them, as in the engine's `default-address-pools`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carve {
    /// The bases, in the order of use.
    pub(crate) bases: Vec<IpNet>,
    /// Prefix length of a pool.
    pub(crate) size: u8,
}

/// Out of the way of the engine's own pools (172.17.0.0/12 and 192.168.0.0/16) and of what clouds and home routers use at the
/// start of 10.0.0.0/8. 16,384 pools of 254 addresses.
const IPV4_BASE: &str = "10.64.0.0/10";
const IPV4_SIZE: u8 = 24;
const IPV6_SIZE: u8 = 64;

impl Defaults {
    /// Reads the settings. The user's options go before the operator's sizes.
    pub(crate) fn read(options: &KeyValues) -> Result<Self> {
        let ipv4 = config::get("ipv4")?.unwrap_or_else(|| IPV4_BASE.to_owned());
        // No base of IPv6 means a random one, which is a /48.
        let ipv6 = config::get("ipv6")?.unwrap_or_default();
        Ok(Self {
            ipv4: carve("ipv4", &ipv4, size("ipv4", IPV4_SIZE, 32, options)?, false)?,
            ipv6: carve("ipv6", &ipv6, size("ipv6", IPV6_SIZE, 128, options)?, true)?,
        })
    }
}

fn size(family: &str, default: u8, longest: u8, options: &KeyValues) -> Result<u8> {
    let key = format!("{family}-size");
    let fits = |text: &str| {
        let size = text.trim().parse().ok();
        size.filter(|size| (1..=longest).contains(size))
    };
    let what = || format!("is not a prefix length from 1 to {longest}");
    if let Some(text) = options.get(&key) {
        return fits(text).ok_or_else(|| Error::invalid(format!("option {key}={text} {}", what())));
    }
    match config::get(&key)? {
        None => Ok(default),
        Some(text) => fits(&text).ok_or_else(|| wrong(&key, &text, &what())),
    }
}

fn carve(key: &str, bases: &str, size: u8, ipv6: bool) -> Result<Carve> {
    let bases: Vec<IpNet> = bases
        .split([',', ' '])
        .filter(|text| !text.is_empty())
        .map(|text| base(key, text, size, ipv6))
        .collect::<Result<_>>()?;
    for (index, one) in bases.iter().enumerate() {
        let mut others = bases.iter().skip(index + 1);
        if let Some(other) = others.find(|other| subnet::overlap(*one, **other)) {
            let what = format!("overlaps with {other}");
            return Err(wrong(key, &one.to_string(), &what));
        }
    }
    Ok(Carve { bases, size })
}

fn base(key: &str, text: &str, size: u8, ipv6: bool) -> Result<IpNet> {
    let base: IpNet = text.parse().map_err(|_| {
        wrong(
            key,
            text,
            "is not a subnet such as 10.64.0.0/10 or fd12:3456:789a::/48",
        )
    })?;
    if matches!(base, IpNet::V6(_)) != ipv6 {
        return Err(wrong(key, text, "is of the other IP version"));
    }
    if base != base.trunc() {
        return Err(wrong(
            key,
            text,
            &format!("has bits behind its prefix; write {}", base.trunc()),
        ));
    }
    if let Some(why) = subnet::unusable_because(base) {
        return Err(wrong(key, text, &format!("overlaps with {why}")));
    }
    if base.prefix_len() > size {
        return Err(wrong(
            key,
            text,
            &format!("is smaller than one pool, a /{size}; set `{key}-size`"),
        ));
    }
    Ok(base)
}

fn wrong(key: &str, value: &str, what: &str) -> Error {
    Error::invalid(format!("{key} = {value:?} under [config] {what}"))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use dockside_driver::testing;

    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Defaults> {
        testing::reset();
        for (key, value) in settings {
            testing::set_config(key, value);
        }
        Defaults::read(&KeyValues::new())
    }

    #[test]
    fn without_settings_there_are_defaults() {
        let defaults = read(&[]).unwrap();
        assert_eq!(defaults.ipv4.bases, ["10.64.0.0/10".parse().unwrap()]);
        assert_eq!((defaults.ipv4.size, defaults.ipv6.size), (24, 64));
        assert_eq!(defaults.ipv6.bases, []);
    }

    #[test]
    fn several_bases_and_sizes_can_be_set() {
        let defaults = read(&[
            ("ipv4", "10.90.0.0/16, 10.91.0.0/20"),
            ("ipv4-size", "26"),
            ("ipv6", "fd12:3456:789a::/48"),
            ("ipv6-size", "80"),
        ])
        .unwrap();
        assert_eq!(defaults.ipv4.bases.len(), 2);
        assert_eq!((defaults.ipv4.size, defaults.ipv6.size), (26, 80));
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_value() {
        for (settings, expected) in [
            (
                &[("ipv4", "10.0.0.0")][..],
                "ipv4 = \"10.0.0.0\" under [config] is not a subnet",
            ),
            (&[("ipv4", "fd00::/48")], "is of the other IP version"),
            (&[("ipv4", "10.0.0.1/16")], "write 10.0.0.0/16"),
            (
                &[("ipv4", "10.0.0.0/28")],
                "is smaller than one pool, a /24; set `ipv4-size`",
            ),
            (&[("ipv4", "127.0.0.0/16")], "the loopback addresses"),
            (
                &[("ipv4-size", "33")],
                "ipv4-size = \"33\" under [config] is not a prefix length from 1 to 32",
            ),
            (&[("ipv6-size", "x")], "from 1 to 128"),
            (
                &[("ipv4", "10.0.0.0/8,10.64.0.0/10")],
                "overlaps with 10.64.0.0/10",
            ),
        ] {
            let error = read(settings).unwrap_err().to_string();
            assert!(error.contains(expected), "{settings:?}: {error}");
        }
    }
}
