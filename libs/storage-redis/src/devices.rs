//! Hot records of devices. A record is a head (version, revision), what the durable row has (digest, revision, ordinal) and
//! the sealed device; a claim is an octet that says which kind, and its number, and for one to change what the durable row
//! has.

use std::sync::LazyLock;

use async_trait::async_trait;
use dm_protocol::DevId;
use futures_util::future::try_join_all;
use redis::Value;
use storage::{Revision, StoreError, TenantId, Versioned};
use storage_cluster::hot::{Claim, Hot, HotDevices, HotPut, HotRecord};

use crate::{Redis, connection::Effect, revision, script::Script, sessions::milliseconds};

/// The version of a record; no claim begins with it.
const VERSION: u8 = 1;
/// A claim to fill begins with this.
const FILLING: u8 = 0xc0;
/// A claim to change begins with this.
const CHANGING: u8 = 0xc1;
/// Octets of version and revision, or of a claim.
const HEAD: usize = 9;
/// Octets of a record before the sealed device.
const FIXED: usize = HEAD + 16 + 8 + 4;
/// How long a claim to fill is kept: it only has to outlive one read of the durable row.
const FILLING_KEEP_MS: &[u8] = b"10000";
/// Records read at the same time.
const READS_AT_ONCE: usize = 256;

/// ARGV: the head expected, the new head and digest, the sealed device, milliseconds, the claim to change. Answers 1 when
/// written, 0 when lost, and what the durable row has when the digest is another.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local old = redis.call('GETRANGE', KEYS[1], 0, 36)
local head = string.sub(old, 1, 9)
if head == ARGV[1] then
  local row = string.sub(old, 26, 37)
  if string.sub(old, 10, 25) == string.sub(ARGV[2], 10, 25) then
    redis.call('SET', KEYS[1], ARGV[2] .. row .. ARGV[3], 'PX', ARGV[4])
    return 1
  end
  redis.call('SET', KEYS[1], ARGV[5] .. row, 'PX', ARGV[4])
  return row
end
if head == string.sub(ARGV[2], 1, 9) then return 1 end
if head == ARGV[5] then return string.sub(old, 10, 21) end
return 0",
    )
});

/// ARGV: the claim, milliseconds. Answers 1 when it stands there.
static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local head = redis.call('GETRANGE', KEYS[1], 0, 8)
if head == '' or string.byte(head) == 192 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return 0",
    )
});

/// ARGV: the claim, the record, milliseconds, what to do where the claim is not: `leave` or `remove`. Answers 1 when
/// written.
static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local head = redis.call('GETRANGE', KEYS[1], 0, 8)
if head == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if head == string.sub(ARGV[2], 1, 9) then return 1 end
if ARGV[4] == 'remove' then redis.call('DEL', KEYS[1]) end
return 0",
    )
});

/// ARGV: heads, any of which is removed.
static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local head = redis.call('GETRANGE', KEYS[1], 0, 8)
for _, one in ipairs(ARGV) do
  if head == one then redis.call('DEL', KEYS[1]) end
end
return 1",
    )
});

#[async_trait]
impl HotDevices for Redis {
    async fn load(&self, tenant: &TenantId, device: &DevId) -> Result<Hot, StoreError> {
        const OPERATION: &str = "load hot device";
        let mut command = redis::cmd("GET");
        command.arg(self.keys().device(tenant, device));
        let stored: Option<Vec<u8>> = self.call(OPERATION, Effect::Reads, &command).await?;
        stored.map_or(Ok(Hot::Absent), |stored| decode(OPERATION, &stored))
    }

    async fn load_many(&self, tenant: &TenantId, devices: &[DevId]) -> Result<Vec<Hot>, StoreError> {
        let mut all = Vec::with_capacity(devices.len());
        for devices in devices.chunks(READS_AT_ONCE) {
            let reads = devices.iter().map(|device| HotDevices::load(self, tenant, device));
            all.extend(try_join_all(reads).await?);
        }
        Ok(all)
    }

    async fn put(
        &self,
        tenant: &TenantId,
        device: &DevId,
        expected: Revision,
        digest: [u8; 16],
        sealed: &[u8],
    ) -> Result<HotPut, StoreError> {
        const OPERATION: &str = "put hot device";
        let key = self.keys().device(tenant, device);
        let revision = revision::fresh(OPERATION, Some(expected))?;
        let mut head_and_digest = [0; HEAD + 16];
        head_and_digest[..HEAD].copy_from_slice(&head(VERSION, revision.0));
        head_and_digest[HEAD..].copy_from_slice(&digest);
        let keep = milliseconds(self.device_keep());
        let (expected, change) = (head(VERSION, expected.0), head(CHANGING, revision.0));
        let arguments = [&expected[..], &head_and_digest, sealed, keep.as_bytes(), &change];
        match self.run(OPERATION, &PUT, &key, &arguments).await? {
            Value::Int(1) => Ok(HotPut::Written(revision)),
            Value::Int(0) => Ok(HotPut::Lost),
            Value::BulkString(row) => match row.first_chunk::<12>() {
                Some(&[durable @ .., a, b, c, d]) => Ok(HotPut::Changes {
                    claim: Claim(revision.0),
                    durable: Revision(u64::from_be_bytes(durable)),
                    ordinal: u32::from_be_bytes([a, b, c, d]),
                }),
                None => Err(StoreError::corrupt(OPERATION, "the hot record ends too soon")),
            },
            other => Err(StoreError::corrupt(OPERATION, format!("expected an outcome, got {other:?}"))),
        }
    }

    async fn claim_fill(&self, tenant: &TenantId, device: &DevId) -> Result<Option<Claim>, StoreError> {
        const OPERATION: &str = "claim hot device";
        let key = self.keys().device(tenant, device);
        let Revision(claim) = revision::fresh(OPERATION, None)?;
        let arguments = [&head(FILLING, claim)[..], FILLING_KEEP_MS];
        let claimed: u8 = self.run(OPERATION, &CLAIM, &key, &arguments).await?;
        Ok((claimed == 1).then_some(Claim(claim)))
    }

    async fn fill(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError> {
        self.replace(tenant, device, head(FILLING, claim.0), record, b"leave").await
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError> {
        self.replace(tenant, device, head(CHANGING, claim.0), record, b"remove").await
    }

    async fn abandon(
        &self,
        tenant: &TenantId,
        device: &DevId,
        Claim(claim): Claim,
    ) -> Result<(), StoreError> {
        let heads = [head(FILLING, claim), head(CHANGING, claim)];
        let key = self.keys().device(tenant, device);
        self.run("give hot device up", &REMOVE, &key, &[&heads[0], &heads[1]]).await
    }

    async fn forget(&self, tenant: &TenantId, device: &DevId, revision: Revision) -> Result<(), StoreError> {
        let key = self.keys().device(tenant, device);
        self.run("forget hot device", &REMOVE, &key, &[&head(VERSION, revision.0)]).await
    }
}

impl Redis {
    async fn replace(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: [u8; HEAD],
        record: &HotRecord,
        otherwise: &[u8],
    ) -> Result<Option<Revision>, StoreError> {
        const OPERATION: &str = "fill hot device";
        let key = self.keys().device(tenant, device);
        let revision = revision::fresh(OPERATION, None)?;
        let keep = milliseconds(self.device_keep());
        let arguments = [&claim[..], &encode(revision, record), keep.as_bytes(), otherwise];
        let written: u8 = self.run(OPERATION, &FILL, &key, &arguments).await?;
        Ok((written == 1).then_some(revision))
    }
}

fn head(kind: u8, number: u64) -> [u8; HEAD] {
    let mut head = [kind; HEAD];
    head[1..].copy_from_slice(&number.to_be_bytes());
    head
}

fn encode(revision: Revision, record: &HotRecord) -> Vec<u8> {
    let mut stored = Vec::with_capacity(FIXED + record.sealed.len());
    stored.extend_from_slice(&head(VERSION, revision.0));
    stored.extend_from_slice(&record.digest);
    stored.extend_from_slice(&record.durable.0.to_be_bytes());
    stored.extend_from_slice(&record.ordinal.to_be_bytes());
    stored.extend_from_slice(&record.sealed);
    stored
}

fn decode(operation: &'static str, stored: &[u8]) -> Result<Hot, StoreError> {
    let too_short =
        || StoreError::corrupt(operation, format!("hot record ends after {} octets", stored.len()));
    let (&[kind, number @ ..], rest) = stored.split_first_chunk::<HEAD>().ok_or_else(too_short)?;
    let number = u64::from_be_bytes(number);
    match kind {
        FILLING => Ok(Hot::Absent),
        CHANGING => Ok(Hot::Changing(Claim(number))),
        VERSION => {
            let (&digest, rest) = rest.split_first_chunk::<16>().ok_or_else(too_short)?;
            let (&durable, rest) = rest.split_first_chunk::<8>().ok_or_else(too_short)?;
            let (&ordinal, sealed) = rest.split_first_chunk::<4>().ok_or_else(too_short)?;
            let value = HotRecord {
                digest,
                durable: Revision(u64::from_be_bytes(durable)),
                ordinal: u32::from_be_bytes(ordinal),
                sealed: sealed.to_vec(),
            };
            Ok(Hot::Record(Versioned { value, revision: Revision(number) }))
        }
        kind => {
            let reason = format!("expected a hot record of version {VERSION}, got version {kind}");
            Err(StoreError::corrupt(operation, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_as_it_was() {
        let record =
            HotRecord { digest: [7; 16], durable: Revision(258), ordinal: 513, sealed: b"sealed".to_vec() };
        let stored =
            [&[1, 0, 0, 0, 0, 0, 0, 0, 5][..], &[7; 16], &[0, 0, 0, 0, 0, 0, 1, 2], &[0, 0, 2, 1], b"sealed"]
                .concat();
        assert_eq!(encode(Revision(5), &record), stored);
        let read = decode("test", &stored).unwrap();
        assert_eq!(read, Hot::Record(Versioned { value: record, revision: Revision(5) }));
        assert_eq!(decode("test", &head(FILLING, 3)).unwrap(), Hot::Absent);
        assert_eq!(decode("test", &head(CHANGING, 3)).unwrap(), Hot::Changing(Claim(3)));
        for broken in [&[][..], &stored[..8], &stored[..36], &[2; 40]] {
            assert_eq!(decode("test", broken).unwrap_err().kind, storage::ErrorKind::Corrupt);
        }
    }
}
