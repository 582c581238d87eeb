use sha2::{Digest, Sha256};

use super::{assert_kind, fresh_tenant};
use crate::{ArtifactStore, ErrorKind};

/// The laws of [`ArtifactStore`].
pub async fn artifact_store_laws(store: &dyn ArtifactStore) {
    let (tenant, other) = (fresh_tenant("artifact-a"), fresh_tenant("artifact-b"));
    let image: Vec<u8> = (0..700_001_u32).map(|number| ((number * 31) >> 3) as u8).collect();
    let digest: [u8; 32] = Sha256::digest(&image).into();
    assert!(store.meta(&tenant, &digest).await.unwrap().is_none());
    assert_kind(
        store.read(&tenant, &digest, 0, 1).await,
        ErrorKind::Missing,
        "what is not there cannot be read",
    );
    let size = image.len() as u64;

    let too_large = store.add(&tenant, "image", "1", "a/b", size - 1, &mut &image[..]).await;
    assert_kind(too_large, ErrorKind::TooLarge, "an artifact has a bound");
    assert!(
        store.meta(&tenant, &digest).await.unwrap().is_none(),
        "nothing is kept of one that is too large"
    );

    let meta =
        store.add(&tenant, "image", "2.0", "application/octet-stream", size, &mut &image[..]).await.unwrap();
    assert_eq!((meta.digest, meta.size), (digest, size), "an artifact is named by its SHA-256");
    assert_eq!(
        (&*meta.name, &*meta.version, &*meta.media_type),
        ("image", "2.0", "application/octet-stream")
    );
    assert_eq!(store.meta(&tenant, &digest).await.unwrap().as_ref(), Some(&meta));
    let again = store.add(&tenant, "copy", "3.0", "a/b", size, &mut &image[..]).await.unwrap();
    assert_eq!(again, meta, "the same octets are the same artifact");

    for (offset, len) in [(0, 0), (0, 10), (5, 700_001), (700_000, 10), (700_001, 10), (u64::MAX, 10)] {
        let start = image.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let end = image.len().min(start + len);
        let read = store.read(&tenant, &digest, offset, len).await.unwrap();
        assert!(read == image[start..end], "{len} octets from {offset} are read as they were added");
    }

    let empty = store.add(&tenant, "empty", "0", "a/b", 10, &mut &b""[..]).await.unwrap();
    assert_eq!(empty.size, 0);
    assert_eq!(
        store.list(&tenant).await.unwrap(),
        [empty, meta.clone()],
        "artifacts are listed newest first"
    );

    assert!(store.meta(&other, &digest).await.unwrap().is_none(), "tenants are apart");
    assert!(store.list(&other).await.unwrap().is_empty());
    assert_kind(
        store.read(&other, &digest, 0, 1).await,
        ErrorKind::Missing,
        "also where the octets are there",
    );
    let own = store.add(&other, "own", "1", "a/b", size, &mut &image[..]).await.unwrap();
    assert_eq!(own.name, "own");
    assert_eq!(store.meta(&tenant, &digest).await.unwrap(), Some(meta));
    assert_eq!(store.read(&other, &digest, 1, 3).await.unwrap(), image[1..4]);
}
