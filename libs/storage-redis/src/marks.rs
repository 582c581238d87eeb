//! The mark that a device has no work: its version, and whether it has.

use std::sync::LazyLock;

use async_trait::async_trait;
use dm_protocol::DevId;
use futures_util::future::try_join_all;
use storage::{Revision, StoreError, TenantId};
use storage_cluster::marks::{MarkVersion, WorkMarks};

use crate::{Redis, connection::Effect, revision, script::Script, sessions::milliseconds};

/// The device may have work.
const BUSY: u8 = b'b';
/// It has none.
const IDLE: u8 = b'i';
/// Marks written at the same time.
const WRITES_AT_ONCE: usize = 512;

/// ARGV: a new mark, milliseconds. Answers the mark that is there.
static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local mark = redis.call('GET', KEYS[1])
if mark then return mark end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]",
    )
});

/// ARGV: the version seen, milliseconds. Answers 1 when it was still there.
static IDLE_IF: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GETRANGE', KEYS[1], 1, 8) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'i' .. ARGV[1], 'PX', ARGV[2])
return 1",
    )
});

fn fresh(operation: &'static str) -> Result<[u8; 9], StoreError> {
    let Revision(version) = revision::fresh(operation, None)?;
    let mut mark = [BUSY; 9];
    mark[1..].copy_from_slice(&version.to_be_bytes());
    Ok(mark)
}

#[async_trait]
impl WorkMarks for Redis {
    async fn is_idle(&self, tenant: &TenantId, device: &DevId) -> Result<bool, StoreError> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys().work(tenant, device));
        let mark: Option<Vec<u8>> = self.call("read work mark", Effect::Reads, &command).await?;
        Ok(mark.is_some_and(|mark| mark.len() == 9 && mark[0] == IDLE))
    }

    async fn begin_look(&self, tenant: &TenantId, device: &DevId) -> Result<MarkVersion, StoreError> {
        const OPERATION: &str = "begin look for work";
        let (key, keep) = (self.keys().work(tenant, device), milliseconds(self.idle_keep()));
        let mark: Vec<u8> = self.run(OPERATION, &LOOK, &key, &[&fresh(OPERATION)?, keep.as_bytes()]).await?;
        match mark.split_first() {
            Some((_, version)) if version.len() == 8 => {
                let version = version.iter().fold(0, |number, octet| (number << 8) | u64::from(*octet));
                Ok(MarkVersion(version))
            }
            _ => {
                let reason = format!("expected a mark of 9 octets, got {}", mark.len());
                Err(StoreError::corrupt(OPERATION, reason))
            }
        }
    }

    async fn set_idle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        seen: MarkVersion,
    ) -> Result<bool, StoreError> {
        let (key, keep) = (self.keys().work(tenant, device), milliseconds(self.idle_keep()));
        let arguments = [&seen.0.to_be_bytes()[..], keep.as_bytes()];
        let set: u8 = self.run("mark device without work", &IDLE_IF, &key, &arguments).await?;
        Ok(set == 1)
    }

    async fn set_busy(&self, tenant: &TenantId, devices: &[DevId]) -> Result<(), StoreError> {
        const OPERATION: &str = "mark devices with work";
        let keep = milliseconds(self.idle_keep());
        // All share the connection, so those that are under way at the same time are one pipeline.
        for devices in devices.chunks(WRITES_AT_ONCE) {
            let commands = devices.iter().map(|device| {
                let mut command = redis::cmd("SET");
                command.arg(self.keys().work(tenant, device));
                command.arg(&fresh(OPERATION)?[..]).arg("PX").arg(&keep);
                Ok(command)
            });
            let commands = commands.collect::<Result<Vec<_>, StoreError>>()?;
            try_join_all(commands.iter().map(|command| self.call::<()>(OPERATION, Effect::Writes, command)))
                .await?;
        }
        Ok(())
    }
}
