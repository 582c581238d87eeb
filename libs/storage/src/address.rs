//! Where a device can be asked to come.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The UDP port of WAP push without a session, which a device listens on where its address names none.
pub const WAP_PUSH_PORT: u16 = 2948;

/// Characters of an address at most.
const LENGTH_MAX: usize = 1024;
/// Characters of a scheme at most.
const SCHEME_MAX: usize = 16;

/// Where a device can be asked to come: the scheme names the bearer, the rest is an address that the bearer understands.
///
/// - `udp://host:port`: Package #0 as a datagram.
/// - `wap://host:port`: the same in the frame of a WAP push, as devices expect it on port 2948, which is the default of both.
/// - any other scheme, such as `sms:+15550100` or `fcm:<token>`: a gateway that the settings name by this scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NotifyAddress {
    text: Box<str>,
    /// Octets of the scheme.
    scheme: u8,
}

/// A text that is no address of a bearer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyAddressError {
    /// No scheme, or not one.
    #[error(
        "expected a bearer's scheme of up to {SCHEME_MAX} lower-case letters, digits and + . - before a colon"
    )]
    Scheme,
    /// Nothing behind the scheme, or too much.
    #[error("expected 1 to {LENGTH_MAX} characters of address, got {0}")]
    Length(usize),
    /// A space, a control character, or one beyond ASCII.
    #[error("expected printable ASCII without spaces, got {character:?} at byte {at}")]
    Character {
        /// What came.
        character: char,
        /// Where.
        at: usize,
    },
    /// An address of `udp` or `wap` that is none of a socket.
    #[error("expected //host:port after the scheme, with a port from 1 to 65535")]
    Socket,
}

impl NotifyAddress {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`NotifyAddressError`] says what was expected.
    ///
    /// ```
    /// use storage::NotifyAddress;
    ///
    /// let address = NotifyAddress::parse("udp://192.0.2.7:4000").unwrap();
    /// assert_eq!((address.scheme(), address.socket()), ("udp", Some(("192.0.2.7", 4000))));
    /// let address = NotifyAddress::parse("sms:+15550100").unwrap();
    /// assert_eq!((address.scheme(), address.rest(), address.socket()), ("sms", "+15550100", None));
    /// ```
    pub fn parse(text: &str) -> Result<Self, NotifyAddressError> {
        let (scheme, rest) = text.split_once(':').ok_or(NotifyAddressError::Scheme)?;
        let is_scheme =
            |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"+.-".contains(&octet);
        if !scheme.starts_with(|first: char| first.is_ascii_lowercase())
            || scheme.len() > SCHEME_MAX
            || !scheme.bytes().all(is_scheme)
        {
            return Err(NotifyAddressError::Scheme);
        }
        if let Some((at, character)) =
            text.char_indices().find(|(_, character)| !character.is_ascii_graphic())
        {
            return Err(NotifyAddressError::Character { character, at });
        }
        if rest.is_empty() || text.len() > LENGTH_MAX {
            return Err(NotifyAddressError::Length(rest.len()));
        }
        let address = Self { text: text.into(), scheme: scheme.len() as u8 };
        if matches!(scheme, "udp" | "wap") && address.socket().is_none() {
            return Err(NotifyAddressError::Socket);
        }
        Ok(address)
    }

    /// The bearer.
    pub fn scheme(&self) -> &str {
        &self.text[..usize::from(self.scheme)]
    }

    /// What follows the scheme and its colon.
    pub fn rest(&self) -> &str {
        &self.text[usize::from(self.scheme) + 1..]
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host and port of a `udp` or `wap` address. An IPv6 host comes without its brackets.
    pub fn socket(&self) -> Option<(&str, u16)> {
        if !matches!(self.scheme(), "udp" | "wap") {
            return None;
        }
        let authority = self.rest().strip_prefix("//")?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")))
            }
            None => {
                authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port)))
            }
        };
        let port = match port? {
            "" if !authority.ends_with(':') => WAP_PUSH_PORT,
            digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        let is_host = |octet: u8| octet.is_ascii_alphanumeric() || b".-_:%".contains(&octet);
        (!host.is_empty() && port > 0 && host.bytes().all(is_host)).then_some((host, port))
    }
}

impl fmt::Display for NotifyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for NotifyAddress {
    type Err = NotifyAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for NotifyAddress {
    type Error = NotifyAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<NotifyAddress> for String {
    fn from(address: NotifyAddress) -> Self {
        address.text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_sockets_have_host_and_port() {
        for (text, want) in [
            ("udp://10.0.0.7:2949", Some(("10.0.0.7", 2949))),
            ("wap://meter-7.example.org", Some(("meter-7.example.org", 2948))),
            ("udp://[2001:db8::7]:99", Some(("2001:db8::7", 99))),
            ("udp://[2001:db8::7]", Some(("2001:db8::7", 2948))),
            ("sms:+15550100", None),
        ] {
            let address = NotifyAddress::parse(text).unwrap();
            assert_eq!((address.socket(), address.to_string().as_str()), (want, text));
            let back: NotifyAddress =
                postcard::from_bytes(&postcard::to_allocvec(&address).unwrap()).unwrap();
            assert_eq!(back, address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        use NotifyAddressError::{Character, Length, Scheme, Socket};
        for (text, want) in [
            ("", Scheme),
            ("10.0.0.7", Scheme),
            (":7", Scheme),
            ("UDP://x:1", Scheme),
            ("9p:x", Scheme),
            ("a-scheme-too-long-by-far:x", Scheme),
            ("sms:", Length(0)),
            ("sms:1 2", Character { character: ' ', at: 5 }),
            ("sms:ü", Character { character: 'ü', at: 4 }),
            ("udp:10.0.0.7:1", Socket),
            ("udp://:1", Socket),
            ("udp://h:", Socket),
            ("udp://h:0", Socket),
            ("udp://h:65536", Socket),
            ("udp://h:+1", Socket),
            ("udp://h:1/path", Socket),
            ("udp://u@h:1", Socket),
            ("udp://[::g]:1", Socket),
            ("wap://[::1]x", Socket),
        ] {
            assert_eq!(NotifyAddress::parse(text), Err(want), "{text}");
        }
        assert_eq!(NotifyAddress::parse(&format!("fcm:{}", "x".repeat(2000))), Err(Length(2000)));
    }
}
