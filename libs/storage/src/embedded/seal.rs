//! Sealing of secrets at rest: XChaCha20-Poly1305 with one key of the data directory. The tenant and the
//! device are bound in, so that a sealed account opens only where it was put.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, AeadInPlace, Payload},
};
use zeroize::Zeroizing;

/// Octets of the key.
const KEY_LEN: usize = 32;
/// Octets of the nonce that stands before each sealed text. At random they never meet.
const NONCE_LEN: usize = 24;

/// Octets of the tag that stands behind it.
const TAG_LEN: usize = 16;

/// Seals and opens.
pub(crate) struct Sealer(XChaCha20Poly1305);

/// Why a text could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("no entropy from the system")]
    Entropy(#[source] getrandom::Error),
    #[error("expected a sealed text of at least {NONCE_LEN} octets, got {0}")]
    Short(usize),
    #[error("sealed text does not open with this key for this device")]
    Refused,
}

impl Sealer {
    /// Reads the key file, or makes it (mode 0600) where `fresh` says that nothing has been sealed yet.
    pub(crate) fn open(path: &Path, fresh: bool) -> io::Result<Self> {
        match read_key(path) {
            Err(error) if fresh && error.kind() == io::ErrorKind::NotFound => make_key(path),
            key => key,
        }
        .map(|key| Self(XChaCha20Poly1305::new((&*key).into())))
    }

    pub(crate) fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(SealError::Entropy)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_LEN);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self
            .0
            .encrypt_in_place_detached(XNonce::from_slice(&nonce), bound_to, &mut sealed[NONCE_LEN..])
            .map_err(|_| SealError::Refused)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    pub(crate) fn open_sealed(
        &self,
        sealed: &[u8],
        bound_to: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Short(sealed.len()))?;
        let payload = Payload { msg: text, aad: bound_to };
        let plain = self.0.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| SealError::Refused)?;
        Ok(Zeroizing::new(plain))
    }
}

fn read_key(path: &Path) -> io::Result<Zeroizing<[u8; KEY_LEN]>> {
    let mut file = File::open(path)?;
    let mut octets = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
    file.read_to_end(&mut octets)?;
    let key: [u8; KEY_LEN] = octets.as_slice().try_into().map_err(|_| {
        let reason = format!("expected a key of {KEY_LEN} octets, got {}", octets.len());
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })?;
    Ok(Zeroizing::new(key))
}

fn make_key(path: &Path) -> io::Result<Zeroizing<[u8; KEY_LEN]>> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(&mut *key).map_err(io::Error::other)?;
    // A key half written when the machine dies must not be taken for a key, so it gets its name when it is whole.
    let unfinished = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&*key)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    Ok(key)
}
