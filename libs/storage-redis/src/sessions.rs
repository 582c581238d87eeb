//! Sessions in flight: each a string, a version and a revision before the record.

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use storage::{Revision, SessionKey, SessionStore, StoreError, Versioned};

use crate::{Redis, connection::Effect, revision, script::Script};

/// The version of the stored form.
const VERSION: u8 = 1;
/// Octets of the version and the revision.
const HEAD: usize = 9;
/// Octets of a record at most: a message and its answer, with room.
const RECORD_MAX: usize = 8 << 20;

/// ARGV: the head expected (empty: no record), the new value, how many milliseconds to keep it. Answers 1 when written.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local head = redis.call('GETRANGE', KEYS[1], 0, 8)
if head ~= ARGV[1] then
  if head == string.sub(ARGV[2], 1, 9) then return 1 end
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1",
    )
});

#[async_trait]
impl SessionStore for Redis {
    async fn load(&self, key: &SessionKey) -> Result<Option<Versioned<Vec<u8>>>, StoreError> {
        const OPERATION: &str = "load session";
        let key = self.keys().session(OPERATION, key)?;
        let mut command = redis::cmd("GET");
        command.arg(key);
        let stored: Option<Vec<u8>> = self.call(OPERATION, Effect::Reads, &command).await?;
        stored.map(|stored| open(OPERATION, stored)).transpose()
    }

    async fn put(
        &self,
        key: &SessionKey,
        expected: Option<Revision>,
        record: &[u8],
        keep: Duration,
    ) -> Result<Revision, StoreError> {
        const OPERATION: &str = "put session";
        if record.len() > RECORD_MAX {
            let reason = format!("expected a record of at most {RECORD_MAX} octets, got {}", record.len());
            return Err(StoreError::too_large(OPERATION, reason));
        }
        let key = self.keys().session(OPERATION, key)?;
        let revision = revision::fresh(OPERATION, expected)?;
        let mut value = Vec::with_capacity(HEAD + record.len());
        value.extend_from_slice(&head(revision));
        value.extend_from_slice(record);
        let expected = expected.map(head);
        let expected = expected.as_ref().map_or(&[][..], <[u8; HEAD]>::as_slice);
        let keep = milliseconds(keep);
        let written: u8 = self.run(OPERATION, &PUT, &key, &[expected, &value, keep.as_bytes()]).await?;
        if written == 1 { Ok(revision) } else { Err(StoreError::conflict(OPERATION)) }
    }
}

fn head(revision: Revision) -> [u8; HEAD] {
    let mut head = [VERSION; HEAD];
    head[1..].copy_from_slice(&revision.0.to_be_bytes());
    head
}

fn open(operation: &'static str, mut stored: Vec<u8>) -> Result<Versioned<Vec<u8>>, StoreError> {
    match stored.split_first_chunk::<HEAD>() {
        Some((&[VERSION, revision @ ..], _)) => {
            let revision = Revision(u64::from_be_bytes(revision));
            stored.drain(..HEAD);
            Ok(Versioned { value: stored, revision })
        }
        Some((&[version, ..], _)) => {
            let reason = format!("expected a session record of version {VERSION}, got version {version}");
            Err(StoreError::corrupt(operation, reason))
        }
        None => {
            let reason = format!("expected a session record of at least {HEAD} octets, got {}", stored.len());
            Err(StoreError::corrupt(operation, reason))
        }
    }
}

/// A time to live as Redis takes it: at least a millisecond, at most what it can count.
pub(crate) fn milliseconds(keep: Duration) -> String {
    let most = i64::MAX as u128 / 4;
    keep.as_millis().clamp(1, most).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_as_it_was() {
        let stored = [&[1, 0, 0, 0, 0, 0, 0, 1, 2][..], b"record"].concat();
        assert_eq!([&head(Revision(258))[..], b"record"].concat(), stored);
        let read = open("test", stored).unwrap();
        assert_eq!(read, Versioned { value: b"record".to_vec(), revision: Revision(258) });
        for broken in [&[][..], &[1; 8], &[2, 0, 0, 0, 0, 0, 0, 0, 1]] {
            assert_eq!(open("test", broken.to_vec()).unwrap_err().kind, storage::ErrorKind::Corrupt);
        }
    }
}
