//! Artifacts as the API shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::ArtifactMeta;

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// SHA-256 of its octets, in hexadecimal: its name in the API.
    pub digest: String,
    /// Octets.
    pub size: u64,
    /// The name it was added by.
    pub name: String,
    /// The version a device reports after it.
    pub version: String,
    /// Its media type.
    pub media_type: String,
    /// When it was added.
    pub added: Timestamp,
}

impl From<ArtifactMeta> for ArtifactView {
    fn from(meta: ArtifactMeta) -> Self {
        Self {
            digest: hex(&meta.digest),
            size: meta.size,
            name: meta.name,
            version: meta.version,
            media_type: meta.media_type,
            added: meta.added,
        }
    }
}

/// Octets in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A SHA-256 digest from its hexadecimal text, with or without `sha256:` before it.
pub(crate) fn parse_digest(text: &str) -> Option<[u8; 32]> {
    campaign::Digest::parse(text).map(|digest| digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_survive_their_text() {
        let digest: [u8; 32] = std::array::from_fn(|i| i as u8 * 7);
        assert_eq!(parse_digest(&hex(&digest)), Some(digest));
        for bad in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse_digest(bad), None, "{bad}");
        }
    }
}
