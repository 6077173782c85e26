use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

use crate::Error;

/// An Ethernet address. As text: `02:42:ac:11:00:02`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `00:00:00:00:00:00`, which stands for all that are not known: see [`Link::add_fdb`](crate::Link::add_fdb).
    pub const ANY: Self = Self([0; 6]);

    /// An address that no manufacturer gives out (locally administered) and that stands for one interface (unicast), made of the
    /// bytes given. Equal bytes make equal addresses.
    pub const fn locally_administered(bytes: [u8; 6]) -> Self {
        let [first, a, b, c, d, e] = bytes;
        Self([(first & 0b1111_1100) | 0b10, a, b, c, d, e])
    }

    /// A random address of that sort.
    pub fn random() -> Self {
        let [_, _, a, b, c, d, e, f] = crate::random::number().to_be_bytes();
        Self::locally_administered([a, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::invalid(format!(
                "{text:?} is no Ethernet address such as 02:42:ac:11:00:02"
            ))
        };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(wrong)?;
            // `from_str_radix` takes a sign, too.
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        parts
            .next()
            .is_none()
            .then_some(Self(bytes))
            .ok_or_else(wrong)
    }
}

impl From<MacAddr> for String {
    fn from(address: MacAddr) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_read_and_written() {
        let address: MacAddr = "02:42:AC:11:00:02".parse().unwrap();
        assert_eq!(address, MacAddr([2, 0x42, 0xac, 0x11, 0, 2]));
        assert_eq!(address.to_string(), "02:42:ac:11:00:02");
        assert_eq!(
            serde_json::to_string(&address).unwrap(),
            r#""02:42:ac:11:00:02""#
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "02",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:0:2",
            "+2:42:ac:11:00:02",
            "zz:42:ac:11:00:02",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn own_addresses_are_unicast_and_locally_administered() {
        for first in [0x00, 0x01, 0xff, 0x42] {
            let MacAddr([byte, ..]) = MacAddr::locally_administered([first, 1, 2, 3, 4, 5]);
            assert_eq!(byte & 0b11, 0b10, "{first:#x}");
        }
    }
}
