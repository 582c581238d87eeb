//! Addresses that this front-end serves.

use std::fmt::Write as _;

/// The path that devices post their messages to.
pub const DM_PATH: &str = "/dm";

/// An artifact as it stands in a path: `/artifacts/<sha-256 in hex>/<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArtifactAddress<'a> {
    pub(crate) digest: [u8; 32],
    /// The digest as it came, in lower case.
    pub(crate) hex: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> ArtifactAddress<'a> {
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let (hex, name) = path.strip_prefix("/artifacts/")?.split_once('/')?;
        let is_plain = !name.is_empty() && !name.contains('/');
        is_plain.then_some(Self { digest: parse_hex(hex)?, hex, name })
    }

    /// The address of an artifact below `public_url`.
    pub(crate) fn format(public_url: &str, digest: &[u8; 32], name: &str) -> String {
        let mut address = format!("{public_url}/artifacts/{}/", hex(digest));
        let before = address.len();
        for octet in name.bytes() {
            // What is unreserved needs no escape (RFC 3986, section 2.3); a `%` here is one already.
            match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' => {
                    address.push(char::from(octet));
                }
                _ => {
                    let _ = write!(address, "%{octet:02X}");
                }
            }
        }
        if address.len() == before {
            address.push_str("package");
        }
        address
    }
}

/// The address of an artifact for a device: below the address by which devices reach this front-end.
pub fn artifact_url(public_url: &str, digest: &[u8; 32], name: &str) -> String {
    ArtifactAddress::format(public_url.trim_end_matches('/'), digest, &name.replace('%', "_"))
}

pub(crate) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Lower case only: an artifact has one address.
pub(crate) fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (octet, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *octet = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(digest)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_written_is_read_back() {
        let digest: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap());
        for (name, last) in
            [("fw-1.0.bin", "fw-1.0.bin"), ("a b/c", "a%20b%2Fc"), ("ü", "%C3%BC"), ("", "package")]
        {
            let url = artifact_url("http://127.0.0.1:8080/", &digest, name);
            let path = url.strip_prefix("http://127.0.0.1:8080").unwrap();
            let address = ArtifactAddress::parse(path).unwrap();
            assert_eq!((address.digest, address.name), (digest, last), "{url}");
        }
    }

    #[test]
    fn refuses_paths_that_name_no_artifact() {
        let hex = "ab".repeat(32);
        for path in [
            "/artifacts".to_owned(),
            "/artifacts/".to_owned(),
            format!("/artifacts/{hex}"),
            format!("/artifacts/{hex}/"),
            format!("/artifacts/{hex}/a/b"),
            format!("/artifacts/{}/a", hex.to_uppercase()),
            format!("/artifacts/{}/a", &hex[1..]),
            format!("/artifacts/{}é/a", &hex[2..]),
            format!("/artifact/{hex}/a"),
        ] {
            assert_eq!(ArtifactAddress::parse(&path), None, "{path}");
        }
    }
}
