//! Sealing of secrets at rest: XChaCha20-Poly1305 under a ring of keys. One key of the ring seals, all of them open, so
//! a key can be replaced while servers run. What a secret belongs to is bound in: it opens only where it was put.
//!
//! A sealed text is `version (1) | key id (4, big-endian) | nonce (24) | text and tag`. Embedded data directories of
//! before have `nonce | text and tag` under their only key; these open for ever.

mod file;
mod rotate;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, AeadInPlace, Payload},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use rotate::{Resealed, SealedPage, Sealing, Tried, reseal, sealing, try_keys};

/// Octets of a key.
pub const KEY_LEN: usize = 32;
/// The version of the envelope that is written.
const VERSION: u8 = 1;
/// Octets before the nonce: version and key id.
const HEAD_LEN: usize = 5;
/// Octets of the nonce. At random they never meet.
const NONCE_LEN: usize = 24;
/// Octets of the tag behind the text.
const TAG_LEN: usize = 16;

/// Names a key of the ring. [`KeyId::OWN`] is the key that an embedded data directory made for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId(pub u32);

impl KeyId {
    /// The key that an embedded data directory made for itself. No key of a key file has this id.
    pub const OWN: Self = Self(0);
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The system gives no randomness.
    #[error("no entropy from the system")]
    Entropy(#[source] getrandom::Error),
    /// It ends before its head does.
    #[error("expected a sealed text of at least 40 octets, got {0}")]
    Short(usize),
    /// No key of the ring has the id that the text names.
    #[error("sealed with key {0}, which is not among the keys")]
    UnknownKey(KeyId),
    /// The key does not open it: it was changed, or belongs to another.
    #[error("sealed text does not open with the key it names, where it stands")]
    Refused,
}

/// Why keys could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("could not read the key file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of it is no key.
    #[error("{} line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it. Says nothing of the key.
        problem: &'static str,
    },
    /// There is no key in it.
    #[error("{} has no key, expected lines such as 1:00112233... (64 hexadecimal digits)", .0.display())]
    Empty(PathBuf),
}

/// A line for a key file: this id and a new key.
///
/// # Errors
///
/// [`SealError::Entropy`].
pub fn new_key_line(id: KeyId) -> Result<Zeroizing<String>, SealError> {
    let mut key = Zeroizing::new([0_u8; KEY_LEN]);
    getrandom::fill(&mut *key).map_err(SealError::Entropy)?;
    // Room for the whole line, so that no part of the key is left behind by a buffer that grew.
    let mut line = Zeroizing::new(String::with_capacity(16 + 2 * KEY_LEN));
    line.push_str(&format!("{id}:"));
    for octet in *key {
        line.extend(
            [octet >> 4, octet & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
        );
    }
    Ok(line)
}

/// A ring of keys: the newest seals, all of them open. Clones are one ring.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    keys: RwLock<Arc<Keys>>,
    /// Where the keys can be read again.
    file: Option<PathBuf>,
    /// The key of an embedded data directory, which stands in no key file.
    own: Option<Zeroizing<[u8; KEY_LEN]>>,
}

/// The last is the newest. Never empty.
struct Keys(Vec<(KeyId, XChaCha20Poly1305)>);

impl Keys {
    fn find(&self, id: KeyId) -> Option<&XChaCha20Poly1305> {
        self.0.iter().find(|(of, _)| *of == id).map(|(_, key)| key)
    }

    fn newest(&self) -> &(KeyId, XChaCha20Poly1305) {
        self.0.last().expect("a ring is made of one key at least")
    }
}

impl KeyRing {
    /// The keys of a file: lines of `id:key`, where the id is a number from 1 on and the key 64 hexadecimal digits. Empty
    /// lines and those that begin with `#` are left out. The last line's key seals.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says which line.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        Self::of(None, Some(path))
    }

    /// A ring of these keys, the last of which seals; `None` where there is none. For tests, and for keys that come from
    /// elsewhere.
    pub fn from_keys(keys: &[(KeyId, [u8; KEY_LEN])]) -> Option<Self> {
        let keys: Vec<_> = keys.iter().map(|(id, key)| (*id, XChaCha20Poly1305::new(key.into()))).collect();
        if keys.is_empty() {
            return None;
        }
        Some(Self(Arc::new(Ring { keys: RwLock::new(Arc::new(Keys(keys))), file: None, own: None })))
    }

    /// The key of an embedded data directory in `own`, made where `fresh` says that nothing has been sealed yet, and
    /// behind it the keys of `file`.
    pub(crate) fn of_directory(own: &Path, fresh: bool, file: Option<&Path>) -> Result<Self, KeyError> {
        let key =
            file::read_own(own, fresh).map_err(|source| KeyError::Io { path: own.to_owned(), source })?;
        Self::of(Some(key), file)
    }

    fn of(own: Option<Zeroizing<[u8; KEY_LEN]>>, file: Option<&Path>) -> Result<Self, KeyError> {
        let ring = Ring {
            keys: RwLock::new(Arc::new(read_keys(own.as_deref(), file)?)),
            file: file.map(Path::to_owned),
            own,
        };
        Ok(Self(Arc::new(ring)))
    }

    /// Reads the key file again. True: the keys that it has are other ones now.
    ///
    /// # Errors
    ///
    /// [`KeyError`]; the keys of before stay.
    pub fn reload(&self) -> Result<bool, KeyError> {
        let Some(file) = &self.0.file else { return Ok(false) };
        let read = read_keys(self.0.own.as_deref(), Some(file))?;
        let mut keys = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let changed = !read.0.iter().map(|(id, _)| id).eq(keys.0.iter().map(|(id, _)| id));
        *keys = Arc::new(read);
        Ok(changed)
    }

    /// The key that seals.
    pub fn newest(&self) -> KeyId {
        self.keys().newest().0
    }

    /// All keys, the newest last.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys().0.iter().map(|(id, _)| *id).collect()
    }

    /// Seals under the newest key. `bound_to` names the place: only there it opens.
    ///
    /// # Errors
    ///
    /// [`SealError::Entropy`].
    pub fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.keys();
        let (id, key) = keys.newest();
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(SealError::Entropy)?;
        let mut sealed = Vec::with_capacity(HEAD_LEN + NONCE_LEN + plain.len() + TAG_LEN);
        sealed.push(VERSION);
        sealed.extend_from_slice(&id.0.to_be_bytes());
        let bound = bound(&sealed, bound_to);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let text = &mut sealed[HEAD_LEN + NONCE_LEN..];
        let tag = key
            .encrypt_in_place_detached(XNonce::from_slice(&nonce), &bound, text)
            .map_err(|_| SealError::Refused)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what was sealed under any key of the ring for the same place. Where the text names a key that is not there,
    /// the key file is read again first: another process may have begun to seal with a new key.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    pub fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let keys = self.keys();
        let opened = keys.open(sealed, bound_to);
        match opened {
            Err(SealError::UnknownKey(_)) if self.reload().is_ok_and(|changed| changed) => {
                self.keys().open(sealed, bound_to).map(|(_, plain)| plain)
            }
            opened => opened.map(|(_, plain)| plain),
        }
    }

    /// The key that a text is sealed with. It is opened for that, as an old form names no key.
    ///
    /// # Errors
    ///
    /// [`SealError`], as [`KeyRing::open`].
    pub fn key_of(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Sealing, SealError> {
        self.keys().open(sealed, bound_to).map(|(sealing, _)| sealing)
    }

    /// A digest of `plain` under the newest key: the same for the same text, and of no use to who has not the key. For
    /// telling whether a text has changed without opening it.
    pub fn fingerprint(&self, plain: &[u8]) -> [u8; 16] {
        // No text is ever sealed with this nonce: those of texts are random.
        let nonce = XNonce::from_slice(b"flotilla fingerprint key");
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let keys = self.keys();
        // It refuses only texts of many gigabytes.
        let sealed = keys.newest().1.encrypt_in_place_detached(nonce, b"", &mut *key);
        debug_assert!(sealed.is_ok());
        let mut digest = [0; 16];
        digest.copy_from_slice(&blake3::keyed_hash(&key, plain).as_bytes()[..16]);
        digest
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.ids()).finish()
    }
}

impl Keys {
    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<(Sealing, Zeroizing<Vec<u8>>), SealError> {
        if sealed.len() < NONCE_LEN + TAG_LEN {
            return Err(SealError::Short(sealed.len()));
        }
        let named = self.open_named(sealed, bound_to);
        if let Ok(opened) = named {
            return Ok(opened);
        }
        // The oldest form has no head: its first octets are a nonce, which may look like one.
        let own = self.find(KeyId::OWN).and_then(|key| open_with(key, sealed, bound_to).ok());
        own.map_or(named, |plain| Ok((Sealing { key: KeyId::OWN, is_current_form: false }, plain)))
    }

    fn open_named(&self, sealed: &[u8], bound_to: &[u8]) -> Result<(Sealing, Zeroizing<Vec<u8>>), SealError> {
        let (head, rest) = sealed.split_first_chunk::<HEAD_LEN>().ok_or(SealError::Short(sealed.len()))?;
        let [VERSION, id @ ..] = *head else { return Err(SealError::Refused) };
        let id = KeyId(u32::from_be_bytes(id));
        let key = self.find(id).ok_or(SealError::UnknownKey(id))?;
        let plain = open_with(key, rest, &bound(head, bound_to))?;
        Ok((Sealing { key: id, is_current_form: true }, plain))
    }
}

/// The head is bound in with the place, so that no part of an envelope can be exchanged.
fn bound(head: &[u8], bound_to: &[u8]) -> Vec<u8> {
    [head, bound_to].concat()
}

fn open_with(
    key: &XChaCha20Poly1305,
    sealed: &[u8],
    bound_to: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Short(sealed.len()))?;
    let payload = Payload { msg: text, aad: bound_to };
    key.decrypt(XNonce::from_slice(nonce), payload).map(Zeroizing::new).map_err(|_| SealError::Refused)
}

/// The own key first, as every key of the file is newer.
fn read_keys(own: Option<&[u8; KEY_LEN]>, file: Option<&Path>) -> Result<Keys, KeyError> {
    let mut keys: Vec<_> =
        own.into_iter().map(|key| (KeyId::OWN, XChaCha20Poly1305::new(key.into()))).collect();
    if let Some(file) = file {
        let read = file::read_keys(file)?;
        keys.extend(read.iter().map(|(id, key)| (*id, XChaCha20Poly1305::new((&**key).into()))));
    }
    Ok(Keys(keys))
}
