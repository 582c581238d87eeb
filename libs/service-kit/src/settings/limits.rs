//! The section of limits, and the types of its values.

use std::{fmt, net::IpAddr, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    section::sections,
    values::{Count, Span},
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

sections! {
    /// Limits over all processes together. Rates are off until they are set: only who runs the fleet knows how many devices
    /// stand behind one address, and `session.messages_max` bounds the work in any case. Locks after wrong credentials are on.
    LimitsSettings in "limits" {
        /// Requests of one client address (an IPv4 address, or the /64 of an IPv6 one): messages and downloads, such as `20/s`,
        /// `600/m` or `5000/h`. All of a period's may come at once. `off`: as many as come. Behind a carrier's NAT one address
        /// is thousands of devices.
        per_address: RateLimit = RateLimit::OFF,
        /// Messages of one tenant.
        per_tenant: RateLimit = RateLimit::OFF,
        /// Sessions that one device may begin, once it has proved itself: nobody else can use them up.
        per_device: RateLimit = RateLimit::OFF,
        /// Requests of one client address to the operators' side.
        admin_per_address: RateLimit = RateLimit::OFF,
        /// Requests with one token to the operators' side.
        admin_per_token: RateLimit = RateLimit::OFF,
        /// Wrong credentials of a device from one address until it is refused from there. 0: no such bound.
        login_failures: Count<0, 1_000_000> = Count::of(10),
        /// The same from all addresses together, until it is refused from where it never came in before. A device that
        /// proves itself with the nonce of its last session is let in all the same. 0: no such bound.
        login_failures_per_device: Count<0, 1_000_000> = Count::of(100),
        /// Wrong credentials from one address, of all devices together and of names that nobody knows, until passwords from
        /// there are refused. More, or 0 (no such bound), where one address is a carrier's NAT.
        login_failures_per_address: Count<0, 1_000_000> = Count::of(1_000),
        /// Wrong tokens from one address until it is refused on the operators' side. 0: no such bound.
        admin_login_failures: Count<0, 1_000_000> = Count::of(10),
        /// How long wrong credentials count.
        login_window: Span<SECOND, DAY> = Span::of_ms(15 * MINUTE),
        /// How long the first refusal holds; each further one twice as long.
        login_lock: Span<SECOND, DAY> = Span::of_ms(MINUTE),
        /// How long a refusal holds at most.
        login_lock_max: Span<SECOND, DAY> = Span::of_ms(HOUR),
    }
}

/// So many in a second, a minute or an hour, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit(Option<(NonZeroU32, Duration)>);

/// The most in a period; for a minute or an hour of a very large fleet, too.
const USES_MAX: u32 = 100_000_000;
const PERIODS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_secs(60)), ("h", Duration::from_secs(3600))];

impl RateLimit {
    /// None.
    pub const OFF: Self = Self(None);

    /// How many, at least one, and in what time; `None`: as many as come.
    pub fn uses(self) -> Option<(NonZeroU32, Duration)> {
        self.0
    }

    /// Reads `off`, or a number and its period: `20/s`, `600/m`, `5000/h`.
    ///
    /// # Errors
    ///
    /// A sentence that says what was expected and what came.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "off" {
            return Ok(Self::OFF);
        }
        let rate = text.split_once('/').and_then(|(uses, period)| {
            let uses = uses.trim().parse::<NonZeroU32>().ok().filter(|uses| uses.get() <= USES_MAX)?;
            let (_, period) = PERIODS.iter().find(|(name, _)| *name == period.trim())?;
            Some((uses, *period))
        });
        let expected = || format!("expected off, or a rate such as 20/s, 600/m or 5000/h, got {text}");
        rate.map(|rate| Self(Some(rate))).ok_or_else(expected)
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((uses, period)) = self.0 else { return f.write_str("off") };
        let name = PERIODS.iter().find(|(_, known)| *known == period).map_or("s", |(name, _)| name);
        write!(f, "{uses}/{name}")
    }
}

/// Addresses of one network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads an address, with the length of its prefix where it is a network's.
    ///
    /// # Errors
    ///
    /// A sentence that says what was expected and what came.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a network such as 10.0.0.0/8 or 2001:db8::/32, got {text}");
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| expected())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        let network = Self { address, bits };
        if bits > bits_max {
            return Err(expected());
        }
        if network.prefix_of(address) != number(address) {
            // Most likely a slip: what lies behind the prefix would mean nothing.
            return Err(format!("expected an address with nothing behind its first {bits} bits, got {text}"));
        }
        Ok(network)
    }

    /// Whether the address is one of the network's.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && self.prefix_of(address) == number(self.address)
    }

    fn prefix_of(&self, address: IpAddr) -> u128 {
        let width: u32 = if self.address.is_ipv4() { 32 } else { 128 };
        let behind = width.saturating_sub(self.bits.into());
        let shift = |number: u128| number.checked_shr(behind).unwrap_or(0).checked_shl(behind).unwrap_or(0);
        shift(number(address))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The header in which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, a list of addresses.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

macro_rules! as_text {
    ($($name:ident)+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    )+};
}

as_text! { RateLimit Network }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, want) in [
            ("off", Some(None)),
            ("20/s", Some(Some((20, 1)))),
            (" 600 / m", Some(Some((600, 60)))),
            ("5000/h", Some(Some((5000, 3600)))),
            ("0/s", None),
            ("-1/s", None),
            ("1/d", None),
            ("20", None),
            ("200000000/s", None),
            ("", None),
        ] {
            let rate = RateLimit::parse(text);
            let seen = rate
                .as_ref()
                .ok()
                .map(|rate| rate.uses().map(|(uses, period)| (uses.get(), period.as_secs())));
            assert_eq!(seen, want, "{text}");
            if let Ok(rate) = rate {
                assert_eq!(RateLimit::parse(&rate.to_string()), Ok(rate));
            }
        }
    }

    #[test]
    fn networks_have_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("::1/128", "::1", "::2"),
        ] {
            let network = Network::parse(network).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(Network::parse(&network.to_string()), Ok(network));
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0.1/8", "2001:db8::/129", "10.0.0.0/", "proxy.example"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
