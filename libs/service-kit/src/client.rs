//! Who asks: the address of a client, also behind proxies.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use ::http::{HeaderMap, HeaderName, header};

use crate::settings::{ForwardedHeader, Network};

/// Hops that are looked at; a longer way is a made-up one.
const HOPS_MAX: usize = 32;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// One client as limits see it: an IPv4 address, or the /64 of an IPv6 one, which is what one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The client at an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            address => Self(address),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

/// The proxies whose word on their clients is believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    networks: Vec<Network>,
    header: ForwardedHeader,
}

impl Proxies {
    /// Those in these networks, which say it in this header. They must set it: what a client sent in it before is only
    /// looked at behind the last proxy that is not believed.
    pub fn new(networks: &[Network], header: ForwardedHeader) -> Self {
        Self { networks: networks.to_vec(), header }
    }

    /// The client of a request from this peer: the peer itself, or, where that is a proxy that is believed, the last hop
    /// that is none.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer.ip();
        if !self.is_trusted(client) {
            return ClientAddress::of(client);
        }
        for hop in self.hops(headers).rev().take(HOPS_MAX) {
            // A hop that names no address (such as `unknown`) ends what can be known.
            let Some(address) = hop else { break };
            client = address;
            if !self.is_trusted(client) {
                break;
            }
        }
        ClientAddress::of(client)
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// In the order in which they stand: the nearest hop is the last.
    fn hops<'h>(&self, headers: &'h HeaderMap) -> impl DoubleEndedIterator<Item = Option<IpAddr>> + use<'h> {
        let name = match self.header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let read: fn(&str) -> Option<IpAddr> = match self.header {
            ForwardedHeader::XForwardedFor => parse_node,
            ForwardedHeader::Forwarded => parse_element,
        };
        // A line that is no text hides its hops, and is one itself that names nobody.
        let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or(""));
        lines.flat_map(|line| line.split(',')).map(read)
    }
}

/// `for=192.0.2.43;proto=http`, in any order (RFC 7239, section 4).
fn parse_element(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| parse_node(value.trim().trim_matches('"')))?
    })
}

/// `192.0.2.43`, `192.0.2.43:47011`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:47011`.
fn parse_node(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    node.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    fn client(proxies: &Proxies, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        proxies.client(SocketAddr::new(peer.parse().unwrap(), 4711), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_up_to_the_last_that_is_not() {
        let networks = ["10.0.0.0/8", "2001:db8:ff::/48"].map(|text| Network::parse(text).unwrap());
        let proxies = Proxies::new(&networks, ForwardedHeader::XForwardedFor);
        const XFF: &str = "x-forwarded-for";
        for (peer, lines, want) in [
            // Nobody's word is believed but a proxy's.
            ("192.0.2.9", &[(XFF, "198.51.100.1")][..], "192.0.2.9"),
            ("10.0.0.1", &[(XFF, "198.51.100.1")], "198.51.100.1"),
            ("::ffff:10.0.0.1", &[(XFF, "198.51.100.1")], "198.51.100.1"),
            // What the client made up stands to the left of what the proxy wrote.
            ("10.0.0.1", &[(XFF, "1.1.1.1, 198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(XFF, "1.1.1.1, 198.51.100.1, 10.0.0.7")], "198.51.100.1"),
            ("10.0.0.1", &[(XFF, "1.1.1.1"), (XFF, "198.51.100.1:55")], "198.51.100.1"),
            ("10.0.0.1", &[(XFF, "198.51.100.1, unknown, 10.0.0.7")], "10.0.0.7"),
            ("10.0.0.1", &[(XFF, "")], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=198.51.100.1")], "10.0.0.1"),
            ("2001:db8:ff::1", &[(XFF, "2001:db8:1:2:3:4:5:6")], "2001:db8:1:2::/64"),
        ] {
            assert_eq!(client(&proxies, peer, lines), want, "{peer} {lines:?}");
        }
        let proxies = Proxies::new(&networks, ForwardedHeader::Forwarded);
        for (line, want) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("for=1.1.1.1, for=\"[2001:db8:1:2::3]:47011\";proto=https", "2001:db8:1:2::/64"),
            ("proto=http;FOR=\"198.51.100.1:80\";by=10.0.0.1", "198.51.100.1"),
            ("for=198.51.100.1, for=_hidden", "10.0.0.1"),
        ] {
            assert_eq!(client(&proxies, "10.0.0.1", &[("forwarded", line)]), want, "{line}");
        }
        let nobody = Proxies::default();
        assert_eq!(client(&nobody, "127.0.0.1", &[(XFF, "198.51.100.1")]), "127.0.0.1");
    }

    #[test]
    fn a_way_without_end_is_cut() {
        let networks = [Network::parse("10.0.0.0/8").unwrap()];
        let proxies = Proxies::new(&networks, ForwardedHeader::XForwardedFor);
        let long = format!("192.0.2.1{}", ", 10.0.0.2".repeat(3000));
        assert_eq!(client(&proxies, "10.0.0.1", &[("x-forwarded-for", &long)]), "10.0.0.2");
    }
}
