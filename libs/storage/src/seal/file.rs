//! Keys in files: a key file of the settings, and the key that an embedded data directory makes for itself.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use super::{KEY_LEN, KeyError, KeyId};

type Key = Zeroizing<[u8; KEY_LEN]>;

/// The keys of a key file, in its order.
pub(super) fn read_keys(path: &Path) -> Result<Vec<(KeyId, Key)>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.permissions().mode() & 0o007 != 0 {
        tracing::warn!(path = %path.display(), "everybody on this machine may read the key file");
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(io)?;
    let mut keys: Vec<(KeyId, Key)> = Vec::new();
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = parse_line(line).and_then(|(id, key)| match keys.iter().any(|(known, _)| *known == id) {
            true => Err("a key of this id stands above"),
            false => Ok((id, key)),
        });
        keys.push(key.map_err(|problem| KeyError::Line { path: path.to_owned(), line: at + 1, problem })?);
    }
    if keys.is_empty() { Err(KeyError::Empty(path.to_owned())) } else { Ok(keys) }
}

fn parse_line(line: &str) -> Result<(KeyId, Key), &'static str> {
    let (id, hex) = line.split_once(':').ok_or("expected id:key")?;
    let id: u32 = id.trim().parse().map_err(|_| "expected a number as the id")?;
    if KeyId(id) == KeyId::OWN {
        return Err("expected an id from 1 on");
    }
    let hex = hex.trim().as_bytes();
    if hex.len() != 2 * KEY_LEN {
        return Err("expected a key of 64 hexadecimal digits");
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    for (octet, digits) in key.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let [high, low] = [digits[0], digits[1]].map(digit);
        *octet = high.zip(low).map(|(high, low)| high << 4 | low).ok_or("expected hexadecimal digits")?;
    }
    Ok((KeyId(id), key))
}

/// The key of a data directory; made (mode 0600) where `fresh` says that nothing has been sealed yet.
pub(super) fn read_own(path: &Path, fresh: bool) -> io::Result<Key> {
    match read_octets(path) {
        Err(error) if fresh && error.kind() == io::ErrorKind::NotFound => make(path),
        key => key,
    }
}

fn read_octets(path: &Path) -> io::Result<Key> {
    let mut file = File::open(path)?;
    let mut octets = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
    file.read_to_end(&mut octets)?;
    let key: [u8; KEY_LEN] = octets.as_slice().try_into().map_err(|_| {
        let reason = format!("expected a key of {KEY_LEN} octets, got {}", octets.len());
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })?;
    Ok(Zeroizing::new(key))
}

fn make(path: &Path) -> io::Result<Key> {
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
