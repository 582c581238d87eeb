//! Firmware and software files, by digest.

use std::borrow::Cow;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

use crate::{
    StoreError, TenantId,
    records::{self, instant},
};

/// What is known of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactMeta {
    /// SHA-256 of its octets, which is its name.
    pub digest: [u8; 32],
    /// Octets.
    pub size: u64,
    /// The name it was added by.
    pub name: String,
    /// The version it was added by: what a device reports after it.
    pub version: String,
    /// Its media type.
    pub media_type: String,
    /// When it was added.
    pub added: Timestamp,
}

/// What is stored under an artifact's digest.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    size: u64,
    name: Cow<'a, str>,
    version: Cow<'a, str>,
    media_type: Cow<'a, str>,
    #[serde(with = "instant")]
    added: Timestamp,
}

impl ArtifactMeta {
    /// The stored form of all but the digest, which is the key that it is stored under.
    pub fn encode(&self) -> Vec<u8> {
        records::encode(&Record {
            size: self.size,
            name: Cow::Borrowed(&self.name),
            version: Cow::Borrowed(&self.version),
            media_type: Cow::Borrowed(&self.media_type),
            added: self.added,
        })
    }

    /// What was stored under a digest.
    ///
    /// # Errors
    ///
    /// As [`records::decode`] has them.
    pub fn decode(operation: &'static str, digest: [u8; 32], stored: &[u8]) -> Result<Self, StoreError> {
        let record: Record<'_> = records::decode(operation, stored)?;
        Ok(Self {
            digest,
            size: record.size,
            name: record.name.into_owned(),
            version: record.version.into_owned(),
            media_type: record.media_type.into_owned(),
            added: record.added,
        })
    }
}

/// Artifacts. The same octets are stored once, and added again keep the record they were first added with.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Stores what `content` gives, durably, and answers its record.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::TooLarge`] when there are more than `size_max` octets; nothing is stored then.
    async fn add(
        &self,
        tenant: &TenantId,
        name: &str,
        version: &str,
        media_type: &str,
        size_max: u64,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<ArtifactMeta, StoreError>;

    /// One artifact's record.
    async fn meta(&self, tenant: &TenantId, digest: &[u8; 32]) -> Result<Option<ArtifactMeta>, StoreError>;

    /// All artifacts' records, newest first.
    async fn list(&self, tenant: &TenantId) -> Result<Vec<ArtifactMeta>, StoreError>;

    /// Up to `len` octets from `offset` on; fewer only at the end.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Missing`] when the tenant has no such artifact.
    async fn read(
        &self,
        tenant: &TenantId,
        digest: &[u8; 32],
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, StoreError>;
}
